//! Recordings: what a second of one costs in each part, and how many a disk sustains.
//!
//! `RECORDINGS=4000 cargo bench -p sidetone-benches --bench recording` runs so many two-track recordings for
//! `RECORDING_SECONDS` (20) in real time, in `RECORDING_DIR` (the directory for temporary files), with
//! `RECORDING_FORMAT` `alaw`, `pcm`, `flac` or `opus`, in the clear and then encrypted, and says how fast copies are made. Each takes
//! two file descriptors (`ulimit -n`).

use std::fs::File;
use std::hint::black_box;
use std::io::{self, Cursor};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use criterion::{Criterion, Throughput};
use sidetone::id::RecordingId;
use sidetone::media::codec::Codec;
use sidetone::media::codec::g711::Law;
use sidetone::media::frame::{Frame, SampleRate};
use sidetone::media::recorder::crypt::age::Recipient;
use sidetone::media::recorder::crypt::cipher::DataKey;
use sidetone::media::recorder::digest::Digest;
use sidetone::media::recorder::disk::{Disk, DiskFile};
use sidetone::media::recorder::export::source::Source;
use sidetone::media::recorder::export::{flac, packets, wav};
use sidetone::media::recorder::journal::{Files, Journal, JournalConfig, Stream};
use sidetone::media::recorder::layout::{Format, Layout, Packets};
use sidetone::media::recorder::seal::{Opening, Sealer, SigningKey};
use sidetone::media::recorder::storage::{Sealing, StorageCommand, StorageEvent};
use sidetone::media::recorder::track::{Track, Tracks};
use sidetone::media::recorder::writer::TrackWriter;
use sidetone::media::recorder::{DEFAULT_QUEUE, Tap, recording};
use sidetone::media::wav::{Encoding, Header};
use sidetone::net::clock::Clock;
use sidetone::net::disk::FileSystem;
use sidetone::net::storage::{StorageConfig, StorageThread};
use sidetone::time::WallTime;
use sidetone_opus::codec::Opus;
use tokio::sync::Notify;

const RATE: SampleRate = SampleRate::HZ_8000;

fn parts(c: &mut Criterion) {
    let layout = Layout {
        format: Format::Wav(Encoding::Pcm16),
        channels: 2,
        rate: RATE,
    };
    let mut group = c.benchmark_group("recording");
    let second = vec![0x5A; 32_000];
    group.throughput(Throughput::Bytes(32_000));
    let opening = Opening {
        id: 1,
        started: WallTime::default(),
        layout,
        tracks: Tracks::STEREO,
        is_encrypted: false,
        digest: Digest::Sha256,
    };
    let mut sealer = Sealer::new(&opening, None, None, None);
    let mut lines = Vec::new();
    group.bench_function("seal a second", |b| {
        b.iter(|| {
            sealer.audio(black_box(&second), 8_000);
            lines.clear();
            sealer.take_lines(&mut lines);
        });
    });
    let secret = DataKey::new([7; 32]);
    let mut stored = second.clone();
    group.bench_function("encrypt a second", |b| {
        b.iter(|| secret.samples(black_box(32_000), &mut stored));
    });
    let config = JournalConfig {
        most_waiting: 1 << 20,
        ..JournalConfig::new("nowhere")
    };
    group.bench_function("journal a second", |b| {
        b.iter_batched_ref(
            || {
                let mut journal = Journal::new(config.clone(), 1);
                let files = Files {
                    audio: "a.wav".into(),
                    layout,
                    seal: None,
                    is_encrypted: false,
                };
                journal.open(RecordingId(1), files);
                journal
            },
            |journal| {
                for n in 0..10 {
                    let part = &second[n * 3_200..(n + 1) * 3_200];
                    journal.append(RecordingId(1), Stream::Audio, n as u64 * 3_200, part);
                }
            },
            criterion::BatchSize::SmallInput,
        );
    });
    group.finish();
}

