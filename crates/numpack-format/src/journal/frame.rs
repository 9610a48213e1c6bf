//! A record in the journal: its header, its body and its place in the chain.

use std::fmt;

use super::record::{self, Record};
use crate::checksum::xxh3_128_parts;
use crate::codec::{Reader, Write, u128_bytes};

const FILE: &str = "a journal record";
const MAGIC: [u8; 4] = *b"NPKR";
const VERSION: u16 = 1;
const MORE: u8 = 1;

const U64: usize = size_of::<u64>();

// magic | type | flags | version | lsn | epoch | body_len | reserved | hash
const TYPE_AT: usize = MAGIC.len();
const FLAGS_AT: usize = TYPE_AT + 1;
const VERSION_AT: usize = FLAGS_AT + 1;
const LSN_AT: usize = VERSION_AT + size_of::<u16>();
const EPOCH_AT: usize = LSN_AT + U64;
const BODY_LEN_AT: usize = EPOCH_AT + U64;
const RESERVED_AT: usize = BODY_LEN_AT + size_of::<u32>();
const HASH_AT: usize = FRAME_HEADER_LEN - size_of::<u128>();

/// Length of the header of a frame.
pub const FRAME_HEADER_LEN: usize = 64;
/// Frames begin and end at multiples of this.
pub const FRAME_ALIGN: usize = 64;
/// Longest body of a frame; a longer one is the sign of a damaged length.
pub const MAX_BODY_LEN: usize = 64 * 1024 * 1024;

/// One record with its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The number of the record; each is one more than that before it.
    pub lsn: u64,
    /// The epoch of the header it follows.
    pub epoch: u64,
    /// Whether the commit goes on with the next record.
    pub more: bool,
    /// What it says.
    pub record: Record,
}

/// What stands at an offset of the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decoded {
    /// The next record.
    Frame {
        /// The record.
        frame: Frame,
        /// How many bytes it takes.
        len: usize,
        /// The chain for the record after it.
        chain: u128,
    },
    /// No record: the journal ends here.
    End(EndReason),
    /// The buffer ends too early to tell; with so many bytes it will not.
    NeedMore(usize),
}

/// Why the journal ends at an offset.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum EndReason {
    /// Nothing has been written here.
    Blank,
    /// The bytes are not the next record: a write was cut short, or they are of earlier use.
    Broken(String),
    /// A valid record of a later release. It was committed, so a writer must refuse to go on.
    Unsupported {
        /// The version in its header.
        version: u16,
        /// Its type code.
        code: u8,
        /// Its flags.
        flags: u8,
    },
    /// A record whose hash is right and whose body is not. It was committed, so a writer must
    /// refuse to go on.
    Malformed(String),
}

impl EndReason {
    /// Whether a committed record stands here that cannot be applied: unlike any other end, a
    /// writer must not write over it.
    pub fn is_committed(&self) -> bool {
        matches!(self, Self::Unsupported { .. } | Self::Malformed(_))
    }
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blank => f.write_str("nothing follows"),
            Self::Broken(reason) => write!(f, "no further record: {reason}"),
            Self::Unsupported {
                version,
                code,
                flags,
            } => write!(
                f,
                "a record of type {code}, version {version}, flags {flags}, which this release \
                 does not know (it reads version {VERSION}): upgrade numpack"
            ),
            Self::Malformed(reason) => write!(f, "a malformed record: {reason}"),
        }
    }
}

impl Frame {
    /// Appends the frame to `out` and gives the chain for the frame after it.
    ///
    /// `chain` is that of the frame before, or [`Header::hash`](super::Header::hash).
    pub fn encode_into(&self, out: &mut Vec<u8>, chain: u128) -> u128 {
        let start = out.len();
        out.put(&MAGIC);
        out.put_u8(self.record.code());
        out.put_u8(if self.more { MORE } else { 0 });
        out.put_u16(VERSION);
        out.put_u64(self.lsn);
        out.put_u64(self.epoch);
        out.resize(start + FRAME_HEADER_LEN, 0);
        let body = start + FRAME_HEADER_LEN;
        self.record.encode_into(out);
        let body_len = out.len() - body;
        let mut len = Vec::new();
        len.put_len_u32(body_len);
        out[start + BODY_LEN_AT..start + RESERVED_AT].copy_from_slice(&len);
        out.resize(body + body_len.next_multiple_of(FRAME_ALIGN), 0);
        let hash = link(chain, &out[start..start + HASH_AT], &out[body..]);
        out[start + HASH_AT..body].copy_from_slice(&u128_bytes(hash));
        hash
    }

