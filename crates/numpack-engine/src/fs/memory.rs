//! Files that live in memory: same rules, no disk. Maps are copies, so they are snapshots by nature.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::{Dir, File, Fs, Lock, Open, Stat};
use crate::mapping::{Mapping, PrivateMapping};

static NEXT: AtomicU64 = AtomicU64::new(1);

/// A file system in memory; clones share it.
#[derive(Clone, Debug)]
pub struct MemoryFs {
    device: u64,
    dirs: Arc<Mutex<HashMap<PathBuf, Arc<MemoryDir>>>>,
}

impl Default for MemoryFs {
    fn default() -> Self {
        // The high bit keeps these numbers apart from real devices.
        Self {
            device: NEXT.fetch_add(1, Ordering::Relaxed) | 1 << 63,
            dirs: Arc::default(),
        }
    }
}

impl MemoryFs {
    /// What a process that died right now leaves behind: the same files, and nobody who has them
    /// open or locked.
    #[must_use]
    pub fn image(&self) -> Self {
        let image = Self::default();
        let mut copies = HashMap::new();
        for (path, dir) in &*self.dirs.lock() {
            let mut names = BTreeMap::new();
            for (name, inode) in &*dir.names.lock() {
                let copy = inode.as_ref().map(|inode| {
                    Arc::clone(
                        copies
                            .entry(inode.ino)
                            .or_insert_with(|| Arc::new(inode.copy())),
                    )
                });
                names.insert(name.clone(), copy);
            }
            let id = (image.device, NEXT.fetch_add(1, Ordering::Relaxed));
            let dir = Arc::new(MemoryDir {
                id,
                names: Mutex::new(names),
            });
            image.dirs.lock().insert(path.clone(), dir);
        }
        image
    }
}

impl Fs for MemoryFs {
    fn open_dir(&self, path: &Path, create: bool) -> io::Result<Arc<dyn Dir>> {
        let mut dirs = self.dirs.lock();
        if let Some(dir) = dirs.get(path) {
            return Ok(Arc::clone(dir) as Arc<dyn Dir>);
        }
        if !create {
            return Err(io::ErrorKind::NotFound.into());
        }
        let id = (self.device, NEXT.fetch_add(1, Ordering::Relaxed));
        let dir = Arc::new(MemoryDir {
            id,
            names: Mutex::default(),
        });
        dirs.insert(path.to_path_buf(), Arc::clone(&dir));
        Ok(dir)
    }
}

#[derive(Debug)]
struct MemoryDir {
    id: (u64, u64),
    /// Every file and directory by its path below this directory; a directory is `None`.
    names: Mutex<BTreeMap<String, Option<Arc<Inode>>>>,
}

#[derive(Debug)]
struct Inode {
    ino: u64,
    content: Mutex<Content>,
}

#[derive(Debug, Default)]
struct Content {
    bytes: Vec<u8>,
    links: u64,
    changes: i64,
    shared: Vec<u64>,
    exclusive: Option<u64>,
}

impl MemoryDir {
    fn parent_exists(names: &BTreeMap<String, Option<Arc<Inode>>>, name: &str) -> bool {
        name.split_once('/')
            .is_none_or(|(parent, _)| matches!(names.get(parent), Some(None)))
    }

    fn children(names: &BTreeMap<String, Option<Arc<Inode>>>, sub: &str) -> Vec<String> {
        let parent = |name: &str| {
            name.rsplit_once('/')
                .map_or(String::new(), |(p, _)| p.to_owned())
        };
        let own = |name: &str| name.rsplit('/').next().unwrap_or(name).to_owned();
        names
            .keys()
            .filter(|name| parent(name) == sub)
            .map(|name| own(name))
            .collect()
    }
}

impl Dir for MemoryDir {
    fn id(&self) -> (u64, u64) {
        self.id
    }

