//! The operating system's files.

use std::fs;
use std::io::{self, IoSlice};
#[cfg(target_os = "linux")]
use std::ops::Range;
#[cfg(target_os = "linux")]
use std::os::fd::AsRawFd as _;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::{Dir, File, Fs, Lock, Open, Stat, copy_through_memory};
use crate::mapping::{Mapping, PrivateMapping};

/// The files of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealFs;

impl Fs for RealFs {
    fn open_dir(&self, path: &Path, create: bool) -> io::Result<Arc<dyn Dir>> {
        if create && !path.is_dir() {
            fs::create_dir_all(path)?;
            // The new name must survive a power cut as well as what will be put below it.
            let parent = path
                .parent()
                .filter(|parent| !parent.as_os_str().is_empty());
            fs::File::open(parent.unwrap_or(Path::new(".")))?.sync_all()?;
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty())?;
        let stat = rustix::fs::fstat(&fd)?;
        #[allow(
            clippy::useless_conversion,
            reason = "the field's width differs between platforms"
        )]
        let id = (u64::from(stat.st_dev), u64::from(stat.st_ino));
        Ok(Arc::new(RealDir { fd, id }))
    }
}

#[derive(Debug)]
struct RealDir {
    fd: OwnedFd,
    id: (u64, u64),
}

impl RealDir {
    /// Opens below this directory and nowhere else, whatever links lie in the way.
    fn open_beneath(&self, name: &str, flags: OFlags) -> io::Result<OwnedFd> {
        let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let mode = if flags.contains(OFlags::CREATE) {
            Mode::from_raw_mode(0o666)
        } else {
            Mode::empty()
        };
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        match rustix::fs::openat2(&self.fd, name, flags, mode, resolve) {
            // Kernels before 5.6 and some sandboxes: the names are ours, so O_NOFOLLOW is all that is lost.
            Err(Errno::NOSYS | Errno::PERM) => Ok(rustix::fs::openat(&self.fd, name, flags, mode)?),
            result => Ok(result?),
        }
    }

    fn open_sub(&self, sub: &str) -> io::Result<OwnedFd> {
        let name = if sub.is_empty() { "." } else { sub };
        self.open_beneath(name, OFlags::RDONLY | OFlags::DIRECTORY)
    }
}

impl Dir for RealDir {
    fn id(&self) -> (u64, u64) {
        self.id
    }

    #[cfg(target_os = "linux")]
    fn kind(&self) -> io::Result<Option<u32>> {
        let number = rustix::fs::fstatfs(&self.fd)?.f_type;
        // Its width and sign differ between platforms; all numbers have 32 bits.
        let low = number & 0xffff_ffff;
        Ok(u32::try_from(low).ok())
    }

    fn open(&self, name: &str, how: Open) -> io::Result<Arc<dyn File>> {
        // O_NONBLOCK: opening a FIFO that someone put there must not hang.
        let flags = OFlags::NONBLOCK
            | match how {
                Open::Read => OFlags::RDONLY,
                Open::Write => OFlags::RDWR,
                Open::Create => OFlags::RDWR | OFlags::CREATE,
                Open::CreateNew => OFlags::RDWR | OFlags::CREATE | OFlags::EXCL,
            };
        let file = RealFile(fs::File::from(self.open_beneath(name, flags)?));
        if !file.stat()?.is_file {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "not a regular file",
            ));
        }
        Ok(Arc::new(file))
    }

    fn stat(&self, name: &str) -> io::Result<Stat> {
        Ok(convert(&rustix::fs::statat(
            &self.fd,
            name,
            AtFlags::SYMLINK_NOFOLLOW,
        )?))
    }

    fn make_dir(&self, name: &str) -> io::Result<()> {
        match rustix::fs::mkdirat(&self.fd, name, Mode::from_raw_mode(0o777)) {
            Err(Errno::EXIST) => Ok(()),
            result => Ok(result?),
        }
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        Ok(rustix::fs::renameat(&self.fd, from, &self.fd, to)?)
    }

    fn rename_new(&self, from: &str, to: &str) -> io::Result<()> {
        let flags = rustix::fs::RenameFlags::NOREPLACE;
        match rustix::fs::renameat_with(&self.fd, from, &self.fd, to, flags) {
            // File systems that cannot: what comes into being in between is replaced only if it is empty.
            Err(Errno::INVAL | Errno::NOSYS) if self.stat(to).is_err() => self.rename(from, to),
            Err(Errno::INVAL | Errno::NOSYS) => Err(io::ErrorKind::AlreadyExists.into()),
            result => Ok(result?),
        }
    }

    fn link(&self, from: &str, to: &str) -> io::Result<()> {
        Ok(rustix::fs::linkat(
            &self.fd,
            from,
            &self.fd,
            to,
            AtFlags::empty(),
        )?)
    }

    fn unlink(&self, name: &str) -> io::Result<()> {
        match rustix::fs::unlinkat(&self.fd, name, AtFlags::empty()) {
            Err(Errno::ISDIR) => Ok(rustix::fs::unlinkat(&self.fd, name, AtFlags::REMOVEDIR)?),
            result => Ok(result?),
        }
    }

    fn list(&self, sub: &str) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::new(self.open_sub(sub)?)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy();
            if name != "." && name != ".." {
                names.push(name.into_owned());
            }
        }
        Ok(names)
    }

    fn sync(&self, sub: &str) -> io::Result<()> {
        Ok(rustix::fs::fsync(self.open_sub(sub)?)?)
    }

    fn sync_all(&self) -> io::Result<()> {
        Ok(rustix::fs::syncfs(&self.fd)?)
    }
}

