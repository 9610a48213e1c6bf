//! What an operation costs, counted: calls to the file system, flushes, bytes written. None of it
//! depends on the size of the array or on the number of arrays.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex};

use numpack_engine::fs::{Dir, File, Fs, Lock, MemoryFs, Open, RealFs, Stat};
use numpack_engine::{Durability, Limits, Mapping, Options, PrivateMapping, Selection, Store};

use crate::kit::{PATH, append, bytes, delete, replace};
use crate::processes::open_elsewhere;

#[derive(Clone, Debug, Default)]
struct Counts(Arc<Mutex<BTreeMap<&'static str, u64>>>);

impl Counts {
    fn add(&self, call: &'static str, n: u64) {
        *self.0.lock().unwrap().entry(call).or_default() += n;
    }

    fn take(&self) -> BTreeMap<&'static str, u64> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

#[derive(Debug)]
struct CountingFs(Arc<dyn Fs>, Counts);
#[derive(Debug)]
struct CountingDir(Arc<dyn Dir>, Counts);
#[derive(Debug)]
struct CountingFile(Arc<dyn File>, Counts);

impl Fs for CountingFs {
    fn open_dir(&self, path: &Path, create: bool) -> io::Result<Arc<dyn Dir>> {
        let dir = self.0.open_dir(path, create)?;
        Ok(Arc::new(CountingDir(dir, self.1.clone())))
    }
}

impl Dir for CountingDir {
    fn id(&self) -> (u64, u64) {
        self.0.id()
    }
    fn open(&self, name: &str, how: Open) -> io::Result<Arc<dyn File>> {
        self.1.add("open", 1);
        let file = self.0.open(name, how)?;
        Ok(Arc::new(CountingFile(file, self.1.clone())))
    }
    fn stat(&self, name: &str) -> io::Result<Stat> {
        self.1.add("stat", 1);
        self.0.stat(name)
    }
    fn make_dir(&self, name: &str) -> io::Result<()> {
        self.1.add("mkdir", 1);
        self.0.make_dir(name)
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.1.add("rename", 1);
        self.0.rename(from, to)
    }
    fn rename_new(&self, from: &str, to: &str) -> io::Result<()> {
        self.1.add("rename", 1);
        self.0.rename_new(from, to)
    }
    fn link(&self, from: &str, to: &str) -> io::Result<()> {
        self.1.add("link", 1);
        self.0.link(from, to)
    }
    fn unlink(&self, name: &str) -> io::Result<()> {
        self.1.add("unlink", 1);
        self.0.unlink(name)
    }
    fn list(&self, sub: &str) -> io::Result<Vec<String>> {
        self.1.add("list", 1);
        self.0.list(sub)
    }
    fn sync(&self, sub: &str) -> io::Result<()> {
        self.1.add("flush", 1);
        self.0.sync(sub)
    }
    fn sync_all(&self) -> io::Result<()> {
        self.1.add("flush", 1);
        self.0.sync_all()
    }
}

impl File for CountingFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.1.add("read", 1);
        self.0.read_at(buf, offset)
    }
    fn write_at(&self, bufs: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        self.1.add("write", 1);
        let written = self.0.write_at(bufs, offset)?;
        self.1.add("bytes", written as u64);
        Ok(written)
    }
    fn stat(&self) -> io::Result<Stat> {
        self.1.add("stat", 1);
        self.0.stat()
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.1.add("truncate", 1);
        self.0.set_len(len)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.1.add("flush", 1);
        self.0.sync_data()
    }
    fn begin_sync(&self, bytes: Range<u64>) -> io::Result<()> {
        self.1.add("begun", 1);
        self.1.add("begun bytes", bytes.end - bytes.start);
        self.0.begin_sync(bytes)
    }
    fn try_lock(&self, lock: Lock) -> io::Result<bool> {
        self.1.add("lock", 1);
        self.0.try_lock(lock)
    }
    fn unlock(&self) -> io::Result<()> {
        self.1.add("lock", 1);
        self.0.unlock()
    }
    fn map(&self, len: usize) -> io::Result<Mapping> {
        self.1.add("map", 1);
        self.0.map(len)
    }
    fn map_private(&self, len: usize) -> io::Result<PrivateMapping> {
        self.1.add("map", 1);
        self.0.map_private(len)
    }
}

/// A store of `arrays` arrays, the first of which, `a`, has `rows` rows of 8 bytes.
fn store(rows: u64, arrays: usize, level: Durability) -> (Store, Counts) {
    let counts = Counts::default();
    let fs = CountingFs(Arc::new(MemoryFs::default()), counts.clone());
    let options = Options::default().with_durability(level);
    let store = Store::open_on(Arc::new(fs), Path::new(PATH), &options).unwrap();
    let mut all = store.begin().unwrap();
    all.create("a", &bytes(&[rows, 8])).unwrap();
    for i in 1..arrays {
        all.create(&format!("x{i}"), &bytes(&[1])).unwrap();
    }
    all.commit().unwrap();
    store.checkpoint().unwrap();
    // The first of each operation opens files that later ones find open.
    for _ in 0..2 {
        for operation in OPERATIONS {
            (operation.1)(&store);
        }
    }
    counts.take();
    (store, counts)
}

