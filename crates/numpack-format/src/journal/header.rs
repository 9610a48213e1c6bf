//! The header of the journal, kept twice.

use crate::checksum::{xxh3_64, xxh3_128};
use crate::codec::{Reader, Write};
use crate::error::{FormatError, Result};

const FILE: &str = "the journal";
const MAGIC: [u8; 8] = *b"NPKJRNL1";
const VERSION: u16 = 1;

const U16: usize = size_of::<u16>();
const U32: usize = size_of::<u32>();
const U64: usize = size_of::<u64>();

// magic | version | flags | reserved | store_id | nonce | epoch | base_lsn | meta_lsn | boot_hash
const VERSION_AT: usize = MAGIC.len();
const FLAGS_AT: usize = VERSION_AT + U16;
const RESERVED_AT: usize = FLAGS_AT + U16;
const STORE_ID_AT: usize = RESERVED_AT + U32;
const NONCE_AT: usize = STORE_ID_AT + 16;
const EPOCH_AT: usize = NONCE_AT + U64;
const BASE_LSN_AT: usize = EPOCH_AT + U64;
const META_LSN_AT: usize = BASE_LSN_AT + U64;
const BOOT_HASH_AT: usize = META_LSN_AT + U64;
const USED_LEN: usize = BOOT_HASH_AT + U64;
const SUM_AT: usize = SLOT_LEN - U64;

/// Length of a header slot.
pub const SLOT_LEN: usize = 128;
/// Where the slots of even and of odd epochs are.
pub const SLOT_OFFSETS: [u64; 2] = [0, 512];

/// What a journal belongs to and where its chain begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The store, as in the trailer of its metadata.
    pub store_id: [u8; 16],
    /// Random, new with every epoch: a repeated epoch number cannot revive old records.
    pub nonce: u64,
    /// Counts how often the journal began anew.
    pub epoch: u64,
    /// The commit before the first record.
    pub base_lsn: u64,
    /// The `checkpoint_lsn` that the metadata must have reached; less means that the metadata was
    /// read before a checkpoint and the header after it.
    pub meta_lsn: u64,
    /// Hash of the running system's boot id, by whose page cache unsynced files are complete;
    /// 0 after a failed flush.
    pub boot_hash: u64,
}

impl Header {
    /// The bytes of a slot.
    pub fn encode(&self) -> [u8; SLOT_LEN] {
        let mut out = Vec::with_capacity(SLOT_LEN);
        out.put(&MAGIC);
        out.put_u16(VERSION);
        out.put_u16(0);
        out.put_u32(0);
        out.put(&self.store_id);
        out.put_u64(self.nonce);
        out.put_u64(self.epoch);
        out.put_u64(self.base_lsn);
        out.put_u64(self.meta_lsn);
        out.put_u64(self.boot_hash);
        out.resize(SUM_AT, 0);
        out.put_u64(xxh3_64(&out));
        let mut slot = [0; SLOT_LEN];
        slot.copy_from_slice(&out);
        slot
    }

    /// Reads a slot; `None` if it holds no header of this release.
    pub fn decode(slot: &[u8]) -> Option<Self> {
        let slot = slot.get(..SLOT_LEN)?;
        if sealed_version(slot)? != VERSION {
            return None;
        }
        let mut reader = Reader::new(slot.get(FLAGS_AT..)?, FILE);
        let flags = reader.u16().ok()?;
        let reserved = reader.u32().ok()?;
        let header = Self {
            store_id: reader.array().ok()?,
            nonce: reader.u64().ok()?,
            epoch: reader.counted("the epoch").ok()?,
            base_lsn: reader.counted("the first commit").ok()?,
            meta_lsn: reader.counted("the commit of the metadata").ok()?,
            boot_hash: reader.u64().ok()?,
        };
        let unused = slot.get(USED_LEN..SUM_AT)?;
        (flags == 0 && reserved == 0 && unused.iter().all(|&byte| byte == 0)).then_some(header)
    }

    /// The valid header of the larger epoch among the slots of a probe, and its slot.
    ///
    /// A header in the slot of the other parity counts for nothing.
    pub fn newest(probe: &[u8]) -> Option<(usize, Self)> {
        slots(probe)
            .filter_map(|(slot, bytes)| Some((slot, Self::decode(bytes)?)))
            .filter(|(slot, header)| Self::slot_offset(header.epoch) == SLOT_OFFSETS[*slot])
            .max_by_key(|(_, header)| header.epoch)
    }

    /// Refuses a journal that a later release began, which [`newest`](Self::newest) does not see.
    ///
    /// A writer calls this before it takes a journal without valid header for an empty one.
    ///
    /// # Errors
    /// [`FormatError::NewerVersion`] if a slot with a valid checksum has a later version.
    pub fn check_version(probe: &[u8]) -> Result<()> {
        match slots(probe)
            .filter_map(|(_, bytes)| sealed_version(bytes))
            .max()
        {
            Some(found) if found > VERSION => Err(FormatError::NewerVersion {
                file: FILE,
                found: found.into(),
                supported: VERSION.into(),
            }),
            _ => Ok(()),
        }
    }

    /// Where the chain of the records begins.
    ///
    /// Covers what identifies the epoch and neither `meta_lsn` nor `boot_hash`, so that a slot may
    /// be written again with other values of these while its records stay valid.
    pub fn hash(&self) -> u128 {
        xxh3_128(&self.encode()[..META_LSN_AT])
    }

    /// Where the header of an epoch is written.
    pub fn slot_offset(epoch: u64) -> u64 {
        SLOT_OFFSETS[usize::from(epoch % 2 == 1)]
    }
}

