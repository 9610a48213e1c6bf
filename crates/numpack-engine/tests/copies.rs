//! Copies of arrays in other stores, and of whole stores in use.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use numpack_engine::{Error, Mode, Options, Selection, Store};
use numpack_format::{ArrayMeta, DType};

use crate::kit::{OnDrop, bytes, delete, mode, names, read, replace, rows, save};
use crate::processes::open_elsewhere;

fn open(path: &Path) -> Store {
    Store::open(path, &Options::default()).unwrap()
}

/// A store with everything that can be in the way of a plain copy: deleted rows, pending rows, no rows,
/// no axis, a name that is escaped, attributes.
fn rich(path: &Path) -> Store {
    let store = open(path);
    save(&store, "whole", &[500, 40], &rows(500, 40, 1)).unwrap();
    save(&store, "deleted", &[500, 40], &rows(500, 40, 2)).unwrap();
    save(&store, "pending", &[500, 40], &rows(500, 40, 3)).unwrap();
    save(&store, "empty", &[0, 3], &[]).unwrap();
    save(&store, "x/y", &[3], &[7, 8, 9]).unwrap();
    let mut t = store.begin().unwrap();
    t.put(
        "one",
        &ArrayMeta::new(DType::UInt8, &[]).unwrap(),
        &mut &[5][..],
    )
    .unwrap();
    t.create("zeros", &bytes(&[100, 4096])).unwrap();
    t.set_attrs(Some("whole"), r#"{"unit":"m"}"#).unwrap();
    t.set_attrs(None, r#"{"of":"all"}"#).unwrap();
    t.commit().unwrap();
    store.checkpoint().unwrap();
    delete(&store, "deleted", Selection::Rows(vec![0, 3, 499])).unwrap();
    replace(
        &store,
        "pending",
        Selection::Rows(vec![1, 400]),
        &[2, 40],
        &[255; 80],
    )
    .unwrap();
    store
}

fn same(one: &Store, two: &Store) {
    assert_eq!(names(one), names(two));
    for name in names(one) {
        assert_eq!(
            one.info(&name).unwrap().shape,
            two.info(&name).unwrap().shape,
            "{name}"
        );
        assert_eq!(read(one, &name), read(two, &name), "{name}");
        assert_eq!(
            one.array_attrs(&name).unwrap(),
            two.array_attrs(&name).unwrap(),
            "{name}"
        );
    }
}

#[test]
fn arrays_are_copied_as_one_commit() {
    let dir = tempfile::tempdir().unwrap();
    let store = rich(&dir.path().join("s.npk"));
    let other = open(&dir.path().join("t.npk"));
    let records = other.stats().unwrap().lsn;
    store.copy_to(&other, None, false).unwrap();
    same(&store, &other);
    assert!(other.attrs().unwrap().is_empty(), "those of the store stay");
    assert_eq!(other.info("deleted").unwrap().deleted, 0);
    assert!(other.stats().unwrap().lsn > records);

    // One that is there keeps all from coming.
    other
        .begin()
        .and_then(|mut t| t.drop_array("empty").and_then(|()| t.commit()))
        .unwrap();
    let before = names(&other);
    let error = store
        .copy_to(&other, Some(&["empty", "whole"]), false)
        .unwrap_err();
    assert!(matches!(error, Error::AlreadyExists { name } if name == "whole"));
    assert_eq!(names(&other), before);
    delete(&store, "whole", Selection::Row(7)).unwrap();
    store
        .begin()
        .and_then(|mut t| t.set_attrs(Some("whole"), "{}").and_then(|()| t.commit()))
        .unwrap();
    store
        .copy_to(&other, Some(&["empty", "whole", "whole"]), true)
        .unwrap();
    assert_eq!(read(&other, "whole"), read(&store, "whole"));
    assert!(other.array_attrs("whole").unwrap().is_empty());
    assert!(matches!(
        store.copy_to(&other, Some(&["?"]), true),
        Err(Error::NotFound { .. })
    ));
    let itself = store
        .copy_to(&open(store.path()), None, true)
        .unwrap_err()
        .to_string();
    assert!(itself.contains("is of this store"), "{itself}");
    let reader = Store::open(other.path(), &mode(Mode::Read)).unwrap();
    assert!(matches!(
        store.copy_to(&reader, None, true),
        Err(Error::ReadOnly { .. })
    ));
    reader
        .copy_to(&open(&dir.path().join("u.npk")), None, false)
        .unwrap();
}

/// What comes into being after the copy looked and before it commits is not overwritten.
#[test]
fn a_name_that_is_taken_meanwhile_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("s.npk"));
    let other = dir.path().join("t.npk");
    save(&store, "a", &[3], &[1, 2, 3]).unwrap();
    let elsewhere = open(&other);
    let saved = AtomicBool::new(false);
    let (saved, path) = (Arc::new(saved), other.clone());
    // Asked while the rows are on their way.
    let interrupt = move || {
        if !saved.swap(true, Ordering::SeqCst) {
            save(&open_elsewhere(&path, &Options::default()), "a", &[1], &[9]).unwrap();
        }
        false
    };
    let options = Options::default().with_interrupt(Arc::new(interrupt));
    let target = Store::open(&other, &options).unwrap();
    let error = store.copy_to(&target, None, false).unwrap_err();
    assert!(matches!(error, Error::AlreadyExists { name } if name == "a"));
    assert_eq!(read(&elsewhere, "a"), [9]);
}

