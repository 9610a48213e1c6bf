//! Waiting for the writer lock: the threads of this process first, then the other processes.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::desk::Hand;
use crate::error::{Error, Result};
use crate::fork::Private;
use crate::fs::{File, Lock, Open, Stat};
use crate::options::Options;
use crate::paths;
use crate::shared::Shared;
use crate::writer::{WriteGuard, Writer};

struct Wait<'a> {
    options: &'a Options,
    start: Instant,
}

impl<'a> Wait<'a> {
    fn begin(options: &'a Options) -> Self {
        Self {
            options,
            start: Instant::now(),
        }
    }

    fn left(&self) -> Duration {
        self.options
            .lock_timeout
            .saturating_sub(self.start.elapsed())
    }

    fn interrupted(&self) -> Result<()> {
        match &self.options.interrupt {
            Some(ask) if ask() => Err(Error::Interrupted),
            _ => Ok(()),
        }
    }
}

impl Shared {
    /// Waits for the writer lock.
    ///
    /// # Errors
    /// [`Error::Busy`] after the timeout, naming the holder; [`Error::Poisoned`] after a failed flush.
    pub(crate) fn lock<'a>(&'a self, options: &'a Options) -> Result<WriteGuard<'a>> {
        self.refuse_poisoned()?;
        let wait = Wait::begin(options);
        let mut writer = self.lock_process(&wait)?;
        // The flush that failed may be of the thread that was waited for.
        self.refuse_poisoned()?;
        let lock = match writer.lent() {
            Some(lock) => Arc::clone(lock),
            None => self.lock_file(&mut writer, &wait)?,
        };
        WriteGuard::new(self, options, writer, lock)
    }

    fn refuse_poisoned(&self) -> Result<()> {
        if self.poisoned.load(Ordering::Acquire) {
            return Err(Error::Poisoned {
                path: self.path.clone(),
            });
        }
        Ok(())
    }

    /// Waits for the writer lock of a store that cannot be read; it is held as long as the file is open.
    pub(crate) fn lock_unread(&self, options: &Options) -> Result<Arc<dyn File>> {
        self.lock_file(&mut Writer::default(), &Wait::begin(options))
    }

    fn lock_process(&self, wait: &Wait<'_>) -> Result<Hand<'_>> {
        loop {
            let step = wait.left().min(Duration::from_millis(50));
            if let Some(writer) = self.desk.take(step) {
                return Ok(writer);
            }
            wait.interrupted()?;
            if wait.left().is_zero() {
                let holder = format!("another thread of this process ({})", std::process::id());
                return Err(self.busy(holder, wait));
            }
        }
    }

    fn lock_file(&self, writer: &mut Writer, wait: &Wait<'_>) -> Result<Arc<dyn File>> {
        let mut pause = Duration::from_micros(50);
        loop {
            let file = if let Some(lock) = &writer.lock {
                Arc::clone(&lock.file)
            } else {
                let file = self.open_lock()?;
                writer.lock = Some(Private::new(Arc::clone(&file)));
                file
            };
            let io = |source| Error::io("lock", self.path.join(paths::LOCK), source);
            if file.try_lock(Lock::Exclusive).map_err(io)? {
                // The lock goes with the descriptor, if there is no knowing what it is of.
                let stat = file.stat().inspect_err(|_| *writer = Writer::default());
                if stat.map_err(io)?.links > 0 {
                    return Ok(file);
                }
                // Someone removed the directory; lock the file that is there now.
                *writer = Writer::default();
                continue;
            }
            wait.interrupted()?;
            if wait.left().is_zero() {
                return Err(self.busy(holder_of(file.stat().ok()), wait));
            }
            std::thread::sleep(pause.min(wait.left()));
            pause = (pause * 2).min(Duration::from_millis(5));
        }
    }

    fn open_lock(&self) -> Result<Arc<dyn File>> {
        let open = || {
            self.dir.make_dir(paths::PRIVATE_DIR)?;
            self.dir.open(paths::LOCK, Open::Create)
        };
        open().map_err(|source| match source.kind() {
            // The directory itself is gone: nothing can be made below an unlinked one.
            std::io::ErrorKind::NotFound => Error::NoStore {
                path: self.path.clone(),
            },
            _ => Error::io("open", self.path.join(paths::LOCK), source),
        })
    }

    fn busy(&self, holder: String, wait: &Wait<'_>) -> Error {
        Error::Busy {
            path: self.path.clone(),
            holder,
            waited: wait.start.elapsed(),
        }
    }
}

/// Who holds a lock on this file, as far as the kernel tells.
fn holder_of(stat: Option<Stat>) -> String {
    let unknown = || "another process".to_owned();
    let (Some(stat), Ok(locks)) = (stat, std::fs::read_to_string("/proc/locks")) else {
        return unknown();
    };
    let suffix = format!(":{}", stat.ino);
    let pid = locks.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        // "1: FLOCK  ADVISORY  WRITE 1234 fe:00:5678 0 EOF"; a waiter has "->" in the second place.
        match fields.as_slice() {
            [_, "FLOCK", _, "WRITE", pid, inode, ..] if inode.ends_with(&suffix) => Some(*pid),
            _ => None,
        }
    });
    match pid {
        Some(pid) => match std::fs::read_to_string(Path::new("/proc").join(pid).join("comm")) {
            Ok(name) => format!("process {pid} ({})", name.trim()),
            Err(_) => format!("process {pid}"),
        },
        None => unknown(),
    }
}
