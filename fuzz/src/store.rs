//! What the engine owes to whoever opens a directory of any bytes: it is refused, or it is read the same by
//! everybody, and a change that was committed is there, and no other, when the store is opened again.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use numpack_engine::fs::{Fs, MemoryFs, RealFs};
use numpack_engine::{
    ArraySnapshot, Mode, Options, Result, Selection, Store, dump_journal, repair,
};
use numpack_format::{ArrayMeta, DType};

use super::files::{Files, MOST, PATH};

/// What is done with the bytes of one input.
pub type Body = fn(&[u8]);

/// Every target of this file, by the name of its corpus.
pub const TARGETS: &[(&str, Body)] = &[("store", store), ("directory", directory)];

/// Longest shape whose rows are counted one by one.
const FEW_ROWS: u64 = 1 << 12;

/// Shape and bytes of every array, in member order; no bytes for one that cannot be read.
type Contents = Vec<(String, DType, Vec<u64>, Option<Vec<u8>>)>;

/// A store in memory.
pub fn store(input: &[u8]) {
    let files = Files::of(input);
    let reader = files.in_memory();
    let before = fs_files(&reader);
    let seen = on(&reader, Mode::Read).ok().map(|store| read(&store));
    assert!(fs_files(&reader) == before, "a reader has written");

    let writer = files.in_memory();
    let Ok(store) = on(&writer, Mode::ReadWrite) else {
        return;
    };
    let contents = contents(&store);
    if let Some(seen) = seen {
        assert_same(
            &contents,
            &seen,
            "a writer reads something else than a reader",
        );
    }
    let Some(expected) = change(&store, files.plan.change, contents) else {
        return;
    };
    assert_same(
        &self::contents(&store),
        &expected,
        "the change is not what was asked for",
    );
    assert_same(&read(&store), &expected, "verifying changes what is read");
    if store.close().is_err() {
        return;
    }
    drop(store);
    let again = on(&writer, Mode::Read).map(|store| read(&store));
    match again {
        Ok(again) => assert_same(&again, &expected, "the change is not there any more"),
        Err(error) => assert!(
            expected.iter().any(|array| array.3.is_none()),
            "lost: {error}"
        ),
    }
}

/// A store in a directory, for what only files have: maps, locks, repair, backup.
pub fn directory(input: &[u8]) {
    let files = Files::of(input);
    let home = tempfile::tempdir().expect("there is room for a directory");
    let path = home.path().join(PATH);
    let written = RealFs
        .open_dir(&path, true)
        .and_then(|dir| files.write(&*dir));
    // A name may be longer than the file system likes.
    if written.is_err() {
        return;
    }
    let _dumped = dump_journal(&path).map(|dump| dump.end);
    let seen = Store::open(&path, &options(Mode::Read))
        .ok()
        .map(|store| read(&store));
    let repaired = repair(
        &path,
        &options(Mode::ReadWrite),
        files.plan.change & 128 != 0,
    );
    let Ok(store) = Store::open(&path, &options(Mode::ReadWrite)) else {
        return;
    };
    let contents = read(&store);
    if let (Some(seen), Ok(done)) = (seen, repaired)
        && !done
            .iter()
            .any(|step| step.contains("journal") || step.contains("metadata"))
    {
        assert_same(&contents, &seen, "repairing changes what is read");
    }
    let copy = home.path().join("copy.npk");
    if store.backup(&copy).is_ok() {
        let copy = Store::open(&copy, &options(Mode::Read)).expect("a backup opens");
        let copied = self::contents(&copy);
        assert_eq!(copied.len(), contents.len());
        for (copy, array) in copied.iter().zip(&contents) {
            assert!(
                array.3.is_none() || copy.3 == array.3,
                "{}: the backup differs",
                array.0
            );
        }
    }
    let Some(expected) = change(&store, files.plan.change, contents) else {
        return;
    };
    if store.close().is_err() {
        return;
    }
    if let Ok(store) = Store::open(&path, &options(Mode::Read)) {
        assert_same(&read(&store), &expected, "the change is not there any more");
    }
}

fn options(mode: Mode) -> Options {
    Options::default().with_mode(mode)
}

fn on(fs: &MemoryFs, mode: Mode) -> Result<Store> {
    Store::open_on(Arc::new(fs.clone()), Path::new(PATH), &options(mode))
}

fn fs_files(fs: &MemoryFs) -> BTreeMap<String, Vec<u8>> {
    let dir = fs.open_dir(Path::new(PATH), true);
    dir.and_then(|dir| Files::read(&*dir))
        .map(|files| files.all)
        .unwrap_or_default()
}

/// Asks for all there is to be read, and gives the contents.
fn read(store: &Store) -> Contents {
    let contents = contents(store);
    let _statistics = store.stats().map(|stats| format!("{stats:?}"));
    let _attrs = store.attrs().map(|attrs| attrs.as_str().len());
    for deep in [false, true] {
        if let Ok(report) = store.verify(deep) {
            assert!(!report.to_string().is_empty());
        }
    }
    contents
}

