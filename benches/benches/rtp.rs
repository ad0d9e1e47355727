//! RTP: header view and emission, a received packet through lock and receiver, telephone events.

use std::hint::black_box;
use std::net::SocketAddr;

use criterion::{Criterion, Throughput};
use sidetone::media::dtmf::{Digit, DtmfReceiver, DtmfSender, SendTick};
use sidetone::rtp::event::TelephoneEvent;
use sidetone::rtp::extension::{AudioLevel, Elements, Writer as ElementWriter};
use sidetone::rtp::packet::{HEADER_LEN, Header, View};
use sidetone::rtp::rtcp::xr::{Content, VoipMetrics};
use sidetone::rtp::rtcp::{Compound, Packet, ReportBlock, SenderInfo, Writer};
use sidetone::rtp::session::receiver::{Position, Receiver, ReceiverConfig};
use sidetone::rtp::session::sender::Sender;
use sidetone::rtp::source::{SourceConfig, SourceLock, Verdict};
use sidetone::sdp::session::SessionDescription;
use sidetone::time::{Duration, Instant};

const FRAME: Duration = Duration::from_millis(20);

fn header(sequence: u16) -> Header {
    Header {
        payload_type: 0,
        marker: false,
        sequence,
        timestamp: u32::from(sequence) * 160,
        ssrc: 0xCAFE,
    }
}

fn packet(sequence: u16) -> [u8; HEADER_LEN + 160] {
    let mut packet = [0xFF; HEADER_LEN + 160];
    header(sequence).emit(&mut packet);
    packet
}

fn wire(c: &mut Criterion) {
    let mut group = c.benchmark_group("rtp");
    group.throughput(Throughput::Elements(1));
    let plain = packet(7);
    group.bench_function("view, all fields", |b| {
        b.iter(|| {
            let view = View::parse(black_box(&plain)).expect("valid");
            black_box((view.header(), view.payload().len()))
        });
    });
    let mut extended = plain.to_vec();
    extended[0] = 0x90;
    extended.splice(HEADER_LEN..HEADER_LEN, [0xBE, 0xDE, 0, 1, 0x10, 0x7F, 0, 0]);
    group.bench_function("view with extension, all fields", |b| {
        b.iter(|| {
            let view = View::parse(black_box(&extended)).expect("valid");
            black_box((view.header(), view.extension(), view.payload().len()))
        });
    });
    let mut buf = [0; HEADER_LEN + 160];
    group.bench_function("emit", |b| {
        b.iter(|| black_box(black_box(header(7)).emit(black_box(&mut buf))));
    });
    group.finish();
}

fn receive(c: &mut Criterion) {
    let mut group = c.benchmark_group("rtp");
    group.throughput(Throughput::Elements(1));
    let from: SocketAddr = "192.0.2.1:4000".parse().expect("an address");
    group.bench_function("receive: view, source lock, receiver", |b| {
        let mut lock = SourceLock::new(SourceConfig::default());
        lock.signal(Instant::ZERO, from);
        let mut receiver = Receiver::new(ReceiverConfig::default());
        let (mut now, mut sequence) = (Instant::ZERO, 0u16);
        let mut bytes = packet(0);
        b.iter(|| {
            now += FRAME;
            sequence = sequence.wrapping_add(1);
            header(sequence).emit(&mut bytes);
            let view = View::parse(black_box(&bytes)).expect("valid");
            let verdict = lock.handle_packet(now, from, view.ssrc(), view.sequence());
            assert_eq!(verdict, Verdict::Accept);
            black_box(receiver.handle_packet(now, &view).ok())
        });
    });
    group.bench_function("send: number and emit", |b| {
        let mut sender = Sender::new(1, 0, 0, 8000);
        let mut now = Instant::ZERO;
        let mut buf = [0; HEADER_LEN + 160];
        b.iter(|| {
            now += FRAME;
            black_box(sender.audio(now, 0, 160, 160).emit(black_box(&mut buf)))
        });
    });
    group.finish();
}

