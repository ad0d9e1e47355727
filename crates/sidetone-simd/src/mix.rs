//! Sums of 16-bit samples in 32 bits. Each kernel stops at the shortest of its slices.

use crate::twice;

/// Fixed-point steps of a gain of one in [`add_scaled`], as a power of two.
pub const GAIN_BITS: u32 = 12;

twice! {
    /// Adds `samples` to `sum`.
    pub fn add(sum: &mut [i32], samples: &[i16]) => add_body;
    /// Takes `samples` out of `sum`.
    pub fn subtract(sum: &mut [i32], samples: &[i16]) => subtract_body;
    /// Adds `samples` times `gain` to `sum`, each product rounded to nearest; a gain of one is
    /// 2 to the power of [`GAIN_BITS`], the largest that cannot overflow a product is 65,535.
    pub fn add_scaled(sum: &mut [i32], samples: &[i16], gain: u16) => add_scaled_body;
    /// Writes `sum` into `out`, limited to 16 bits.
    pub fn saturate(sum: &[i32], out: &mut [i16]) => saturate_body;
    /// Writes `samples` into `out`, growing evenly from nothing to what they are.
    pub fn fade_in(samples: &[i16], out: &mut [i16]) => fade_in_body;
    /// Writes `samples` into `out`, shrinking evenly from what they are to nothing.
    pub fn fade_out(samples: &[i16], out: &mut [i16]) => fade_out_body;
    /// Writes `sum` without `own` into `out`, limited to 16 bits.
    pub fn saturate_without(sum: &[i32], own: &[i16], out: &mut [i16]) => saturate_without_body;
}

#[inline(always)]
fn add_body(sum: &mut [i32], samples: &[i16]) {
    for (sum, &sample) in sum.iter_mut().zip(samples) {
        *sum += i32::from(sample);
    }
}

#[inline(always)]
fn subtract_body(sum: &mut [i32], samples: &[i16]) {
    for (sum, &sample) in sum.iter_mut().zip(samples) {
        *sum -= i32::from(sample);
    }
}

#[inline(always)]
fn add_scaled_body(sum: &mut [i32], samples: &[i16], gain: u16) {
    let (gain, half) = (i32::from(gain), 1 << (GAIN_BITS - 1));
    for (sum, &sample) in sum.iter_mut().zip(samples) {
        *sum += (i32::from(sample) * gain + half) >> GAIN_BITS;
    }
}

#[inline(always)]
fn saturate_body(sum: &[i32], out: &mut [i16]) {
    for (out, &sum) in out.iter_mut().zip(sum) {
        *out = limit(sum);
    }
}

#[inline(always)]
fn saturate_without_body(sum: &[i32], own: &[i16], out: &mut [i16]) {
    for ((out, &sum), &own) in out.iter_mut().zip(sum).zip(own) {
        *out = limit(sum - i32::from(own));
    }
}

#[inline(always)]
fn fade_in_body(samples: &[i16], out: &mut [i16]) {
    fade(samples, out, |step, len| step as i32 * (GAIN_ONE / len));
}

#[inline(always)]
fn fade_out_body(samples: &[i16], out: &mut [i16]) {
    fade(samples, out, |step, len| {
        GAIN_ONE - step as i32 * (GAIN_ONE / len)
    });
}

/// A gain of one while fading: fine enough that every step of a long frame is one.
const GAIN_ONE: i32 = 1 << 15;

#[inline(always)]
fn fade(samples: &[i16], out: &mut [i16], gain: impl Fn(usize, i32) -> i32) {
    let len = samples.len().min(out.len()).clamp(1, GAIN_ONE as usize) as i32;
    for (step, (out, &sample)) in out.iter_mut().zip(samples).enumerate() {
        *out = ((i32::from(sample) * gain(step, len)) >> 15) as i16;
    }
}

#[inline(always)]
fn limit(sample: i32) -> i16 {
    sample.clamp(i32::from(i16::MIN), i32::from(i16::MAX)) as i16
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Loud and quiet, of every length around the width of a register.
    fn cases() -> impl Iterator<Item = (Vec<i32>, Vec<i16>)> {
        (0..70).map(|len| {
            let samples = (0..len).map(|i| (i * 7_919 - 20_000) as i16);
            let sums = (0..len).map(|i| (i * 104_729 % 300_000) - 150_000);
            (sums.collect(), samples.collect())
        })
    }

    #[test]
    fn sums_are_the_same_on_every_processor() {
        for (sum, samples) in cases() {
            let mut ours = [sum.clone(), sum.clone(), sum.clone()];
            let mut plain = ours.clone();
            add(&mut ours[0], &samples);
            add_body(&mut plain[0], &samples);
            subtract(&mut ours[1], &samples);
            subtract_body(&mut plain[1], &samples);
            add_scaled(&mut ours[2], &samples, u16::MAX);
            add_scaled_body(&mut plain[2], &samples, u16::MAX);
            assert_eq!(ours, plain);

            let mut ours = [vec![0; sum.len()], vec![0; sum.len()]];
            let mut plain = ours.clone();
            saturate(&sum, &mut ours[0]);
            saturate_body(&sum, &mut plain[0]);
            saturate_without(&sum, &samples, &mut ours[1]);
            saturate_without_body(&sum, &samples, &mut plain[1]);
            assert_eq!(ours, plain);
            fade_in(&samples, &mut ours[0]);
            fade_in_body(&samples, &mut plain[0]);
            fade_out(&samples, &mut ours[1]);
            fade_out_body(&samples, &mut plain[1]);
            assert_eq!(ours, plain);
        }
    }

    #[test]
    fn fades_go_evenly_from_nothing_to_all_and_back() {
        for len in [160, 320, 960] {
            let samples = vec![-20_000; len];
            let (mut up, mut down) = (vec![0; len], vec![0; len]);
            fade_in(&samples, &mut up);
            fade_out(&samples, &mut down);
            assert_eq!((up[0], down[0]), (0, -20_000));
            assert!(up[len - 1] < -19_000 && down[len - 1] > -1_000);
            for (pair, (up, down)) in up.windows(2).zip(up.iter().zip(&down)) {
                assert!((0..=130).contains(&(pair[0] - pair[1])));
                assert!((-20_001..=-19_999).contains(&(up + down)));
            }
        }
    }

    #[test]
    fn sums_are_limited_and_gains_rounded() {
        let mut out = [0; 3];
        saturate(&[40_000, -40_000, 7], &mut out);
        assert_eq!(out, [i16::MAX, i16::MIN, 7]);
        saturate_without(&[40_000, -40_000, 7], &[10_000, 0, 8], &mut out);
        assert_eq!(out, [30_000, i16::MIN, -1]);
        let mut sum = [1, 1, 1];
        add_scaled(&mut sum, &[100, 3, -3], 1 << (GAIN_BITS - 1));
        assert_eq!(sum, [51, 3, 0]);
    }
}
