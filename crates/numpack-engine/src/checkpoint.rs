//! The checkpoint: moves everything that the journal says into the files that 0.4.2 knows, and
//! begins the journal anew. Order of steps and reasons: docs/durability.md.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;

use numpack_format::journal::{FRAME_HEADER_LEN, HEADER_LEN, Header, PROBE_LEN};
use numpack_format::{
    ArrayName, MAX_METADATA_LEN, Metadata, MetadataEntry, Storage, Trailer, TrailerEntry,
    store_files,
};

use crate::error::{Error, Result};
use crate::fold::Folded;
use crate::fs::{Lock, Open, Stat, write_all_at};
use crate::journal::Cursor;
use crate::options::Durability;
use crate::paths;
use crate::recovery::boot_hash;
use crate::staging::random;
use crate::state::{ArrayState, Location, State};
use crate::writer::WriteGuard;

impl WriteGuard<'_> {
    /// Whether a checkpoint would change anything that another program reads.
    pub(crate) fn has_pending(&self) -> bool {
        let seen = self.shared.seen.lock();
        !seen.touched.is_empty() || seen.recovery_due
    }

    /// Writes a checkpoint; false if arrays with rows in the journal are mapped by somebody and too large
    /// to be copied, so that the journal must stay. `force` copies them all the same.
    pub(crate) fn checkpoint(&mut self, durability: Durability, force: bool) -> Result<bool> {
        // What a power cut left is told from what it took by hashes, and by names in `.npk`: a kill
        // between renaming those and writing the header would have the next open look for them again.
        let flush = durability != Durability::None || self.shared.seen.lock().recovery_due;
        if flush {
            self.sync()?;
        }
        let force = force || self.must_checkpoint();
        let mut state = match self.fold_all(flush, force)? {
            Folded::All(state) => state,
            Folded::Mapped(bytes) => {
                let tail = self.tail();
                let limit = self.options.limits.journal;
                let most = limit.saturating_mul(2).max(bytes / 8);
                if tail < most {
                    self.writer.checkpoint_at = most.min(tail + limit / 4);
                    return Ok(false);
                }
                return self.checkpoint(durability, true);
            }
        };
        let mut renamed = false;
        for array in state.arrays.values_mut() {
            let array = Arc::make_mut(array);
            if array.generation == 0 {
                array.generation = random();
            }
            // A bitmap must have its name on disk before the metadata that counts its rows, too.
            renamed |= self.write_bitmap(array, flush)?;
            renamed |= self.promote(array)?;
        }
        if renamed && flush {
            self.sync_dir("")?;
            self.sync_dir(paths::PRIVATE_DIR)?;
        }
        let stats = self.settle_lengths(&state, flush)?;
        self.settle_sums(&mut state, &stats, flush)?;
        state.lsn = self.unused_lsn(state.lsn)?;
        let header = self.next_header(state.lsn)?;
        let made = self.shared.seen.lock().header.is_none();
        if made {
            self.make_journal(flush)?;
        }
        self.write_metadata(&state, &header, flush)?;
        self.remove_replaced(&state)?;
        self.begin_epoch(state, header, flush)?;
        Ok(true)
    }

    fn tail(&self) -> u64 {
        let seen = self.shared.seen.lock();
        seen.cursor.as_ref().map_or(0, |cursor| cursor.tail)
    }

    pub(crate) fn sync_dir(&self, sub: &str) -> Result<()> {
        self.shared
            .dir
            .sync(sub)
            .map_err(|source| self.flush_failed(sub, source))
    }

    /// Writes the bitmap of an array if it changed, and tells whether it did.
    fn write_bitmap(&self, array: &mut ArrayState, flush: bool) -> Result<bool> {
        if !std::mem::take(&mut array.bitmap_due) {
            return Ok(false);
        }
        let Some(deletions) = array.deletions.as_ref().filter(|d| d.deleted() > 0) else {
            array.deletions = None;
            return Ok(false);
        };
        let name = array.name.bitmap_file();
        self.replace_file(
            paths::BITMAP_NEXT,
            &name,
            &deletions.to_file().encode(),
            flush,
        )?;
        Ok(true)
    }

    /// Gives a generation the array's own name.
    fn promote(&self, array: &mut ArrayState) -> Result<bool> {
        if !matches!(array.location, Location::Generation) {
            return Ok(false);
        }
        let from = paths::generation(array.generation);
        let own = array.name.data_file();
        match self.shared.dir.rename(&from, &own) {
            Ok(()) => {}
            // An earlier checkpoint was interrupted after this step.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.shared
                    .dir
                    .stat(&own)
                    .map_err(|source| self.io("find", &own, source))?;
            }
            Err(source) => return Err(self.io("rename", &from, source)),
        }
        array.location = Location::Own;
        array.put_lsn = 0;
        Ok(true)
    }

    /// Cuts off what killed or failed appends left behind the committed rows: 0.4.2 appends at the
    /// end of the file wherever that is. Gives what is known of each file afterwards.
    fn settle_lengths(&self, state: &State, flush: bool) -> Result<Vec<Stat>> {
        let absent = Stat {
            len: 0,
            ino: 0,
            mtime_ns: 0,
            links: 0,
            is_file: false,
        };
        let mut stats = Vec::with_capacity(state.arrays.len());
        for array in state.arrays.values() {
            let name = match array.location {
                Location::Segments(_) => array.name.segments_file(),
                Location::Own | Location::Generation => array.name.data_file(),
            };
            // A lost file is reported to whoever reads the array; it must not keep others from closing.
            let mut stat = self.shared.dir.stat(&name).unwrap_or(absent);
            let committed = array.meta.byte_len();
            if stat.len > committed && !matches!(array.location, Location::Segments(_)) {
                let cut = || {
                    let file = self.shared.dir.open(&name, Open::Write)?;
                    file.set_len(committed)?;
                    Ok((file.stat()?, file))
                };
                let (cut, file) = cut().map_err(|source| self.io("truncate", &name, source))?;
                if flush {
                    file.sync_data()
                        .map_err(|source| self.flush_failed(&name, source))?;
                }
                stat = cut;
            }
            stats.push(stat);
        }
        Ok(stats)
    }

    /// Puts the head of a journal on disk, blank: its first header then arrives or does not, but there
    /// is never anything else in its place, whoever writes records behind it before it is flushed.
    fn make_journal(&mut self, flush: bool) -> Result<()> {
        let journal = self.journal()?;
        write_all_at(&*journal, &[0; PROBE_LEN], 0)
            .map_err(|source| self.io("write", paths::JOURNAL, source))?;
        if !flush {
            return Ok(());
        }
        journal
            .sync_data()
            .map_err(|source| self.flush_failed(paths::JOURNAL, source))?;
        self.sync_dir(paths::PRIVATE_DIR)
    }

    /// `lsn`, or a later one that no record has had. After a failed flush records may have been taken
    /// back that handles of other processes have shown: whoever had their numbers would be taken for them.
    /// There are no more of them than the journal has room for.
    fn unused_lsn(&mut self, lsn: u64) -> Result<u64> {
        let seen = self.shared.seen.lock();
        let Some(header) = seen.header.filter(|_| seen.recovery_due) else {
            return Ok(lsn);
        };
        drop(seen);
        let stat = self.journal()?.stat();
        let stat = stat.map_err(|source| self.io("find", paths::JOURNAL, source))?;
        let room = stat.len.saturating_sub(HEADER_LEN) / FRAME_HEADER_LEN as u64;
        Ok(lsn.max(header.base_lsn.saturating_add(room)))
    }

    fn next_header(&self, lsn: u64) -> Result<Header> {
        let seen = self.shared.seen.lock();
        let store_id = if let Some(header) = &seen.header {
            header.store_id
        } else {
            let mut id = [0; 16];
            let (a, b) = id.split_at_mut(8);
            a.copy_from_slice(&random().to_le_bytes());
            b.copy_from_slice(&random().to_le_bytes());
            id
        };
        let epoch = seen
            .header
            .as_ref()
            .map_or(Some(0), |header| header.epoch.checked_add(1));
        let epoch = epoch.ok_or_else(|| Error::Corrupt {
            path: self.shared.path.clone(),
            reason: "the journal's epoch is at its end".to_owned(),
        })?;
        Ok(Header {
            store_id,
            nonce: random(),
            epoch,
            base_lsn: lsn,
            meta_lsn: lsn,
            boot_hash: boot_hash(),
        })
    }

    fn write_metadata(&self, state: &State, header: &Header, flush: bool) -> Result<()> {
        let arrays = state.arrays.values().map(|array| MetadataEntry {
            name: array.name.clone(),
            meta: array.meta.clone(),
            storage: match array.location {
                Location::Segments(_) => Storage::Segmented,
                Location::Own | Location::Generation => Storage::Single,
            },
            modified_us: array.modified_us,
        });
        let entries = state.arrays.values().map(|array| {
            let rest = array.at_rest.unwrap_or_default();
            TrailerEntry {
                name_hash: array.name.hash64(),
                generation: array.generation,
                rows: array.physical_rows(),
                data_len: rest.data_len,
                data_ino: rest.ino,
                data_mtime_ns: rest.mtime_ns,
                deleted: array.deleted(),
                saved_as: array.saved_as,
                replaced_lsn: array.replaced_lsn,
                sums_hash: rest.sums_hash,
                attrs: array.attrs.clone(),
            }
        });
        let trailer = Trailer {
            store_id: header.store_id,
            checkpoint_lsn: state.lsn,
            epoch: header.epoch,
            attrs: state.attrs.clone(),
            entries: entries.collect(),
        };
        let metadata = Metadata {
            arrays: arrays.collect(),
            trailer: Some(trailer),
        };
        let bytes = metadata.encode();
        if bytes.len() > MAX_METADATA_LEN {
            return Err(Error::InvalidArgument(format!(
                "the metadata of {} arrays take {} bytes, at most {MAX_METADATA_LEN} are possible",
                state.arrays.len(),
                bytes.len()
            )));
        }
        self.replace_file(paths::METADATA_NEXT, paths::METADATA, &bytes, flush)?;
        if flush {
            self.sync_dir("")?;
        }
        // Not flushed: it serves after an accident of another kind than a power cut, and has a checksum.
        // The old one is of no use any more, and file systems flush what is renamed over another file.
        self.remove(paths::METADATA_LAST)?;
        self.replace_file(paths::METADATA_NEXT, paths::METADATA_LAST, &bytes, false)
    }

    /// Writes `bytes` to the file `next` and gives it the name `name`, which the world sees change at
    /// once.
    fn replace_file(&self, next: &str, name: &str, bytes: &[u8], flush: bool) -> Result<()> {
        let dir = &self.shared.dir;
        ignore_missing(dir.unlink(next)).map_err(|source| self.io("remove", next, source))?;
        let write = || {
            let file = dir.open(next, Open::CreateNew)?;
            write_all_at(&*file, bytes, 0)?;
            Ok(file)
        };
        let file = write().map_err(|source| self.io("write", next, source))?;
        if flush {
            file.sync_data()
                .map_err(|source| self.flush_failed(next, source))?;
        }
        dir.rename(next, name)
            .map_err(|source| self.io("replace", name, source))
    }

    /// Removes the files of arrays that are gone, and bitmaps and segments that no longer hold.
    fn remove_replaced(&self, state: &State) -> Result<()> {
        let names: Vec<ArrayName> = self
            .shared
            .seen
            .lock()
            .touched
            .names
            .iter()
            .cloned()
            .collect();
        for name in names {
            let array = state.get(name.as_str());
            if array.is_none() {
                self.remove(&name.data_file())?;
            }
            if array.is_none_or(|array| array.deletions.is_none()) {
                self.remove(&name.bitmap_file())?;
            }
            if array.is_none_or(|array| !matches!(array.location, Location::Segments(_))) {
                self.remove_segments(&name)?;
            }
        }
        self.remove_orphans(state)
    }

    pub(crate) fn remove(&self, name: &str) -> Result<()> {
        ignore_missing(self.shared.dir.unlink(name))
            .map_err(|source| self.io("remove", name, source))
    }

    fn remove_segments(&self, name: &ArrayName) -> Result<()> {
        // The manifest goes last, so that a crash in between leaves a sign of what is left to do.
        let manifest = name.segments_file();
        if self.shared.dir.stat(&manifest).is_err() {
            return Ok(());
        }
        let segments = name.segments_dir();
        if let Ok(files) = self.shared.dir.list(&segments) {
            for file in files {
                self.remove(&format!("{segments}/{file}"))?;
            }
            self.remove(&segments)?;
        }
        self.remove(&manifest)
    }

    /// Removes generations that no array has: of killed writers, or superseded. One that is being
    /// written is locked by its writer.
    pub(crate) fn remove_orphans(&self, state: &State) -> Result<()> {
        let dir = &self.shared.dir;
        let used: HashSet<u64> = state
            .arrays
            .values()
            .map(|array| array.generation)
            .collect();
        let at_rest = state.arrays.values().filter_map(|array| array.at_rest);
        let sums: HashSet<u64> = at_rest.map(|rest| rest.sums_hash).collect();
        let names = dir
            .list(paths::PRIVATE_DIR)
            .map_err(|source| self.io("list", paths::PRIVATE_DIR, source))?;
        for name in names {
            let Some(generation) = store_files::parse_generation_file(&name) else {
                self.remove_other_sums(&sums, &name)?;
                continue;
            };
            let path = paths::generation(generation);
            if used.contains(&generation) {
                // Every generation has its array's own name by now. `rename` leaves both names alone
                // when they are of one inode, as after the renaming of an array there and back.
                self.remove(&path)?;
                continue;
            }
            let Ok(file) = dir.open(&path, Open::Write) else {
                continue;
            };
            if file.try_lock(Lock::Exclusive).unwrap_or(false) {
                self.remove(&path)?;
                continue;
            }
            // Locked: by its writer while it is written, or by views of a superseded generation,
            // which keep the inode and do not need the name.
            if self
                .writer
                .superseded
                .iter()
                .any(|(old, _)| *old == generation)
            {
                self.remove(&path)?;
            }
        }
        Ok(())
    }

    fn begin_epoch(&mut self, state: State, header: Header, flush: bool) -> Result<()> {
        let journal = self.journal()?;
        let shared = self.shared;
        let mut seen = shared.seen.lock();
        let made = seen.header.is_none();
        let slot = Header::slot_offset(header.epoch);
        write_all_at(&*journal, &header.encode(), slot)
            .map_err(|source| self.io("write", paths::JOURNAL, source))?;
        seen.header = Some(header);
        if made && flush {
            self.flush_header(&seen, &*journal)?;
        }
        let cursor = Cursor::start(&header);
        self.writer.sums.begin(Some(header.epoch));
        if flush {
            seen.flushed = state.lsn;
        }
        self.hint(&mut seen, &*journal, &cursor)?;
        seen.checkpoint_lsn = state.lsn;
        seen.cursor = Some(cursor);
        seen.trailer = true;
        seen.touched = crate::load::Touched::default();
        seen.recovery_due = false;
        seen.metadata = shared.dir.stat(paths::METADATA).ok();
        shared.set_journal(Arc::clone(&journal));
        *shared.state.write() = state;
        shared.publish(&seen);
        drop(seen);
        self.writer.superseded.clear();
        self.writer.asked.clear();
        self.writer.checkpoint_at = 0;
        Ok(())
    }
}

fn ignore_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
