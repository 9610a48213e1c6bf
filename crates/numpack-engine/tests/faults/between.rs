//! Another process commits between any two calls that a reader makes.

use std::path::Path;
use std::sync::Arc;

use numpack_engine::{Mode, Options, Selection, Store, View};

use super::faulty::FaultyFs;
use crate::disk::{Disk, Image};
use crate::kit::{PATH, bytes};

/// Whatever a reader is about when another process commits, it sees all of the commit or nothing, and what
/// it looks at next has it.
#[test]
fn a_commit_between_any_two_calls_of_a_reader_is_seen() {
    let write = |store: &Store, value: u8, put: bool| {
        let rows = [value; 100];
        let mut both = store.begin().unwrap();
        for name in ["x", "y"] {
            let shape = bytes(&[100]);
            if put {
                both.put(name, &shape, &mut &rows[..]).unwrap();
            } else {
                both.replace(name, Selection::All, &shape, &rows).unwrap();
            }
        }
        both.commit().unwrap();
    };
    let look = |store: &Store| {
        let snapshot = store.snapshot(&["x", "y"]).unwrap();
        let rows: Vec<View> = (snapshot.arrays().iter())
            .map(|array| array.contiguous().unwrap())
            .collect();
        assert!(rows.iter().all(|rows| **rows == [rows[0]; 100]));
        assert_eq!(rows[0][0], rows[1][0], "two moments");
        rows[0][0]
    };
    // Whether the reader has to read everything anew; whether whole arrays are saved; whether a checkpoint
    // comes with it.
    for kind in 0..8_u8 {
        let [anew, put, checkpoint] = [1, 2, 4].map(|bit| kind & bit != 0);
        let mut calls = 0;
        loop {
            let disk = Disk::new(&Image::default());
            let process = || {
                Store::open_on(
                    Arc::new(disk.process()),
                    Path::new(PATH),
                    &Options::default(),
                )
                .unwrap()
            };
            let (writer, other) = (process(), Arc::new(process()));
            write(&writer, 1, true);
            let fs = FaultyFs::new(Arc::new(disk.process()));
            let options = Options::default().with_mode(Mode::Read);
            let reader = Store::open_on(Arc::new(fs.clone()), Path::new(PATH), &options).unwrap();
            assert_eq!(look(&reader), 1);
            if anew {
                writer.checkpoint().unwrap();
            }
            write(&writer, 2, put);
            let (happens, happened) = std::sync::mpsc::channel();
            let busy = Arc::clone(&other);
            fs.interleave(calls, move || {
                write(&busy, 3, put);
                if checkpoint {
                    busy.checkpoint().unwrap();
                }
                happens.send(()).unwrap();
            });
            let seen = look(&reader);
            if happened.try_recv().is_err() {
                assert_eq!(seen, 2);
                break;
            }
            assert!((2..=3).contains(&seen));
            assert_eq!(look(&reader), 3, "{kind}, before call {calls}");
            calls += 1;
        }
        assert!(calls > 5, "{kind}: {calls}");
    }
}
