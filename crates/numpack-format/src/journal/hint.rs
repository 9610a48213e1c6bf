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
/// A commit is there for readers when a hint tells of it. After a restart of the machine a hint may be
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
        slots(probe)
            .into_iter()
            .filter_map(|slot| Self::decode(slot?))
            .max_by_key(|hint| hint.seq)
    }

    /// The newest hint in a probe, if none can be missing: the other place holds the one before it, or
    /// is blank and this is the first. A damaged hint must not hide a commit.
    pub fn certain(probe: &[u8]) -> Option<Self> {
        let newest = Self::newest(probe)?;
        let [even, odd] = slots(probe);
        let other = if newest.seq % 2 == 0 { odd } else { even }?;
        let before = match Self::decode(other) {
            Some(hint) => hint.seq,
            None if other.iter().all(|&byte| byte == 0) => 0,
            None => return None,
        };
        (before + 1 == newest.seq).then_some(newest)
    }

    /// Where the hint of a sequence number is written.
    pub fn offset(seq: u64) -> u64 {
        HINT_OFFSETS[usize::from(seq % 2 == 1)]
    }
}

/// The places of the hints in a probe, of even and of odd numbers.
fn slots(probe: &[u8]) -> [Option<&[u8]>; 2] {
    HINT_OFFSETS.map(|offset| {
        let offset = usize::try_from(offset).ok()?;
        probe.get(offset..offset + HINT_LEN)
    })
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
    #[test]
    fn a_hint_is_certain_beside_the_one_before_it() {
        let mut probe = vec![0; PROBE_LEN];
        let write = |probe: &mut Vec<u8>, seq| {
            let at = usize::try_from(Hint::offset(seq)).unwrap();
            probe[at..at + HINT_LEN].copy_from_slice(&hint(seq).encode());
        };
        assert_eq!(Hint::certain(&probe), None);
        for seq in 1..5 {
            write(&mut probe, seq);
            assert_eq!(Hint::certain(&probe), Some(hint(seq)));
        }
        for at in (1024..1024 + 2 * HINT_LEN).step_by(7) {
            let mut damaged = probe.clone();
            damaged[at] ^= 4;
            assert_eq!(Hint::certain(&damaged), None, "byte {at}");
        }
        // One that was lost as a whole, and one that does not follow.
        let mut lost = probe.clone();
        lost[1024..1024 + HINT_LEN].fill(0);
        assert_eq!(Hint::certain(&lost), None);
        write(&mut probe, 7);
        assert_eq!(Hint::certain(&probe), None);
        assert_eq!(Hint::certain(&probe[..1100]), None);
    }
}
