//! What snapshots hand out: bytes that stay, and private copies of them.

use std::ops::{Deref, Range};
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::memory::OwnedBuffer;
use crate::pin::{Pin, PrivatePin};

/// Bytes of a snapshot, kept valid and unchanged by this value. Cheap to clone.
#[derive(Clone, Debug)]
pub struct View {
    pub(crate) pin: Option<Arc<Pin>>,
    pub(crate) start: usize,
    pub(crate) len: usize,
}

impl View {
    pub(crate) fn empty() -> Self {
        Self {
            pin: None,
            start: 0,
            len: 0,
        }
    }

    /// A part of this view.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for bytes outside of it.
    pub fn slice(&self, bytes: Range<usize>) -> Result<Self> {
        if bytes.start > bytes.end || bytes.end > self.len {
            return Err(Error::InvalidArgument(format!(
                "bytes {}..{} are outside of a view of {} bytes",
                bytes.start, bytes.end, self.len
            )));
        }
        let start = self.start + bytes.start;
        Ok(Self {
            pin: self.pin.clone(),
            start,
            len: bytes.end - bytes.start,
        })
    }
}

impl AsRef<[u8]> for View {
    fn as_ref(&self) -> &[u8] {
        match &self.pin {
            Some(pin) => &pin.bytes()[self.start..self.start + self.len],
            None => &[],
        }
    }
}

impl Deref for View {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.as_ref()
    }
}

/// Writable bytes that begin as an array's and that nobody else sees.
#[derive(Debug)]
pub struct PrivateMap {
    pub(crate) memory: Private,
    pub(crate) start: usize,
    pub(crate) len: usize,
}

#[derive(Debug)]
pub(crate) enum Private {
    Mapped(PrivatePin),
    Owned(OwnedBuffer),
}

impl PrivateMap {
    /// The address of the first byte.
    pub fn as_mut_ptr(&mut self) -> *mut u8 {
        self.as_mut().as_mut_ptr()
    }

    /// Whether the bytes are the file's own pages until they are written.
    pub fn is_mapped(&self) -> bool {
        matches!(self.memory, Private::Mapped(_))
    }
}

impl AsRef<[u8]> for PrivateMap {
    fn as_ref(&self) -> &[u8] {
        let bytes = match &self.memory {
            Private::Mapped(pin) => pin.mapping.as_ref(),
            Private::Owned(owned) => owned.as_ref(),
        };
        &bytes[self.start..self.start + self.len]
    }
}

impl AsMut<[u8]> for PrivateMap {
    fn as_mut(&mut self) -> &mut [u8] {
        let bytes = match &mut self.memory {
            Private::Mapped(pin) => pin.mapping.as_mut(),
            Private::Owned(owned) => owned.as_mut(),
        };
        &mut bytes[self.start..self.start + self.len]
    }
}