#[test]
fn a_backup_is_a_closed_store() {
    let dir = tempfile::tempdir().unwrap();
    let store = rich(&dir.path().join("s.npk"));
    let path = dir.path().join("backups").join("b.npk");
    store.backup(&path).unwrap();
    let mut files: Vec<String> = std::fs::read_dir(&path)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    assert_eq!(
        files.len(),
        9,
        "seven arrays, the metadata, and .npk with checksums: {files:?}"
    );
    let backup = Store::open(&path, &mode(Mode::Read)).unwrap();
    same(&store, &backup);
    assert_eq!(backup.attrs().unwrap(), store.attrs().unwrap());
    assert_eq!(backup.stats().unwrap().deleted, 0);
    drop(backup);
    // It is written to, closed and opened as any other.
    let backup = open(&path);
    same(&store, &backup);
    replace(&backup, "pending", Selection::Row(0), &[1, 40], &[9; 40]).unwrap();
    delete(&backup, "whole", Selection::Row(0)).unwrap();
    backup.close().unwrap();
    assert_eq!(open(&path).info("whole").unwrap().shape, [499, 40]);
    assert_eq!(store.info("whole").unwrap().shape, [500, 40]);
}

#[test]
fn a_backup_is_made_whole_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let store = rich(&dir.path().join("s.npk"));
    let taken = dir.path().join("taken");
    std::fs::create_dir(&taken).unwrap();
    std::fs::write(dir.path().join("file"), "text").unwrap();
    for name in ["taken", "file", "s.npk"] {
        let error = store.backup(&dir.path().join(name)).unwrap_err();
        assert!(matches!(error, Error::PathExists { .. }), "{error}");
    }
    assert!(matches!(
        store.backup(Path::new("/")),
        Err(Error::InvalidArgument(_))
    ));
    // Interrupted at each of the moments at which it asks.
    let mut interrupted = 0;
    for after in 0.. {
        let asked = AtomicUsize::new(0);
        let interrupt = move || asked.fetch_add(1, Ordering::SeqCst) == after;
        let options = mode(Mode::Read).with_interrupt(Arc::new(interrupt));
        let reader = Store::open(store.path(), &options).unwrap();
        let path = dir.path().join("b.npk");
        match reader.backup(&path) {
            Err(Error::Interrupted) => interrupted += 1,
            result => {
                result.unwrap();
                break;
            }
        }
        assert!(!path.exists());
        assert_eq!(
            std::fs::read_dir(dir.path()).unwrap().count(),
            3,
            "nothing is left"
        );
    }
    assert!(interrupted > 8, "{interrupted}");
}

/// Two arrays of one commit are of one commit in every backup, whoever writes meanwhile.
#[test]
fn a_backup_of_a_store_in_use_is_of_one_moment() {
    const LEN: u64 = 200_000;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.npk");
    let write = |store: &Store, value: u8| {
        let data = vec![value; LEN as usize];
        let mut t = store.begin().unwrap();
        t.put("x", &bytes(&[LEN]), &mut &data[..]).unwrap();
        if value.is_multiple_of(3) {
            t.put("y", &bytes(&[LEN]), &mut &data[..]).unwrap();
        } else {
            t.replace("y", Selection::All, &bytes(&[LEN]), &data)
                .unwrap();
        }
        t.set_attrs(None, &format!("{{\"v\":{value}}}")).unwrap();
        t.commit().unwrap();
    };
    let store = open(&path);
    write(&store, 0);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let finished = OnDrop(|| done.store(true, Ordering::SeqCst));
        scope.spawn(|| {
            let writer = open_elsewhere(&path, &Options::default());
            for value in (1..=255).cycle() {
                if done.load(Ordering::SeqCst) {
                    break;
                }
                write(&writer, value);
                if value.is_multiple_of(16) {
                    writer.checkpoint().unwrap();
                }
            }
        });
        for turn in 0..20 {
            let to = dir.path().join(format!("b{turn}.npk"));
            store.backup(&to).unwrap();
            let backup = open(&to);
            let (x, y) = (read(&backup, "x"), read(&backup, "y"));
            assert!(
                x == y && x.iter().all(|byte| *byte == x[0]),
                "backup {turn}"
            );
            let attrs = backup.attrs().unwrap();
            assert_eq!(attrs.as_str(), format!("{{\"v\":{}}}", x[0]));
        }
        drop(finished);
    });
}
