//! The one file that maps memory.
//!
//! # Soundness
//! A mapping of a file is sound to read as `&[u8]` as long as nobody changes or truncates the bytes
//! it covers. Who guarantees that:
//! - Every [`Mapping`] covers committed bytes of one generation of one array and no more. The engine
//!   never truncates below the committed length of a generation, and writes below it only while it
//!   holds an exclusive `flock` on the inode: to fold rows in (fold.rs), or to use the inode of a
//!   generation that was replaced again (staging.rs). See docs/zero-copy.md.
//! - A mapping is looked at only through a pin (pin.rs), which holds a shared `flock` on the inode. The
//!   lock is given back when the pin is dropped; what stays mapped then is in `pins.rs`, which
//!   hands no bytes out before it has the lock again.
//! - Another program that writes into or truncates a store's files is outside of this guarantee,
//!   as it is for every mapped file; the documentation says so.
#![expect(
    unsafe_code,
    reason = "memory maps of files are unsafe by nature; the contract is above"
)]

use std::fs::File;
use std::io;

use memmap2::{Mmap, MmapMut, MmapOptions};

/// Read-only bytes of a file, or of memory in the in-memory file system.
#[derive(Debug)]
pub struct Mapping(Bytes);

#[derive(Debug)]
enum Bytes {
    Empty,
    File(Mmap),
    Copy(Mmap),
}

impl Mapping {
    /// Maps the first `len` bytes of `file`.
    ///
    /// # Errors
    /// What the operating system says; a file shorter than `len` is `UnexpectedEof`.
    pub fn of_file(file: &File, len: usize) -> io::Result<Self> {
        if len == 0 {
            return Ok(Self(Bytes::Empty));
        }
        check_length(file, len)?;
        // SAFETY: the bytes below `len` are committed bytes of one generation, which nobody changes
        // or cuts off while the shared lock that the caller (pin.rs) holds on this inode lives; the
        // length was checked above, and committed files never shrink.
        let map = unsafe {
            MmapOptions::new()
                .len(len)
                .no_reserve_swap()
                .map_copy_read_only(file)?
        };
        Ok(Self(Bytes::File(map)))
    }

    /// A copy of `bytes`, for a file system without files.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub fn of_memory(bytes: &[u8]) -> io::Result<Self> {
        if bytes.is_empty() {
            return Ok(Self(Bytes::Empty));
        }
        let mut map = MmapMut::map_anon(bytes.len())?;
        map.copy_from_slice(bytes);
        Ok(Self(Bytes::Copy(map.make_read_only()?)))
    }

    /// Whether pages that were not written through this map show what is written to the file later.
    pub fn follows_file(&self) -> bool {
        !matches!(self.0, Bytes::Copy(_))
    }
}

impl Mapping {
    /// The same bytes to be written to by who alone has them.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn into_private(self) -> io::Result<PrivateMapping> {
        Ok(PrivateMapping(match self.0 {
            Bytes::Empty => None,
            Bytes::File(map) | Bytes::Copy(map) => Some(map.make_mut()?),
        }))
    }
}

impl AsRef<[u8]> for Mapping {
    fn as_ref(&self) -> &[u8] {
        match &self.0 {
            Bytes::Empty => &[],
            Bytes::File(map) | Bytes::Copy(map) => map,
        }
    }
}

/// Writable bytes that start as a file's and are private to their owner: a write copies the page.
#[derive(Debug)]
pub struct PrivateMapping(Option<MmapMut>);

impl PrivateMapping {
    /// Maps the first `len` bytes of `file`, copy on write.
    ///
    /// # Errors
    /// As for [`Mapping::of_file`].
    pub fn of_file(file: &File, len: usize) -> io::Result<Self> {
        if len == 0 {
            return Ok(Self(None));
        }
        check_length(file, len)?;
        // SAFETY: as in `Mapping::of_file` for the pages not yet written; written pages belong to
        // this mapping alone (MAP_PRIVATE).
        let map = unsafe {
            MmapOptions::new()
                .len(len)
                .no_reserve_swap()
                .map_copy(file)?
        };
        Ok(Self(Some(map)))
    }

    /// A private copy of `bytes`, for a file system without files.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub fn of_memory(bytes: &[u8]) -> io::Result<Self> {
        if bytes.is_empty() {
            return Ok(Self(None));
        }
        let mut map = MmapMut::map_anon(bytes.len())?;
        map.copy_from_slice(bytes);
        Ok(Self(Some(map)))
    }

    /// The same bytes, which nobody can write any more.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn into_read_only(self) -> io::Result<Mapping> {
        Ok(Mapping(match self.0 {
            None => Bytes::Empty,
            Some(map) => Bytes::File(map.make_read_only()?),
        }))
    }

    /// The address of the first byte; dangling but aligned when there is none.
    pub fn as_mut_ptr(&mut self) -> *mut u8 {
        self.as_mut().as_mut_ptr()
    }
}

impl AsRef<[u8]> for PrivateMapping {
    fn as_ref(&self) -> &[u8] {
        self.0.as_deref().unwrap_or(&[])
    }
}

impl AsMut<[u8]> for PrivateMapping {
    fn as_mut(&mut self) -> &mut [u8] {
        self.0.as_deref_mut().unwrap_or(&mut [])
    }
}

fn check_length(file: &File, len: usize) -> io::Result<()> {
    let found = file.metadata()?.len();
    if found < len as u64 {
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            format!("{len} bytes expected, {found} found"),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_file_is_refused() {
        let file = tempfile::tempfile().unwrap();
        assert_eq!(
            Mapping::of_file(&file, 1).unwrap_err().kind(),
            io::ErrorKind::UnexpectedEof
        );
        assert_eq!(
            PrivateMapping::of_file(&file, 1).unwrap_err().kind(),
            io::ErrorKind::UnexpectedEof
        );
        assert!(Mapping::of_file(&file, 0).unwrap().as_ref().is_empty());
    }
}