fn events(c: &mut Criterion) {
    let mut group = c.benchmark_group("telephone-event");
    group.bench_function("a key press sent and recognised", |b| {
        let mut sender = DtmfSender::new(Default::default());
        let mut receiver = DtmfReceiver::new(Default::default());
        let digit = Digit::from_char('5').expect("a digit");
        let mut position = Position {
            sequence: 1 << 32,
            timestamp: 1 << 48,
            restarted: false,
        };
        let mut now = Instant::ZERO;
        b.iter(|| {
            sender
                .press(digit, Duration::from_millis(100))
                .expect("room");
            while !sender.is_idle() {
                now += FRAME;
                position.sequence += 1;
                position.timestamp += 160;
                let tick = sender.tick(position.timestamp as u32);
                if let SendTick::Event {
                    timestamp,
                    marker,
                    payload,
                } = tick
                {
                    let at = Position {
                        timestamp: (1 << 48) | u64::from(timestamp),
                        ..position
                    };
                    receiver.handle_report(now, at, marker, black_box(&payload));
                }
                while let Some(event) = receiver.poll_event() {
                    black_box(event);
                }
            }
        });
    });
    let payload = [5, 0x8A, 3, 0x20];
    group.bench_function("parse", |b| {
        b.iter(|| black_box(TelephoneEvent::parse(black_box(&payload))));
    });
    group.finish();
}

fn control(c: &mut Criterion) {
    let mut buf = [0; 128];
    let write = |buf: &mut [u8; 128]| {
        let mut writer = Writer::new(buf);
        let block = ReportBlock::default();
        writer
            .sender_report(1, &SenderInfo::default(), &[block])
            .expect("room");
        writer.cname(1, "c0ffee").expect("room");
        writer.finish()
    };
    let len = write(&mut buf);
    let compound = buf;
    let mut group = c.benchmark_group("rtcp");
    group.bench_function("write sender report and name", |b| {
        b.iter(|| write(black_box(&mut buf)));
    });
    group.bench_function("check and walk the same", |b| {
        b.iter(|| {
            let compound = Compound::parse(black_box(&compound[..len])).expect("valid");
            black_box(compound.packets().count())
        });
    });
    let mut rich = [0; 256];
    let mut writer = Writer::new(&mut rich);
    writer.receiver_report(1, &[]).expect("room");
    let content = Content {
        reference_time: Some(1 << 40),
        delay: None,
        metrics: Some(VoipMetrics::unknown(2)),
    };
    writer.extended_report(1, &content).expect("room");
    writer.nack(1, 2, &[7, 8, 30]).expect("room");
    let len = writer.finish();
    group.bench_function("check and walk a report, VoIP metrics and a NACK", |b| {
        b.iter(|| {
            let compound = Compound::parse(black_box(&rich[..len])).expect("valid");
            for packet in compound.packets() {
                match packet {
                    Packet::ExtendedReport(report) => {
                        black_box(report.blocks().count());
                    }
                    Packet::Feedback(feedback) => {
                        black_box(feedback);
                    }
                    _ => {}
                }
            }
        });
    });
    group.finish();
}

fn extension(c: &mut Criterion) {
    let mut group = c.benchmark_group("rtp extension");
    let mut packet = [0; HEADER_LEN + 8 + 160];
    header(7).emit(&mut packet);
    group.bench_function("write an audio level", |b| {
        b.iter(|| {
            let mut writer = ElementWriter::new(black_box(&mut packet));
            let level = AudioLevel::SILENCE.emit();
            writer.element(1, &level).expect("room");
            black_box(writer.finish())
        });
    });
    group.bench_function("view the packet and read the level", |b| {
        b.iter(|| {
            let view = View::parse(black_box(&packet)).expect("valid");
            black_box(Elements::of(&view).find(|element| element.id == 1))
        });
    });
    group.finish();
}

fn description(c: &mut Criterion) {
    let text = b"v=0\r\no=- 39456789 21087654 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\n\
        t=0 0\r\nm=audio 10040 RTP/AVP 0 8 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\n\
        a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\na=ptime:20\r\na=sendrecv\r\n";
    c.bench_function("sdp: parse an audio offer", |b| {
        b.iter(|| SessionDescription::parse(black_box(text)));
    });
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    for part in [wire, receive, events, control, extension, description] {
        part(&mut criterion);
    }
    criterion.final_summary();
}
