//! A disk with a page cache in front of it. Processes see the cache; every change to it is recorded in
//! pieces as small as a disk may lose them, so that [`Replay`] can say what a crash at any moment
//! leaves behind.

mod file;
mod log;
mod replay;
mod sample;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use numpack_engine::fs::{Dir, File, Fs, Open, Stat};
use parking_lot::Mutex;

use file::{Inode, OpenFile};
pub use log::Node;
pub use log::{Event, Mark};
use log::{Name, NameChange};
pub use replay::{Moment, Replay};
pub use sample::Rng;

pub const SECTOR: usize = 512;

/// Numbers that no file of the operating system has: the tests put stores of these disks there as well, whose
/// metadata name them, and a file that had such a number by chance would be taken for another.
static NEXT: AtomicU64 = AtomicU64::new(1 << 48);

fn next() -> u64 {
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Names and contents of a store's directory, without anybody who has it open.
#[derive(Clone, Debug, Default)]
pub struct Image {
    pub names: BTreeMap<Name, Node>,
    pub files: BTreeMap<u64, Arc<Vec<u8>>>,
}

/// A disk that holds one directory, whatever its path.
#[derive(Clone, Debug)]
pub struct Disk {
    shared: Arc<Shared>,
    /// Tells processes apart: the engine shares a store's state between handles of one process, which
    /// it finds by the directory's id.
    process: u64,
}

#[derive(Debug)]
struct Shared {
    device: u64,
    names: Mutex<BTreeMap<Name, Entry>>,
    log: Mutex<Option<Vec<Event>>>,
    /// Rules that a writer broke.
    breaches: Mutex<Vec<String>>,
}

#[derive(Clone, Debug)]
enum Entry {
    Dir,
    File(Arc<Inode>),
}

impl Shared {
    fn record(&self, event: impl FnOnce() -> Event) {
        if let Some(log) = &mut *self.log.lock() {
            log.push(event());
        }
    }
}

impl Disk {
    /// A disk with the files of `image`, as after a restart.
    pub fn new(image: &Image) -> Self {
        let inodes: BTreeMap<u64, Arc<Inode>> = image
            .files
            .iter()
            .map(|(&ino, bytes)| (ino, Arc::new(Inode::new(ino, Arc::clone(bytes)))))
            .collect();
        let mut names = BTreeMap::new();
        for (name, node) in &image.names {
            let entry = match node {
                Node::Dir => Entry::Dir,
                Node::File(ino) => {
                    let inode = &inodes[ino];
                    inode.add_link();
                    Entry::File(Arc::clone(inode))
                }
            };
            names.insert(Arc::clone(name), entry);
        }
        let shared = Shared {
            // The high bit keeps these numbers apart from real devices.
            device: next() | 1 << 63,
            names: Mutex::new(names),
            log: Mutex::default(),
            breaches: Mutex::default(),
        };
        Self {
            shared: Arc::new(shared),
            process: next(),
        }
    }

    /// From now on every change is recorded.
    pub fn record(&self) {
        *self.shared.log.lock() = Some(Vec::new());
    }

    /// What was recorded.
    pub fn take_log(&self) -> Vec<Event> {
        self.shared.log.lock().take().unwrap_or_default()
    }

    /// How much was recorded.
    pub fn log_len(&self) -> usize {
        self.shared.log.lock().as_ref().map_or(0, Vec::len)
    }

    /// Notes in the record how far the workload is.
    pub fn mark(&self, mark: Mark) {
        self.shared.record(|| Event::Mark(mark));
    }

    /// The same disk as another process has it open.
    pub fn process(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            process: next(),
        }
    }

    /// The rules that were broken so far.
    pub fn breaches(&self) -> Vec<String> {
        self.shared.breaches.lock().clone()
    }

    /// The files as the processes see them.
    pub fn image(&self) -> Image {
        let mut image = Image::default();
        for (name, entry) in &*self.shared.names.lock() {
            let node = match entry {
                Entry::Dir => Node::Dir,
                Entry::File(inode) => {
                    image.files.insert(inode.ino, inode.bytes());
                    Node::File(inode.ino)
                }
            };
            image.names.insert(Arc::clone(name), node);
        }
        image
    }

    fn name_changed(&self, change: impl FnOnce() -> NameChange) {
        self.shared.record(|| Event::Name(change()));
    }
}

impl Fs for Disk {
    fn open_dir(&self, _path: &Path, _create: bool) -> io::Result<Arc<dyn Dir>> {
        Ok(Arc::new(self.clone()))
    }
}

fn parent(name: &str) -> &str {
    name.split_once('/').map_or("", |(parent, _)| parent)
}

impl Dir for Disk {
    fn id(&self) -> (u64, u64) {
        (self.shared.device, self.process)
    }

