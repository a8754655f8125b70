//! Pictures that look alike, by their perceptual hashes.

use std::collections::{BTreeMap, BinaryHeap};

use serde::{Deserialize, Serialize};

/// Bits of 64 in which the hashes of near-doubles differ at most.
pub const NEAR: u32 = 4;

/// Of two hashes that differ in at most [`NEAR`] bits, one of so many bands is the same in both.
const BANDS: u32 = NEAR + 1;

/// Hashes that are compared at most: more than a million well-spread ones need. It bounds the time where very many
/// pictures share a band.
const MOST_COMPARED: u64 = 4_000_000_000;

/// Near-doubles among pictures that have a perceptual hash.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct NearDoubles {
    /// Rows with a hash: the others are not compared.
    pub hashed: u64,
    /// Rows that have a near-double.
    pub rows: u64,
    /// Pairs for each number of bits in which their hashes differ.
    pub pairs: BTreeMap<u32, u64>,
    /// The first of the closest pairs, by distance and then by row. Of rows with the same hash, each is listed beside the
    /// first of them.
    pub closest: Vec<DoublePair>,
    /// Whether too many pictures look alike to compare all of them: then there may be more pairs.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub incomplete: bool,
}

/// Two rows whose pictures look alike.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DoublePair {
    /// Bits in which their hashes differ.
    pub distance: u32,
    /// Key of the row with the lower number.
    pub first: String,
    /// Key of the other row.
    pub second: String,
}

/// A row's perceptual hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Hashed {
    pub(super) hash: u64,
    pub(super) row: u32,
    /// The shard that the row lies in.
    pub(super) shard: u32,
}

/// What [`find`] has found; pairs are of rows with a distance.
pub(super) struct Found {
    pub(super) doubles: NearDoubles,
    pub(super) closest: Vec<(u32, Hashed, Hashed)>,
}

/// Reads a hash as it is written: 16 hexadecimal digits.
pub(super) fn read(phash: &str) -> Option<u64> {
    u64::from_str_radix(phash, 16).ok().filter(|_| phash.len() == 16)
}

/// Compares all hashes. The order in which they come changes nothing: they are sorted first. Lists `listed` pairs, without
/// their keys.
pub(super) fn find(hashes: &mut [Hashed], listed: usize) -> Found {
    hashes.sort_unstable();
    let groups: Vec<&[Hashed]> = hashes.chunk_by(|a, b| a.hash == b.hash).collect();
    let mut search = Search {
        doubles: NearDoubles { hashed: hashes.len() as u64, ..NearDoubles::default() },
        closest: BinaryHeap::new(),
        listed,
        has_double: vec![false; groups.len()],
    };
    search.same(&groups);
    search.similar(&groups);
    let double = groups.iter().zip(&search.has_double).filter(|(_, has_double)| **has_double);
    search.doubles.rows = double.map(|(group, _)| group.len() as u64).sum();
    let closest = search.closest.into_sorted_vec();
    let closest = closest.into_iter().map(|Near { distance, first, second }| (distance, first, second));
    Found { closest: closest.collect(), doubles: search.doubles }
}

/// A pair; the first in this order are listed.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Near {
    distance: u32,
    first: Hashed,
    second: Hashed,
}

struct Search {
    doubles: NearDoubles,
    closest: BinaryHeap<Near>,
    listed: usize,
    /// For each group of rows with the same hash.
    has_double: Vec<bool>,
}

impl Search {
    fn same(&mut self, groups: &[&[Hashed]]) {
        for (number, group) in groups.iter().enumerate().filter(|(_, group)| group.len() > 1) {
            let rows = group.len() as u64;
            *self.doubles.pairs.entry(0).or_default() += rows * (rows - 1) / 2;
            self.has_double[number] = true;
            group[1..].iter().take(self.listed).for_each(|other| self.list(0, group[0], *other));
        }
    }

    fn similar(&mut self, groups: &[&[Hashed]]) {
        let mut order: Vec<u32> = (0..groups.len() as u32).collect();
        let hash = |number: &u32| groups[*number as usize][0].hash;
        let mut compared = 0;
        for band in 0..BANDS {
            order.sort_unstable_by_key(|number| (hash(number) & mask(band), *number));
            for alike in order.chunk_by(|a, b| hash(a) & mask(band) == hash(b) & mask(band)) {
                compared += alike.len() as u64 * (alike.len() as u64 - 1) / 2;
                if compared > MOST_COMPARED {
                    self.doubles.incomplete = true;
                    return;
                }
                self.within(groups, alike, band);
            }
        }
    }

