//! A whole store as one input: what to do with it, and its files in pieces.
//!
//! An input is two bytes of [`Plan`], then pieces: the length of a name in a byte, the name, an offset in
//! three bytes, a length in two, and the bytes that are put there. A piece may be cut off anywhere.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use numpack_engine::fs::{Dir, Fs, MemoryFs, Open, read_exact_at, write_all_at};
use numpack_engine::{Mode, Options, Store};
use numpack_format::journal::{Header, PROBE_LEN};
use numpack_format::{Metadata, SumsFile, store_files};

use super::seal;

/// Offsets count modulo this: two blocks of sums.
const OFFSETS: usize = 1 << 17;
/// Longest file.
pub const MOST: usize = OFFSETS + (1 << 16);
const JOURNAL: &str = ".npk/journal";
const METADATA: &str = store_files::METADATA_FILE;
/// The path of the one directory in a file system in memory.
pub const PATH: &str = "s.npk";

/// What is done with the files of an input.
#[derive(Clone, Copy, Debug, Default)]
pub struct Plan {
    /// Bits of the first byte: which checksums are put right.
    pub seal: u8,
    /// Which change is made.
    pub change: u8,
}

impl Plan {
    /// The checksums of metadata, block sums, and journal headers.
    pub const SUMS: u8 = 1;
    /// The hashes of the records, which follow on the header.
    pub const RECORDS: u8 = 2;
    /// The checksums of the hints.
    pub const HINTS: u8 = 4;
    /// The journal is of this run of the machine.
    pub const BOOT: u8 = 8;
    /// The metadata knows the inodes and times of its files.
    pub const INODES: u8 = 16;

    fn seals(self, what: u8) -> bool {
        self.seal & what != 0
    }
}

/// The files of one input, by their names in the store.
#[derive(Clone, Debug, Default)]
pub struct Files {
    /// What is done with them.
    pub plan: Plan,
    /// Their contents.
    pub all: BTreeMap<String, Vec<u8>>,
}

impl Files {
    /// What an input says, with the checksums that it asks for.
    pub fn of(input: &[u8]) -> Self {
        let mut files = Self::default();
        let [seal, change, rest @ ..] = input else {
            return files;
        };
        files.plan = Plan {
            seal: *seal,
            change: *change,
        };
        let mut rest = rest;
        while let Some((&len, after)) = rest.split_first() {
            let (name, after) = after.split_at(after.len().min(len.into()));
            let (offset, after) = take(after, 3);
            let (len, after) = take(after, 2);
            let offset = offset % OFFSETS;
            let (bytes, after) = after.split_at(after.len().min(len));
            if let Some(name) = plain(name) {
                let file = files.all.entry(name.to_owned()).or_default();
                file.resize(file.len().max(offset + bytes.len()), 0);
                file[offset..offset + bytes.len()].copy_from_slice(bytes);
            }
            rest = after;
        }
        // Where a file stands in the way of a directory, nothing is in that.
        let names: Vec<String> = files.all.keys().cloned().collect();
        for name in &names {
            files.all.retain(|other, _| {
                let below = other.strip_prefix(name.as_str());
                below.is_none_or(|rest| !rest.starts_with('/'))
            });
        }
        files.seal();
        files
    }

    /// The input that says this: stretches of zeros are left out.
    pub fn input(&self) -> Vec<u8> {
        const GAP: usize = 32;
        let mut input = vec![self.plan.seal, self.plan.change];
        for (name, bytes) in &self.all {
            let mut piece = |from: usize, to: usize| {
                input.push(name.len() as u8);
                input.extend_from_slice(name.as_bytes());
                input.extend_from_slice(&from.to_le_bytes()[..3]);
                input.extend_from_slice(&(to - from).to_le_bytes()[..2]);
                input.extend_from_slice(&bytes[from..to]);
            };
            let set = |at: &usize| bytes[*at] != 0;
            let mut at = (0..bytes.len()).find(set).unwrap_or(bytes.len());
            // Without any byte, or with zeros at its end, it still has its length.
            if at == bytes.len() || bytes.ends_with(&[0]) {
                piece(bytes.len(), bytes.len());
            }
            while at < bytes.len() {
                let zeros = |from: &usize| {
                    let to = (from + GAP).min(bytes.len());
                    bytes[*from..to].iter().all(|&byte| byte == 0)
                };
                let end = (at..bytes.len()).find(zeros).unwrap_or(bytes.len());
                piece(at, end);
                at = (end..bytes.len()).find(set).unwrap_or(bytes.len());
            }
        }
        input
    }

    fn seal(&mut self) {
        let plan = self.plan;
        if plan.seals(Plan::SUMS) {
            self.rename_sums();
            if let Some(metadata) = self.all.get_mut(METADATA) {
                seal::metadata(metadata);
            }
        }
        if let Some(journal) = self.all.get_mut(JOURNAL) {
            if plan.seals(Plan::SUMS) {
                seal::headers(journal, plan.seals(Plan::BOOT).then(boot_hash));
            }
            if plan.seals(Plan::RECORDS) {
                seal::records(journal);
            }
            if plan.seals(Plan::HINTS) {
                seal::hints(journal);
            }
        }
    }

