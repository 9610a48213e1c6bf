//! The one file that maps memory.
//!
//! # Soundness
//! A mapping of a file is sound to read as `&[u8]` as long as nobody changes or truncates the bytes
//! it covers. Who guarantees that:
//! - Every [`Mapping`] covers committed bytes of one generation of one array and no more. The engine
//!   never writes below the committed length of a generation, never truncates below it, and
//!   replaces rows by making a new generation, which is a new inode (docs/zero-copy.md).
//! - The mapping is made while its descriptor holds a shared `flock` on the inode, which a future
//!   in-place writer must take exclusively; the kernel keeps the lock as long as the mapping lives.
//! - Another program that writes into or truncates a store's files is outside of this guarantee,
//!   as it is for every mapped file; the documentation says so.
#![expect(
    unsafe_code,
    reason = "memory maps of files are unsafe by nature; the contract is above"
)]

use std::fs::File;
use std::io;
use std::ops::Range;

use memmap2::{Mmap, MmapMut, MmapOptions};

/// Read-only bytes of a file, or of memory in the in-memory file system.
#[derive(Debug)]
pub struct Mapping(Bytes);

#[derive(Debug)]
enum Bytes {
    Empty,
    File(Mmap),
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
        Ok(Self(Bytes::File(map.make_read_only()?)))
    }
}

impl AsRef<[u8]> for Mapping {
    fn as_ref(&self) -> &[u8] {
        match &self.0 {
            Bytes::Empty => &[],
            Bytes::File(map) => map,
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

/// The pages of `memory`, a private mapping of a file, that were written since it was made, as byte
/// ranges; `None` where the kernel does not tell.
///
/// Reads `/proc/self/pagemap`, one word a page: bit 63 says present, 62 swapped, 61 that the page
/// belongs to a file or is shared. A written page of a private mapping is anonymous, so 61 is clear
/// (Documentation/admin-guide/mm/pagemap.rst in the Linux sources).
pub fn written_pages(memory: &[u8]) -> Option<Vec<Range<usize>>> {
    use std::os::unix::fs::FileExt as _;
    const WORDS: usize = 8192;
    let page = rustix::param::page_size();
    let first = memory.as_ptr().addr() / page;
    let lead = memory.as_ptr().addr() % page;
    let count = (lead + memory.len()).div_ceil(page);
    let pagemap = File::open("/proc/self/pagemap").ok()?;
    let mut written: Vec<Range<usize>> = Vec::new();
    let mut words = vec![0_u8; WORDS * 8];
    for at in (0..count).step_by(WORDS) {
        let n = WORDS.min(count - at);
        pagemap
            .read_exact_at(&mut words[..n * 8], ((first + at) * 8) as u64)
            .ok()?;
        for (i, word) in words[..n * 8].chunks_exact(8).enumerate() {
            let word = u64::from_le_bytes(word.try_into().unwrap_or_default());
            if word >> 62 == 0 || word >> 61 & 1 == 1 {
                continue;
            }
            let start = ((at + i) * page).saturating_sub(lead);
            let end = ((at + i + 1) * page - lead).min(memory.len());
            match written.last_mut() {
                Some(last) if last.end == start => last.end = end,
                _ => written.push(start..end),
            }
        }
    }
    Some(written)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn written_pages_are_found() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&vec![7_u8; 1 << 20]).unwrap();
        let mut map = PrivateMapping::of_file(&file, 1 << 20).unwrap();
        let sum: u64 = map.as_ref().iter().map(|&b| u64::from(b)).sum();
        assert_eq!(sum, 7 << 20);
        assert_eq!(written_pages(map.as_ref()), Some(vec![]));
        map.as_mut()[10_000] = 1;
        map.as_mut()[(1 << 20) - 1] = 1;
        let page = rustix::param::page_size();
        let start = 10_000 / page * page;
        let expected = vec![start..start + page, (1 << 20) - page..1 << 20];
        assert_eq!(written_pages(map.as_ref()), Some(expected));
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
