//! A copy of a store in use, as a closed store of its own.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use numpack_format::{
    BlockHasher, Metadata, MetadataEntry, Storage, SumsFile, Trailer, TrailerEntry,
};

use crate::backup_sums::CopySums;
use crate::copy::Rows;
use crate::error::{Error, Result};
use crate::fs::{Dir, File, Fs, Open, Stat, write_all_at};
use crate::paths;
use crate::settle::at_rest;
use crate::snapshot::ArraySnapshot;
use crate::staging::{RowSource as _, random};
use crate::store::Store;

impl Store {
    /// Copies the store as it is at one moment into the new directory `path`: a closed store without
    /// deleted rows, which NumPack 0.4 opens as well. Other threads and processes go on writing
    /// meanwhile. The copy has checksums: those that the rows had, so that damage done to them before is
    /// found in the copy as well. All of it is on disk when this returns; until then it lies in `path`'s parent under a
    /// name that begins with `.npk-backup-`.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// use numpack_engine::{Options, Store};
    /// use numpack_format::{ArrayMeta, DType};
    /// let store = Store::open(&dir.path().join("s.npk"), &Options::default())?;
    /// let mut save = store.begin()?;
    /// save.put("a", &ArrayMeta::new(DType::UInt8, &[3])?, &mut &[1, 2, 3][..])?;
    /// save.commit()?;
    /// let copy = dir.path().join("copy.npk");
    /// store.backup(&copy)?;
    /// let copy = Store::open(&copy, &Options::default())?;
    /// assert_eq!(&*copy.array("a")?.contiguous()?, [1, 2, 3]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::PathExists`] when there is anything at `path`, [`Error::Interrupted`], or a failed read
    /// or write; there is nothing at `path` then.
    pub fn backup(&self, path: &Path) -> Result<()> {
        let taken = || Error::PathExists {
            path: path.to_path_buf(),
        };
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            return Err(Error::InvalidArgument(format!(
                "\"{}\" cannot be the name of a new directory",
                path.display()
            )));
        };
        let fs = self.fs();
        match fs.open_dir(path, false) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            _ => return Err(taken()),
        }
        let parent = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let copy = Copy::begin(fs, parent)?;
        copy.write(self)?;
        match copy.parent.rename_new(&copy.name, name) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => return Err(taken()),
            Err(source) => return Err(Error::io("make", path, source)),
        }
        let synced = copy.parent.sync("");
        copy.keep();
        synced.map_err(|source| Error::io("flush", parent, source))
    }
}

/// A copy under a name of its own, which is removed again unless it is kept.
struct Copy {
    parent: Arc<dyn Dir>,
    name: String,
    path: PathBuf,
    dir: Arc<dyn Dir>,
    kept: bool,
}

impl Copy {
    fn begin(fs: &dyn Fs, parent_path: &Path) -> Result<Self> {
        let io = |source| Error::io("open", parent_path, source);
        let parent = fs.open_dir(parent_path, true).map_err(io)?;
        let name = format!(".npk-backup-{:016x}", random());
        let path = parent_path.join(&name);
        let dir = fs
            .open_dir(&path, true)
            .map_err(|source| Error::io("make", &path, source))?;
        Ok(Self {
            parent,
            name,
            path,
            dir,
            kept: false,
        })
    }

    fn keep(mut self) {
        self.kept = true;
    }

    fn io(&self, action: &'static str, name: &str, source: std::io::Error) -> Error {
        Error::io(action, self.path.join(name), source)
    }

