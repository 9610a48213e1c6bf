//! Writing: one writer at a time over all processes, and the steps that every commit is made of.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use numpack_format::journal::{
    FRAME_HEADER_LEN, Frame, HEADER_LEN, Header, Hint, MAX_BODY_LEN, Record,
};

use crate::acquire::open_generation;
use crate::desk::Hand;
use crate::error::{Error, Result};
use crate::fork::Private;
use crate::fs::{File, Open, write_all_at};
use crate::journal::Cursor;
use crate::options::{Durability, Options};
use crate::paths;
use crate::recovery::FLUSH_FAILED;
use crate::shared::{Seen, Shared};
use crate::state::{ArrayState, State};
use crate::sums::SumsBook;

/// Bytes of a replaced array from which on its pages would be missed elsewhere.
const SPARE: u64 = 1 << 30;

/// The writer's open files; one set a process and store.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    pub(crate) lock: Option<Private>,
    journal: Option<Arc<dyn File>>,
    /// The data file last written to, by generation.
    pub(crate) data: Option<(u64, Private)>,
    /// Files of superseded generations, and the record that superseded each: they may go when that
    /// record is on disk.
    pub(crate) superseded: Vec<(u64, u64)>,
    /// By generation, at how many touched pages to think of folding its rows again, as long as the oldest of
    /// them are of this record.
    pub(crate) asked: HashMap<u64, (u64, u64)>,
    /// How long the journal may grow before the next checkpoint is tried, if an earlier one could not
    /// fold arrays that were mapped.
    pub(crate) checkpoint_at: u64,
    pub(crate) sums: SumsBook,
}

/// The writer lock, held; the state is caught up with everything committed before.
#[derive(Debug)]
pub(crate) struct WriteGuard<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) options: &'a Options,
    pub(crate) writer: Hand<'a>,
    lock: Arc<dyn File>,
}

impl Drop for WriteGuard<'_> {
    fn drop(&mut self) {
        if self.writer.lent().is_some() {
            return;
        }
        // Unlocked by hand: a forked child may hold a copy of the descriptor. When this fails the
        // lock still goes with the descriptor.
        if self.lock.unlock().is_err() {
            self.writer.lock = None;
        }
    }
}

impl<'a> WriteGuard<'a> {
    /// The guard of a lock that has just been taken, caught up.
    pub(crate) fn new(
        shared: &'a Shared,
        options: &'a Options,
        writer: Hand<'a>,
        lock: Arc<dyn File>,
    ) -> Result<Self> {
        let mut guard = Self {
            shared,
            options,
            writer,
            lock,
        };
        if guard.catch_up()? {
            guard.tell()?;
        }
        let seen = shared.seen.lock();
        if seen.recovery_due {
            // What replaced them may have been taken back.
            guard.writer.superseded.clear();
        }
        let epoch = seen.header.as_ref().map(|h| h.epoch);
        drop(seen);
        guard.writer.sums.begin(epoch);
        Ok(guard)
    }
}