/// How much faster than real time copies are made.
fn exports(c: &mut Criterion) {
    let seconds = 60;
    let header = Header {
        encoding: Encoding::G711(Law::A),
        channels: 2,
        rate: RATE,
    };
    // A voice's band of noise is as hard as sound gets.
    let mut state = 1u32;
    let mut file = header.to_bytes(seconds * 16_000).to_vec();
    file.extend((0..seconds * 16_000).map(|_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        0x55 ^ (state >> 28) as u8
    }));
    let mut group = c.benchmark_group("export a minute");
    group.throughput(Throughput::Elements(seconds));
    group.sample_size(10);
    group.bench_function("wav", |b| {
        b.iter(|| {
            let mut source = Source::open(Cursor::new(&file)).expect("a recording");
            let mut out = Vec::new();
            wav::write(&mut source, &mut out).expect("memory");
            out
        });
    });
    group.bench_function("flac", |b| {
        b.iter(|| {
            let mut source = Source::open(Cursor::new(&file)).expect("a recording");
            let mut out = Cursor::new(Vec::new());
            flac::write(&mut source, &mut out).expect("memory");
            out
        });
    });
    let opus: Arc<dyn Codec> = Arc::new(Opus::new());
    for (name, format) in [
        ("from flac", Format::Flac),
        ("from opus", Format::Opus(Packets::Encoded)),
    ] {
        let file = recorded(format, &opus, seconds);
        group.bench_function(name, |b| {
            b.iter(|| {
                let file = Cursor::new(&file);
                let source = Source::with_key(file, None, Some(&*opus));
                let mut source = source.expect("a recording");
                let mut out = Vec::new();
                wav::write(&mut source, &mut out).expect("memory");
                out
            });
        });
    }
    let file = recorded(Format::Opus(Packets::Encoded), &opus, seconds);
    group.bench_function("opus copied", |b| {
        b.iter(|| {
            let packets = packets::Packets::with_key(Cursor::new(&file), None);
            let mut packets = packets.expect("a recording");
            let mut out = Vec::new();
            let samples = 0..seconds * 8_000;
            packets::copy(&mut packets, samples, None, 1, &mut out).expect("memory");
            out
        });
    });
    group.finish();
}

/// A recording of two tracks of noise in memory.
fn recorded(format: Format, opus: &Arc<dyn Codec>, seconds: u64) -> Vec<u8> {
    let (mut tap, feed) = recording(RATE, DEFAULT_QUEUE);
    let file = Cursor::new(Vec::new());
    let codec = Some(Arc::clone(opus));
    let writer = TrackWriter::with_tracks(Tracks::STEREO, feed, format, codec, file);
    let (mut writer, mut state) = (writer.expect("memory"), 1u32);
    for n in 0..seconds as i64 * 50 {
        for track in Track::STEREO {
            let mut frame = Frame::silence(RATE);
            for sample in frame.samples_mut() {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                *sample = (state >> 16) as i16 / 8;
            }
            tap.push(track, n * 160, &frame);
        }
        writer.drain().expect("memory");
    }
    drop(tap);
    let (file, report) = writer.close();
    report.expect("memory");
    file.into_inner()
}

/// The file system, and what it took.
#[derive(Debug, Clone, Default)]
struct Timed(Arc<Mutex<Figures>>);

#[derive(Debug, Default)]
struct Figures {
    bytes: u64,
    journal_bytes: u64,
    commits: Vec<Duration>,
}

#[derive(Debug)]
struct TimedFile(File, bool, Timed);

impl Timed {
    fn file(&self, path: &Path, file: File) -> TimedFile {
        let is_journal = path.extension().is_some_and(|it| it == "journal");
        TimedFile(file, is_journal, self.clone())
    }
}

impl Disk for Timed {
    type File = TimedFile;

    fn resolve(&self, path: &Path) -> io::Result<PathBuf> {
        FileSystem.resolve(path)
    }

    fn create(&self, path: &Path) -> io::Result<TimedFile> {
        Ok(self.file(path, FileSystem.create(path)?))
    }

    fn open(&self, path: &Path) -> io::Result<TimedFile> {
        Ok(self.file(path, FileSystem.open(path)?))
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<PathBuf>> {
        FileSystem.list(directory)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        FileSystem.remove(path)
    }

    fn free(&self, directory: &Path) -> io::Result<u64> {
        FileSystem.free(directory)
    }

    fn draw(&self, bytes: &mut [u8]) -> io::Result<()> {
        FileSystem.draw(bytes)
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        FileSystem.sync_directory(directory)
    }
}

impl DiskFile for TimedFile {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut figures = self.2.0.lock().expect("figures");
        match self.1 {
            true => figures.journal_bytes += bytes.len() as u64,
            false => figures.bytes += bytes.len() as u64,
        }
        drop(figures);
        self.0.write_at(offset, bytes)
    }

    fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read_at(offset, buf)
    }

    fn length(&mut self) -> io::Result<u64> {
        self.0.length()
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.0.truncate(length)
    }

    fn sync(&mut self) -> io::Result<()> {
        let clock = Clock::start();
        let begun = clock.now();
        let synced = self.0.sync();
        if self.1 {
            let mut figures = self.2.0.lock().expect("figures");
            figures.commits.push(clock.now() - begun);
        }
        synced
    }
}

/// Seconds of processor that this process's threads of storage have used.
fn cpu() -> f64 {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten();
    let ticks = tasks.flatten().filter_map(|task| {
        let stat = std::fs::read_to_string(task.path().join("stat")).ok()?;
        let (name, rest) = stat.rsplit_once(") ")?;
        let fields: Vec<&str> = rest.split(' ').collect();
        let used = fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?;
        name.contains("(sidetone-").then_some(used)
    });
    ticks.sum::<f64>() / 100.0
}

/// How many recordings run for how long, and how.
struct Load {
    count: u64,
    seconds: u64,
    format: Format,
    is_encrypted: bool,
    spool: PathBuf,
}

impl Load {
    /// What the environment asks for.
    fn asked(count: u64) -> Self {
        let seconds = std::env::var("RECORDING_SECONDS").ok();
        let format = match std::env::var("RECORDING_FORMAT").as_deref() {
            Ok("pcm") => Format::Wav(Encoding::Pcm16),
            Ok("flac") => Format::Flac,
            Ok("opus") => Format::Opus(Packets::Encoded),
            _ => Format::Wav(Encoding::G711(Law::A)),
        };
        let directory = std::env::var_os("RECORDING_DIR").map(PathBuf::from);
        let spool = directory.unwrap_or_else(std::env::temp_dir);
        Self {
            count,
            seconds: seconds.and_then(|text| text.parse().ok()).unwrap_or(20),
            format,
            is_encrypted: false,
            spool: spool.join(format!("sidetone-recordings-{}", std::process::id())),
        }
    }

    fn start(&self, disk: &Timed) -> StorageThread {
        let config = StorageConfig {
            max_open: self.count as usize,
            commands: self.count as usize + 64,
            journal: Some(JournalConfig::new(self.spool.join("journal"))),
            patience: Duration::from_secs(120),
            ..StorageConfig::default()
        };
        let notify = Arc::new(Notify::new());
        let started = StorageThread::start_on(disk.clone(), config, &notify);
        started.expect("threads").0
    }

    /// Asks for all recordings.
    fn open(&self, thread: &mut StorageThread) -> Vec<Tap> {
        let reader = "age1sv0vq0n89u7kmnucvd7c0r8gar04ghdu254nxrv0xla45rpjwudqcl9rlm";
        let reader = Recipient::parse(reader).expect("a key");
        let recipients = Vec::from_iter(self.is_encrypted.then_some(reader));
        let key = SigningKey::from_seed("bench", &[5; 32]).expect("a key");
        let open = |number| {
            let (tap, feed) = recording(RATE, DEFAULT_QUEUE);
            let open = StorageCommand::Open {
                recording: RecordingId(number),
                path: self.spool.join(format!("{}/{number}.wav", number % 64)),
                tracks: Tracks::STEREO,
                format: self.format,
                opus: Some(Arc::new(Opus::new())),
                sealing: Some(Box::new(Sealing {
                    digest: Digest::Sha256,
                    id: number.into(),
                    started: WallTime::default(),
                    label: None,
                    recipients: recipients.clone(),
                    key: Some(key.clone()),
                })),
                feed: Box::new(feed),
            };
            assert!(thread.send(open).is_ok(), "the queue has room");
            tap
        };
        (0..self.count).map(open).collect()
    }

