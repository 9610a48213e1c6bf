//! All access to files, behind three traits, so that a crash, a full disk or a slow peer can be a
//! test double. [`RealFs`] is the operating system, [`MemoryFs`] keeps everything in memory;
//! [`conformance`] is the suite that both pass.

mod conformance;
mod memory;
mod real;

use std::fmt::Debug;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

pub use conformance::check as conformance;
pub use memory::MemoryFs;
pub use real::RealFs;

use crate::mapping::{Mapping, PrivateMapping};

/// How to open a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// For reading.
    Read,
    /// For reading and writing, existing.
    Write,
    /// For reading and writing, made when missing.
    Create,
    /// For reading and writing, must not exist.
    CreateNew,
}

/// The two kinds of advisory lock on a file's inode (`flock`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lock {
    /// Held by any number.
    Shared,
    /// Held by one.
    Exclusive,
}

/// What is known of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Bytes.
    pub len: u64,
    /// Inode number.
    pub ino: u64,
    /// Time of the last change, nanoseconds since 1970.
    pub mtime_ns: i64,
    /// Names that the inode has; 0 after it was unlinked.
    pub links: u64,
    /// Whether it is a regular file.
    pub is_file: bool,
}

/// A file system.
pub trait Fs: Debug + Send + Sync {
    /// Opens a directory; `create` makes it and its parents when missing.
    ///
    /// # Errors
    /// What the operating system says.
    fn open_dir(&self, path: &Path, create: bool) -> io::Result<Arc<dyn Dir>>;
}

