//! `.npk/journal`: every commit since the last checkpoint.
//!
//! Two header slots and two hints stand in front, in [`PROBE_LEN`] bytes that one read fetches;
//! records follow from [`HEADER_LEN`] on. A record is valid only as the next link of a chain of
//! hashes that begins in the header, so that nothing left over from an earlier use of the file can
//! be taken for part of it.

mod frame;
mod header;
mod hint;
mod record;
mod replace;

pub use frame::{Decoded, EndReason, FRAME_ALIGN, FRAME_HEADER_LEN, Frame, MAX_BODY_LEN};
pub use header::{Header, SLOT_LEN, SLOT_OFFSETS};
pub use hint::{HINT_LEN, HINT_OFFSETS, Hint};
pub use record::{Append, Content, DeleteRows, Kept, Put, Record};
pub use replace::Replace;

/// Where the records begin.
pub const HEADER_LEN: u64 = 4096;
/// Bytes from the start that hold both header slots and both hints.
pub const PROBE_LEN: usize = 1152;

const _: () = assert!(HINT_OFFSETS[1] + HINT_LEN as u64 == PROBE_LEN as u64);
const _: () = assert!(PROBE_LEN as u64 <= HEADER_LEN);
