//! What each mode wants at the path, and what it may do.

use std::time::Duration;

use numpack_engine::fs::{Fs as _, Lock, Open, RealFs};
use numpack_engine::{Error, Mode, Options, Store};

use crate::kit::{append, mode, names, read, save};
use crate::processes::open_on_kind;

fn listing(path: &std::path::Path) -> Vec<(String, std::time::SystemTime, u64)> {
    use std::os::unix::fs::MetadataExt as _;
    let mut all: Vec<_> = std::fs::read_dir(path)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let meta = entry.metadata().unwrap();
            (
                entry.file_name().into_string().unwrap(),
                meta.modified().unwrap(),
                meta.ino(),
            )
        })
        .collect();
    all.sort();
    all
}

#[test]
fn modes_want_what_they_say() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("deep/er/s.npk");
    for existing in [Mode::Read, Mode::ReadWrite] {
        assert!(matches!(
            Store::open(&path, &mode(existing)),
            Err(Error::NoStore { .. })
        ));
        assert!(!dir.path().join("deep").exists(), "nothing is made");
    }
    let store = Store::open(&path, &mode(Mode::Exclusive)).unwrap();
    assert!(matches!(
        Store::open(&path, &mode(Mode::Exclusive)),
        Err(Error::StoreExists { .. })
    ));
    save(&store, "a", &[2], &[1, 2]).unwrap();
    store.close().unwrap();
    assert!(matches!(store.names(), Err(Error::Closed { .. })));
    store.close().unwrap();
    let store = Store::open(&path, &mode(Mode::ReadWrite)).unwrap();
    append(&store, "a", &[1], &[3]).unwrap();
    drop(store);
    let store = Store::open(&path, &mode(Mode::Write)).unwrap();
    assert_eq!(names(&store), Vec::<String>::new());
    drop(store);
    std::fs::write(path.join("notes.txt"), "mine").unwrap();
    let refused = Store::open(&path, &mode(Mode::Write))
        .unwrap_err()
        .to_string();
    assert!(refused.contains("notes.txt"), "{refused}");
    assert_eq!(
        std::fs::read_to_string(path.join("notes.txt")).unwrap(),
        "mine"
    );
    Store::open(&path, &mode(Mode::Append)).unwrap();
}

#[test]
fn a_damaged_store_is_emptied_by_who_has_its_lock() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.npk");
    let store = Store::open(&path, &Options::default()).unwrap();
    save(&store, "a", &[2], &[1, 2]).unwrap();
    store.close().unwrap();
    let metadata = std::fs::read(path.join("metadata.npkm")).unwrap();
    std::fs::write(path.join("metadata.npkm"), "?").unwrap();
    let opened = RealFs.open_dir(&path, false).unwrap();
    let writer = opened.open(".npk/LOCK", Open::Write).unwrap();
    assert!(writer.try_lock(Lock::Exclusive).unwrap());
    let empties = mode(Mode::Write).with_lock_timeout(Duration::ZERO);
    let refused = Store::open(&path, &empties);
    assert!(matches!(refused, Err(Error::Busy { .. })), "{refused:?}");
    // Whoever has the lock may be about to make it whole.
    std::fs::write(path.join("metadata.npkm"), metadata).unwrap();
    let reader = Store::open(&path, &mode(Mode::Read)).unwrap();
    assert_eq!(read(&reader, "a"), [1, 2]);
    drop(reader);
    std::fs::write(path.join("metadata.npkm"), "?").unwrap();
    drop(writer);
    let store = Store::open(&path, &empties).unwrap();
    assert_eq!(names(&store), Vec::<String>::new());
    assert!(!path.join("data_a.npkd").exists());
}

