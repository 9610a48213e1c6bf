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
use crate::journal::{Cursor, Head, walk};
use crate::load::{self, Touched, corrupt, probe};
use crate::paths;
use crate::pins::Pins;
use crate::recovery::FLUSH_FAILED;
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
    /// Epoch, boot and hint that `state` is caught up with, readable without a lock.
    latest: [AtomicU64; 3],
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
    /// The last commit that a hint of this epoch tells of; None where there is no such hint.
    pub(crate) told: Option<u64>,
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
            self.told = self.told.max(Some(hint.last_lsn));
            self.flushed = self.flushed.max(hint.synced_lsn);
        }
    }

    /// Where the journal ends, if hints do not say so: a writer was killed, or is at work.
    pub(crate) fn untold(&self) -> Option<&Cursor> {
        let cursor = self.cursor.as_ref()?;
        let takes_over = !self.recovery_due && !self.foreign;
        (takes_over && Some(cursor.lsn) > self.told).then_some(cursor)
    }
}

impl Shared {
    /// Reads the store in `dir`.
    pub(crate) fn open(path: PathBuf, dir: Arc<dyn Dir>) -> Result<Self> {
        let shared = Self::unread(path, dir);
        shared.reload(&mut shared.seen.lock())?;
        Ok(shared)
    }

    /// The store in `dir`, of which nothing is known.
    pub(crate) fn unread(path: PathBuf, dir: Arc<dyn Dir>) -> Self {
        Self {
            path,
            dir,
            fork: crate::fork::generation(),
            state: RwLock::default(),
            seen: Mutex::default(),
            latest: [const { AtomicU64::new(u64::MAX) }; 3],
            journal: RwLock::default(),
            head: Head::default(),
            pins: Arc::default(),
            spare: Mutex::default(),
            desk: Desk::default(),
            poisoned: AtomicBool::new(false),
            writers: AtomicUsize::new(0),
        }
    }

    /// Whether there is a store on disk.
    pub(crate) fn exists(&self) -> bool {
        self.seen.lock().metadata.is_some()
    }

    /// Reads everything anew.
    pub(crate) fn reload(&self, seen: &mut Seen) -> Result<()> {
        let mut loaded = load::load(&*self.dir, &self.path)?;
        if loaded.seen.recovery_due {
            // What replaced it may have been taken back.
            *self.spare.lock() = None;
        }
        let header = loaded.seen.header.as_ref();
        if let Some(header) = header.filter(|header| header.boot_hash == FLUSH_FAILED) {
            loaded.state.set_apart(!header.epoch);
        }
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
        let (epoch, boot) = match (&seen.header, seen.trailer) {
            (Some(header), true) => (header.epoch, header.boot_hash),
            // Without our trailer another program may write the metadata at any time: always look.
            _ => (u64::MAX, 0),
        };
        let now = [epoch, boot, seen.hint_seq];
        for (latest, now) in self.latest.iter().zip(now).rev() {
            latest.store(now, Ordering::Release);
        }
    }

    /// Catches up with what other processes have committed.
    pub(crate) fn refresh(&self) -> Result<()> {
        let journal = self.journal.read().clone();
        let Some(file) = journal else {
            return self.refresh_without_journal();
        };
        let head = self.head.read(&*file);
        let now = head.map_err(|error| load::unread(error, &self.path))?;
        let seq = now.hint.as_ref().map_or(0, |hint| hint.seq);
        if let Some(header) = &now.header {
            let latest = |at: usize| self.latest[at].load(Ordering::Acquire);
            if [header.epoch, header.boot_hash, seq] == [latest(0), latest(1), latest(2)] {
                return Ok(());
            }
        }
        let mut seen = self.seen.lock();
        // A header of the same epoch is another one after a failed flush: what follows is not to be trusted as
        // it was. And what somebody added to such a journal counts as it does for who opens the store now.
        let moved = seen.header != now.header || seen.recovery_due && seq != seen.hint_seq;
        if moved || self.metadata_moved(&seen) {
            return self.reload(&mut seen);
        }
        if seq != seen.hint_seq {
            self.catch_up(&mut seen, &*file, false)?;
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

    /// Applies the commits that follow what has been read. Under the writer lock these may be of a
    /// killed writer, who completed them without saying so.
    pub(crate) fn catch_up(&self, seen: &mut Seen, file: &dyn File, locked: bool) -> Result<()> {
        // After a power cut the records behind the cursor are still in the file and must not come
        // back; the next writer begins the journal anew before anything is added.
        if seen.recovery_due {
            return Ok(());
        }
        let Some(mut cursor) = seen.cursor.clone() else {
            return Ok(());
        };
        let mut frames = Vec::new();
        let end = walk(file, &mut cursor, &mut |_, frame| {
            frames.push(frame.clone());
        })
        .map_err(|source| Error::io("read", self.path.join(paths::JOURNAL), source))?;
        // The chain breaks for a reader that walks while the journal is begun anew, which nobody does
        // while a writer has the lock.
        if !locked && probe(file, &self.path)?.header != seen.header {
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

    pub(crate) fn set_journal(&self, file: Arc<dyn File>) {
        *self.journal.write() = Some(file);
    }
}
