//! New generations of arrays: written under a name of their own before any lock is taken, and
//! removed again unless a commit claims them.

use std::path::PathBuf;
use std::sync::Arc;

use numpack_format::{BLOCK_LEN, BlockHasher};

use crate::error::{Error, Result};
use crate::fs::{Dir, File, Lock, Open, write_all_at};
use crate::options::Options;
use crate::paths;
use crate::shared::Shared;
use crate::sums::Sums;

/// Rows on their way into a file.
pub trait RowSource {
    /// Gives all rows to `sink`, in order, in pieces of any size.
    ///
    /// # Errors
    /// The first error of `sink`, or of the source itself.
    fn write_to(&mut self, sink: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()>;
}

impl RowSource for &[u8] {
    fn write_to(&mut self, sink: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        sink(self)
    }
}

/// A number that no other generation of any store has.
pub(crate) fn random() -> u64 {
    loop {
        // 0 means unknown. Without a random source the address of a local and the time must do.
        let number = getrandom::u64().unwrap_or_else(|_| {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            let local = std::ptr::from_ref(&now).addr() as u64;
            xxhash_rust::xxh3::xxh3_64(
                &[
                    local,
                    now.map_or(0, |d| u64::from(d.subsec_nanos()) ^ d.as_secs()),
                ]
                .map(u64::to_le_bytes)
                .concat(),
            )
        });
        if number != 0 {
            return number;
        }
    }
}

/// A generation that no commit has claimed yet.
#[derive(Debug)]
pub(crate) struct Staged {
    dir: Arc<dyn Dir>,
    /// The store's directory, for errors.
    path: PathBuf,
    file: Arc<dyn File>,
    pub(crate) generation: u64,
    /// Of what it was filled with, until a commit takes them over.
    pub(crate) sums: Option<Sums>,
    claimed: bool,
}

/// Written and then hashed while they are in the second-level cache.
const PIECE: usize = 512 * 1024;
/// From here on a second thread hashes while this one writes.
const PARALLEL: usize = 4 << 20;

/// Writes `bytes` at `offset` and gives them to `hash`, in pieces or as one.
pub(crate) fn write_hashed(
    file: &dyn File,
    bytes: &[u8],
    offset: u64,
    hash: &mut (dyn FnMut(&[u8]) + Send),
) -> std::io::Result<()> {
    if bytes.len() < PARALLEL {
        // Pieces end where blocks of the file do: whole blocks are hashed faster.
        let (mut rest, mut at) = (bytes, offset);
        while !rest.is_empty() {
            let before = usize::try_from(at % PIECE as u64).unwrap_or_default();
            let (piece, behind) = rest.split_at(rest.len().min(PIECE - before));
            write_all_at(file, piece, at)?;
            hash(piece);
            at += piece.len() as u64;
            rest = behind;
        }
        return Ok(());
    }
    // The scope waits for the thread and hands its panic on. Without a thread to be had, this one
    // hashes afterwards.
    let (written, hashed) = std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().spawn_scoped(scope, || hash(bytes));
        (write_all_at(file, bytes, offset), thread.is_ok())
    });
    if !hashed {
        hash(bytes);
    }
    written
}

/// The first bytes of rows that are appended, as far as they end a block that is begun.
pub(crate) struct Head {
    pub(crate) bytes: Vec<u8>,
    missing: usize,
}

impl Head {
    /// Of rows that begin at `offset` of their file.
    pub(crate) fn new(offset: u64) -> Self {
        let begun = usize::try_from(offset % BLOCK_LEN as u64).unwrap_or_default();
        Self {
            bytes: Vec::new(),
            missing: if begun == 0 { 0 } else { BLOCK_LEN - begun },
        }
    }

    pub(crate) fn add(&mut self, piece: &[u8]) {
        let taken = &piece[..piece.len().min(self.missing)];
        self.bytes.extend_from_slice(taken);
        self.missing -= taken.len();
    }
}

impl Staged {
    /// As [`create`](Self::create), for who does not have the writer lock. A file is used again only under it:
    /// another process may have taken back what replaced its rows, and need them.
    pub(crate) fn create_unlocked(shared: &Shared, options: &Options) -> Result<Self> {
        if shared.spare.lock().is_none() {
            return Self::empty(shared);
        }
        let options = options.unasked();
        match shared.lock(&options) {
            Ok(_guard) => Self::create(shared),
            Err(_) => Self::empty(shared),
        }
    }

    /// Makes a file to be filled, under the writer lock; its contents are unspecified before that.
    pub(crate) fn create(shared: &Shared) -> Result<Self> {
        match Self::again(shared) {
            Some(staged) => Ok(staged),
            None => Self::empty(shared),
        }
    }

