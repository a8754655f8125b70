//! Some numbers of many, always the same for the same seed.

use crate::rows::row::MAX_ROWS;

/// Rounds of the permutation: four make it look random (Luby and Rackoff 1988), two more cost nothing here.
const ROUNDS: u64 = 6;

/// `count` different numbers below `all`, in order; all of them if there are no more.
pub(super) fn sorted(count: u64, all: u64, seed: u64) -> Result<Vec<u64>, String> {
    let count = count.min(all);
    if count > MAX_ROWS {
        return Err(format!("sample: {count} rows, at most {MAX_ROWS} are allowed"));
    }
    let mut numbers: Vec<u64> = (0..count).map(|i| permuted(i, all, seed)).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// Where a permutation of the numbers below `all` puts `i`. A Feistel network permutes the next power of four; whoever
/// lands beyond `all` is permuted again until he does not (cycle walking: still a permutation).
fn permuted(i: u64, all: u64, seed: u64) -> u64 {
    let half = (u64::BITS - all.leading_zeros()).div_ceil(2).max(1);
    let mask = (1 << half) - 1;
    let mut number = i;
    loop {
        let (mut left, mut right) = (number >> half, number & mask);
        for round in 0..ROUNDS {
            let key = mix(seed.wrapping_add(mix(round)));
            (left, right) = (right, left ^ (mix(key ^ right) & mask));
        }
        number = left << half | right;
        if number < all {
            return number;
        }
    }
}

/// The output function of SplitMix64 (Steele, Lea and Flood 2014).
fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_has_no_doubles_and_does_not_change() {
        for all in [1, 2, 3, 4, 5, 16, 17, 1000, 4096] {
            for count in [0, 1, all / 2, all, all + 5] {
                let sample = sorted(count, all, 9).unwrap();
                assert_eq!(sample.len() as u64, count.min(all));
                assert!(sample.is_sorted_by(|a, b| a < b) && sample.iter().all(|number| *number < all));
            }
        }
        // These numbers must never change: a batch is extended by reading its grid again.
        assert_eq!(sorted(5, 1 << 50, 1).unwrap(), RECORDED);
        assert_ne!(sorted(5, 1 << 50, 2).unwrap(), RECORDED);
    }

    const RECORDED: [u64; 5] =
        [90495814909414, 593716060245438, 643627511073027, 782763194802542, 1114779891917820];

    #[test]
    fn a_sample_is_spread_evenly() {
        let mut tenths = [0_u32; 10];
        for seed in 0..20 {
            sorted(500, 10_000, seed)
                .unwrap()
                .iter()
                .for_each(|number| tenths[(number / 1000) as usize] += 1);
        }
        assert!(tenths.iter().all(|count| (850..1150).contains(count)), "{tenths:?}");
    }
}
