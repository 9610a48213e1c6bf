//! Bytes of the engine as Arrow buffers, without a copy and without unsafe code.

use arrow_buffer::{Buffer, MutableBuffer};
use bytes::Bytes;
use numpack_engine::{OwnedBuffer, View};

/// A buffer over the view's own bytes; it keeps the view, and with it the mapping, alive.
pub(crate) fn from_view(view: View) -> Buffer {
    if view.as_ref().is_empty() {
        // An empty slice may sit at any address; typed buffers insist on an aligned one.
        return Buffer::default();
    }
    Buffer::from(Bytes::from_owner(view))
}

/// As [`from_view`], for memory that a gather has filled.
pub(crate) fn from_owned(owned: OwnedBuffer) -> Buffer {
    if owned.as_ref().is_empty() {
        return Buffer::default();
    }
    Buffer::from(Bytes::from_owner(owned))
}

/// Whether values that need `align` may be read where the buffer lies.
pub(crate) fn is_aligned(buffer: &Buffer, align: usize) -> bool {
    buffer.as_ptr().align_offset(align) == 0
}

/// The same bytes in memory of Arrow's own, aligned for everything.
pub(crate) fn realigned(buffer: &Buffer) -> Buffer {
    let mut copy = MutableBuffer::new(buffer.len());
    copy.extend_from_slice(buffer.as_slice());
    copy.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misaligned_buffer_is_seen_and_copied() {
        let bytes: Vec<u8> = (0..64).collect();
        let buffer = Buffer::from(bytes);
        let odd = buffer.slice_with_length(1, 16);
        let even = buffer.slice_with_length(0, 16);
        // One of two neighbouring bytes is not a multiple of 8.
        assert!(!is_aligned(&odd, 8) || !is_aligned(&even, 8));
        let copy = realigned(&odd);
        assert!(is_aligned(&copy, 8));
        assert_eq!(copy.as_slice(), odd.as_slice());
    }
}
