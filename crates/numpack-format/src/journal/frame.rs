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
        let mut body = Vec::new();
        self.record.encode_into(&mut body);
        debug_assert!(body.len() <= MAX_BODY_LEN, "a body of {} bytes", body.len());
        out.put(&MAGIC);
        out.put_u8(self.record.code());
        out.put_u8(if self.more { MORE } else { 0 });
        out.put_u16(VERSION);
        out.put_u64(self.lsn);
        out.put_u64(self.epoch);
        out.put_len_u32(body.len());
        out.resize(start + HASH_AT, 0);
        body.resize(body.len().next_multiple_of(FRAME_ALIGN), 0);
        let hash = link(chain, &out[start..], &body);
        out.put_u128(hash);
        out.put(&body);
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