fn contents(store: &Store) -> Contents {
    let Ok(infos) = store.infos() else {
        return Vec::new();
    };
    let mut all = Contents::new();
    let mut missing = false;
    for info in infos {
        // Looking for a file that is not there takes a tenth of a second: once is enough.
        let array = if missing {
            None
        } else {
            Some(store.array(info.name.as_str()))
        };
        missing |= matches!(&array, Some(Err(_)));
        let bytes = array
            .and_then(|array| array.ok())
            .and_then(|array| rows(&array));
        all.push((info.name.to_string(), info.dtype, info.shape, bytes));
    }
    all
}

/// All rows, read in every way that there is.
fn rows(array: &ArraySnapshot) -> Option<Vec<u8>> {
    let len = array.byte_len();
    // The files are no longer than that, and rows are never made up. Segments may share none.
    assert!(len <= 16 * MOST, "{} has {len} bytes", array.name());
    let mut all = vec![0; len];
    array.read_all(&mut all).ok()?;
    if let Ok(view) = array.contiguous() {
        assert!(*view == *all, "{}: a view shows other rows", array.name());
    }
    if let Ok(mut private) = array.private() {
        assert!(
            private.as_mut() == &all[..],
            "{}: a private map shows other rows",
            array.name()
        );
    }
    let count = array.rows();
    let width = array.row_bytes();
    if count > FEW_ROWS || array.ndim() == 0 {
        return Some(all);
    }
    let mut views = Vec::new();
    for run in array.runs() {
        views.extend_from_slice(&array.view(run.range()).ok()?);
    }
    assert!(views == all, "{}: views show other rows", array.name());
    let backwards: Vec<u64> = (0..count).rev().collect();
    let mut gathered = vec![0; len];
    array.gather_rows(&backwards, &mut gathered).ok()?;
    let turned: Vec<u8> = match width {
        0 => Vec::new(),
        width => all.chunks(width).rev().flatten().copied().collect(),
    };
    assert!(gathered == turned, "{}: gathered rows differ", array.name());
    Some(all)
}

/// Makes one change, and says what the store should hold then; `None` if it was refused.
fn change(store: &Store, which: u8, mut contents: Contents) -> Option<Contents> {
    const NEW: &str = "a new one";
    let mut transaction = store.begin().ok()?;
    let first = contents.first().cloned();
    let rows = first
        .as_ref()
        .and_then(|(_, _, shape, _)| shape.first().copied())
        .unwrap_or(0);
    let width = first
        .as_ref()
        .and_then(|array| array.3.as_ref())
        .map_or(0, Vec::len);
    let width = width.checked_div(rows as usize).unwrap_or(0);
    let small = rows > 0 && rows <= FEW_ROWS;
    match (which % 8, first) {
        (1, Some((name, dtype, shape, Some(_)))) if small => {
            let mut one = shape.clone();
            one[0] = 1;
            let (meta, row) = (ArrayMeta::new(dtype, &one).ok()?, vec![7; width]);
            transaction.append(&name, &meta, &row).ok()?;
            transaction.commit().ok()?;
            contents[0].2[0] += 1;
            contents[0].3.as_mut()?.extend(row);
        }
        (2, Some((name, _, _, Some(_)))) if small && rows > 1 => {
            transaction.delete_rows(&name, Selection::Row(0)).ok()?;
            transaction.commit().ok()?;
            contents[0].2[0] -= 1;
            contents[0].3.as_mut()?.drain(..width);
        }
        (3, Some((name, dtype, shape, Some(_)))) if small => {
            let mut one = shape.clone();
            one[0] = 1;
            let (meta, row) = (ArrayMeta::new(dtype, &one).ok()?, vec![9; width]);
            transaction
                .replace(&name, Selection::Row(-1), &meta, &row)
                .ok()?;
            transaction.commit().ok()?;
            let bytes = contents[0].3.as_mut()?;
            let at = bytes.len() - width;
            bytes[at..].copy_from_slice(&row);
        }
        (4, Some((name, ..))) => {
            transaction.drop_array(&name).ok()?;
            transaction.commit().ok()?;
            contents.remove(0);
        }
        (5, Some((name, ..))) => {
            transaction.rename(&name, NEW).ok()?;
            transaction.commit().ok()?;
            contents[0].0 = NEW.to_owned();
        }
        (6, Some((name, ..))) => {
            transaction.compact(&name).ok()?;
            transaction.commit().ok()?;
        }
        _ => {
            transaction.require_absent(NEW).ok()?;
            let meta = ArrayMeta::new(DType::UInt8, &[3]).ok()?;
            transaction.put(NEW, &meta, &mut &[1, 2, 3][..]).ok()?;
            transaction.commit().ok()?;
            contents.push((NEW.to_owned(), DType::UInt8, vec![3], Some(vec![1, 2, 3])));
        }
    }
    Some(contents)
}

/// Arrays that could not be read once may be anything, but they are still there.
fn assert_same(found: &Contents, expected: &Contents, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (found, expected) in found.iter().zip(expected) {
        let described = (&found.0, found.1, &found.2);
        assert_eq!(described, (&expected.0, expected.1, &expected.2), "{what}");
        if let (Some(found), Some(expected)) = (&found.3, &expected.3) {
            assert!(found == expected, "{what}: {}", described.0);
        }
    }
}