impl WriteGuard<'_> {
    /// Leaves the lock with this thread, until the desk is told to give it up.
    pub(crate) fn keep(mut self) {
        self.writer.keep(&self.lock);
    }

    /// Reads what was committed before the lock was taken, hinted at or not; gives whether the hint is missing.
    fn catch_up(&self) -> Result<bool> {
        self.shared.refresh()?;
        let mut seen = self.shared.seen.lock();
        if seen.foreign {
            return Err(Error::Foreign {
                path: self.shared.path.clone(),
            });
        }
        if let Some(journal) = &self.writer.journal {
            self.shared.catch_up(&mut seen, &**journal, true)?;
        } else if let Ok(journal) = self.shared.dir.open(paths::JOURNAL, Open::Read) {
            self.shared.catch_up(&mut seen, &*journal, true)?;
        }
        Ok(seen.untold().is_some())
    }

    /// Tells readers of what a killed writer completed without saying so: what is done to files from now on
    /// rests on it. One that began the epoch and no more may not have flushed its header, without which a
    /// power cut must not leave anything in the journal.
    fn tell(&mut self) -> Result<()> {
        let journal = self.journal()?;
        let shared = self.shared;
        let mut seen = shared.seen.lock();
        let Some(cursor) = seen.untold().cloned() else {
            return Ok(());
        };
        if seen.told.is_none() {
            self.flush_header(&seen, &*journal)?;
        }
        self.hint(&mut seen, &*journal, &cursor)?;
        shared.publish(&seen);
        Ok(())
    }

    /// Puts the header of a journal that is new on disk, and the journal's name.
    pub(crate) fn flush_header(&self, seen: &Seen, journal: &dyn File) -> Result<()> {
        let flushed = || {
            journal.sync_data()?;
            self.shared.dir.sync(paths::PRIVATE_DIR)?;
            self.shared.dir.sync("")
        };
        flushed()
            .map_err(|source| self.io("flush", paths::JOURNAL, source))
            .inspect_err(|_| self.poison(journal, seen))
    }

    /// The journal for writing.
    pub(crate) fn journal(&mut self) -> Result<Arc<dyn File>> {
        if let Some(file) = &self.writer.journal {
            return Ok(Arc::clone(file));
        }
        let file = self
            .shared
            .dir
            .open(paths::JOURNAL, Open::Create)
            .map_err(|source| self.io("open", paths::JOURNAL, source))?;
        self.writer.journal = Some(Arc::clone(&file));
        Ok(file)
    }

    pub(crate) fn io(&self, action: &'static str, name: &str, source: std::io::Error) -> Error {
        Error::io(action, self.shared.path.join(name), source)
    }

    /// The data file of an array, for writing.
    pub(crate) fn data_file(&mut self, array: &ArrayState) -> Result<Arc<dyn File>> {
        if let Some((generation, data)) = &self.writer.data
            && *generation == array.generation
        {
            return Ok(Arc::clone(&data.file));
        }
        let dir = &*self.shared.dir;
        let (file, _) = open_generation(dir, &array.name, array.generation, Open::Write)
            .map_err(|source| self.io("open", &array.name.data_file(), source))?;
        self.writer.data = Some((array.generation, Private::new(Arc::clone(&file))));
        Ok(file)
    }

    /// Writes `records` as one commit: to the journal, for others to see, and into the state.
    /// `settled` has the arrays as the records leave them.
    pub(crate) fn commit(
        &mut self,
        records: Vec<Record>,
        settled: &State,
        durability: Durability,
    ) -> Result<u64> {
        let journal = self.journal()?;
        let shared = self.shared;
        let mut seen = shared.seen.lock();
        let Some(cursor) = seen.cursor.clone() else {
            return Err(Error::Corrupt {
                path: shared.path.clone(),
                reason: ".npk/journal has no header".to_owned(),
            });
        };
        let last = records.len();
        let frames: Vec<Frame> = (1..)
            .zip(records)
            .map(|(i, record)| Frame {
                lsn: cursor.lsn + i as u64,
                epoch: cursor.epoch,
                more: i < last,
                record,
            })
            .collect();
        let (bytes, mut after) = cursor.encode(&frames);
        if bytes.len() > MAX_BODY_LEN {
            check_lengths(&frames)?;
        }
        // A failed write leaves bytes behind the tail that no reader takes for a commit, unless all
        // of them arrived; the next commit goes over them.
        write_all_at(&*journal, &bytes, cursor.tail)
            .map_err(|source| self.io("write", paths::JOURNAL, source))?;
        for frame in &frames {
            seen.touched.note(frame);
        }
        let lsn = after.lsn;
        let grown = cursor.tail..after.tail;
        if durability == Durability::Full {
            after = self.flush(&mut seen, &*journal, &after)?;
        }
        self.hint(&mut seen, &*journal, &after)?;
        let mut state = shared.state.write();
        state
            .adopt(&frames, settled)
            .map_err(|reason| Error::Corrupt {
                path: shared.path.clone(),
                reason,
            })?;
        state.lsn = after.lsn;
        drop(state);
        seen.cursor = Some(after);
        shared.publish(&seen);
        drop(seen);
        if durability == Durability::Commit {
            self.begin_sync(&*journal, grown);
        }
        Ok(lsn)
    }

    /// Sends the journal on its way to disk, piece by piece as it grows: a fold or a checkpoint has to flush
    /// it, and finds little left to wait for. The commit has been made; where the disk fails, what comes
    /// after it is refused as after a failed flush, which the kernel may not tell of a second time.
    fn begin_sync(&self, journal: &dyn File, grown: Range<u64>) {
        let piece = (self.options.limits.journal / 16).max(1);
        // More at once than a piece fills the queue of the disk, and would be waited for.
        let (begun, due) = (grown.start / piece * piece, grown.end / piece * piece);
        let bytes = begun.max(HEADER_LEN)..due;
        if due - begun == piece && !bytes.is_empty() && journal.begin_sync(bytes).is_err() {
            self.poison(journal, &self.shared.seen.lock());
        }
    }

    /// Puts everything committed on disk and says so in the journal.
    pub(crate) fn sync(&mut self) -> Result<()> {
        let journal = self.journal()?;
        let shared = self.shared;
        let mut seen = shared.seen.lock();
        let Some(cursor) = seen.cursor.clone() else {
            return Ok(());
        };
        // What a power cut took back is still in the file, behind the cursor. A record there ends the
        // chain, lest a second crash in the middle of a checkpoint finds the old one and takes it for valid.
        if cursor.synced >= cursor.lsn && !seen.recovery_due {
            // The record that says so may be of a process that was killed before it flushed it.
            return journal
                .sync_data()
                .map_err(|source| self.io("flush", paths::JOURNAL, source))
                .inspect_err(|_| self.poison(&*journal, &seen))
                .map(|()| seen.flushed = seen.flushed.max(cursor.synced));
        }
        let after = self.flush(&mut seen, &*journal, &cursor)?;
        self.hint(&mut seen, &*journal, &after)?;
        // Of a checkpoint that was cut short, the metadata may be ahead of what is left of the journal.
        let mut state = shared.state.write();
        state.lsn = state.lsn.max(after.lsn);
        drop(state);
        seen.cursor = Some(after);
        shared.publish(&seen);
        drop(seen);
        self.collect();
        Ok(())
    }

    /// Flushes every file with payload that is not on disk, writes SYNCED at `cursor`, flushes the
    /// journal. Any failure poisons the store in this process: what the disk holds is unknown, and
    /// the kernel reports a lost page only once.
    fn flush(&self, seen: &mut Seen, journal: &dyn File, cursor: &Cursor) -> Result<Cursor> {
        let shared = self.shared;
        let flushed = (|| {
            // A flush costs milliseconds a file, syncfs about as much for all of them.
            const MANY: usize = 8;
            let mut generations = false;
            let many = seen.touched.unsynced.len() > MANY;
            if many {
                shared
                    .dir
                    .sync_all()
                    .map_err(|source| self.io("flush", "", source))?;
            }
            for (name, generation) in seen.touched.unsynced.keys().filter(|_| !many) {
                let path = paths::generation(*generation);
                let file = match open_generation(&*shared.dir, name, *generation, Open::Write) {
                    Ok((file, by_own_name)) => {
                        generations |= !by_own_name;
                        file
                    }
                    // Superseded and gone: nobody needs these bytes.
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                    Err(source) => return Err(self.io("open", &path, source)),
                };
                file.sync_data()
                    .map_err(|source| self.io("flush", &path, source))?;
            }
            if generations {
                shared
                    .dir
                    .sync(paths::PRIVATE_DIR)
                    .map_err(|source| self.io("flush", paths::PRIVATE_DIR, source))?;
            }
            let record = Record::Synced { upto: cursor.lsn };
            let frame = Frame {
                lsn: cursor.lsn + 1,
                epoch: cursor.epoch,
                more: false,
                record,
            };
            let (bytes, after) = cursor.encode(std::slice::from_ref(&frame));
            write_all_at(journal, &bytes, cursor.tail)
                .map_err(|source| self.io("write", paths::JOURNAL, source))?;
            journal
                .sync_data()
                .map_err(|source| self.io("flush", paths::JOURNAL, source))?;
            seen.touched.note(&frame);
            seen.flushed = after.synced;
            Ok(after)
        })();
        flushed.inspect_err(|_| self.poison(journal, seen))
    }

    /// The error of a flush outside of [`Self::flush`], which poisons the store just as well: a second
    /// flush of the same file would succeed although its pages are lost.
    pub(crate) fn flush_failed(&self, name: &str, source: std::io::Error) -> Error {
        let opened = match &self.writer.journal {
            Some(journal) => Ok(Arc::clone(journal)),
            None => self.shared.dir.open(paths::JOURNAL, Open::Write),
        };
        match opened {
            Ok(journal) => self.poison(&*journal, &self.shared.seen.lock()),
            Err(_) => self.shared.poisoned.store(true, Ordering::Release),
        }
        self.io("flush", name, source)
    }

    /// Refuses all further writing through this process, and makes the next open verify as after a
    /// power cut: the page cache can no longer be trusted to hold what the disk will.
    pub(crate) fn poison(&self, journal: &dyn File, seen: &Seen) {
        self.shared.poisoned.store(true, Ordering::Release);
        if let Some(header) = &seen.header {
            let header = Header {
                boot_hash: FLUSH_FAILED,
                ..*header
            };
            // The disk may refuse this as well; then the next restart of the machine verifies.
            let _best_effort =
                write_all_at(journal, &header.encode(), Header::slot_offset(header.epoch));
        }
    }

    /// Tells readers where the journal ends.
    pub(crate) fn hint(&self, seen: &mut Seen, journal: &dyn File, cursor: &Cursor) -> Result<()> {
        let hint = Hint {
            seq: seen.hint_seq + 1,
            epoch: cursor.epoch,
            tail: cursor.tail,
            last_lsn: cursor.lsn,
            synced_lsn: seen.flushed,
            chain: cursor.chain,
        };
        let bytes = hint.encode();
        write_all_at(journal, &bytes, Hint::offset(hint.seq)).map_err(|source| {
            // The records are committed although nobody was told: only a reopened store may go on.
            self.poison(journal, seen);
            self.io("write", paths::JOURNAL, source)
        })?;
        self.shared.head.wrote(&hint, &bytes);
        seen.hint_seq = hint.seq;
        seen.told = Some(hint.last_lsn);
        Ok(())
    }

    /// Removes files of superseded generations as far as a power cut may not bring them back.
    pub(crate) fn collect(&mut self) {
        let flushed = self.shared.seen.lock().flushed;
        let dir = &self.shared.dir;
        self.writer.superseded.retain(|&(generation, by)| {
            // A file that cannot be removed now is an orphan that the next checkpoint removes.
            by > flushed
                || dir
                    .unlink(&paths::generation(generation))
                    .is_err_and(|_| false)
        });
    }

    /// Notes that `old` has been replaced by the commit `lsn`, and removes its file, or keeps it to be
    /// written again, if it never was on disk: a power cut then falls back behind its own commit.
    pub(crate) fn supersede(&mut self, old: &ArrayState, lsn: u64) {
        self.writer.sums.forget(old.generation);
        if old.put_lsn == 0 {
            return;
        }
        let synced = self
            .shared
            .seen
            .lock()
            .cursor
            .as_ref()
            .map_or(0, |cursor| cursor.synced);
        self.shared.pins.forget(old.generation);
        if old.put_lsn > synced {
            let mut removed = Some(old.generation);
            let worth = (self.options.limits.spare..SPARE).contains(&old.meta.byte_len());
            // After a power cut nothing but zeros tells that a file is the one that was made of zeros.
            if worth && !old.zeros {
                removed = self.shared.spare.lock().replace(old.generation);
            }
            if let Some(generation) = removed {
                // As above: what cannot be removed is an orphan.
                let _orphan = self.shared.dir.unlink(&paths::generation(generation));
            }
        } else {
            self.writer.superseded.push((old.generation, lsn));
        }
    }

    /// Whether the journal is in a state that a commit cannot follow on.
    pub(crate) fn must_checkpoint(&self) -> bool {
        let seen = self.shared.seen.lock();
        // A checkpoint that ended after its metadata and before its header: until the next flush the
        // metadata may still be taken back. No crash is known, nor do the tests find one, after which
        // that would lose anything; finishing it first keeps metadata and journal of one epoch.
        let unfinished = seen
            .header
            .as_ref()
            .is_some_and(|header| seen.checkpoint_lsn > header.meta_lsn);
        seen.recovery_due || !seen.trailer || seen.cursor.is_none() || unfinished
    }

    /// Whether the journal is as long as it should get.
    pub(crate) fn checkpoint_due(&self) -> bool {
        let seen = self.shared.seen.lock();
        let tail = seen.cursor.as_ref().map_or(0, |cursor| cursor.tail);
        tail > self.options.limits.journal.max(self.writer.checkpoint_at)
    }
}

/// Refuses a record that nobody could read.
fn check_lengths(frames: &[Frame]) -> Result<()> {
    let mut bytes = Vec::new();
    for frame in frames {
        bytes.clear();
        frame.encode_into(&mut bytes, 0);
        let len = bytes.len() - FRAME_HEADER_LEN;
        if len > MAX_BODY_LEN {
            return Err(Error::InvalidArgument(format!(
                "a change of {len} bytes in one record, at most {MAX_BODY_LEN} are possible"
            )));
        }
    }
    Ok(())
}
