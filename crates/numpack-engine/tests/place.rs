//! Whole stores: moved, removed; and rows that are appended in pieces.

use std::fs;

use numpack_engine::{Error, Options, Result, RowSource, Store};

use crate::kit::{bytes, save};

fn store(path: &std::path::Path) -> Store {
    let store = Store::open(path, &Options::default()).unwrap();
    save(&store, "a", &[3], &[1, 2, 3]).unwrap();
    store
}

#[test]
fn a_store_goes_with_its_directory_and_views_stay() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.npk");
    let open = store(&path);
    let view = open.array("a").unwrap();
    Store::remove(&path, &Options::default()).unwrap();
    assert!(!path.exists());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    assert_eq!(&*view.contiguous().unwrap(), [1, 2, 3]);
    open.close().unwrap();
    let error = Store::remove(&path, &Options::default()).unwrap_err();
    assert!(matches!(error, Error::NoStore { .. }), "{error}");
}

#[test]
fn a_directory_with_anything_else_stays() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.npk");
    store(&path).close().unwrap();
    fs::write(path.join("notes.txt"), "mine").unwrap();
    let error = Store::remove(&path, &Options::default()).unwrap_err();
    assert!(matches!(error, Error::NotAStore { .. }), "{error}");
    let again = Store::open(&path, &Options::default()).unwrap();
    assert_eq!(&*again.array("a").unwrap().contiguous().unwrap(), [1, 2, 3]);
}

#[test]
fn a_store_is_made_full_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.npk");
    let full = |store: &Store| save(store, "a", &[3], &[1, 2, 3]).map(|_| path.exists());
    let failed: Result<()> = Store::make(&path, &Options::default(), |store| {
        full(store)?;
        Err(Error::InvalidArgument("no more".to_owned()))
    });
    assert!(failed.unwrap_err().to_string().contains("no more"));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    let died = std::panic::catch_unwind(|| {
        Store::make(&path, &Options::default(), |store| {
            full(store)?;
            panic!("while it is filled");
            #[expect(unreachable_code, reason = "says what the closure gives")]
            Ok::<(), Error>(())
        })
    });
    assert!(died.is_err());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    let was_there_before = Store::make(&path, &Options::default(), full).unwrap();
    assert!(!was_there_before);
    let error = Store::make(&path, &Options::default(), full).unwrap_err();
    assert!(matches!(error, Error::PathExists { .. }), "{error}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    let made = Store::open(&path, &Options::default()).unwrap();
    assert_eq!(&*made.array("a").unwrap().contiguous().unwrap(), [1, 2, 3]);
}

/// Rows in pieces of these lengths, counted up from 0.
struct Pieces(Vec<usize>);

impl RowSource for Pieces {
    fn write_to(&mut self, sink: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let mut next = 0_u8;
        for &len in &self.0 {
            let piece: Vec<u8> = (0..len).map(|i| next.wrapping_add(i as u8)).collect();
            next = next.wrapping_add(len as u8);
            sink(&piece)?;
        }
        Ok(())
    }
}

#[test]
fn rows_in_pieces_are_the_rows_in_one() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir.path().join("s.npk"));
    let mut pieces = Pieces(vec![1, 0, 299, 400]);
    let mut change = store.begin().unwrap();
    change
        .append_from("a", &bytes(&[700]), &mut pieces)
        .unwrap();
    change.append("a", &bytes(&[1]), &[9]).unwrap();
    change.commit().unwrap();
    let mut expected = vec![1, 2, 3];
    expected.extend((0..700_usize).map(|i| i as u8));
    expected.push(9);
    assert_eq!(&*store.array("a").unwrap().contiguous().unwrap(), expected);
    // The hash of the pieces is the one that a check of the files finds.
    store.checkpoint().unwrap();
    drop(store);
    let again = Store::open(&dir.path().join("s.npk"), &Options::default()).unwrap();
    assert_eq!(&*again.array("a").unwrap().contiguous().unwrap(), expected);
}

#[test]
fn pieces_of_another_length_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir.path().join("s.npk"));
    for (lengths, which) in [(vec![2, 1], "fewer"), (vec![4, 1], "more")] {
        let mut pieces = Pieces(lengths);
        let mut change = store.begin().unwrap();
        change.append_from("a", &bytes(&[4]), &mut pieces).unwrap();
        let error = change.commit().unwrap_err().to_string();
        assert_eq!(
            error,
            format!("array \"a\": {which} than the expected 4 bytes of rows")
        );
        assert_eq!(&*store.array("a").unwrap().contiguous().unwrap(), [1, 2, 3]);
    }
}