    fn open(&self, name: &str, how: Open) -> io::Result<Arc<dyn File>> {
        let mut names = self.names.lock();
        if name.contains("..") || !Self::parent_exists(&names, name) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let inode = match names.get(name) {
            Some(None) => return Err(io::ErrorKind::InvalidInput.into()),
            Some(Some(_)) if how == Open::CreateNew => {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            Some(Some(inode)) => Arc::clone(inode),
            None if matches!(how, Open::Read | Open::Write) => {
                return Err(io::ErrorKind::NotFound.into());
            }
            None => {
                let inode = Arc::new(Inode {
                    ino: NEXT.fetch_add(1, Ordering::Relaxed),
                    content: Mutex::new(Content {
                        links: 1,
                        ..Content::default()
                    }),
                });
                names.insert(name.to_owned(), Some(Arc::clone(&inode)));
                inode
            }
        };
        let description = NEXT.fetch_add(1, Ordering::Relaxed);
        Ok(Arc::new(MemoryFile {
            inode,
            description,
            writable: how != Open::Read,
        }))
    }

    fn stat(&self, name: &str) -> io::Result<Stat> {
        match self.names.lock().get(name) {
            Some(Some(inode)) => Ok(inode.stat()),
            Some(None) => Ok(Stat {
                len: 0,
                ino: self.id.1,
                mtime_ns: 0,
                links: 2,
                is_file: false,
            }),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn make_dir(&self, name: &str) -> io::Result<()> {
        match self.names.lock().entry(name.to_owned()).or_insert(None) {
            None => Ok(()),
            Some(_) => Err(io::ErrorKind::AlreadyExists.into()),
        }
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut names = self.names.lock();
        let Some(Some(inode)) = names.get(from).cloned() else {
            return Err(io::ErrorKind::NotFound.into());
        };
        match names.get(to) {
            // POSIX: two names of one inode stay as they are.
            Some(Some(old)) if Arc::ptr_eq(old, &inode) => return Ok(()),
            Some(Some(old)) => old.content.lock().links -= 1,
            _ => {}
        }
        names.remove(from);
        names.insert(to.to_owned(), Some(inode));
        Ok(())
    }

    fn rename_new(&self, from: &str, to: &str) -> io::Result<()> {
        if self.names.lock().contains_key(to) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.rename(from, to)
    }

    fn link(&self, from: &str, to: &str) -> io::Result<()> {
        let mut names = self.names.lock();
        if names.contains_key(to) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let Some(Some(inode)) = names.get(from).cloned() else {
            return Err(io::ErrorKind::NotFound.into());
        };
        inode.content.lock().links += 1;
        names.insert(to.to_owned(), Some(inode));
        Ok(())
    }

    fn unlink(&self, name: &str) -> io::Result<()> {
        let mut names = self.names.lock();
        if matches!(names.get(name), Some(None)) && !Self::children(&names, name).is_empty() {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        match names.remove(name) {
            Some(Some(inode)) => inode.content.lock().links -= 1,
            Some(None) => {}
            None => return Err(io::ErrorKind::NotFound.into()),
        }
        Ok(())
    }

    fn list(&self, sub: &str) -> io::Result<Vec<String>> {
        let names = self.names.lock();
        if !sub.is_empty() && !matches!(names.get(sub), Some(None)) {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(Self::children(&names, sub))
    }

    fn sync(&self, sub: &str) -> io::Result<()> {
        self.list(sub).map(|_| ())
    }

    fn sync_all(&self) -> io::Result<()> {
        Ok(())
    }
}

impl Inode {
    fn copy(&self) -> Self {
        let content = self.content.lock();
        let content = Content {
            bytes: content.bytes.clone(),
            links: content.links,
            changes: content.changes,
            ..Content::default()
        };
        Self {
            ino: NEXT.fetch_add(1, Ordering::Relaxed),
            content: Mutex::new(content),
        }
    }

    fn stat(&self) -> Stat {
        let content = self.content.lock();
        Stat {
            len: content.bytes.len() as u64,
            ino: self.ino,
            mtime_ns: content.changes,
            links: content.links,
            is_file: true,
        }
    }
}

#[derive(Debug)]
struct MemoryFile {
    inode: Arc<Inode>,
    description: u64,
    writable: bool,
}

impl MemoryFile {
    fn change<T>(&self, change: impl FnOnce(&mut Vec<u8>) -> T) -> io::Result<T> {
        if !self.writable {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let mut content = self.inode.content.lock();
        content.changes += 1;
        Ok(change(&mut content.bytes))
    }

    fn first_bytes<T>(
        &self,
        len: usize,
        make: impl FnOnce(&[u8]) -> io::Result<T>,
    ) -> io::Result<T> {
        let content = self.inode.content.lock();
        make(
            content
                .bytes
                .get(..len)
                .ok_or(io::ErrorKind::UnexpectedEof)?,
        )
    }
}

impl File for MemoryFile {
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
        let offset = usize::try_from(offset).map_err(|_| io::ErrorKind::FileTooLarge)?;
        self.change(|bytes| {
            let mut at = offset;
            for buf in bufs {
                if bytes.len() < at + buf.len() {
                    bytes.resize(at + buf.len(), 0);
                }
                bytes[at..at + buf.len()].copy_from_slice(buf);
                at += buf.len();
            }
            at - offset
        })
    }

    fn stat(&self) -> io::Result<Stat> {
        Ok(self.inode.stat())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let len = usize::try_from(len).map_err(|_| io::ErrorKind::FileTooLarge)?;
        self.change(|bytes| bytes.resize(len, 0))
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn try_lock(&self, lock: Lock) -> io::Result<bool> {
        let mut content = self.inode.content.lock();
        let me = self.description;
        let others_share = content.shared.iter().any(|&d| d != me);
        let other_excludes = content.exclusive.is_some_and(|d| d != me);
        match lock {
            Lock::Shared if !other_excludes => {
                content.exclusive = None;
                if !content.shared.contains(&me) {
                    content.shared.push(me);
                }
            }
            Lock::Exclusive if !other_excludes && !others_share => {
                content.shared.clear();
                content.exclusive = Some(me);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn unlock(&self) -> io::Result<()> {
        let mut content = self.inode.content.lock();
        content.shared.retain(|&d| d != self.description);
        content.exclusive = content.exclusive.filter(|&d| d != self.description);
        Ok(())
    }

    fn map(&self, len: usize) -> io::Result<Mapping> {
        self.first_bytes(len, Mapping::of_memory)
    }

    fn map_private(&self, len: usize) -> io::Result<PrivateMapping> {
        self.first_bytes(len, PrivateMapping::of_memory)
    }
}

impl Drop for MemoryFile {
    fn drop(&mut self) {
        let _unlocked = self.unlock();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conforms() {
        super::super::conformance(&MemoryFs::default(), Path::new("store")).unwrap();
    }
}
