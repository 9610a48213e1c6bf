//! XXH3 over files, records and payloads.

use std::fmt;

use xxhash_rust::xxh3::{Xxh3, xxh3_64 as hash64, xxh3_128 as hash128};

use crate::codec::u64_bytes;

/// Bytes of payload behind one block sum.
pub const BLOCK_LEN: usize = 64 * 1024;

pub(crate) fn xxh3_64(bytes: &[u8]) -> u64 {
    hash64(bytes)
}

pub(crate) fn xxh3_128(bytes: &[u8]) -> u128 {
    hash128(bytes)
}

/// XXH3-128 of the parts one after the other.
pub(crate) fn xxh3_128_parts(parts: &[&[u8]]) -> u128 {
    let mut state = Xxh3::new();
    for part in parts {
        state.update(part);
    }
    state.digest128()
}

/// The content hash of a payload that arrives in pieces.
///
/// Each block of [`BLOCK_LEN`] bytes has an XXH3-64 sum; the content hash is the XXH3-128 of those
/// sums in little endian. One pass so serves both the journal, which stores the hash, and block
/// sums, which find the place of a damage. How the payload is cut into pieces does not matter; where
/// it lies in its file does, for the blocks are those of the file.
#[derive(Clone)]
pub struct BlockHasher {
    block: Xxh3,
    /// Bytes of the block that are hashed or lie before the payload.
    filled: usize,
    /// Whether any byte is hashed that is in no sum yet.
    open: bool,
    sums: Xxh3,
    kept: Option<Vec<u64>>,
}

impl BlockHasher {
    /// Nothing hashed yet.
    pub fn new() -> Self {
        Self {
            block: Xxh3::new(),
            filled: 0,
            open: false,
            sums: Xxh3::new(),
            kept: None,
        }
    }

    /// Nothing hashed yet, of a payload that begins at byte `offset` of its file.
    pub fn at(offset: u64) -> Self {
        let before = offset % BLOCK_LEN as u64;
        Self {
            filled: usize::try_from(before).unwrap_or_default(),
            ..Self::new()
        }
    }

    /// As [`at`](Self::at), and the sums of the blocks are kept, for a payload of about `len` bytes.
    pub fn keeping(offset: u64, len: u64) -> Self {
        /// What a length from a caller may have taken in advance.
        const MOST: u64 = 1 << 20;
        let blocks = (len / BLOCK_LEN as u64).min(MOST);
        Self {
            kept: Some(Vec::with_capacity(
                usize::try_from(blocks).unwrap_or_default(),
            )),
            ..Self::at(offset)
        }
    }

    /// Adds the next bytes of the payload.
    pub fn update(&mut self, mut bytes: &[u8]) {
        if self.filled > 0 {
            let (head, rest) = bytes.split_at(bytes.len().min(BLOCK_LEN - self.filled));
            if !self.open && self.filled + head.len() == BLOCK_LEN {
                // In one go, as it is faster.
                self.add_sum(hash64(head));
                self.filled = 0;
            } else {
                self.fill(head);
            }
            bytes = rest;
        }
        let mut blocks = bytes.chunks_exact(BLOCK_LEN);
        for block in &mut blocks {
            self.add_sum(hash64(block));
        }
        self.fill(blocks.remainder());
    }

    fn fill(&mut self, bytes: &[u8]) {
        self.open |= !bytes.is_empty();
        self.block.update(bytes);
        self.filled += bytes.len();
        if self.filled == BLOCK_LEN {
            self.end_block();
        }
    }

    fn end_block(&mut self) {
        self.add_sum(self.block.digest());
        self.block.reset();
        (self.filled, self.open) = (0, false);
    }

    fn add_sum(&mut self, sum: u64) {
        self.sums.update(&u64_bytes(sum));
        if let Some(kept) = &mut self.kept {
            kept.push(known(sum));
        }
    }

    /// The content hash, the sums of all blocks that it has the ends of, and the last block if it has not.
    /// What it has of the first block need not be all of it. Without [`keeping`](Self::keeping) there are
    /// no sums.
    pub fn finish_kept(mut self) -> (u128, Vec<u64>, Option<PartialBlock>) {
        let sums = self.kept.take().unwrap_or_default();
        let tail = self.open.then(|| PartialBlock(self.block.clone()));
        (self.finish(), sums, tail)
    }

    /// The content hash of everything added.
    pub fn finish(mut self) -> u128 {
        if self.open {
            self.end_block();
        }
        self.sums.digest128()
    }
}

impl Default for BlockHasher {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for BlockHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockHasher")
            .field("filled", &self.filled)
            .finish_non_exhaustive()
    }
}

/// The beginning of a block whose end has yet to come.
#[derive(Clone)]
pub struct PartialBlock(Xxh3);

