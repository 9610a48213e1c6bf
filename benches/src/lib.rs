//! What the criterion benches work on: bytes and row numbers that are the same in every run.
//!
//! Run them with `cargo bench -p numpack-benches`, one with `-- gather`. Every group has a second
//! series to be read against: the loop or the system calls one would write without this project.

/// SplitMix64 (Steele, Lea and Flood, 2014): a generator with no state worth a dependency.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// A generator that yields the same numbers for the same seed, on every machine.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, all about equally likely.
    pub fn below(&mut self, bound: u64) -> u64 {
        // The bias of the remainder is below 2^-30 for every bound used here.
        self.number() % bound.max(1)
    }
}

/// `len` bytes without a pattern.
pub fn bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut random = Random::new(seed);
    let mut bytes = vec![0; len];
    let (words, rest) = bytes.as_chunks_mut::<8>();
    for word in words {
        *word = random.number().to_le_bytes();
    }
    for byte in rest {
        [*byte, ..] = random.number().to_le_bytes();
    }
    bytes
}

/// `count` row numbers below `rows`, in no order, some of them perhaps twice.
pub fn random_rows(seed: u64, count: usize, rows: u64) -> Vec<u64> {
    let mut random = Random::new(seed);
    (0..count).map(|_| random.below(rows)).collect()
}

/// Sets of row numbers to be used in turn.
///
/// One set over and over would measure the processor's cache: its rows stay there.
#[derive(Debug, Clone)]
pub struct RowSets {
    sets: Vec<Vec<u64>>,
    turn: usize,
}

impl RowSets {
    /// Enough sets of `count` rows below `rows` that together they touch `row_bytes` rows of
    /// 64 MB, twice what the last cache of today's machines keeps for one core.
    pub fn new(seed: u64, count: usize, rows: u64, row_bytes: usize) -> Self {
        let touched = count * row_bytes.next_multiple_of(64);
        let sets = ((64 << 20) / touched.max(1)).clamp(2, 1000) as u64;
        let sets = (0..sets)
            .map(|set| random_rows(seed ^ (set << 32), count, rows))
            .collect();
        Self { sets, turn: 0 }
    }

    /// The next set.
    pub fn turn(&mut self) -> &[u64] {
        self.turn = (self.turn + 1) % self.sets.len();
        &self.sets[self.turn]
    }
}

#[cfg(test)]
mod tests {
    use super::{Random, RowSets, bytes, random_rows};

    #[test]
    fn the_generator_is_splitmix64() {
        let mut random = Random::new(1_234_567);
        let numbers = [random.number(), random.number(), random.number()];
        let published = [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
        ];
        assert_eq!(numbers, published);
    }

    #[test]
    fn a_seed_is_a_workload() {
        assert_eq!(bytes(1, 19), bytes(1, 19));
        assert_ne!(bytes(1, 19), bytes(2, 19));
        assert_eq!(random_rows(3, 100, 7), random_rows(3, 100, 7));
        assert!(random_rows(3, 100, 7).iter().all(|&row| row < 7));
    }

    #[test]
    fn sets_take_turns() {
        let mut sets = RowSets::new(1, 1000, 1 << 20, 40);
        let first = sets.turn().to_vec();
        assert_eq!(first.len(), 1000);
        assert_ne!(sets.turn(), first);
        let again = (0..2000).any(|_| sets.turn() == first);
        assert!(again, "the sets come round");
    }
}
