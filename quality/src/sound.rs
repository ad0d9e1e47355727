//! Samples on disk: WAV and raw files, other rates, speech level.

use std::io;
use std::path::Path;

/// A mono sound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sound {
    /// Samples a second.
    pub rate: u32,
    /// The samples.
    pub samples: Vec<i16>,
}

impl Sound {
    /// A sound of these samples.
    pub fn new(rate: u32, samples: Vec<i16>) -> Self {
        Self { rate, samples }
    }

    /// Reads a WAV file of 16-bit samples; of several channels the first.
    ///
    /// # Errors
    /// The file cannot be read, or is no such file.
    pub fn read_wav(path: &Path) -> io::Result<Self> {
        let file = std::fs::read(path)?;
        parse_wav(&file)
            .ok_or_else(|| io::Error::other(format!("{}: no 16-bit WAV", path.display())))
    }

    /// Reads a file of bare 16-bit little-endian samples.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn read_raw(path: &Path, rate: u32) -> io::Result<Self> {
        let samples = std::fs::read(path)?
            .chunks_exact(2)
            .map(|pair| i16::from_le_bytes([pair[0], pair[1]]))
            .collect();
        Ok(Self { rate, samples })
    }

    /// Writes a 16-bit mono WAV file.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write_wav(&self, path: &Path) -> io::Result<()> {
        let bytes = (self.samples.len() * 2) as u32;
        let mut wav = Vec::with_capacity(44 + self.samples.len() * 2);
        wav.extend_from_slice(b"RIFF");
        wav.extend_from_slice(&(36 + bytes).to_le_bytes());
        wav.extend_from_slice(b"WAVEfmt ");
        wav.extend_from_slice(&16u32.to_le_bytes());
        wav.extend_from_slice(&[1, 0, 1, 0]);
        wav.extend_from_slice(&self.rate.to_le_bytes());
        wav.extend_from_slice(&(self.rate * 2).to_le_bytes());
        wav.extend_from_slice(&[2, 0, 16, 0]);
        wav.extend_from_slice(b"data");
        wav.extend_from_slice(&bytes.to_le_bytes());
        wav.extend(self.samples.iter().flat_map(|sample| sample.to_le_bytes()));
        std::fs::write(path, wav)
    }

    /// How long it lasts, in milliseconds.
    pub fn millis(&self) -> u64 {
        self.samples.len() as u64 * 1000 / u64::from(self.rate)
    }

    /// The same at another rate, by a windowed sinc that is flat to 93 % of the lower rate's half. It
    /// prepares what the laboratory plays and scores; the engine has its own.
    pub fn at_rate(&self, rate: u32) -> Self {
        if rate == self.rate {
            return self.clone();
        }
        let common = gcd(self.rate, rate);
        let (up, down) = ((rate / common) as usize, (self.rate / common) as usize);
        let cutoff = 0.965 * (up as f64 / down as f64).min(1.0);
        let reach = (ZEROS / cutoff) as usize;
        // One filter for each place that an output can have between two inputs.
        let taps: Vec<Vec<f64>> = (0..up)
            .map(|phase| {
                let centre = phase as f64 / up as f64;
                let tap = |i: usize| {
                    let x = i as f64 - reach as f64 - centre;
                    cutoff * sinc(cutoff * x) * hann(x / (reach as f64 + 1.0))
                };
                (0..=2 * reach + 1).map(tap).collect()
            })
            .collect();
        let value = |n: usize| {
            let first = (n * down / up) as isize - reach as isize;
            let taps = taps[n * down % up].iter().zip(first..);
            let sample = |i: isize| usize::try_from(i).ok().and_then(|i| self.samples.get(i));
            let sum: f64 = taps
                .filter_map(|(tap, i)| Some(tap * f64::from(*sample(i)?)))
                .sum();
            sum.round().clamp(-32_768.0, 32_767.0) as i16
        };
        let length = self.samples.len() * up / down;
        Self::new(rate, (0..length).map(value).collect())
    }

    /// The same with its loud half at this many decibels below full scale: speech at its usual
    /// level is at 26.
    pub fn at_level(&self, below: f64) -> Self {
        let block = (self.rate / 50) as usize;
        let mut powers: Vec<f64> = self.samples.chunks(block).map(power).collect();
        powers.sort_by(f64::total_cmp);
        let loud = &powers[powers.len() / 2..];
        let mean = loud.iter().sum::<f64>() / loud.len().max(1) as f64;
        let wanted = 32_768.0f64.powi(2) * 10f64.powf(-below / 10.0);
        let gain = (wanted / mean.max(1.0)).sqrt();
        let samples = self.samples.iter();
        let samples = samples.map(|&s| (f64::from(s) * gain).clamp(-32_768.0, 32_767.0) as i16);
        Self::new(self.rate, samples.collect())
    }
}

/// Zero crossings of the sinc on either side.
const ZEROS: f64 = 48.0;

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Mean square of some samples.
pub fn power(samples: &[i16]) -> f64 {
    let sum: f64 = samples.iter().map(|&s| f64::from(s).powi(2)).sum();
    sum / samples.len().max(1) as f64
}

fn sinc(x: f64) -> f64 {
    let x = x * std::f64::consts::PI;
    if x.abs() < 1e-9 { 1.0 } else { x.sin() / x }
}

fn hann(x: f64) -> f64 {
    0.5 + 0.5 * (std::f64::consts::PI * x.clamp(-1.0, 1.0)).cos()
}

fn parse_wav(file: &[u8]) -> Option<Sound> {
    let mut rest = file.strip_prefix(b"RIFF")?.get(8..)?;
    let mut format = None;
    loop {
        let (head, body) = rest.split_first_chunk::<8>()?;
        let length = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
        let chunk = &body[..length.min(body.len())];
        match &head[..4] {
            b"fmt " if chunk.get(14..16)? == [16, 0] => {
                let channels = usize::from(u16::from_le_bytes([chunk[2], chunk[3]]));
                let rate = u32::from_le_bytes([chunk[4], chunk[5], chunk[6], chunk[7]]);
                format = Some((channels.max(1), rate));
            }
            b"data" => {
                let (channels, rate) = format?;
                let frames = chunk.chunks_exact(2 * channels);
                let samples = frames.map(|frame| i16::from_le_bytes([frame[0], frame[1]]));
                return Some(Sound::new(rate, samples.collect()));
            }
            _ => {}
        }
        rest = body.get(length.next_multiple_of(2)..)?;
    }
}