    /// Gives every file of block sums the name that its contents ask for, also in the metadata.
    fn rename_sums(&mut self) {
        let names: Vec<String> = self.all.keys().cloned().collect();
        for name in names {
            let old = name
                .strip_prefix(".npk/")
                .and_then(store_files::parse_sums_file);
            let (Some(old), Some(bytes)) = (old, self.all.remove(&name)) else {
                continue;
            };
            let hash = SumsFile::hash(&bytes);
            self.all
                .insert(format!(".npk/{}", store_files::sums_file(hash)), bytes);
            if let Some(metadata) = self.all.get_mut(METADATA) {
                let old = old.to_le_bytes();
                if let Some(at) = metadata.windows(8).rposition(|bytes| bytes == old) {
                    metadata[at..at + 8].copy_from_slice(&hash.to_le_bytes());
                }
            }
        }
    }

    /// The files in a new file system in memory.
    pub fn in_memory(&self) -> MemoryFs {
        let fs = MemoryFs::default();
        let written = fs
            .open_dir(Path::new(PATH), true)
            .and_then(|dir| self.write(&*dir));
        written.expect("files in memory can be written");
        fs
    }

    /// Writes the files to an empty directory.
    pub fn write(&self, dir: &dyn Dir) -> io::Result<()> {
        for (name, bytes) in &self.all {
            if let Some((parent, _)) = name.split_once('/')
                && dir.stat(parent).is_err()
            {
                dir.make_dir(parent)?;
            }
            let file = dir.open(name, Open::CreateNew)?;
            write_all_at(&*file, bytes, 0)?;
        }
        if !self.plan.seals(Plan::INODES) {
            return Ok(());
        }
        let Some(Ok(mut metadata)) = self.all.get(METADATA).map(|bytes| Metadata::decode(bytes))
        else {
            return Ok(());
        };
        if let Some(trailer) = &mut metadata.trailer {
            for (array, known) in metadata.arrays.iter().zip(&mut trailer.entries) {
                if let Ok(stat) = dir.stat(&array.data_file()) {
                    (known.data_ino, known.data_mtime_ns) = (stat.ino, stat.mtime_ns);
                }
            }
        }
        let bytes = metadata.encode();
        let file = dir.open(METADATA, Open::Write)?;
        file.set_len(bytes.len() as u64)?;
        write_all_at(&*file, &bytes, 0)
    }

    /// What lies in a directory: its files and those one level below.
    pub fn read(dir: &dyn Dir) -> io::Result<Self> {
        let mut files = Self::default();
        for name in dir.list("")? {
            if dir.stat(&name)?.is_file {
                files.read_one(dir, name)?;
                continue;
            }
            for below in dir.list(&name)? {
                files.read_one(dir, format!("{name}/{below}"))?;
            }
        }
        Ok(files)
    }

    fn read_one(&mut self, dir: &dyn Dir, name: String) -> io::Result<()> {
        let file = dir.open(&name, Open::Read)?;
        let mut bytes = vec![0; file.stat()?.len as usize];
        read_exact_at(&*file, &mut bytes, 0)?;
        self.all.insert(name, bytes);
        Ok(())
    }
}

/// A name that is a file of the directory or of one below it, whatever the file system.
fn plain(name: &[u8]) -> Option<&str> {
    let name = std::str::from_utf8(name).ok()?;
    let component = |part: &str| !matches!(part, "" | ".");
    let outside = name.contains("..") || name.contains('\0');
    (!outside && name.split('/').count() <= 2 && name.split('/').all(component)).then_some(name)
}

/// A number in the first `len` bytes, or in those that are left.
fn take(bytes: &[u8], len: usize) -> (usize, &[u8]) {
    let (number, rest) = bytes.split_at(bytes.len().min(len));
    let value = number
        .iter()
        .rev()
        .fold(0, |value, &byte| value << 8 | usize::from(byte));
    (value, rest)
}

/// What the engine writes into a header in this run of the machine.
fn boot_hash() -> u64 {
    static HASH: OnceLock<u64> = OnceLock::new();
    *HASH.get_or_init(|| {
        let fs = MemoryFs::default();
        let options = Options::default().with_mode(Mode::Append);
        let store = Store::open_on(Arc::new(fs.clone()), Path::new(PATH), &options);
        let store = store.expect("a new store can be made");
        let dir = fs
            .open_dir(Path::new(PATH), false)
            .expect("the store is there");
        let files = Files::read(&*dir).expect("its files can be read");
        drop(store);
        let probe = files
            .all
            .get(JOURNAL)
            .map(|journal| &journal[..journal.len().min(PROBE_LEN)]);
        let header = probe.and_then(Header::newest);
        header.map_or(0, |(_, header)| header.boot_hash)
    })
}
