//! Another process, as far as this library can tell: the real file system under another identity, so
//! that handles share nothing in memory.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use numpack_engine::fs::{Dir, File, Fs, Open, RealFs, Stat};
use numpack_engine::{Options, Result, Store};

static NEXT: AtomicU64 = AtomicU64::new(1);

/// Something that happens elsewhere just before this process looks at a file.
pub type Meanwhile = Arc<dyn Fn(&str) + Send + Sync>;

#[derive(Clone, Default)]
struct Process {
    number: u64,
    kind: Option<u32>,
    before_stat: Option<Meanwhile>,
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {}", self.number)
    }
}

#[derive(Debug)]
struct ProcessDir(Process, Arc<dyn Dir>);

/// Opens the store at `path` as a process of its own would.
pub fn open_elsewhere(path: &Path, options: &Options) -> Store {
    open_on_kind(None, path, options).unwrap()
}

/// Opens the store at `path` on a file system of this kind.
pub fn open_on_kind(kind: Option<u32>, path: &Path, options: &Options) -> Result<Store> {
    start(
        Process {
            kind,
            ..Process::default()
        },
        path,
        options,
    )
}

/// Opens the store at `path` as a process that is overtaken whenever it asks for the state of a file.
pub fn open_overtaken(before_stat: Meanwhile, path: &Path, options: &Options) -> Result<Store> {
    let before_stat = Some(before_stat);
    start(
        Process {
            before_stat,
            ..Process::default()
        },
        path,
        options,
    )
}

fn start(mut process: Process, path: &Path, options: &Options) -> Result<Store> {
    process.number = NEXT.fetch_add(1, Ordering::Relaxed);
    Store::open_on(Arc::new(process), path, options)
}

impl Fs for Process {
    fn open_dir(&self, path: &Path, create: bool) -> io::Result<Arc<dyn Dir>> {
        let dir = RealFs.open_dir(path, create)?;
        Ok(Arc::new(ProcessDir(self.clone(), dir)))
    }
}

impl Dir for ProcessDir {
    fn id(&self) -> (u64, u64) {
        (self.1.id().0 ^ (self.0.number << 32), self.1.id().1)
    }
    fn kind(&self) -> io::Result<Option<u32>> {
        Ok(self.0.kind)
    }
    fn open(&self, name: &str, how: Open) -> io::Result<Arc<dyn File>> {
        self.1.open(name, how)
    }
    fn stat(&self, name: &str) -> io::Result<Stat> {
        if let Some(before) = &self.0.before_stat {
            before(name);
        }
        self.1.stat(name)
    }
    fn make_dir(&self, name: &str) -> io::Result<()> {
        self.1.make_dir(name)
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.1.rename(from, to)
    }
    fn rename_new(&self, from: &str, to: &str) -> io::Result<()> {
        self.1.rename_new(from, to)
    }
    fn link(&self, from: &str, to: &str) -> io::Result<()> {
        self.1.link(from, to)
    }
    fn unlink(&self, name: &str) -> io::Result<()> {
        self.1.unlink(name)
    }
    fn list(&self, sub: &str) -> io::Result<Vec<String>> {
        self.1.list(sub)
    }
    fn sync(&self, sub: &str) -> io::Result<()> {
        self.1.sync(sub)
    }
    fn sync_all(&self) -> io::Result<()> {
        self.1.sync_all()
    }
}
