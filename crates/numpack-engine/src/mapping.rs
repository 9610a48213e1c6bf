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
    /// Writes `pieces`, each with its offset, over what the map shows. The file stays as it is: every map
    /// is private.
    ///
    /// Making a map writable costs a look at each of its pages that are there, so it is done for the
    /// pages of the pieces alone where these are few (measured with 100 rows in 38 MB: 0.3 ms instead
    /// of 2).
    ///
    /// # Errors
    /// What the operating system says; the map may show some of the pieces then, and is of no more use.
    pub(crate) fn overwrite(&mut self, pieces: &[(usize, &[u8])]) -> io::Result<()> {
        let (Bytes::File(map) | Bytes::Copy(map)) = &mut self.0 else {
            return Ok(());
        };
        let len = map.len();
        if pieces.iter().any(|(at, bytes)| at + bytes.len() > len) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let base = map.as_ptr().cast_mut();
        if pieces.len() * FEW > len / PAGE {
            protect(base, len, true)?;
            for &(at, bytes) in pieces {
                // SAFETY: as below; all of the map is writable now.
                unsafe {
                    base.add(at)
                        .copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
                };
            }
            return protect(base, len, false);
        }
        for &(at, bytes) in pieces {
            let first = at / PAGE * PAGE;
            let end = (at + bytes.len()).next_multiple_of(PAGE).min(len);
            // SAFETY: `first` lies in the map, as does everything before `end`.
            let pages = unsafe { base.add(first) };
            protect(pages, end - first, true)?;
            // SAFETY: the piece lies in the map (checked above) and in pages that are writable now.
            // Nobody else looks at them: the map is private (MAP_PRIVATE), and `&mut self` says that
            // nobody in this process has a reference into it. `bytes` are of the heap, not of the map.
            unsafe {
                base.add(at)
                    .copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
            };
            protect(pages, end - first, false)?;
        }
        Ok(())
    }
}

/// Memory is protected in pages of this size or a multiple.
const PAGE: usize = 4096;
/// One piece in so many pages counts as few.
const FEW: usize = 32;

/// Makes pages of a map writable, or unwritable again.
fn protect(pages: *mut u8, len: usize, write: bool) -> io::Result<()> {
    use rustix::mm::{MprotectFlags, mprotect};
    let flags = if write {
        MprotectFlags::READ | MprotectFlags::WRITE
    } else {
        MprotectFlags::READ
    };
    // SAFETY: the caller gives pages of a map that it alone may change, and which stay readable.
    unsafe { mprotect(pages.cast(), len, flags) }.map_err(io::Error::from)
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
    fn pieces_go_over_the_map_and_not_into_the_file() {
        use std::io::Write as _;
        for count in [1, 200] {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&vec![1; 100 * PAGE + 7]).unwrap();
            let len = 100 * PAGE + 5;
            let mut map = Mapping::of_file(&file, len).unwrap();
            let mut model = vec![1; len];
            let new = vec![9; PAGE + 3];
            let pieces: Vec<(usize, &[u8])> = (0..count)
                .map(|i| ((i * 7919) % (99 * PAGE), &new[..i % new.len()]))
                .chain([(len - 2, &new[..2]), (0, &new[..])])
                .collect();
            map.overwrite(&pieces).unwrap();
            for (at, bytes) in &pieces {
                model[*at..at + bytes.len()].copy_from_slice(bytes);
            }
            assert!(map.as_ref() == model);
            assert!(map.overwrite(&[(len - 1, &new[..2])]).is_err());
            assert!(Mapping::of_file(&file, len).unwrap().as_ref() == vec![1; len]);
        }
    }

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
