//! Stereo as mono and a side: what everybody hears, and what is different between left and right.

/// The mean of left and right, which is what a mono listener hears, and half of their difference.
pub fn split(left: i16, right: i16) -> (i16, i16) {
    let (left, right) = (i32::from(left), i32::from(right));
    (((left + right) >> 1) as i16, ((left - right) >> 1) as i16)
}

/// Left and right again, to one step of 16 bits.
pub fn join(mean: i16, side: i16) -> (i16, i16) {
    (mean.saturating_add(side), mean.saturating_sub(side))
}

/// Splits samples of left and right in turn, as far as all have room.
pub fn split_all(both: &[i16], mean: &mut [i16], side: &mut [i16]) {
    let out = mean.iter_mut().zip(side);
    for ([left, right], (mean, side)) in both.as_chunks::<2>().0.iter().zip(out) {
        (*mean, *side) = split(*left, *right);
    }
}

/// Joins them to samples of left and right in turn, as far as all have room.
pub fn join_all(mean: &[i16], side: &[i16], both: &mut [i16]) {
    let sound = mean.iter().zip(side);
    for ([left, right], (mean, side)) in both.as_chunks_mut::<2>().0.iter_mut().zip(sound) {
        (*left, *right) = join(*mean, *side);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn what_is_split_is_joined_again() {
        let mut rng = Rng::new(5);
        let edges = [i16::MIN, -1, 0, 1, i16::MAX];
        let random: Vec<i16> = (0..2_000).map(|_| rng.next_u32() as i16).collect();
        let edges = edges.iter().flat_map(|&l| edges.map(|r| [l, r])).flatten();
        let both: Vec<i16> = edges.chain(random).collect();
        let (mut mean, mut side) = (vec![0; both.len() / 2], vec![0; both.len() / 2]);
        split_all(&both, &mut mean, &mut side);
        let mut again = vec![0; both.len()];
        join_all(&mean, &side, &mut again);
        let worst = both.iter().zip(&again).map(|(a, b)| a.abs_diff(*b)).max();
        assert!(worst <= Some(1), "{worst:?}");
    }
}