fn convert(stat: &rustix::fs::Stat) -> Stat {
    #[allow(
        clippy::useless_conversion,
        clippy::unnecessary_fallible_conversions,
        reason = "the fields' widths and signs differ between platforms"
    )]
    Stat {
        len: u64::try_from(stat.st_size).unwrap_or(0),
        ino: u64::from(stat.st_ino),
        mtime_ns: i64::try_from(stat.st_mtime)
            .unwrap_or(0)
            .saturating_mul(1_000_000_000)
            .saturating_add(i64::try_from(stat.st_mtime_nsec).unwrap_or(0)),
        links: u64::try_from(stat.st_nlink).unwrap_or(0),
        is_file: FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile,
    }
}

#[derive(Debug)]
struct RealFile(fs::File);

impl File for RealFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buf, offset)
    }

    fn write_at(&self, bufs: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        match bufs {
            [one] => self.0.write_at(one, offset),
            _ => Ok(rustix::io::pwritev(&self.0, bufs, offset)?),
        }
    }

    fn stat(&self) -> io::Result<Stat> {
        Ok(convert(&rustix::fs::fstat(&self.0)?))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    #[cfg(target_os = "linux")]
    #[expect(unsafe_code, reason = "rustix does not have this call")]
    fn begin_sync(&self, bytes: Range<u64>) -> io::Result<()> {
        let start = i64::try_from(bytes.start);
        let len = i64::try_from(bytes.end.saturating_sub(bytes.start));
        // To the kernel a length of 0 is all that follows.
        let (Ok(start), Ok(len @ 1..)) = (start, len) else {
            return Ok(());
        };
        // SAFETY: a call with an open descriptor and three numbers, which touches no memory of ours.
        let result = unsafe {
            libc::sync_file_range(self.0.as_raw_fd(), start, len, libc::SYNC_FILE_RANGE_WRITE)
        };
        if result == 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        match Errno::from_io_error(&error) {
            // Not here, or not now: the flush will do it.
            Some(
                Errno::NOSYS
                | Errno::PERM
                | Errno::INVAL
                | Errno::SPIPE
                | Errno::OPNOTSUPP
                | Errno::INTR
                | Errno::NOMEM
                | Errno::AGAIN,
            ) => Ok(()),
            _ => Err(error),
        }
    }

    fn try_lock(&self, lock: Lock) -> io::Result<bool> {
        let operation = match lock {
            Lock::Shared => FlockOperation::NonBlockingLockShared,
            Lock::Exclusive => FlockOperation::NonBlockingLockExclusive,
        };
        match rustix::fs::flock(&self.0, operation) {
            Ok(()) => Ok(true),
            Err(Errno::WOULDBLOCK) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn unlock(&self) -> io::Result<()> {
        Ok(rustix::fs::flock(&self.0, FlockOperation::Unlock)?)
    }

    fn map(&self, len: usize) -> io::Result<Mapping> {
        Mapping::of_file(&self.0, len)
    }

    fn map_private(&self, len: usize) -> io::Result<PrivateMapping> {
        PrivateMapping::of_file(&self.0, len)
    }

    fn copy_from(&self, source: &dyn File, offset: u64, len: u64) -> io::Result<()> {
        let Some(from) = source.descriptor() else {
            return copy_through_memory(self, source, offset, len);
        };
        let (mut from_at, mut to_at) = (offset, offset);
        let mut left = len;
        while left > 0 {
            let piece = usize::try_from(left).unwrap_or(usize::MAX);
            match rustix::fs::copy_file_range(
                from.as_fd(),
                Some(&mut from_at),
                self.0.as_fd(),
                Some(&mut to_at),
                piece,
            ) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => left -= n as u64,
                Err(Errno::INTR) => {}
                Err(Errno::XDEV | Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS | Errno::PERM) => {
                    return copy_through_memory(self, source, to_at, left);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn descriptor(&self) -> Option<&fs::File> {
        Some(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conforms() {
        let dir = tempfile::tempdir().unwrap();
        super::super::conformance(&RealFs, dir.path()).unwrap();
    }

    #[test]
    fn links_and_devices_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("victim"), b"safe").unwrap();
        let store = dir.path().join("store");
        let opened = RealFs.open_dir(&store, true).unwrap();
        std::os::unix::fs::symlink("../victim", store.join("data_a.npkd")).unwrap();
        std::os::unix::fs::symlink("..", store.join(".npk")).unwrap();
        for name in ["data_a.npkd", ".npk/victim", "../victim"] {
            for how in [Open::Read, Open::Write, Open::Create] {
                assert!(opened.open(name, how).is_err(), "{name} {how:?}");
            }
        }
        rustix::fs::mkfifoat(
            rustix::fs::CWD,
            store.join("fifo"),
            Mode::from_raw_mode(0o600),
        )
        .unwrap();
        assert_eq!(
            opened.open("fifo", Open::Read).unwrap_err().kind(),
            io::ErrorKind::InvalidInput
        );
        assert_eq!(fs::read(dir.path().join("victim")).unwrap(), b"safe");
    }
}
