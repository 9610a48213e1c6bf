//! Repairing what can be repaired without a choice: files that belong to nothing go, and metadata that
//! another program rewrote under an unfinished session comes back if nothing else was changed.

use std::collections::HashSet;
use std::path::Path;

use numpack_format::journal::Record;
use numpack_format::{
    ArrayMeta, ArrayName, BLOCK_LEN, BitmapFile, Metadata, TrailerEntry, block_sum,
};

use crate::deep::{read_sums, touched_blocks};
use crate::error::{Error, Result};
use crate::fs::{Dir, Fs as _, Lock, Open, RealFs, read_exact_at};
use crate::journal::{Cursor, walk};
use crate::load::{self, probe, read_file, read_metadata};
use crate::options::{Mode, Options};
use crate::paths;
use crate::store::Store;

/// Repairs the store at `path` as far as no row can be lost by it, and tells what was done.
///
/// Files that belong to no array are removed. If another program rewrote the metadata while commits of an
/// unfinished session were waiting in the journal, the metadata of before is put back, so that these commits
/// count again, provided that program changed nothing else. With `discard_journal` the waiting commits are
/// given up instead, and what that program wrote is the store.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// use numpack_engine::{Options, Store, repair};
/// let path = dir.path().join("s.npk");
/// Store::open(&path, &Options::default())?.close()?;
/// std::fs::write(path.join(".npk/g00000000000000aa"), "left by a killed process")?;
/// let done = repair(&path, &Options::default(), false)?;
/// assert_eq!(done, ["removed .npk/g00000000000000aa"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`Error::Foreign`] and [`Error::Corrupt`] where only `discard_journal` or nothing would help; whatever
/// opening a store for writing fails with.
pub fn repair(path: &Path, options: &Options, discard_journal: bool) -> Result<Vec<String>> {
    let dir = RealFs.open_dir(path, false).map_err(|_| Error::NoStore {
        path: path.to_path_buf(),
    })?;
    let mut done = Vec::new();
    let loaded = load::load(&*dir, path)?;
    if loaded.seen.metadata.is_none() {
        return Err(Error::NoStore {
            path: path.to_path_buf(),
        });
    }
    if loaded.seen.foreign {
        drop(loaded);
        let lock = dir
            .open(paths::LOCK, Open::Create)
            .map_err(|source| Error::io("open", path.join(paths::LOCK), source))?;
        if !lock.try_lock(Lock::Exclusive).unwrap_or(false) {
            return Err(Error::Busy {
                path: path.to_path_buf(),
                holder: "another process".to_owned(),
                waited: std::time::Duration::ZERO,
            });
        }
        if discard_journal {
            dir.unlink(paths::JOURNAL)
                .map_err(|source| Error::io("remove", path.join(paths::JOURNAL), source))?;
            done.push("gave up the commits in .npk/journal".to_owned());
        } else {
            restore(&*dir, path)?;
            done.push("put metadata.npkm back as the last checkpoint wrote it".to_owned());
        }
        lock.unlock()
            .map_err(|source| Error::io("unlock", path.join(paths::LOCK), source))?;
    }
    let before = private_files(&*dir);
    let store = Store::open(path, &options.clone().with_mode(Mode::ReadWrite))?;
    store.tidy()?;
    store.close()?;
    let after: HashSet<String> = private_files(&*dir).into_iter().collect();
    let gone = before.into_iter().filter(|name| !after.contains(name));
    done.extend(gone.map(|name| format!("removed {}/{name}", paths::PRIVATE_DIR)));
    Ok(done)
}

fn private_files(dir: &dyn Dir) -> Vec<String> {
    let mut names = dir.list(paths::PRIVATE_DIR).unwrap_or_default();
    names.sort();
    names
}