#[test]
fn readers_write_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.npk");
    let store = Store::open(&path, &Options::default()).unwrap();
    save(&store, "a", &[2], &[1, 2]).unwrap();
    store.close().unwrap();
    let before = (listing(&path), listing(&path.join(".npk")));
    for reader in [Mode::Read, Mode::Append, Mode::ReadWrite] {
        let store = Store::open(&path, &mode(reader)).unwrap();
        assert_eq!(read(&store, "a"), [1, 2]);
        if reader == Mode::Read {
            assert!(matches!(
                save(&store, "b", &[1], &[1]),
                Err(Error::ReadOnly { .. })
            ));
            assert!(matches!(store.sync(), Err(Error::ReadOnly { .. })));
        }
        store.close().unwrap();
        assert_eq!(
            (listing(&path), listing(&path.join(".npk"))),
            before,
            "{reader}"
        );
    }
}

#[test]
fn a_store_whose_directory_is_gone_closes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.npk");
    let store = Store::open(&path, &Options::default()).unwrap();
    save(&store, "a", &[2], &[1, 2]).unwrap();
    let kept = store.array("a").unwrap();
    std::fs::remove_dir_all(&path).unwrap();
    assert!(matches!(
        save(&store, "b", &[1], &[1]),
        Err(Error::NoStore { .. } | Error::Io { .. })
    ));
    store.close().unwrap();
    assert!(!path.exists());
    assert_eq!(&*kept.contiguous().unwrap(), [1, 2]);
    let again = Store::open(&path, &Options::default()).unwrap();
    assert_eq!(names(&again), Vec::<String>::new());
}

#[test]
fn a_file_in_the_way_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    std::fs::write(&path, "x").unwrap();
    for making in [Mode::Append, Mode::Write, Mode::Exclusive] {
        assert!(matches!(
            Store::open(&path, &mode(making)),
            Err(Error::Io { .. })
        ));
    }
    for existing in [Mode::Read, Mode::ReadWrite] {
        assert!(matches!(
            Store::open(&path, &mode(existing)),
            Err(Error::NoStore { .. })
        ));
    }
    assert_eq!(std::fs::read(&path).unwrap(), b"x");
}

#[test]
fn a_network_file_system_is_read_and_not_written_to_unless_that_is_allowed() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path();
    Store::open(path, &Options::default()).unwrap();
    let read = Options::default().with_mode(Mode::Read);
    let allowed = Options::default().with_network(true);
    let network = [
        0x6969,
        0x517b,
        0xff53_4d42,
        0xfe53_4d42,
        0x00c3_6400,
        0x0bd0_0bd0,
        0x5346_414f,
        0x6b41_4653,
    ];
    for kind in network.map(Some) {
        for mode in [Mode::Append, Mode::ReadWrite, Mode::Write, Mode::Exclusive] {
            let error = open_on_kind(kind, path, &Options::default().with_mode(mode)).unwrap_err();
            let matches = matches!(&error, Error::NetworkFileSystem { path: at, .. } if at == path);
            assert!(matches, "{error}");
            assert!(
                error.to_string().contains("network file system ("),
                "{error}"
            );
            // Nor does a store that would have been made leave a directory behind.
            let new = path.join("new");
            open_on_kind(
                kind,
                &new.join("s.npk"),
                &Options::default().with_mode(mode),
            )
            .unwrap_err();
            assert!(!new.exists(), "{mode}");
        }
        open_on_kind(kind, path, &read).unwrap();
        open_on_kind(kind, path, &allowed).unwrap();
    }
    // 9P, ext4, btrfs, XFS, tmpfs, overlayfs, FUSE, and where nothing is known.
    let local = [
        0x0102_1997,
        0xef53,
        0x9123_683e,
        0x5846_5342,
        0x0102_1994,
        0x794c_7630,
        0x6573_5546,
    ];
    for kind in local.map(Some).into_iter().chain([None]) {
        open_on_kind(kind, path, &Options::default()).unwrap();
    }
    assert!(RealFs.open_dir(path, false).unwrap().kind().unwrap() > Some(0));
}
