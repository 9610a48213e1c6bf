//! What all handles of a process on one directory share: the state in memory, caught up with the
//! files before each use, the pins, and the writer's tools.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use numpack_format::journal::{Header, Hint};
use parking_lot::{Mutex, RwLock};

use crate::desk::Desk;
use crate::error::{Error, Result};
use crate::fs::{Dir, File, Stat};
use crate::journal::{Cursor, Head, walk, walk_to};
use crate::load::{self, Touched, corrupt, probe};
use crate::paths;
use crate::pins::Pins;
use crate::state::State;

/// One directory, as this process knows it.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) path: PathBuf,
    pub(crate) dir: Arc<dyn Dir>,
    /// [`crate::fork::generation`] when this was made; a child of a later fork must not use it.
    pub(crate) fork: u64,
    pub(crate) state: RwLock<State>,
    pub(crate) seen: Mutex<Seen>,
    /// Epoch and hint that `state` is caught up with, readable without a lock.
    latest: (AtomicU64, AtomicU64),
    journal: RwLock<Option<Arc<dyn File>>>,
    pub(crate) head: Head,
    pub(crate) pins: Arc<Pins>,
    /// A replaced generation whose file the next large save may use again.
    pub(crate) spare: Mutex<Option<u64>>,
    pub(crate) desk: Desk,
    pub(crate) poisoned: AtomicBool,
    /// Open handles that may write.
    pub(crate) writers: AtomicUsize,
}

/// How far the files have been read.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) header: Option<Header>,
    pub(crate) cursor: Option<Cursor>,
    pub(crate) hint_seq: u64,
    /// The last commit that a hint tells of.
    pub(crate) told: u64,
    /// Everything up to here was flushed by somebody who told. A SYNCED record alone does not say so while
    /// the machine runs: who wrote it may have been killed before its flush.
    pub(crate) flushed: u64,
    /// The metadata file, as it was when it was read.
    pub(crate) metadata: Option<Stat>,
    /// Whether the metadata carries our trailer: nobody else has written it since.
    pub(crate) trailer: bool,
    pub(crate) checkpoint_lsn: u64,
    pub(crate) touched: Touched,
    /// Records wait on top of metadata that another program rewrote.
    pub(crate) foreign: bool,
    /// The machine was restarted, or a flush failed, since the journal was begun: the next writer
    /// makes a checkpoint first.
    pub(crate) recovery_due: bool,
}

impl Seen {
    /// Notes what the newest hint says.
    pub(crate) fn take_hint(&mut self, hint: Option<&Hint>) {
        let Some(hint) = hint else {
            return;
        };
        self.hint_seq = self.hint_seq.max(hint.seq);
        if self.header.as_ref().map(|header| header.epoch) == Some(hint.epoch) {
            self.told = self.told.max(hint.last_lsn);
            self.flushed = self.flushed.max(hint.synced_lsn);
        }
    }
}

impl Shared {
    /// Reads the store in `dir`.
    pub(crate) fn open(path: PathBuf, dir: Arc<dyn Dir>) -> Result<Self> {
        let shared = Self {
            path,
            dir,
            fork: crate::fork::generation(),
            state: RwLock::default(),
            seen: Mutex::default(),
            latest: (AtomicU64::new(u64::MAX), AtomicU64::new(u64::MAX)),
            journal: RwLock::default(),
            head: Head::default(),
            pins: Arc::default(),
            spare: Mutex::default(),
            desk: Desk::default(),
            poisoned: AtomicBool::new(false),
            writers: AtomicUsize::new(0),
        };
        shared.reload(&mut shared.seen.lock())?;
        Ok(shared)
    }

    /// Whether there is a store on disk.
    pub(crate) fn exists(&self) -> bool {
        self.seen.lock().metadata.is_some()
    }

    /// Reads everything anew.
    pub(crate) fn reload(&self, seen: &mut Seen) -> Result<()> {
        let loaded = load::load(&*self.dir, &self.path)?;
        *self.journal.write() = loaded.journal;
        let known = seen.header.is_none()
            || (seen.header == loaded.seen.header && seen.hint_seq == loaded.seen.hint_seq);
        *seen = loaded.seen;
        *self.state.write() = loaded.state;
        self.publish(seen);
        if !known {
            self.pins.note_foreign();
        }
        Ok(())
    }

    /// Makes `seen` what the lock-free check compares with.
    pub(crate) fn publish(&self, seen: &Seen) {
        let epoch = match (&seen.header, seen.trailer) {
            (Some(header), true) => header.epoch,
            // Without our trailer another program may write the metadata at any time: always look.
            _ => u64::MAX,
        };
        self.latest.1.store(seen.hint_seq, Ordering::Release);
        self.latest.0.store(epoch, Ordering::Release);
    }

