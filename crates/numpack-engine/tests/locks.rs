//! One writer at a time, conflicts, and threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use numpack_engine::fs::{Fs as _, Lock, MemoryFs, Open};
use numpack_engine::{Error, Mode, Options, Snapshot, Store};

use crate::kit::{PATH, append, bytes, mode, open, read, rows, save, try_open};
use crate::processes::{open_elsewhere, open_overtaken};

#[test]
fn a_held_lock_times_out_with_its_holder() {
    let fs = MemoryFs::default();
    let options = Options::default().with_lock_timeout(Duration::from_millis(20));
    let store = try_open(&fs, &options).unwrap();
    let dir = fs.open_dir(std::path::Path::new(PATH), false).unwrap();
    let lock = dir.open(".npk/LOCK", Open::Write).unwrap();
    assert!(lock.try_lock(Lock::Exclusive).unwrap());
    let error = save(&store, "a", &[1], &[1]).unwrap_err();
    assert!(matches!(error, Error::Busy { .. }), "{error}");
    assert!(error.to_string().contains("held by"), "{error}");
    assert!(store.names().unwrap().is_empty(), "readers do not wait");
    lock.unlock().unwrap();
    save(&store, "a", &[1], &[1]).unwrap();
}

#[test]
fn an_interrupted_wait_ends() {
    let fs = MemoryFs::default();
    let store = try_open(&fs, &Options::default().with_interrupt(Arc::new(|| true))).unwrap();
    let dir = fs.open_dir(std::path::Path::new(PATH), false).unwrap();
    let lock = dir.open(".npk/LOCK", Open::Write).unwrap();
    assert!(lock.try_lock(Lock::Exclusive).unwrap());
    assert!(matches!(
        save(&store, "a", &[1], &[1]),
        Err(Error::Interrupted)
    ));
}

#[test]
fn a_transaction_on_a_moved_array_conflicts_and_writes_nothing() {
    let fs = MemoryFs::default();
    let (one, two) = (open(&fs), open(&fs));
    save(&one, "a", &[2, 2], &rows(2, 2, 1)).unwrap();
    save(&one, "b", &[2, 2], &rows(2, 2, 2)).unwrap();
    let base = one.snapshot(&["a"]).unwrap();
    save(&two, "b", &[1, 2], &[1, 1]).unwrap();
    let mut t = one.begin_at(&base).unwrap();
    t.append("a", &bytes(&[1, 2]), &[7, 7]).unwrap();
    t.commit()
        .expect("another array changed, which was not read");
    let mut t = one.begin_at(&base).unwrap();
    t.put("c", &bytes(&[1]), &mut &[1][..]).unwrap();
    assert!(matches!(t.commit(), Err(Error::Conflict { name }) if name == "a"));
    assert!(!one.contains("c").unwrap());
    let parts: Snapshot = [one.array("a").unwrap(), one.array("b").unwrap()]
        .into_iter()
        .collect();
    save(&two, "b", &[1, 2], &[2, 2]).unwrap();
    let mut t = two.begin_at(&parts).unwrap();
    t.drop_array("a").unwrap();
    assert!(matches!(t.commit(), Err(Error::Conflict { name }) if name == "b"));
    let stale = parts.get("b").unwrap().clone();
    let mut t = two.begin().unwrap();
    t.update(&stale, &[0, 0]).unwrap();
    assert!(matches!(t.commit(), Err(Error::Conflict { .. })));
}

/// Large enough for the files of replaced generations to be used again.
const LEN: usize = 100_000;

/// Appenders, savers and readers at once, each on handles of its own: no append is lost, and every
/// snapshot of two arrays shows one commit.
#[test]
fn threads_do_not_lose_or_mix() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.npk");
    let store = Store::open(&path, &Options::default()).unwrap();
    save(&store, "log", &[0, 2], &[]).unwrap();
    save(&store, "x", &[LEN as u64], &vec![0; LEN]).unwrap();
    save(&store, "y", &[LEN as u64], &vec![0; LEN]).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..3_u8 {
            let path = &path;
            scope.spawn(move || {
                let store = Store::open(path, &Options::default()).unwrap();
                for i in 0..60_u8 {
                    append(&store, "log", &[1, 2], &[thread, i]).unwrap();
                    let mut t = store.begin().unwrap();
                    let value = vec![thread.wrapping_mul(60).wrapping_add(i); LEN];
                    t.put("x", &bytes(&[LEN as u64]), &mut &value[..]).unwrap();
                    t.put("y", &bytes(&[LEN as u64]), &mut &value[..]).unwrap();
                    t.commit().unwrap();
                }
            });
        }
        scope.spawn(|| {
            for _ in 0..300 {
                let both = store.snapshot(&["x", "y"]).unwrap();
                let [x, y] = ["x", "y"].map(|name| both.get(name).unwrap().contiguous().unwrap());
                assert_eq!(*x, *y, "two arrays of one commit");
                assert!(x.iter().all(|b| *b == x[0]), "one commit");
            }
        });
    });
    let log = read(&store, "log");
    for thread in 0..3_u8 {
        let own: Vec<u8> = log
            .chunks(2)
            .filter(|row| row[0] == thread)
            .map(|row| row[1])
            .collect();
        assert_eq!(
            own,
            (0..60).collect::<Vec<u8>>(),
            "appends of one thread, in order"
        );
    }
    store.close().unwrap();
    assert_eq!(
        read(&Store::open(&path, &Options::default()).unwrap(), "log"),
        log
    );
}