    /// Reads what stands at the start of `buf`, where record `lsn` of `epoch` is expected.
    ///
    /// `chain` is that of the record before, or [`Header::hash`](super::Header::hash).
    pub fn decode(buf: &[u8], epoch: u64, lsn: u64, chain: u128) -> Decoded {
        let Some((head, rest)) = buf.split_at_checked(FRAME_HEADER_LEN) else {
            return Decoded::NeedMore(FRAME_HEADER_LEN);
        };
        let header = match FrameHeader::decode(head) {
            Ok(header) => header,
            Err(error) => return Decoded::End(EndReason::Broken(record::reason(error))),
        };
        if let Some(reason) = header.mismatch(head, epoch, lsn) {
            return Decoded::End(reason);
        }
        let padded = header.body_len.next_multiple_of(FRAME_ALIGN);
        let len = FRAME_HEADER_LEN + padded;
        let Some(body) = rest.get(..padded) else {
            return Decoded::NeedMore(len);
        };
        if header.hash != link(chain, &head[..HASH_AT], body) {
            let reason = format!("the hash of record {lsn} does not continue the chain");
            return Decoded::End(EndReason::Broken(reason));
        }
        match header.open(head, body) {
            Ok(frame) => Decoded::Frame {
                frame,
                len,
                chain: header.hash,
            },
            Err(reason) => Decoded::End(reason),
        }
    }
}

/// The hash of a frame: that of the frame before, its header up to the hash, its padded body.
fn link(chain: u128, head: &[u8], body: &[u8]) -> u128 {
    xxh3_128_parts(&[&u128_bytes(chain), head, body])
}

struct FrameHeader {
    magic: [u8; 4],
    code: u8,
    flags: u8,
    version: u16,
    lsn: u64,
    epoch: u64,
    body_len: usize,
    hash: u128,
}

impl FrameHeader {
    fn decode(head: &[u8]) -> crate::Result<Self> {
        let mut reader = Reader::new(head, FILE);
        let magic = reader.array()?;
        let code = reader.u8()?;
        let flags = reader.u8()?;
        let version = reader.u16()?;
        let lsn = reader.u64()?;
        let epoch = reader.u64()?;
        let body_len = usize::try_from(reader.u32()?).unwrap_or(usize::MAX);
        reader.bytes(HASH_AT - RESERVED_AT)?;
        let hash = reader.u128()?;
        Ok(Self {
            magic,
            code,
            flags,
            version,
            lsn,
            epoch,
            body_len,
            hash,
        })
    }

    /// Why this cannot be the expected record, from the header alone.
    fn mismatch(&self, head: &[u8], epoch: u64, lsn: u64) -> Option<EndReason> {
        if head.iter().all(|&byte| byte == 0) {
            return Some(EndReason::Blank);
        }
        let reason = if self.magic != MAGIC {
            "no record begins here".to_owned()
        } else if self.epoch != epoch {
            format!("a record of epoch {}, expected epoch {epoch}", self.epoch)
        } else if self.lsn != lsn {
            format!("record {}, expected record {lsn}", self.lsn)
        } else if self.body_len > MAX_BODY_LEN {
            format!(
                "a body of {} bytes, at most {MAX_BODY_LEN} are possible",
                self.body_len
            )
        } else {
            return None;
        };
        Some(EndReason::Broken(reason))
    }