    fn open(&self, name: &str, how: Open) -> io::Result<Arc<dyn File>> {
        let mut names = self.shared.names.lock();
        let parent = parent(name);
        if name.contains("..")
            || !parent.is_empty() && !matches!(names.get(parent), Some(Entry::Dir))
        {
            return Err(io::ErrorKind::NotFound.into());
        }
        let inode = match names.get(name) {
            Some(Entry::Dir) => return Err(io::ErrorKind::InvalidInput.into()),
            Some(Entry::File(_)) if how == Open::CreateNew => {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            Some(Entry::File(inode)) => Arc::clone(inode),
            None if matches!(how, Open::Read | Open::Write) => {
                return Err(io::ErrorKind::NotFound.into());
            }
            None => {
                let inode = Arc::new(Inode::new(next(), Arc::default()));
                inode.add_link();
                names.insert(name.into(), Entry::File(Arc::clone(&inode)));
                self.name_changed(|| NameChange::Bind {
                    name: name.into(),
                    node: Node::File(inode.ino),
                });
                inode
            }
        };
        drop(names);
        let writable = how != Open::Read;
        Ok(Arc::new(OpenFile::new(
            Arc::clone(&self.shared),
            inode,
            writable,
        )))
    }

    fn stat(&self, name: &str) -> io::Result<Stat> {
        match self.shared.names.lock().get(name) {
            Some(Entry::File(inode)) => Ok(inode.stat()),
            Some(Entry::Dir) => Ok(Stat {
                len: 0,
                ino: 0,
                mtime_ns: 0,
                links: 2,
                is_file: false,
            }),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn make_dir(&self, name: &str) -> io::Result<()> {
        let mut names = self.shared.names.lock();
        match names.get(name) {
            Some(Entry::Dir) => Ok(()),
            Some(Entry::File(_)) => Err(io::ErrorKind::AlreadyExists.into()),
            None => {
                names.insert(name.into(), Entry::Dir);
                self.name_changed(|| NameChange::Bind {
                    name: name.into(),
                    node: Node::Dir,
                });
                Ok(())
            }
        }
    }

    fn rename_new(&self, from: &str, to: &str) -> io::Result<()> {
        if self.shared.names.lock().contains_key(to) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.rename(from, to)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut names = self.shared.names.lock();
        let Some(Entry::File(inode)) = names.get(from).cloned() else {
            return Err(io::ErrorKind::NotFound.into());
        };
        match names.get(to) {
            // POSIX: two names of one inode stay as they are.
            Some(Entry::File(old)) if old.ino == inode.ino => return Ok(()),
            Some(Entry::File(old)) => old.remove_link(),
            Some(Entry::Dir) => return Err(io::ErrorKind::IsADirectory.into()),
            None => {}
        }
        names.remove(from);
        let ino = inode.ino;
        names.insert(to.into(), Entry::File(inode));
        self.name_changed(|| NameChange::Move {
            from: from.into(),
            to: to.into(),
            ino,
        });
        Ok(())
    }

    fn link(&self, from: &str, to: &str) -> io::Result<()> {
        let mut names = self.shared.names.lock();
        if names.contains_key(to) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let Some(Entry::File(inode)) = names.get(from).cloned() else {
            return Err(io::ErrorKind::NotFound.into());
        };
        inode.add_link();
        let ino = inode.ino;
        names.insert(to.into(), Entry::File(inode));
        self.name_changed(|| NameChange::Bind {
            name: to.into(),
            node: Node::File(ino),
        });
        Ok(())
    }

    fn unlink(&self, name: &str) -> io::Result<()> {
        let mut names = self.shared.names.lock();
        let occupied = names.keys().any(|other| parent(other) == name);
        match names.get(name) {
            None => return Err(io::ErrorKind::NotFound.into()),
            Some(Entry::Dir) if occupied => return Err(io::ErrorKind::DirectoryNotEmpty.into()),
            Some(Entry::Dir) => {}
            Some(Entry::File(inode)) => inode.remove_link(),
        }
        names.remove(name);
        self.name_changed(|| NameChange::Unbind { name: name.into() });
        Ok(())
    }

    fn list(&self, sub: &str) -> io::Result<Vec<String>> {
        let names = self.shared.names.lock();
        if !sub.is_empty() && !matches!(names.get(sub), Some(Entry::Dir)) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let below = names.keys().filter(|name| parent(name) == sub);
        Ok(below
            .map(|name| name.rsplit('/').next().unwrap_or(name).to_owned())
            .collect())
    }

    fn sync(&self, sub: &str) -> io::Result<()> {
        self.list(sub)?;
        self.shared.record(|| Event::SyncDir(sub.into()));
        Ok(())
    }

    fn sync_all(&self) -> io::Result<()> {
        self.shared.record(|| Event::SyncAll);
        Ok(())
    }
}

#[test]
fn conforms() {
    numpack_engine::fs::conformance(&Directories::default(), Path::new("store")).unwrap();
}

/// A disk for each path, for the conformance suite.
#[derive(Debug, Default)]
struct Directories(Mutex<BTreeMap<std::path::PathBuf, Disk>>);

impl Fs for Directories {
    fn open_dir(&self, path: &Path, create: bool) -> io::Result<Arc<dyn Dir>> {
        let mut disks = self.0.lock();
        if !create && !disks.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let disk = disks
            .entry(path.to_path_buf())
            .or_insert_with(|| Disk::new(&Image::default()));
        disk.record();
        Ok(Arc::new(disk.clone()))
    }
}