/// A lock that is held over several commits: this thread and its other handles go through, others wait
/// with their commits and read all the same.
#[test]
fn a_kept_lock_is_for_its_thread_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.npk");
    let short = Options::default().with_lock_timeout(Duration::from_millis(30));
    let store = Store::open(&path, &short).unwrap();
    let beside = Store::open(&path, &short).unwrap();
    let elsewhere = open_elsewhere(&path, &short);
    save(&store, "a", &[1], &[1]).unwrap();
    let others_wait = |holder: &str| {
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| {
                let error = save(&store, "b", &[1], &[1]).unwrap_err().to_string();
                (error, read(&store, "a"))
            });
            let (error, seen) = waits.join().unwrap();
            assert!(error.contains("another thread of this process"), "{error}");
            assert_eq!(seen, read(&store, "a"));
        });
        let error = save(&elsewhere, "b", &[1], &[1]).unwrap_err().to_string();
        assert!(error.contains(holder), "{error}");
        assert_eq!(read(&elsewhere, "a"), read(&store, "a"));
    };
    let holder = format!("process {}", std::process::id());
    let outer = store.locked().unwrap();
    save(&store, "a", &[1], &[2]).unwrap();
    others_wait(&holder);
    let inner = beside.locked().unwrap();
    save(&beside, "a", &[1], &[3]).unwrap();
    drop(outer);
    others_wait(&holder);
    store.checkpoint().unwrap();
    append(&store, "a", &[1], &[4]).unwrap();
    others_wait(&holder);
    drop(inner);
    save(&elsewhere, "b", &[1], &[5]).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| save(&store, "b", &[1], &[6]).unwrap());
    });
    assert_eq!(
        (read(&store, "a"), read(&store, "b")),
        (vec![3, 4], vec![6])
    );
}

/// Threads that read, add one and write: with the lock nothing is lost.
#[test]
fn a_kept_lock_makes_reading_and_writing_one() {
    let fs = MemoryFs::default();
    let store = open(&fs);
    save(&store, "a", &[1], &[0]).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let store = open(&fs);
            scope.spawn(move || {
                for _ in 0..50 {
                    let lock = store.locked().unwrap();
                    let next = read(&store, "a")[0] + 1;
                    save(&store, "a", &[1], &[next]).unwrap();
                    drop(lock);
                }
            });
        }
    });
    assert_eq!(read(&store, "a"), [200]);
}

/// Another thread may drop the guard; a closed handle keeps its lock.
#[test]
fn a_kept_lock_goes_with_its_guard() {
    let fs = MemoryFs::default();
    let short = Options::default().with_lock_timeout(Duration::from_millis(20));
    let (store, other) = (
        try_open(&fs, &short).unwrap(),
        try_open(&fs, &short).unwrap(),
    );
    let lock = store.locked().unwrap();
    store.close().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| assert!(matches!(other.locked(), Err(Error::Busy { .. }))));
    });
    std::thread::scope(|scope| {
        scope.spawn(move || drop(lock));
    });
    std::thread::scope(|scope| {
        scope.spawn(|| drop(other.locked().unwrap()));
    });
    let reader = try_open(&fs, &mode(Mode::Read)).unwrap();
    assert!(matches!(reader.locked(), Err(Error::ReadOnly { .. })));
    assert!(matches!(store.locked(), Err(Error::Closed { .. })));
}

struct Ended<'a>(&'a AtomicUsize);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// A reader that is overtaken all the time does not wait for a lock that is kept.
#[test]
fn reading_does_not_wait_for_a_kept_lock() {
    const ARRAYS: usize = 40;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.npk");
    let writer = Store::open(&path, &Options::default()).unwrap();
    for i in 0..ARRAYS {
        save(&writer, &format!("a{i}"), &[9], &[0; 9]).unwrap();
    }
    let done = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let lock = writer.locked().unwrap();
        let impatient = Options::default().with_lock_timeout(Duration::from_millis(1));
        for _ in 0..2 {
            let store = open_elsewhere(&path, &impatient);
            let done = &done;
            scope.spawn(move || {
                // Also when it panics, lest the writer go on for ever.
                let _at_the_end = Ended(done);
                for _ in 0..50 {
                    let all = store.snapshot_all().unwrap();
                    assert_eq!(all.arrays().len(), ARRAYS);
                }
            });
        }
        for value in (0..=255).cycle() {
            if done.load(Ordering::SeqCst) == 2 {
                break;
            }
            save(&writer, "a0", &[9], &[value; 9]).unwrap();
        }
        drop(lock);
    });
}

/// One who opens a store reads its records, and then looks for the files that they name: these are gone
/// every time where another one commits as often.
#[test]
fn opening_does_not_fail_beside_a_writer_at_work() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.npk");
    let create = || Store::open(&path, &Options::default()).unwrap();
    save(&create(), "a", &[9], &[0; 9]).unwrap();
    let writer = create();
    save(&writer, "a", &[9], &[1; 9]).unwrap();
    let commits = Arc::new(AtomicUsize::new(0));
    let before = {
        let commits = Arc::clone(&commits);
        Arc::new(move |name: &str| {
            if name.starts_with(".npk/g") {
                // The file of the one before the last is used for the next.
                for value in [2, 3] {
                    save(&writer, "a", &[9], &[value; 9]).unwrap();
                }
                commits.fetch_add(2, Ordering::SeqCst);
            }
        })
    };
    let reader = open_overtaken(before, &path, &mode(Mode::Read)).unwrap();
    assert_eq!(commits.load(Ordering::SeqCst), 2, "once is enough");
    assert_eq!(read(&reader, "a"), [3; 9]);
}