    /// The record of a frame whose hash is right.
    fn open(&self, head: &[u8], padded: &[u8]) -> Result<Frame, EndReason> {
        let &Self {
            code,
            flags,
            version,
            lsn,
            epoch,
            body_len,
            ..
        } = self;
        let reserved = &head[RESERVED_AT..HASH_AT];
        let unsupported = EndReason::Unsupported {
            version,
            code,
            flags,
        };
        if version != VERSION || flags & !MORE != 0 || reserved.iter().any(|&byte| byte != 0) {
            return Err(unsupported);
        }
        let (body, padding) = padded.split_at(body_len);
        let mut reader = Reader::new(body, FILE);
        let record = Record::decode(code, &mut reader)
            .and_then(|record| {
                if record.is_some() {
                    reader.finish()?;
                }
                Ok(record)
            })
            .map_err(|error| EndReason::Malformed(record::reason(error)))?
            .ok_or(unsupported)?;
        if padding.iter().any(|&byte| byte != 0) {
            return Err(EndReason::Malformed(
                "bytes other than zero follow its body".to_owned(),
            ));
        }
        Ok(Frame {
            lsn,
            epoch,
            more: flags & MORE != 0,
            record,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::journal::DeleteRows;
    use crate::journal::record::tests::any_record;
    use crate::name::ArrayName;

    const EPOCH: u64 = 5;
    const CHAIN: u128 = 0x0123_4567_89ab_cdef;

    fn frame(lsn: u64, more: bool) -> Frame {
        let name = ArrayName::new("emb").unwrap();
        let record = Record::DeleteRows(DeleteRows {
            name,
            generation: 4,
            runs: vec![(3, 2)],
        });
        Frame {
            lsn,
            epoch: EPOCH,
            more,
            record,
        }
    }

    fn bytes(frame: &Frame) -> Vec<u8> {
        let mut out = Vec::new();
        frame.encode_into(&mut out, CHAIN);
        out
    }

    fn end(buf: &[u8]) -> EndReason {
        match Frame::decode(buf, EPOCH, 9, CHAIN) {
            Decoded::End(reason) => reason,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_header_has_64_bytes() {
        assert_eq!((LSN_AT, EPOCH_AT, BODY_LEN_AT, HASH_AT), (8, 16, 24, 48));
        assert_eq!(bytes(&frame(9, false)).len(), 128);
    }

    #[test]
    fn a_chain_is_read_back_to_its_end() {
        let mut out = vec![0; 64];
        let mut chain = CHAIN;
        let frames = [frame(9, true), frame(10, true), frame(11, false)];
        for frame in &frames {
            chain = frame.encode_into(&mut out, chain);
        }
        let end = chain;
        out.resize(out.len() + 64, 0);
        let (mut at, mut lsn, mut chain) = (64, 9, CHAIN);
        for expected in &frames {
            let Decoded::Frame {
                frame,
                len,
                chain: next,
            } = Frame::decode(&out[at..], EPOCH, lsn, chain)
            else {
                panic!("no record {lsn}");
            };
            assert_eq!(&frame, expected);
            (at, lsn, chain) = (at + len, lsn + 1, next);
        }
        assert_eq!(chain, end);
        let blank = Decoded::End(EndReason::Blank);
        assert_eq!(Frame::decode(&out[at..], EPOCH, lsn, chain), blank);
    }

    #[test]
    fn a_record_is_valid_only_in_its_place() {
        let bytes = bytes(&frame(9, false));
        let ends = |epoch, lsn, chain| {
            matches!(
                Frame::decode(&bytes, epoch, lsn, chain),
                Decoded::End(EndReason::Broken(_))
            )
        };
        assert!(!ends(EPOCH, 9, CHAIN));
        assert!(ends(EPOCH + 1, 9, CHAIN));
        assert!(ends(EPOCH, 8, CHAIN));
        assert!(ends(EPOCH, 10, CHAIN));
        assert!(ends(EPOCH, 9, CHAIN + 1));
    }

    #[test]
    fn every_flipped_bit_ends_the_journal() {
        let bytes = bytes(&frame(9, true));
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << bit;
                match Frame::decode(&flipped, EPOCH, 9, CHAIN) {
                    Decoded::End(EndReason::Broken(_)) => {}
                    // A longer body, of which the file has no bytes.
                    Decoded::NeedMore(len) => assert!(len > bytes.len() && (24..28).contains(&at)),
                    other => panic!("bit {bit} of byte {at}: {other:?}"),
                }
            }
        }
    }

    #[test]
    fn a_truncated_frame_asks_for_more() {
        let bytes = bytes(&frame(9, false));
        for len in 0..bytes.len() {
            let need = if len < FRAME_HEADER_LEN {
                FRAME_HEADER_LEN
            } else {
                bytes.len()
            };
            assert_eq!(
                Frame::decode(&bytes[..len], EPOCH, 9, CHAIN),
                Decoded::NeedMore(need)
            );
        }
    }

    #[test]
    fn a_hostile_length_asks_for_nothing() {
        let mut bytes = bytes(&frame(9, false));
        bytes[BODY_LEN_AT..RESERVED_AT].copy_from_slice(&[0xff; 4]);
        assert!(matches!(end(&bytes), EndReason::Broken(_)));
    }

    /// A frame with other bytes and the hash that goes with them.
    fn rechained(change: impl FnOnce(&mut [u8])) -> Vec<u8> {
        let mut bytes = bytes(&frame(9, false));
        change(&mut bytes);
        let (head, body) = bytes.split_at(FRAME_HEADER_LEN);
        let mut out = head[..HASH_AT].to_vec();
        out.put_u128(link(CHAIN, &head[..HASH_AT], body));
        out.put(body);
        out
    }

    #[test]
    fn a_record_of_a_later_release_is_told_from_a_torn_one() {
        let later = end(&rechained(|bytes| bytes[VERSION_AT] = 2));
        assert_eq!(
            later,
            EndReason::Unsupported {
                version: 2,
                code: 4,
                flags: 0
            }
        );
        assert!(later.is_committed());
        let text = later.to_string();
        assert!(
            text.contains("version 2") && text.contains("reads version 1"),
            "{text}"
        );
        for (at, byte) in [
            (TYPE_AT, 10),
            (TYPE_AT, 200),
            (FLAGS_AT, 2),
            (RESERVED_AT, 1),
        ] {
            let reason = end(&rechained(|bytes| bytes[at] = byte));
            assert!(matches!(reason, EndReason::Unsupported { .. }), "{reason}");
        }
        assert!(!EndReason::Blank.is_committed());
        assert!(!EndReason::Broken(String::new()).is_committed());
    }

    #[test]
    fn a_chained_record_with_a_wrong_body_is_malformed() {
        let longer = end(&rechained(|bytes| bytes[BODY_LEN_AT] += 1));
        assert_eq!(
            longer,
            EndReason::Malformed("1 bytes follow the end".to_owned())
        );
        assert!(longer.is_committed());
        let shorter = end(&rechained(|bytes| bytes[BODY_LEN_AT] -= 1));
        assert!(matches!(shorter, EndReason::Malformed(_)), "{shorter}");
        let padding = end(&rechained(|bytes| bytes[127] = 1));
        assert!(padding.to_string().contains("other than zero"), "{padding}");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            record in any_record(),
            (lsn, epoch, chain) in any::<(u64, u64, u128)>(),
            more: bool,
        ) {
            let frame = Frame { lsn, epoch, more, record };
            let mut out = Vec::new();
            let next = frame.encode_into(&mut out, chain);
            prop_assert_eq!(out.len() % FRAME_ALIGN, 0);
            let len = out.len();
            out.push(0xaa);
            let decoded = Frame::decode(&out, epoch, lsn, chain);
            prop_assert_eq!(decoded, Decoded::Frame { frame, len, chain: next });
        }

        #[test]
        fn no_bytes_panic(
            code in 0..10_u8,
            body_len in 0..=192_u8,
            body in prop::collection::vec(any::<u8>(), 192),
        ) {
            let _ = Frame::decode(&body, EPOCH, 9, CHAIN);
            let mut bytes = bytes(&frame(9, false));
            bytes.truncate(FRAME_HEADER_LEN);
            bytes.extend_from_slice(&body);
            bytes[TYPE_AT] = code;
            bytes[BODY_LEN_AT] = body_len;
            let padded = usize::from(body_len).next_multiple_of(FRAME_ALIGN);
            bytes.truncate(FRAME_HEADER_LEN + padded);
            let hash = link(CHAIN, &bytes[..HASH_AT], &bytes[FRAME_HEADER_LEN..]);
            bytes[HASH_AT..FRAME_HEADER_LEN].copy_from_slice(&u128_bytes(hash));
            match Frame::decode(&bytes, EPOCH, 9, CHAIN) {
                // Random bytes rarely are a record; if they are, it must encode to the same.
                Decoded::Frame { frame, .. } => {
                    let mut again = Vec::new();
                    frame.encode_into(&mut again, CHAIN);
                    prop_assert_eq!(again, bytes);
                }
                Decoded::End(reason) => prop_assert!(reason.is_committed(), "{}", reason),
                Decoded::NeedMore(len) => prop_assert!(false, "{} bytes asked for", len),
            }
        }
    }
}