    /// The file of a replaced generation under a new name, if nobody has it pinned and no array has it by
    /// another name: a rename gives it a second one. Overwriting pages is several times as fast as having
    /// the kernel find and clear new ones (measured: 40 MB in 6 ms instead of 20 on two cores of an AMD EPYC
    /// virtual machine).
    fn again(shared: &Shared) -> Option<Self> {
        let old = shared.spare.lock().take()?;
        shared.pins.forget(old);
        let old = paths::generation(old);
        let dir = Arc::clone(&shared.dir);
        let file = dir.open(&old, Open::Write).ok()?;
        let generation = random();
        let locked = file.try_lock(Lock::Exclusive).ok()?;
        let stat = file.stat().ok()?;
        let free = locked && stat.links == 1 && dir.stat(&old).ok()?.ino == stat.ino;
        if !free || dir.rename(&old, &paths::generation(generation)).is_err() {
            // Views hold the inode and do not need the name.
            let _orphan = dir.unlink(&old);
            return None;
        }
        Some(Self {
            dir,
            path: shared.path.clone(),
            file,
            generation,
            sums: None,
            claimed: false,
        })
    }

    /// Makes an empty file.
    pub(crate) fn empty(shared: &Shared) -> Result<Self> {
        loop {
            let generation = random();
            let path = paths::generation(generation);
            let io = |source| Error::io("create", shared.path.join(&path), source);
            let file = match shared.dir.open(&path, Open::CreateNew) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    shared.dir.make_dir(paths::PRIVATE_DIR).map_err(io)?;
                    shared.dir.open(&path, Open::CreateNew)
                }
                result => result,
            }
            .map_err(io)?;
            let staged = Self {
                dir: Arc::clone(&shared.dir),
                path: shared.path.clone(),
                file,
                generation,
                sums: None,
                claimed: false,
            };
            // The lock tells a checkpoint of another process that this is no orphan. It may have
            // come just before.
            let locked = staged.file.try_lock(Lock::Exclusive).map_err(io)?;
            if locked && staged.file.stat().map_err(io)?.links > 0 {
                return Ok(staged);
            }
        }
    }

    /// Gives the file at `path` a second name as a generation of its own.
    pub(crate) fn link(shared: &Shared, path: &str) -> std::io::Result<Self> {
        let generation = random();
        let new = paths::generation(generation);
        shared.dir.link(path, &new)?;
        let file = shared.dir.open(&new, Open::Read)?;
        Ok(Self {
            dir: Arc::clone(&shared.dir),
            path: shared.path.clone(),
            file,
            generation,
            sums: None,
            claimed: false,
        })
    }

    fn io(&self, action: &'static str, source: std::io::Error) -> Error {
        let path = self.path.join(paths::generation(self.generation));
        Error::io(action, path, source)
    }

    /// Writes all of `rows`, which must be `len` bytes, and gives their content hash.
    pub(crate) fn fill(&mut self, name: &str, rows: &mut dyn RowSource, len: u64) -> Result<u128> {
        let mut hasher = BlockHasher::keeping(0, len);
        let mut offset = 0_u64;
        rows.write_to(&mut |bytes| {
            if offset + bytes.len() as u64 > len {
                return Err(Error::InvalidArgument(format!(
                    "array \"{name}\": more than the expected {len} bytes of rows"
                )));
            }
            write_hashed(&*self.file, bytes, offset, &mut |piece| {
                hasher.update(piece);
            })
            .map_err(|source| self.io("write", source))?;
            offset += bytes.len() as u64;
            Ok(())
        })?;
        if offset != len {
            return Err(Error::InvalidArgument(format!(
                "array \"{name}\": {offset} bytes of rows given, {len} expected"
            )));
        }
        // A file that is used again may have been longer. Nobody maps it.
        let cut = || {
            if self.file.stat()?.len > len {
                self.file.set_len(len)
            } else {
                Ok(())
            }
        };
        cut().map_err(|source| self.io("truncate", source))?;
        let (hash, sums) = Sums::of(hasher, len);
        self.sums = Some(sums);
        Ok(hash)
    }

    /// Makes the file `len` bytes of zeros without writing any.
    pub(crate) fn zeros(&mut self, len: u64) -> Result<()> {
        self.sums = Sums::zeros(len);
        self.file
            .set_len(len)
            .map_err(|source| self.io("extend", source))
    }

    /// Flushes the file to disk.
    pub(crate) fn sync(&self) -> std::io::Result<()> {
        self.file.sync_data()
    }

    /// Gives the lock back so that the file can be read; called under the writer lock, right before
    /// the commit that names the file.
    pub(crate) fn release(&self) -> Result<()> {
        self.file
            .unlock()
            .map_err(|source| self.io("unlock", source))
    }

    /// A commit names the file now: it stays.
    pub(crate) fn claim(mut self) {
        self.claimed = true;
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.claimed {
            // What cannot be removed is an orphan, which the next checkpoint removes.
            let _orphan = self.dir.unlink(&paths::generation(self.generation));
        }
    }
}
