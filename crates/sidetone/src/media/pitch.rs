//! Finding where sound resembles itself: the measure behind concealment and stretching.

/// Samples a millisecond in the first, coarse search.
const COARSE_PER_MS: usize = 4;

/// Finds the place in a stretch of sound that resembles another piece most, first coarsely on
/// averaged samples, then exactly around the best places.
#[derive(Debug, Clone)]
pub(crate) struct Matcher {
    template: Box<[f32]>,
    region: Box<[f32]>,
}

/// A place that resembles.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Likeness {
    /// Where it begins in the region.
    pub(crate) offset: usize,
    /// The normalised correlation: 1 for the same up to loudness, 0 for nothing in common or worse.
    pub(crate) score: f32,
}

impl Matcher {
    /// For templates and regions of up to so many samples.
    pub(crate) fn new(template: usize, region: usize) -> Self {
        Self {
            template: vec![0.0; template].into(),
            region: vec![0.0; region].into(),
        }
    }

    /// Where in `region` something like `template` begins, at `ms` samples a millisecond. The region
    /// is not shorter than the template.
    pub(crate) fn find(&mut self, template: &[i16], region: &[i16], ms: usize) -> Likeness {
        let stride = (ms / COARSE_PER_MS).max(1);
        let last = region.len().saturating_sub(template.len());
        let coarse = {
            let template = average(template, &mut self.template, stride);
            let region = average(region, &mut self.region, stride);
            best(
                template,
                region,
                0..=region.len().saturating_sub(template.len()),
            )
        };
        let rough = coarse.offset * stride;
        let low = rough.saturating_sub(stride).min(last);
        let high = (rough + stride).min(last);
        let template = average(template, &mut self.template, 1);
        let region = average(&region[low..high + template.len()], &mut self.region, 1);
        let fine = best(template, region, 0..=high - low);
        Likeness {
            offset: low + fine.offset,
            score: fine.score,
        }
    }
}

/// Writes sums of `stride` samples into `out` and returns those that were written.
fn average<'a>(samples: &[i16], out: &'a mut [f32], stride: usize) -> &'a [f32] {
    let len = (samples.len() / stride).min(out.len());
    if stride == 1 {
        for (to, &from) in out[..len].iter_mut().zip(samples) {
            *to = f32::from(from);
        }
    } else {
        for (to, from) in out[..len].iter_mut().zip(samples.chunks_exact(stride)) {
            *to = from.iter().map(|&s| f32::from(s)).sum();
        }
    }
    &out[..len]
}

/// The offset in `offsets` at which `region` correlates best with `template`.
fn best(template: &[f32], region: &[f32], offsets: std::ops::RangeInclusive<usize>) -> Likeness {
    let own = dot(template, template).max(1.0);
    let mut best = Likeness {
        offset: *offsets.end(),
        score: 0.0,
    };
    let mut best_squared = 0.0;
    let square = |sample: f32| f64::from(sample) * f64::from(sample);
    // Slides along with the part; exact, since samples are integers.
    let first = &region[*offsets.start()..][..template.len()];
    let mut energy: f64 = first.iter().map(|&sample| square(sample)).sum();
    for offset in offsets {
        let part = &region[offset..][..template.len()];
        let correlation = dot(template, part);
        if correlation > 0.0 {
            let squared = correlation * correlation / energy.max(1.0) as f32;
            if squared > best_squared {
                best_squared = squared;
                best.offset = offset;
            }
        }
        if let Some(&next) = region.get(offset + template.len()) {
            energy += square(next) - square(region[offset]);
        }
    }
    best.score = (best_squared / own).sqrt().min(1.0);
    best
}

/// Summed in lanes, so that the compiler can use vectors.
#[inline]
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0f32; 8];
    let (a, a_rest) = a.as_chunks::<8>();
    let (b, b_rest) = b.as_chunks::<8>();
    for (a, b) in a.iter().zip(b) {
        for lane in 0..8 {
            lanes[lane] += a[lane] * b[lane];
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    lanes.iter().sum::<f32>() + rest
}

/// The mean of the squares of `samples`.
pub(crate) fn power(samples: &[i16]) -> f32 {
    let mut lanes = [0.0f32; 8];
    let (chunks, rest) = samples.as_chunks::<8>();
    for chunk in chunks {
        for lane in 0..8 {
            let sample = f32::from(chunk[lane]);
            lanes[lane] += sample * sample;
        }
    }
    let rest: f32 = rest.iter().map(|&s| f32::from(s) * f32::from(s)).sum();
    (lanes.iter().sum::<f32>() + rest) / samples.len().max(1) as f32
}

/// Goes from `old` to `new` as `i` goes from 0 to `length`.
#[inline]
pub(crate) fn fade(old: f32, new: f32, i: usize, length: usize) -> f32 {
    let weight = (i + 1) as f32 / (length + 1) as f32;
    old + (new - old) * weight
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shifted_copy_is_found_at_every_rate() {
        for ms in [8, 16, 48] {
            let sound: Vec<i16> = (0..40 * ms)
                .map(|n| n as f64 / ms as f64)
                .map(|t| ((t * t * 0.05 + t).sin() * 9_000.0) as i16)
                .collect();
            let at = 9 * ms + 3;
            let template: Vec<i16> = sound[at..at + 6 * ms].iter().map(|&s| s / 2).collect();
            let mut matcher = Matcher::new(6 * ms, 22 * ms);
            let found = matcher.find(&template, &sound[..22 * ms], ms);
            assert!(found.score > 0.98, "{ms}: {found:?}");
            assert!(
                (found.offset as i64 - at as i64).abs() <= 1,
                "{ms}: {found:?}"
            );
        }
    }

    #[test]
    fn silence_resembles_nothing() {
        let mut matcher = Matcher::new(48, 160);
        let found = matcher.find(&[0; 48], &[0; 160], 8);
        assert_eq!(found.score, 0.0);
        assert!(power(&[0; 9]) == 0.0 && power(&[10; 9]) == 100.0);
    }
}