    /// Catches up with what other processes have committed.
    pub(crate) fn refresh(&self) -> Result<()> {
        let journal = self.journal.read().clone();
        let Some(file) = journal else {
            return self.refresh_without_journal();
        };
        let head = self.head.read(&*file);
        let now = head.map_err(|error| load::unread(error, &self.path))?;
        let epoch = now.header.as_ref().map(|header| header.epoch);
        let seq = now.hint.as_ref().map_or(0, |hint| hint.seq);
        if epoch == Some(self.latest.0.load(Ordering::Acquire))
            && seq == self.latest.1.load(Ordering::Acquire)
        {
            return Ok(());
        }
        let mut seen = self.seen.lock();
        if seen.header.as_ref().map(|header| header.epoch) != epoch || self.metadata_moved(&seen) {
            return self.reload(&mut seen);
        }
        if seq != seen.hint_seq {
            self.catch_up(&mut seen, &*file, Some(now.told()))?;
            if let (Some(header), Some(cursor)) = (&seen.header, &seen.cursor)
                && !seen.recovery_due
            {
                // What is written behind such an end would go over what somebody committed.
                let hint = now.hint.as_ref().filter(|hint| hint.epoch == header.epoch);
                load::refuse_shortened(hint, header, cursor.lsn, false, &self.path)?;
            }
            seen.take_hint(now.hint.as_ref());
            self.publish(&seen);
        }
        Ok(())
    }

    fn refresh_without_journal(&self) -> Result<()> {
        let mut seen = self.seen.lock();
        let journal_appeared = self.dir.stat(paths::JOURNAL).is_ok();
        if journal_appeared || self.metadata_moved(&seen) {
            return self.reload(&mut seen);
        }
        Ok(())
    }

    /// Whether the metadata file is another one, in a store that other programs may write.
    fn metadata_moved(&self, seen: &Seen) -> bool {
        !seen.trailer && self.dir.stat(paths::METADATA).ok() != seen.metadata
    }

    /// Applies the commits that follow what has been read, up to the one that everybody was `told` of. None
    /// is for who has the writer lock: it takes over what a killed writer completed without telling.
    pub(crate) fn catch_up(
        &self,
        seen: &mut Seen,
        file: &dyn File,
        told: Option<u64>,
    ) -> Result<()> {
        // After a power cut the records behind the cursor are still in the file and must not come
        // back; the next writer begins the journal anew before anything is added.
        if seen.recovery_due {
            return Ok(());
        }
        let Some(mut cursor) = seen.cursor.clone() else {
            return Ok(());
        };
        let mut frames = Vec::new();
        let last = told.unwrap_or(u64::MAX);
        let end = walk_to(file, &mut cursor, last, &mut |_, frame| {
            frames.push(frame.clone());
        })
        .map_err(|source| Error::io("read", self.path.join(paths::JOURNAL), source))?;
        // The chain breaks for a reader that walks while the journal is begun anew, which nobody does
        // while a writer has the lock.
        if told.is_some() && probe(file, &self.path)?.header != seen.header {
            return self.reload(seen);
        }
        load::refuse_unknown(&end, &self.path)?;
        if frames.is_empty() {
            return Ok(());
        }
        let mut state = self.state.write();
        for frame in &frames {
            seen.touched.note(frame);
            state.apply(frame).map_err(|reason| {
                corrupt(
                    &self.path,
                    format!("record {} of .npk/journal: {reason}", frame.lsn),
                )
            })?;
        }
        seen.cursor = Some(cursor);
        drop(state);
        self.pins.note_foreign();
        Ok(())
    }

    /// Whether commits are there that nobody was told of, and that the next writer takes over.
    pub(crate) fn has_untold(&self) -> Result<bool> {
        let Some(file) = self.journal.read().clone() else {
            return Ok(false);
        };
        let cursor = {
            let seen = self.seen.lock();
            let takes_over = !seen.recovery_due && !seen.foreign;
            seen.cursor.clone().filter(|_| takes_over)
        };
        let mut found = false;
        if let Some(mut cursor) = cursor {
            walk(&*file, &mut cursor, &mut |_, _| found = true)
                .map_err(|source| Error::io("read", self.path.join(paths::JOURNAL), source))?;
        }
        Ok(found)
    }

    pub(crate) fn set_journal(&self, file: Arc<dyn File>) {
        *self.journal.write() = Some(file);
    }
}