/// An open directory. Names are relative to it, have at most one `/`, and are never followed out of it:
/// a symbolic link in any place is an error.
pub trait Dir: Debug + Send + Sync {
    /// A number pair that no other directory has as long as this is open.
    fn id(&self) -> (u64, u64);
    /// The number that the operating system has for this kind of file system (`f_type` of `statfs`), where
    /// it has one.
    ///
    /// # Errors
    /// What the operating system says.
    fn kind(&self) -> io::Result<Option<u32>> {
        Ok(None)
    }
    /// Opens a regular file.
    ///
    /// # Errors
    /// What the operating system says; anything but a regular file is `InvalidInput`.
    fn open(&self, name: &str, how: Open) -> io::Result<Arc<dyn File>>;
    /// Describes the file of this name.
    ///
    /// # Errors
    /// What the operating system says.
    fn stat(&self, name: &str) -> io::Result<Stat>;
    /// Makes a directory; an existing one is fine.
    ///
    /// # Errors
    /// What the operating system says.
    fn make_dir(&self, name: &str) -> io::Result<()>;
    /// Renames, replacing the target at once.
    ///
    /// # Errors
    /// What the operating system says.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Renames a file or a directory where nothing has the new name.
    ///
    /// # Errors
    /// What the operating system says; an existing `to` is `AlreadyExists`.
    fn rename_new(&self, from: &str, to: &str) -> io::Result<()>;
    /// Gives the inode of `from` a second name.
    ///
    /// # Errors
    /// What the operating system says.
    fn link(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a name. A directory must be empty.
    ///
    /// # Errors
    /// What the operating system says.
    fn unlink(&self, name: &str) -> io::Result<()>;
    /// The names in this directory (`""`) or in one below it, in no order.
    ///
    /// # Errors
    /// What the operating system says.
    fn list(&self, sub: &str) -> io::Result<Vec<String>>;
    /// Flushes the names of this directory (`""`) or of one below it to disk.
    ///
    /// # Errors
    /// What the operating system says.
    fn sync(&self, sub: &str) -> io::Result<()>;
    /// Flushes every file and name of the file system that this directory is on.
    ///
    /// # Errors
    /// What the operating system says.
    fn sync_all(&self) -> io::Result<()>;
}

/// An open file: one open file description, so locks belong to it.
pub trait File: Debug + Send + Sync {
    /// Reads some bytes at `offset`; 0 at the end.
    ///
    /// # Errors
    /// What the operating system says.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes some of the bytes at `offset`.
    ///
    /// # Errors
    /// What the operating system says.
    fn write_at(&self, bufs: &[IoSlice<'_>], offset: u64) -> io::Result<usize>;
    /// Describes the file.
    ///
    /// # Errors
    /// What the operating system says.
    fn stat(&self) -> io::Result<Stat>;
    /// Sets the length; a longer one is filled with zeros.
    ///
    /// # Errors
    /// What the operating system says.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Flushes data and length to disk.
    ///
    /// # Errors
    /// What the operating system says.
    fn sync_data(&self) -> io::Result<()>;
    /// Sends bytes that were written on their way to disk, where the operating system can: a later flush has
    /// less to wait for. This promises nothing, and waits only where the disk has too much to do already.
    ///
    /// # Errors
    /// What the operating system says of bytes that it could not write; a flush need not say it again.
    fn begin_sync(&self, _bytes: Range<u64>) -> io::Result<()> {
        Ok(())
    }
    /// Takes a lock if nobody holds one against it. Never used to turn one kind into the other.
    ///
    /// # Errors
    /// What the operating system says; a lock held by another is `Ok(false)`.
    fn try_lock(&self, lock: Lock) -> io::Result<bool>;
    /// Gives the lock back.
    ///
    /// # Errors
    /// What the operating system says.
    fn unlock(&self) -> io::Result<()>;
    /// Maps the first `len` bytes for reading. The caller holds a shared lock.
    ///
    /// # Errors
    /// What the operating system says; a shorter file is `UnexpectedEof`.
    fn map(&self, len: usize) -> io::Result<Mapping>;
    /// Maps the first `len` bytes copy on write. The caller holds a shared lock.
    ///
    /// # Errors
    /// As for [`File::map`].
    fn map_private(&self, len: usize) -> io::Result<PrivateMapping>;
    /// Copies `len` bytes from `source` at `offset` to the same offset here, in the kernel where it can.
    ///
    /// # Errors
    /// What the operating system says; a shorter source is `UnexpectedEof`.
    fn copy_from(&self, source: &dyn File, offset: u64, len: u64) -> io::Result<()> {
        copy_through_memory(self, source, offset, len)
    }
    /// The descriptor, where there is one.
    fn descriptor(&self) -> Option<&std::fs::File> {
        None
    }
}

fn copy_through_memory<F: File + ?Sized>(
    to: &F,
    from: &dyn File,
    offset: u64,
    len: u64,
) -> io::Result<()> {
    let mut buf = vec![0; usize::try_from(len.min(1 << 20)).unwrap_or(1 << 20)];
    let (mut offset, end) = (offset, offset + len);
    while offset < end {
        let n = usize::try_from(end - offset)
            .unwrap_or(usize::MAX)
            .min(buf.len());
        let n = from.read_at(&mut buf[..n], offset)?;
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut done = 0;
        while done < n {
            done += positive(to.write_at(&[IoSlice::new(&buf[done..n])], offset + done as u64)?)?;
        }
        offset += n as u64;
    }
    Ok(())
}

/// Reads exactly `buf.len()` bytes at `offset`.
///
/// # Errors
/// What the operating system says; a shorter file is `UnexpectedEof`.
pub fn read_exact_at(file: &dyn File, buf: &mut [u8], offset: u64) -> io::Result<()> {
    let mut done = 0;
    while done < buf.len() {
        match retry(|| file.read_at(&mut buf[done..], offset + done as u64))? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => done += n,
        }
    }
    Ok(())
}

/// Reads up to `buf.len()` bytes at `offset` and says how many there were.
///
/// # Errors
/// What the operating system says.
pub fn read_up_to(file: &dyn File, buf: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < buf.len() {
        match retry(|| file.read_at(&mut buf[done..], offset + done as u64))? {
            0 => break,
            n => done += n,
        }
    }
    Ok(done)
}

/// Writes all of `bytes` at `offset`.
///
/// # Errors
/// What the operating system says.
pub fn write_all_at(file: &dyn File, bytes: &[u8], offset: u64) -> io::Result<()> {
    let mut done = 0;
    while done < bytes.len() {
        let rest = [IoSlice::new(&bytes[done..])];
        done += positive(retry(|| file.write_at(&rest, offset + done as u64))?)?;
    }
    Ok(())
}

fn positive(written: usize) -> io::Result<usize> {
    if written == 0 {
        Err(io::ErrorKind::WriteZero.into())
    } else {
        Ok(written)
    }
}

fn retry<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
