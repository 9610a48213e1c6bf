//! Hints: where the journal ends, for readers of a running system.

use crate::checksum::xxh3_64;
use crate::codec::{Reader, Write};

const FILE: &str = "the journal";
const U64: usize = size_of::<u64>();
const SUM_AT: usize = 5 * U64 + size_of::<u128>();

/// Length of a hint.
pub const HINT_LEN: usize = SUM_AT + U64;
/// Where the hints of even and of odd sequence numbers are.
pub const HINT_OFFSETS: [u64; 2] = [1024, 1088];

const _: () = assert!(HINT_OFFSETS[0] + HINT_LEN as u64 == HINT_OFFSETS[1]);

/// How far the journal had been written when the last commit ended.
///
/// Saves readers the scan of records they have seen. After a restart of the machine a hint may be
/// newer or older than the records, so recovery never looks at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hint {
    /// Counts the hints; its parity chooses the place.
    pub seq: u64,
    /// The epoch of the header.
    pub epoch: u64,
    /// Offset behind the last record.
    pub tail: u64,
    /// The last record.
    pub last_lsn: u64,
    /// The last record known to be on disk with all it refers to.
    pub synced_lsn: u64,
    /// The chain after the last record.
    pub chain: u128,
}

impl Hint {
    /// The bytes of a hint.
    pub fn encode(&self) -> [u8; HINT_LEN] {
        let mut out = Vec::with_capacity(HINT_LEN);
        out.put_u64(self.seq);
        out.put_u64(self.epoch);
        out.put_u64(self.tail);
        out.put_u64(self.last_lsn);
        out.put_u64(self.synced_lsn);
        out.put_u128(self.chain);
        out.put_u64(xxh3_64(&out));
        let mut hint = [0; HINT_LEN];
        hint.copy_from_slice(&out);
        hint
    }

    /// Reads a hint; `None` if there is none or it is torn.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (body, sum) = bytes.get(..HINT_LEN)?.split_at(SUM_AT);
        if Reader::new(sum, FILE).u64().ok()? != xxh3_64(body) {
            return None;
        }
        let mut reader = Reader::new(body, FILE);
        Some(Self {
            seq: reader.counted("the number of the hint").ok()?,
            epoch: reader.counted("the epoch").ok()?,
            tail: reader.counted("the end").ok()?,
            last_lsn: reader.counted("the last commit").ok()?,
            synced_lsn: reader.counted("the last flushed commit").ok()?,
            chain: reader.u128().ok()?,
        })
    }

    /// The hint of the larger sequence number in a probe.
    pub fn newest(probe: &[u8]) -> Option<Self> {
        HINT_OFFSETS
            .iter()
            .filter_map(|&offset| {
                let offset = usize::try_from(offset).ok()?;
                Self::decode(probe.get(offset..)?)
            })
            .max_by_key(|hint| hint.seq)
    }

    /// Where the hint of a sequence number is written.
    pub fn offset(seq: u64) -> u64 {
        HINT_OFFSETS[usize::from(seq % 2 == 1)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::PROBE_LEN;

    fn hint(seq: u64) -> Hint {
        Hint {
            seq,
            epoch: 2,
            tail: 4096,
            last_lsn: 3,
            synced_lsn: 1,
            chain: u128::MAX - 5,
        }
    }

    #[test]
    fn what_is_written_is_read() {
        assert_eq!(HINT_LEN, 64);
        assert_eq!(Hint::decode(&hint(7).encode()), Some(hint(7)));
    }

    #[test]
    fn every_flipped_bit_and_every_truncation_is_found() {
        let bytes = hint(7).encode();
        for at in 0..HINT_LEN {
            assert_eq!(Hint::decode(&bytes[..at]), None);
            for bit in 0..8 {
                let mut flipped = bytes;
                flipped[at] ^= 1 << bit;
                assert_eq!(Hint::decode(&flipped), None, "bit {bit} of byte {at}");
            }
        }
    }

    #[test]
    fn the_larger_number_wins_and_blank_hints_are_none() {
        let mut probe = vec![0; PROBE_LEN];
        assert_eq!(Hint::newest(&probe), None);
        for seq in [6, 7, 8] {
            let at = usize::try_from(Hint::offset(seq)).unwrap();
            probe[at..at + HINT_LEN].copy_from_slice(&hint(seq).encode());
            assert_eq!(Hint::newest(&probe), Some(hint(seq)));
        }
        probe[1024] ^= 1;
        assert_eq!(Hint::newest(&probe), Some(hint(7)));
        assert_eq!(Hint::newest(&probe[..1100]), None);
    }
}