fn slots(probe: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    SLOT_OFFSETS
        .iter()
        .enumerate()
        .filter_map(|(slot, &offset)| {
            let offset = usize::try_from(offset).ok()?;
            Some((slot, probe.get(offset..offset + SLOT_LEN)?))
        })
}

/// The version of a slot whose magic and checksum are right; their places never change.
fn sealed_version(slot: &[u8]) -> Option<u16> {
    let (body, sum) = slot.split_at_checked(SUM_AT)?;
    let mut reader = Reader::new(body, FILE);
    let sealed = reader.array().ok() == Some(MAGIC)
        && Reader::new(sum, FILE).u64().ok() == Some(xxh3_64(body));
    if sealed { reader.u16().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::PROBE_LEN;

    fn header(epoch: u64) -> Header {
        Header {
            store_id: *b"0123456789abcdef",
            nonce: 0x1122_3344_5566_7788,
            epoch,
            base_lsn: 9,
            meta_lsn: 8,
            boot_hash: 7,
        }
    }

    fn probe(slots: [Option<Header>; 2]) -> Vec<u8> {
        let mut probe = vec![0; PROBE_LEN];
        for (offset, header) in SLOT_OFFSETS.into_iter().zip(slots) {
            if let Some(header) = header {
                let at = usize::try_from(offset).unwrap();
                probe[at..at + SLOT_LEN].copy_from_slice(&header.encode());
            }
        }
        probe
    }

    #[test]
    fn numbers_that_cannot_be_counted_further_are_refused() {
        let last = u64::MAX >> 1;
        for number in [last, last + 1, u64::MAX] {
            let header = Header {
                base_lsn: number,
                ..header(3)
            };
            let read = Header::decode(&header.encode());
            assert_eq!(read, (number == last).then_some(header));
        }
        assert_eq!(Header::decode(&header(u64::MAX).encode()), None);
    }

    #[test]
    fn what_is_written_is_read() {
        assert_eq!(Header::decode(&header(5).encode()), Some(header(5)));
        assert_eq!(
            (STORE_ID_AT, META_LSN_AT, USED_LEN, SUM_AT),
            (16, 56, 72, 120)
        );
    }

    #[test]
    fn every_flipped_bit_and_every_truncation_is_found() {
        let slot = header(5).encode();
        for at in 0..SLOT_LEN {
            assert_eq!(Header::decode(&slot[..at]), None);
            for bit in 0..8 {
                let mut flipped = slot;
                flipped[at] ^= 1 << bit;
                assert_eq!(Header::decode(&flipped), None, "bit {bit} of byte {at}");
            }
        }
    }

    #[test]
    fn the_larger_epoch_wins() {
        let newest =
            |slots| Header::newest(&probe(slots)).map(|(slot, header)| (slot, header.epoch));
        assert_eq!(newest([Some(header(4)), Some(header(5))]), Some((1, 5)));
        assert_eq!(newest([Some(header(6)), Some(header(5))]), Some((0, 6)));
        assert_eq!(newest([None, Some(header(5))]), Some((1, 5)));
        assert_eq!(newest([None, None]), None);
        // Not where a header of its epoch belongs.
        assert_eq!(newest([Some(header(5)), None]), None);
        assert_eq!(
            Header::newest(&probe([Some(header(4)), Some(header(5))])[..600])
                .unwrap()
                .0,
            0
        );
        assert_eq!(Header::newest(&[]), None);
    }

    #[test]
    fn the_chain_begins_with_what_identifies_the_epoch() {
        let start = header(5).hash();
        assert_eq!(
            Header {
                boot_hash: 0,
                meta_lsn: 9,
                ..header(5)
            }
            .hash(),
            start
        );
        for other in [
            header(6),
            Header {
                nonce: 0,
                ..header(5)
            },
            Header {
                base_lsn: 8,
                ..header(5)
            },
            Header {
                store_id: [0; 16],
                ..header(5)
            },
        ] {
            assert_ne!(other.hash(), start);
        }
    }

    /// A slot with other bytes and the checksum that goes with them.
    fn resealed(change: impl FnOnce(&mut [u8])) -> Vec<u8> {
        let mut slot = header(4).encode().to_vec();
        change(&mut slot);
        slot.truncate(SUM_AT);
        slot.put_u64(xxh3_64(&slot));
        slot
    }

    #[test]
    fn a_header_of_a_later_release_is_reported() {
        let mut probe = probe([None, Some(header(5))]);
        assert_eq!(Header::check_version(&probe), Ok(()));
        probe[..SLOT_LEN].copy_from_slice(&resealed(|slot| slot[VERSION_AT] = 2));
        assert_eq!(Header::newest(&probe).unwrap().0, 1);
        let error = Header::check_version(&probe).unwrap_err().to_string();
        assert!(
            error.contains("version 2") && error.contains("up to 1"),
            "{error}"
        );
        // With a wrong checksum it is only a torn write.
        probe[100] ^= 1;
        assert_eq!(Header::check_version(&probe), Ok(()));
        assert_eq!(Header::check_version(&[]), Ok(()));
    }

    #[test]
    fn reserved_bytes_are_zero() {
        assert!(Header::decode(&resealed(|_| {})).is_some());
        for at in [FLAGS_AT, RESERVED_AT, USED_LEN, SUM_AT - 1] {
            assert_eq!(
                Header::decode(&resealed(|slot| slot[at] = 1)),
                None,
                "byte {at}"
            );
        }
    }
}