    /// Compares hashes that have this band in common.
    fn within(&mut self, groups: &[&[Hashed]], alike: &[u32], band: u32) {
        for (place, one) in alike.iter().enumerate() {
            let (one, first) = (*one as usize, groups[*one as usize]);
            for other in &alike[place + 1..] {
                let (other, second) = (*other as usize, groups[*other as usize]);
                let differs = first[0].hash ^ second[0].hash;
                // Those with an earlier band in common were compared there.
                if differs.count_ones() > NEAR || (0..band).any(|band| differs & mask(band) == 0) {
                    continue;
                }
                let distance = differs.count_ones();
                *self.doubles.pairs.entry(distance).or_default() += first.len() as u64 * second.len() as u64;
                (self.has_double[one], self.has_double[other]) = (true, true);
                self.list(distance, first[0], second[0]);
            }
        }
    }

    fn list(&mut self, distance: u32, one: Hashed, other: Hashed) {
        let (first, second) = if one.row <= other.row { (one, other) } else { (other, one) };
        self.closest.push(Near { distance, first, second });
        if self.closest.len() > self.listed {
            self.closest.pop();
        }
    }
}

/// The bits of a band: 64 of them are dealt out to all bands, the last getting fewer.
fn mask(band: u32) -> u64 {
    let width = u64::BITS.div_ceil(BANDS);
    let first = band * width;
    let bits = width.min(u64::BITS - first);
    ((1 << bits) - 1) << first
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hashed(row: u32, hash: u64) -> Hashed {
        Hashed { hash, row, shard: row / 100 }
    }

    /// A generator of numbers that look random (SplitMix64).
    fn noise(seed: u64) -> u64 {
        let mut z = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    #[test]
    fn the_bands_share_all_bits_out() {
        let bands: Vec<u64> = (0..BANDS).map(mask).collect();
        assert_eq!(bands.iter().fold(0, |all, band| all | band), u64::MAX);
        assert_eq!(bands.iter().map(|band| band.count_ones()).sum::<u32>(), 64);
    }

    #[test]
    fn all_pairs_are_found_once_and_the_order_changes_nothing() {
        // Some look like one before, in one to eight bits.
        let mut hashes: Vec<Hashed> = Vec::new();
        for row in 0..600_u32 {
            let other = hashes.get(row as usize * 7 / 11).map_or(0, |other| other.hash);
            let flips = (0..row % 5).map(|bit| 1_u64 << (noise(u64::from(row * 10 + bit)) % 64));
            let hash =
                if row % 2 == 0 { flips.fold(other, |hash, flip| hash ^ flip) } else { noise(row.into()) };
            hashes.push(hashed(row, hash));
        }
        let mut expected: BTreeMap<u32, u64> = BTreeMap::new();
        let mut with_double = std::collections::BTreeSet::new();
        for (place, one) in hashes.iter().enumerate() {
            for other in &hashes[place + 1..] {
                let distance = (one.hash ^ other.hash).count_ones();
                if distance <= NEAR {
                    *expected.entry(distance).or_default() += 1;
                    with_double.extend([one.row, other.row]);
                }
            }
        }
        assert_eq!(expected.len(), 5, "{expected:?}");
        let found = find(&mut hashes.clone(), 10);
        assert_eq!((&found.doubles.pairs, found.doubles.rows), (&expected, with_double.len() as u64));
        assert_eq!(found.closest.len(), 10);
        assert!(found.closest.is_sorted_by_key(|(distance, ..)| *distance));
        hashes.sort_unstable_by_key(|one| noise(one.row.into()));
        let again = find(&mut hashes, 10);
        assert_eq!((again.doubles, again.closest), (found.doubles, found.closest));
    }

    #[test]
    fn any_number_of_the_same_picture_is_counted_and_a_few_are_listed() {
        let mut hashes: Vec<Hashed> = (0..50_000).map(|row| hashed(row, 7)).collect();
        hashes.push(hashed(50_000, 6));
        let found = find(&mut hashes, 3);
        let expected = BTreeMap::from([(0, 50_000 * 49_999 / 2), (1, 50_000)]);
        assert_eq!((found.doubles.pairs, found.doubles.rows), (expected, 50_001));
        let rows: Vec<_> = found.closest.iter().map(|(_, first, second)| (first.row, second.row)).collect();
        assert_eq!(rows, [(0, 1), (0, 2), (0, 3)]);
    }

    #[test]
    fn a_hash_has_16_digits() {
        assert_eq!(read("cc912587996a9c7b"), Some(0xcc91_2587_996a_9c7b));
        for other in ["", "cc9125", "cc912587996a9c7bb", "xc912587996a9c7b"] {
            assert_eq!(read(other), None, "{other}");
        }
    }
}