/// Puts the copy of the metadata in its place, under the writer lock.
fn restore(dir: &dyn Dir, path: &Path) -> Result<()> {
    let refused = |reason: String| Error::Corrupt {
        path: path.to_path_buf(),
        reason: format!(
            "another program rewrote metadata.npkm while changes of an unfinished session were waiting in \
             .npk/journal, and {reason}; either open the store with mode r and save what that program wrote, or \
             give the waiting changes up with `numpack verify --repair --discard-journal`"
        ),
    };
    let copy = read_file(dir, path, paths::METADATA_LAST)?;
    let Some((bytes, _)) = copy else {
        return Err(refused("there is no copy of the metadata".to_owned()));
    };
    let last = Metadata::decode(&bytes)
        .map_err(|error| refused(format!("the copy of the metadata is of no use: {error}")))?;
    let (Some(trailer), Some((now, _))) = (&last.trailer, read_metadata(dir, path)?) else {
        return Err(refused(
            "the copy of the metadata has no trailer".to_owned(),
        ));
    };
    let journal = dir
        .open(paths::JOURNAL, Open::Read)
        .map_err(|source| Error::io("open", path.join(paths::JOURNAL), source))?;
    let header = probe(&*journal, path)?.header;
    let fits = header.filter(|header| {
        (header.store_id, header.epoch, header.meta_lsn)
            == (trailer.store_id, trailer.epoch, trailer.checkpoint_lsn)
    });
    let Some(header) = fits else {
        return Err(refused(
            "the copy of the metadata is of another checkpoint than the journal".to_owned(),
        ));
    };
    let described = |metadata: &Metadata| -> HashSet<(ArrayName, ArrayMeta)> {
        let arrays = metadata.arrays.iter();
        arrays.map(|a| (a.name.clone(), a.meta.clone())).collect()
    };
    if described(&now) != described(&last) {
        return Err(refused("it saved, dropped or appended arrays".to_owned()));
    }
    let mut records = Vec::new();
    walk(&*journal, &mut Cursor::start(&header), &mut |_, frame| {
        records.push(frame.record.clone());
    })
    .map_err(|source| Error::io("read", path.join(paths::JOURNAL), source))?;
    for (array, entry) in last.arrays.iter().zip(&trailer.entries) {
        let (name, meta) = (&array.name, &array.meta);
        if !is_untouched(dir, name, meta, entry, &records) {
            return Err(refused(format!(
                "the rows of array \"{name}\" have changed"
            )));
        }
        if !has_deletions(dir, path, name, meta, entry)? {
            return Err(refused(format!("rows of array \"{name}\" were deleted")));
        }
    }
    let write = || {
        let _old = dir.unlink(paths::METADATA_NEXT);
        let file = dir.open(paths::METADATA_NEXT, Open::CreateNew)?;
        crate::fs::write_all_at(&*file, &bytes, 0)?;
        file.sync_data()?;
        dir.rename(paths::METADATA_NEXT, paths::METADATA)?;
        dir.sync("")
    };
    write().map_err(|source| Error::io("write", path.join(paths::METADATA), source))
}

/// Whether a data file is as the checkpoint left it: not written to, or, where the session itself has
/// appended to it, with the same bytes in it as far as it went.
fn is_untouched(
    dir: &dyn Dir,
    name: &ArrayName,
    meta: &ArrayMeta,
    entry: &TrailerEntry,
    records: &[Record],
) -> bool {
    if entry.data_len == 0 {
        return true;
    }
    let Ok(file) = dir.open(&name.data_file(), Open::Read) else {
        return false;
    };
    let Ok(stat) = file.stat() else {
        return false;
    };
    if (stat.ino, stat.mtime_ns, stat.len) == (entry.data_ino, entry.data_mtime_ns, entry.data_len)
    {
        return true;
    }
    let (mut written, mut replaced) = (false, Vec::new());
    for record in records {
        match record {
            Record::Append(append) if append.name == *name => written = true,
            Record::Replace(replace) if replace.name == *name => {
                written = true;
                replaced.extend(replace.runs.iter());
            }
            _ => {}
        }
    }
    if !written || stat.ino != entry.data_ino || stat.len < entry.data_len {
        return false;
    }
    let sums = read_sums(dir, entry.sums_hash, entry.generation, entry.data_len);
    let Ok(Some(sums)) = sums else {
        return false;
    };
    let touched = touched_blocks(&replaced, meta.row_bytes());
    let mut buf = Vec::new();
    (0..).zip(&sums.sums).all(|(block, &sum)| {
        let start = block * BLOCK_LEN as u64;
        let len = (entry.data_len - start).min(BLOCK_LEN as u64);
        buf.resize(usize::try_from(len).unwrap_or(BLOCK_LEN), 0);
        touched.binary_search(&block).is_ok()
            || (read_exact_at(&*file, &mut buf, start).is_ok() && block_sum(&buf) == sum)
    })
}

/// Whether the bitmap has as many deleted rows as the checkpoint says.
fn has_deletions(
    dir: &dyn Dir,
    path: &Path,
    name: &ArrayName,
    meta: &ArrayMeta,
    entry: &TrailerEntry,
) -> Result<bool> {
    let Some((bytes, _)) = read_file(dir, path, &name.bitmap_file())? else {
        return Ok(entry.deleted == 0);
    };
    let bitmap = BitmapFile::decode(&bytes, meta.shape.rows())?;
    Ok(crate::deletions::Deletions::from_file(&bitmap).deleted() == entry.deleted)
}
