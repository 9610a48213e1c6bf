//! Arrays in batches, which a thread reads ahead.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use numpack_engine::fs::MemoryFs;
use numpack_engine::{ArraySnapshot, Options, Selection, Store};
use parking_lot::Mutex;

use crate::kit::{PATH, append, delete, replace, rows, save};

const WIDTH: u64 = 40;

/// Rows of two saves, some of them replaced, some deleted.
fn store(deleted: bool) -> Store {
    let fs = Arc::new(MemoryFs::default());
    let store = Store::open_on(fs, Path::new(PATH), &Options::default()).unwrap();
    save(&store, "a", &[20_000, WIDTH], &rows(20_000, WIDTH, 1)).unwrap();
    append(&store, "a", &[5_001, WIDTH], &rows(5_001, WIDTH, 2)).unwrap();
    let some: Vec<i64> = (0..25_000).step_by(7).collect();
    let dims = [some.len() as u64, WIDTH];
    let new = rows(dims[0], WIDTH, 3);
    replace(&store, "a", Selection::Rows(some), &dims, &new).unwrap();
    if deleted {
        let some = (0..25_000).step_by(3).chain(9_000..12_000);
        delete(&store, "a", Selection::Rows(some.collect())).unwrap();
    }
    store
}

fn whole(array: &ArraySnapshot) -> Vec<u8> {
    let mut all = vec![0; array.byte_len()];
    array.read_all(&mut all).unwrap();
    all
}

/// Held by tests that read ahead, of whose threads one test counts its own.
static READING: Mutex<()> = Mutex::new(());

fn threads() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let names = tasks.map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")));
    names
        .filter(|name| name.as_ref().is_ok_and(|name| name == "numpack-batches\n"))
        .count()
}

/// One is not there at once, nor has it its name at once, nor is it gone at once when it has ended.
fn threads_become(count: usize) -> bool {
    let wait = |_: &usize| std::thread::sleep(Duration::from_millis(10));
    (0..1000).inspect(wait).any(|_| threads() == count)
}

#[test]
fn batches_are_the_array_piece_by_piece() {
    let _reading = READING.lock();
    for deleted in [false, true] {
        let array = store(deleted).array("a").unwrap();
        let all = whole(&array);
        // Alone, read ahead, and all at once.
        for step in [0_u64, 1, 7, 1_700, 2_000, 25_001, 1 << 60] {
            let width = usize::try_from(step.max(1).saturating_mul(WIDTH)).unwrap();
            let mut expected = all.chunks(width);
            let mut batches = array.batches(step);
            assert_eq!(batches.size_hint().0, expected.len());
            for batch in batches.by_ref() {
                assert!(
                    batch.unwrap().as_ref() == expected.next().unwrap(),
                    "{step}"
                );
            }
            assert!(batches.next().is_none() && expected.next().is_none());
        }
    }
    assert!(store(false).array("a").unwrap().batches(1).count() == 25_001);
}

#[test]
fn a_thread_reads_ahead_and_ends_with_the_batches() {
    let _reading = READING.lock();
    let array = store(true).array("a").unwrap();
    let all = whole(&array);
    let mut pieces = all.chunks(1_700 * 40);
    let mut batches = array.batches(1_700);
    for at in 0..4 {
        let batch = batches.next().unwrap().unwrap();
        assert!(batch.as_ref() == pieces.next().unwrap());
        assert!(threads_become(usize::from(at > 0)), "after {at}");
    }
    let moved = std::thread::spawn(move || batches.next().unwrap().unwrap().as_ref().to_vec());
    assert!(moved.join().unwrap() == pieces.next().unwrap());
    assert!(threads_become(0));
}

#[test]
fn arrays_without_rows_or_bytes_have_batches_too() {
    let store = store(false);
    save(&store, "none", &[0, WIDTH], &[]).unwrap();
    save(&store, "empty", &[5, 0], &[]).unwrap();
    save(&store, "scalar", &[], &[7]).unwrap();
    let lengths = |name: &str| -> Vec<usize> {
        let batches = store.array(name).unwrap().batches(2);
        batches.map(|b| b.unwrap().as_ref().len()).collect()
    };
    assert!(lengths("none").is_empty());
    assert_eq!(lengths("empty"), [0, 0, 0]);
    assert_eq!(lengths("scalar"), [1]);
}