    /// Runs in real time, and says what became of it.
    fn run(&self) -> String {
        let disk = Timed::default();
        let mut thread = self.start(&disk);
        let clock = Clock::start();
        let asked = clock.now();
        let mut taps = self.open(&mut thread);
        let (mut opened, mut suspensions) = (0, 0);
        while opened < self.count {
            match thread.poll_event() {
                Some(StorageEvent::Opened { .. }) => opened += 1,
                Some(StorageEvent::Unguarded { .. }) => suspensions += 1,
                Some(StorageEvent::Failed { error, .. }) => {
                    let _ = std::fs::remove_dir_all(&self.spool);
                    panic!(
                        "{opened} of {} are open: {error}; see `ulimit -n`",
                        self.count
                    )
                }
                Some(_) => {}
                None => std::thread::yield_now(),
            }
        }
        let (begun, before) = (clock.now(), cpu());
        let opening = (begun - asked).as_secs_f64();
        feed(&clock, self.seconds, &mut taps);
        let (took, used) = ((clock.now() - begun).as_secs_f64(), cpu() - before);
        let lost = |tap: &Tap| tap.lost_frames(Track::Caller) + tap.lost_frames(Track::Agent);
        let lost: u64 = taps.iter().map(lost).sum();
        drop(taps);
        let mut failed = 0;
        for event in thread.stop() {
            suspensions += u64::from(matches!(event, StorageEvent::Unguarded { .. }));
            failed += u64::from(matches!(event, StorageEvent::Failed { .. }));
        }
        let closing = (clock.now() - begun).as_secs_f64() - took;
        let mut figures = disk.0.lock().expect("figures");
        figures.commits.sort();
        let commit = |part| at(&figures.commits, part);
        let (count, calls) = (self.count, self.count as f64);
        let a_call = |bytes: u64| bytes as f64 / took / 1e3 / calls;
        format!(
            "{count} recordings, {}, {took:.1} s, load {}\n\
             opened in {opening:.1} s, closed in {closing:.1} s; {lost} frames of {} lost; {failed} failed; journal \
             suspended {suspensions} times; peak of memory {}\n\
             storage: {:.2} cores, {:.1} µs of processor a call and second\n\
             files {:.2} kB and journal {:.2} kB a call and second; {:.1} MB/s and {:.1} MB/s\n\
             {} commits: median {:.1} ms, 99 % {:.1} ms, worst {:.1} ms\n",
            if self.is_encrypted {
                "encrypted"
            } else {
                "in the clear"
            },
            first_words("/proc/loadavg", ""),
            count * self.seconds * 100,
            first_words("/proc/self/status", "VmHWM:"),
            used / took,
            used / took / calls * 1e6,
            a_call(figures.bytes),
            a_call(figures.journal_bytes),
            figures.bytes as f64 / took / 1e6,
            figures.journal_bytes as f64 / took / 1e6,
            figures.commits.len(),
            commit(0.5),
            commit(0.99),
            commit(1.0),
        )
    }
}

/// Speaks on both tracks of all recordings for so long.
fn feed(clock: &Clock, seconds: u64, taps: &mut [Tap]) {
    let frame = Frame::from_samples(RATE, &[1_000; 160]);
    let begun = clock.now();
    for n in 0..seconds as i64 * 50 {
        let due = begun + Duration::from_millis(20) * n as u32;
        while clock.now() < due {
            std::thread::park_timeout(due.saturating_duration_since(clock.now()));
        }
        for tap in &mut *taps {
            tap.push(Track::Caller, n * 160, &frame);
            tap.push(Track::Agent, n * 160, &frame);
            tap.extend_to(n as u64 * 160 + 160);
        }
    }
}

/// Milliseconds that so many of these stay within; they are sorted.
fn at(sorted: &[Duration], part: f64) -> f64 {
    let index = (sorted.len() as f64 * part) as usize;
    let found = sorted.get(index.min(sorted.len().saturating_sub(1)));
    found.map_or(0.0, |d| d.as_secs_f64() * 1e3)
}

/// What a file says behind a word, or in its first line.
fn first_words(path: &str, word: &str) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(word));
    line.unwrap_or("unknown").trim().to_owned()
}

/// Runs `count` recordings in the clear, and the same encrypted.
fn sustain(count: u64) {
    let mut load = Load::asked(count);
    for is_encrypted in [false, true] {
        load.is_encrypted = is_encrypted;
        let report = load.run();
        let _ = std::fs::remove_dir_all(&load.spool);
        // Where standard output is closed nobody reads it.
        let _ = io::Write::write_all(&mut io::stdout(), report.as_bytes());
    }
}

fn main() {
    if let Some(count) = std::env::var("RECORDINGS")
        .ok()
        .and_then(|n| n.parse().ok())
    {
        return sustain(count);
    }
    let mut criterion = Criterion::default().configure_from_args();
    parts(&mut criterion);
    exports(&mut criterion);
    criterion.final_summary();
}
