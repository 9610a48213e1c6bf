//! Open files of a [`Disk`](super::Disk): contents, locks, and the rule that what a view shows is
//! never written.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use numpack_engine::fs::{File, Lock, Stat};
use numpack_engine::{Mapping, PrivateMapping};
use parking_lot::Mutex;

use super::{Event, SECTOR, Shared, next};

#[derive(Debug)]
pub struct Inode {
    pub ino: u64,
    links: AtomicU64,
    content: Mutex<Content>,
}

#[derive(Debug)]
struct Content {
    bytes: Arc<Vec<u8>>,
    changes: i64,
    locks: Vec<Holder>,
}

#[derive(Debug)]
struct Holder {
    description: u64,
    lock: Lock,
    /// How many bytes were mapped under this lock.
    mapped: Arc<AtomicUsize>,
}

impl Inode {
    pub fn new(ino: u64, bytes: Arc<Vec<u8>>) -> Self {
        Self {
            ino,
            links: AtomicU64::new(0),
            content: Mutex::new(Content {
                bytes,
                changes: 0,
                locks: Vec::new(),
            }),
        }
    }

    pub fn bytes(&self) -> Arc<Vec<u8>> {
        Arc::clone(&self.content.lock().bytes)
    }

    pub fn add_link(&self) {
        self.links.fetch_add(1, Ordering::Relaxed);
    }

    pub fn remove_link(&self) {
        self.links.fetch_sub(1, Ordering::Relaxed);
    }

    pub fn stat(&self) -> Stat {
        let content = self.content.lock();
        Stat {
            len: content.bytes.len() as u64,
            ino: self.ino,
            mtime_ns: content.changes,
            links: self.links.load(Ordering::Relaxed),
            is_file: true,
        }
    }
}

#[derive(Debug)]
pub struct OpenFile {
    disk: Arc<Shared>,
    inode: Arc<Inode>,
    description: u64,
    writable: bool,
    mapped: Arc<AtomicUsize>,
}

impl OpenFile {
    pub fn new(disk: Arc<Shared>, inode: Arc<Inode>, writable: bool) -> Self {
        Self {
            disk,
            inode,
            description: next(),
            writable,
            mapped: Arc::default(),
        }
    }

    fn check_writable(&self) -> io::Result<()> {
        if self.writable {
            Ok(())
        } else {
            Err(io::ErrorKind::PermissionDenied.into())
        }
    }

    /// Bytes from `from` on are about to change: nobody may have them mapped.
    fn check_views(&self, content: &Content, from: usize, what: &str) {
        for holder in &content.locks {
            let mapped = holder.mapped.load(Ordering::Relaxed);
            if holder.lock == Lock::Shared && from < mapped {
                self.disk.breaches.lock().push(format!(
                    "{what} at {from} of inode {} under a view of {mapped} bytes",
                    self.inode.ino
                ));
            }
        }
    }

    fn record_sectors(&self, bytes: &[u8], first: usize, end: usize) {
        for index in first / SECTOR..end.div_ceil(SECTOR) {
            self.disk.record(|| {
                let mut sector = [0; SECTOR];
                let there = &bytes[index * SECTOR..bytes.len().min((index + 1) * SECTOR)];
                sector[..there.len()].copy_from_slice(there);
                Event::Sector {
                    ino: self.inode.ino,
                    index,
                    bytes: Arc::from(&sector[..]),
                }
            });
        }
    }

    fn record_size(&self, len: usize) {
        self.disk.record(|| Event::Size {
            ino: self.inode.ino,
            len,
        });
    }

    fn first_bytes<T>(
        &self,
        len: usize,
        make: impl FnOnce(&[u8]) -> io::Result<T>,
    ) -> io::Result<T> {
        let bytes = self.inode.bytes();
        let made = make(bytes.get(..len).ok_or(io::ErrorKind::UnexpectedEof)?)?;
        self.mapped.fetch_max(len, Ordering::Relaxed);
        Ok(made)
    }
}

impl File for OpenFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let content = self.inode.content.lock();
        let from = usize::try_from(offset)
            .unwrap_or(usize::MAX)
            .min(content.bytes.len());
        let n = buf.len().min(content.bytes.len() - from);
        buf[..n].copy_from_slice(&content.bytes[from..from + n]);
        Ok(n)
    }

    fn write_at(&self, bufs: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        self.check_writable()?;
        let offset = usize::try_from(offset).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let len: usize = bufs.iter().map(|buf| buf.len()).sum();
        let mut content = self.inode.content.lock();
        self.check_views(&content, offset, "a write");
        content.changes += 1;
        let bytes = Arc::make_mut(&mut content.bytes);
        let grown = len > 0 && bytes.len() < offset + len;
        if grown {
            bytes.resize(offset + len, 0);
        }
        let mut at = offset;
        for buf in bufs {
            bytes[at..at + buf.len()].copy_from_slice(buf);
            at += buf.len();
        }
        if grown {
            self.record_size(at);
        }
        self.record_sectors(bytes, offset, at);
        Ok(len)
    }

    fn stat(&self) -> io::Result<Stat> {
        Ok(self.inode.stat())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.check_writable()?;
        let len = usize::try_from(len).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let mut content = self.inode.content.lock();
        self.check_views(&content, len, "a cut");
        content.changes += 1;
        Arc::make_mut(&mut content.bytes).resize(len, 0);
        self.record_size(len);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.record(|| Event::SyncFile(self.inode.ino));
        Ok(())
    }

    fn try_lock(&self, lock: Lock) -> io::Result<bool> {
        let mut content = self.inode.content.lock();
        let refused = content.locks.iter().any(|holder| {
            holder.description != self.description
                && (lock == Lock::Exclusive || holder.lock == Lock::Exclusive)
        });
        if refused {
            return Ok(false);
        }
        content
            .locks
            .retain(|holder| holder.description != self.description);
        content.locks.push(Holder {
            description: self.description,
            lock,
            mapped: Arc::clone(&self.mapped),
        });
        Ok(true)
    }

    fn unlock(&self) -> io::Result<()> {
        let mut content = self.inode.content.lock();
        content
            .locks
            .retain(|holder| holder.description != self.description);
        Ok(())
    }

    fn map(&self, len: usize) -> io::Result<Mapping> {
        self.first_bytes(len, Mapping::of_memory)
    }

    fn map_private(&self, len: usize) -> io::Result<PrivateMapping> {
        self.first_bytes(len, PrivateMapping::of_memory)
    }
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        let _unlocked = self.unlock();
    }
}