impl PartialBlock {
    /// A block of which these bytes are known.
    pub fn of(bytes: &[u8]) -> Self {
        let mut state = Xxh3::new();
        state.update(bytes);
        Self(state)
    }

    /// Adds the bytes that follow.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// [`block_sum`] of the bytes so far.
    pub fn sum(&self) -> u64 {
        known(self.0.digest())
    }
}

impl fmt::Debug for PartialBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PartialBlock").finish_non_exhaustive()
    }
}

/// The sum of a block at rest: its XXH3-64, or 1 where that is 0, which stands for a sum that is not known.
pub fn block_sum(block: &[u8]) -> u64 {
    known(hash64(block))
}

fn known(sum: u64) -> u64 {
    sum.max(1)
}

/// The content hash of a payload that is in memory as a whole.
pub fn content_hash(bytes: &[u8]) -> u128 {
    let mut hasher = BlockHasher::new();
    hasher.update(bytes);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The definition, straight from the document.
    fn definition(bytes: &[u8]) -> u128 {
        let sums: Vec<u8> = bytes
            .chunks(BLOCK_LEN)
            .flat_map(|block| u64_bytes(xxh3_64(block)))
            .collect();
        xxh3_128(&sums)
    }

    fn sample(len: usize) -> Vec<u8> {
        (0..len)
            .map(|i| u8::try_from(i * 7 % 251).unwrap())
            .collect()
    }

    #[test]
    fn blocks_of_64_kib() {
        for len in [
            0,
            1,
            BLOCK_LEN - 1,
            BLOCK_LEN,
            BLOCK_LEN + 1,
            3 * BLOCK_LEN,
            200_000,
        ] {
            let bytes = sample(len);
            assert_eq!(content_hash(&bytes), definition(&bytes), "{len} bytes");
        }
    }

    #[test]
    fn the_sums_of_the_blocks_are_handed_over() {
        for len in [0, 1, BLOCK_LEN, 2 * BLOCK_LEN + 9] {
            let bytes = sample(len);
            let mut hasher = BlockHasher::keeping(0, len as u64);
            hasher.update(&bytes[..len / 3]);
            hasher.update(&bytes[len / 3..]);
            let (hash, sums, tail) = hasher.finish_kept();
            assert_eq!(hash, definition(&bytes));
            let (complete, rest) = bytes.as_chunks::<BLOCK_LEN>();
            let expected: Vec<u64> = complete.iter().map(|block| block_sum(block)).collect();
            assert_eq!(sums, expected);
            assert_eq!(
                tail.map(|tail| tail.sum()),
                (!rest.is_empty()).then(|| block_sum(rest))
            );
        }
        assert_eq!(known(0), 1, "0 says that a sum is not known");
    }

    #[test]
    fn blocks_are_those_of_the_file() {
        let bytes = sample(2 * BLOCK_LEN);
        for (offset, first) in [(0, BLOCK_LEN), (9, BLOCK_LEN - 9), (3 * BLOCK_LEN - 1, 1)] {
            let (head, rest) = bytes.split_at(first);
            let sums: Vec<u8> = std::iter::once(head)
                .chain(rest.chunks(BLOCK_LEN))
                .flat_map(|block| u64_bytes(xxh3_64(block)))
                .collect();
            let mut hasher = BlockHasher::keeping(offset as u64, bytes.len() as u64);
            bytes.chunks(1000).for_each(|piece| hasher.update(piece));
            let (hash, kept, tail) = hasher.finish_kept();
            assert_eq!(hash, xxh3_128(&sums), "from byte {offset}");
            assert_eq!(kept[..2], [block_sum(head), block_sum(&rest[..BLOCK_LEN])]);
            assert_eq!(tail.is_some(), offset % BLOCK_LEN > 0);
        }
        let nothing = BlockHasher::at(5);
        assert_eq!(nothing.finish(), content_hash(b""));
    }

    #[test]
    fn the_algorithm_is_xxh3() {
        // The published values for empty input.
        assert_eq!(xxh3_64(b""), 0x2d06_8005_38d3_94c2);
        assert_eq!(xxh3_128(b""), 0x99aa_06d3_0147_98d8_6001_c324_468d_497f);
        assert_eq!(xxh3_128_parts(&[b"ab", b"", b"c"]), xxh3_128(b"abc"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn pieces_do_not_matter(cuts in prop::collection::vec(0..200_000_usize, 0..6)) {
            let bytes = sample(200_000);
            let mut cuts = cuts;
            cuts.sort_unstable();
            let mut hasher = BlockHasher::new();
            let mut from = 0;
            for cut in cuts {
                hasher.update(&bytes[from..cut]);
                from = cut;
            }
            hasher.update(&bytes[from..]);
            prop_assert_eq!(hasher.finish(), definition(&bytes));
        }
    }
}