type Operation = (&'static str, fn(&Store));

const TEN: [u8; 80] = [7; 80];

const OPERATIONS: [Operation; 6] = [
    ("append 10 rows", |store| {
        append(store, "a", &[10, 8], &TEN).unwrap();
    }),
    ("replace 10 rows", |store| {
        let rows = Selection::Slice {
            start: Some(5),
            stop: Some(15),
            step: 1,
        };
        replace(store, "a", rows, &[10, 8], &TEN).unwrap();
    }),
    ("replace 10 scattered rows", |store| {
        let rows = (0..10).map(|i| 97 * (9 - i)).collect();
        replace(store, "a", Selection::Rows(rows), &[10, 8], &TEN).unwrap();
    }),
    ("drop a row", |store| {
        delete(store, "a", Selection::Row(0)).unwrap();
    }),
    ("snapshot", |store| {
        assert!(store.array("a").unwrap().rows() > 0);
    }),
    ("names", |store| {
        assert!(!store.names().unwrap().is_empty());
    }),
];

/// Calls of each kind for every operation, in this store.
fn costs(store: &Store, counts: &Counts) -> Vec<(&'static str, BTreeMap<&'static str, u64>)> {
    OPERATIONS
        .iter()
        .map(|(name, operation)| {
            operation(store);
            (*name, counts.take())
        })
        .collect()
}

fn of(call: &str, counts: &BTreeMap<&'static str, u64>) -> u64 {
    counts.get(call).copied().unwrap_or(0)
}

#[test]
fn a_commit_is_seven_calls_and_no_flush() {
    let (store, counts) = store(2000, 1, Durability::Commit);
    for (name, cost) in costs(&store, &counts) {
        assert_eq!(of("flush", &cost), 0, "{name}: {cost:?}");
        let calls: u64 = cost
            .iter()
            .filter(|(call, _)| **call != "bytes")
            .map(|(_, n)| n)
            .sum();
        let expected = match name {
            // The rows, too, go to their file, which is looked at before.
            "append 10 rows" => 9,
            "snapshot" => calls,
            "names" => 1,
            _ => 7,
        };
        assert_eq!(calls, expected, "{name}: {cost:?}");
        let most = match name {
            "replace 10 rows" => 64 + 64 + 128 + 64,
            "replace 10 scattered rows" => 64 + 128 + 128 + 64,
            "append 10 rows" => 80 + 64 + 128 + 64,
            "drop a row" => 64 + 64 + 64,
            _ => 0,
        };
        assert!(of("bytes", &cost) <= most, "{name}: {cost:?}");
    }
}

#[test]
fn nothing_grows_with_the_size_of_the_array_or_the_number_of_arrays() {
    let (one, counts) = store(2000, 1, Durability::Commit);
    let small = costs(&one, &counts);
    let (large, counts) = store(4_000_000, 1, Durability::Commit);
    assert_eq!(small, costs(&large, &counts));
    let (many, counts) = store(2000, 2000, Durability::Commit);
    assert_eq!(small, costs(&many, &counts));
}

#[test]
fn full_flushes_the_journal_once_for_a_replace() {
    let (store, counts) = store(2000, 1, Durability::Full);
    for (name, cost) in costs(&store, &counts) {
        let expected = match name {
            "append 10 rows" => 2,
            "snapshot" | "names" => 0,
            _ => 1,
        };
        assert_eq!(of("flush", &cost), expected, "{name}: {cost:?}");
    }
}

/// The journal is on its way to disk before a fold needs it there.
#[test]
fn a_growing_journal_is_sent_to_disk_piece_by_piece() {
    const PIECE: u64 = 64 << 10;
    for level in [Durability::None, Durability::Commit, Durability::Full] {
        let counts = Counts::default();
        let fs = CountingFs(Arc::new(MemoryFs::default()), counts.clone());
        let mut limits = Limits::default();
        limits.journal = 16 * PIECE;
        let options = Options::default()
            .with_limits(limits)
            .with_durability(level);
        let store = Store::open_on(Arc::new(fs), Path::new(PATH), &options).unwrap();
        let mut save = store.begin().unwrap();
        save.create("a", &bytes(&[1000, 8])).unwrap();
        save.commit().unwrap();
        store.checkpoint().unwrap();
        counts.take();
        let replace_ten = OPERATIONS[1].1;
        (0..1000).for_each(|_| replace_ten(&store));
        let cost = counts.take();
        let (begun, sent) = (of("begun", &cost), of("begun bytes", &cost));
        if level == Durability::Commit {
            assert!((2..=4).contains(&begun), "{cost:?}");
            // Without the head, which every commit writes to.
            assert_eq!(sent, begun * PIECE - 4096);
        } else {
            assert_eq!((begun, sent), (0, 0), "{level}");
        }
    }
}

/// A quarter of a million rows in the journal are folded, which takes a flush, unless it would be for nothing.
#[test]
fn very_many_rows_are_flushed_once_and_folded_unless_somebody_looks() {
    const ROWS: u64 = 300_000;
    let replace_many = |store: &Store| {
        for first in 0..3 {
            let rows: Vec<i64> = (0..90_000).map(|i| 3 * i + first).collect();
            replace(
                store,
                "a",
                Selection::Rows(rows),
                &[90_000, 8],
                &vec![9; 720_000],
            )
            .unwrap();
        }
    };
    for looks in [false, true] {
        let (store, counts) = store(ROWS, 1, Durability::Commit);
        store.checkpoint().unwrap();
        let view = looks.then(|| store.array("a").unwrap());
        counts.take();
        replace_many(&store);
        assert_eq!(of("flush", &counts.take()), 0);
        let replace_ten = OPERATIONS[1].1;
        replace_ten(&store);
        assert_eq!(of("flush", &counts.take()), u64::from(!looks), "{looks}");
        replace_ten(&store);
        assert_eq!(of("flush", &counts.take()), 0, "{looks}");
        drop(view);
    }
    // Where there are so few rows that these were replaced again and again, what counts is what they are now.
    let (store, counts) = store(1000, 1, Durability::Commit);
    let rows: Vec<i64> = (0..300).map(|i| 3 * i).collect();
    for _ in 0..1000 {
        replace(
            &store,
            "a",
            Selection::Rows(rows.clone()),
            &[300, 8],
            &[9; 2400],
        )
        .unwrap();
    }
    assert_eq!(of("flush", &counts.take()), 0);
}

/// Whoever looks, a replace writes the same.
#[test]
fn a_live_view_costs_a_replace_nothing() {
    let (store, counts) = store(2000, 1, Durability::Commit);
    let before = costs(&store, &counts);
    let view = store.array("a").unwrap();
    let bytes = view.view(0..1).unwrap();
    counts.take();
    let with_view = costs(&store, &counts);
    for ((name, free), (_, held)) in before.iter().zip(&with_view) {
        if *name != "snapshot" {
            assert_eq!(free, held, "{name}");
        }
    }
    drop((view, bytes));
}

/// Whoever loads an array again and again looks at the journal and at nothing else, until another process
/// commits; a moment after the last use the file is free.
#[test]
fn loading_again_is_one_read_until_somebody_else_writes() {
    let temp = tempfile::tempdir().unwrap();
    let counts = Counts::default();
    let fs = CountingFs(Arc::new(RealFs), counts.clone());
    let store = Store::open_on(Arc::new(fs), temp.path(), &Options::default()).unwrap();
    let mut save = store.begin().unwrap();
    save.create("a", &bytes(&[2000, 8])).unwrap();
    save.commit().unwrap();
    let load = || {
        counts.take();
        drop(store.array("a").unwrap());
        counts.take()
    };
    let first = load();
    assert!(of("map", &first) > 0 && of("lock", &first) > 1, "{first:?}");
    let again = |times: u64| {
        let loads: Vec<_> = (0..times).map(|_| load()).collect();
        let sum = |call| loads.iter().map(|counts| of(call, counts)).sum::<u64>();
        assert_eq!(sum("read"), times);
        assert_eq!(sum("map") + sum("open") + sum("stat"), 0);
        sum("lock")
    };
    // Few, since a loaded machine may make a pause between two loads.
    assert!(again(1000) < 100);

    let is_free = || {
        let dir = RealFs.open_dir(temp.path(), false).unwrap();
        let names = dir.list(".npk").unwrap();
        let data = names.iter().find(|name| name.starts_with('g')).unwrap();
        let data = dir.open(&format!(".npk/{data}"), Open::Write).unwrap();
        data.try_lock(Lock::Exclusive).unwrap()
    };
    let start = std::time::Instant::now();
    while !is_free() {
        assert!(
            start.elapsed().as_secs() < 10,
            "the lock is never given back"
        );
        std::thread::sleep(std::time::Duration::from_millis(5));
    }

    // Our own commits do not count.
    replace(&store, "a", Selection::Row(3), &[1, 8], &[7; 8]).unwrap();
    assert!(again(1000) < 100);
    let other = open_elsewhere(temp.path(), &Options::default());
    replace(&other, "a", Selection::Row(3), &[1, 8], &[8; 8]).unwrap();
    load();
    for _ in 0..50 {
        assert_eq!(again(1), 2);
        assert!(is_free());
    }
}