    fn write(&self, store: &Store) -> Result<()> {
        let snapshot = store.snapshot_all()?;
        let mut arrays = Vec::new();
        let mut entries = Vec::new();
        for array in snapshot.arrays() {
            let meta = array.meta();
            let (stat, made) = self.write_rows(array, store)?;
            let generation = random();
            let sums_hash = self.write_sums(&SumsFile {
                generation,
                data_len: stat.len,
                sums: made.sums,
            })?;
            entries.push(TrailerEntry {
                name_hash: array.name().hash64(),
                generation,
                rows: meta.shape.rows(),
                data_len: stat.len,
                data_ino: stat.ino,
                data_mtime_ns: if made.changed { 0 } else { stat.mtime_ns },
                deleted: 0,
                saved_as: generation,
                replaced_lsn: 0,
                sums_hash,
                attrs: array.attrs().clone(),
            });
            arrays.push(MetadataEntry {
                name: array.name().clone(),
                meta,
                storage: Storage::Single,
                modified_us: array.modified_us(),
            });
        }
        // A store of its own, without a journal yet: its first writer begins one.
        let mut store_id = [0; 16];
        let (a, b) = store_id.split_at_mut(8);
        a.copy_from_slice(&random().to_le_bytes());
        b.copy_from_slice(&random().to_le_bytes());
        let metadata = Metadata {
            arrays,
            trailer: Some(Trailer {
                store_id,
                checkpoint_lsn: 0,
                epoch: 0,
                attrs: snapshot.attrs().clone(),
                entries,
            }),
        };
        let file = self.create(paths::METADATA)?;
        write_all_at(&*file, &metadata.encode(), 0)
            .and_then(|()| file.sync_data())
            .and_then(|()| self.sync_names())
            .map_err(|source| self.io("write", paths::METADATA, source))
    }

    fn sync_names(&self) -> std::io::Result<()> {
        match self.dir.sync(paths::PRIVATE_DIR) {
            // No array has so many blocks that it needs one.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            result => result?,
        }
        self.dir.sync("")
    }

    fn create(&self, name: &str) -> Result<Arc<dyn File>> {
        self.dir
            .open(name, Open::CreateNew)
            .map_err(|source| self.io("create", name, source))
    }

    fn write_rows(&self, array: &ArraySnapshot, store: &Store) -> Result<(Stat, CopySums)> {
        let interrupt = store.options().interrupt.as_ref();
        if interrupt.is_some_and(|ask| ask()) {
            return Err(Error::Interrupted);
        }
        let name = array.name().data_file();
        let file = self.create(&name)?;
        let io = |source| self.io("write", &name, source);
        let len = array.byte_len() as u64;
        let sums = if let Some(source) = array.whole_file() {
            // In the kernel, and where the file system can share blocks, without copying any.
            file.copy_from(&*source, 0, len).map_err(io)?;
            CopySums::of_file(array, &*source, interrupt)?
        } else {
            let mut hasher = BlockHasher::keeping(0, len);
            let mut at = 0;
            Rows { array, interrupt }.write_to(&mut |bytes| {
                write_all_at(&*file, bytes, at).map_err(io)?;
                hasher.update(bytes);
                at += bytes.len() as u64;
                Ok(())
            })?;
            CopySums::of_rows(array, hasher)
        };
        let stat = file.sync_data().and_then(|()| file.stat()).map_err(io)?;
        Ok((stat, sums))
    }

    /// Writes sums down, and gives what the metadata says of them.
    fn write_sums(&self, sums: &SumsFile) -> Result<u64> {
        let (hash, bytes) = at_rest(sums);
        if let Some(bytes) = bytes {
            let path = paths::sums(hash);
            self.dir
                .make_dir(paths::PRIVATE_DIR)
                .and_then(|()| {
                    let file = self.dir.open(&path, Open::CreateNew)?;
                    write_all_at(&*file, &bytes, 0)?;
                    file.sync_data()
                })
                .map_err(|source| self.io("write", &path, source))?;
        }
        Ok(hash)
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        // What cannot be removed stays under a name that says what it is; the error before this counts.
        for name in self.dir.list(paths::PRIVATE_DIR).unwrap_or_default() {
            let _stays = self.dir.unlink(&format!("{}/{name}", paths::PRIVATE_DIR));
        }
        for name in self.dir.list("").unwrap_or_default() {
            let _stays = self.dir.unlink(&name);
        }
        let _stays = self.parent.unlink(&self.name);
    }
}
