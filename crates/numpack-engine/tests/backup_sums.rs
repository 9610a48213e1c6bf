//! The checksums of backups: all rows have them, and none vouches for damage done before.

use std::fs;
use std::path::Path;

use numpack_engine::{Mode, Options, Report, Selection, Store};

use crate::kit::{append, delete, mode, replace, rows, save};

const ROWS: u64 = 3000;
const WIDTH: u64 = 50;

fn open(path: &Path) -> Store {
    Store::open(path, &Options::default()).unwrap()
}

fn verified(path: &Path) -> Report {
    let store = Store::open(path, &mode(Mode::Read)).unwrap();
    store.verify(true).unwrap()
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 0x20;
    fs::write(path, bytes).unwrap();
}

fn data_len(path: &Path) -> u64 {
    let files = fs::read_dir(path).unwrap().map(|entry| entry.unwrap());
    files
        .filter(|file| file.file_name().to_str().unwrap().starts_with("data_"))
        .map(|file| file.metadata().unwrap().len())
        .sum()
}

/// A closed store with one array of three blocks, the last of them not complete.
fn closed(path: &Path) {
    let store = open(path);
    save(&store, "a", &[ROWS, WIDTH], &rows(ROWS, WIDTH, 3)).unwrap();
    store.close().unwrap();
}

type Way<'a> = (&'a str, &'a dyn Fn(&Store));

/// What may have happened to the array since the store was opened.
const WAYS: [Way<'_>; 6] = [
    ("nothing", &|_| {}),
    ("appended", &|s| {
        append(s, "a", &[ROWS, WIDTH], &rows(ROWS, WIDTH, 4)).unwrap();
    }),
    ("replaced", &|s| {
        for row in [2, -1] {
            replace(s, "a", Selection::Row(row), &[WIDTH], &[9; 50]).unwrap();
        }
    }),
    ("deleted", &|s| {
        delete(s, "a", Selection::Rows(vec![7, 2000])).unwrap();
    }),
    ("all of it", &|s| {
        append(s, "a", &[1, WIDTH], &rows(1, WIDTH, 4)).unwrap();
        replace(s, "a", Selection::Row(2), &[WIDTH], &[9; 50]).unwrap();
        delete(s, "a", Selection::Rows(vec![7, 2000])).unwrap();
    }),
    ("saved beside", &|s| {
        save(s, "b", &[ROWS, WIDTH], &rows(ROWS, WIDTH, 5)).unwrap();
    }),
];

#[test]
fn every_row_of_a_backup_has_a_checksum() {
    for (way, change) in WAYS {
        let dir = tempfile::tempdir().unwrap();
        let (path, copy) = (dir.path().join("s.npk"), dir.path().join("b.npk"));
        closed(&path);
        let store = open(&path);
        change(&store);
        store.backup(&copy).unwrap();
        let report = verified(&copy);
        assert!(
            report.ok() && report.unchecked.is_empty(),
            "{way}: {report}"
        );
        assert!(report.leftovers.is_empty(), "{way}: {report}");
        assert_eq!(report.checked_bytes, data_len(&copy), "{way}");
        assert!(report.checked_bytes >= 149_000, "{way}");
        for at in [0, 70_000, 149_800] {
            flip(&copy.join("data_a.npkd"), at);
            let report = verified(&copy);
            assert_eq!(report.problems.len(), 1, "{way} at {at}: {report}");
            let damage = report.problems[0].damage.clone().unwrap();
            assert!(damage.bytes.contains(&(at as u64)), "{way}: {report}");
            flip(&copy.join("data_a.npkd"), at);
        }
        // It goes on being a store: what is not written to keeps its sums, what is has new ones.
        let backup = open(&copy);
        replace(&backup, "a", Selection::Row(1), &[WIDTH], &[1; 50]).unwrap();
        backup.close().unwrap();
        let report = verified(&copy);
        assert!(
            report.ok() && report.unchecked.is_empty(),
            "{way}: {report}"
        );
    }
}

#[test]
fn a_backup_does_not_vouch_for_a_flipped_byte() {
    for (way, change) in WAYS {
        // In the first block, in the last one, and in a row that is deleted.
        for at in [5000, 149_000, 352] {
            let dir = tempfile::tempdir().unwrap();
            let (path, copy) = (dir.path().join("s.npk"), dir.path().join("b.npk"));
            closed(&path);
            flip(&path.join("data_a.npkd"), at);
            let store = open(&path);
            change(&store);
            store.backup(&copy).unwrap();
            let report = verified(&copy);
            let open = data_len(&copy) - report.checked_bytes;
            assert!(
                open >= 18_000,
                "{way} at {at}: the block counts as good: {report}"
            );
            assert!(
                !report.ok() || !report.unchecked.is_empty(),
                "{way}: {report}"
            );
            if way == "nothing" {
                let damage = report.problems[0].damage.clone().unwrap();
                assert!(damage.bytes.contains(&(at as u64)), "{report}");
            }
        }
    }
}

/// Checksums of the store that cannot be read are not made up for.
#[test]
fn a_backup_of_lost_checksums_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let (path, copy) = (dir.path().join("s.npk"), dir.path().join("b.npk"));
    closed(&path);
    let files = fs::read_dir(path.join(".npk")).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    let sums: Vec<String> = names
        .filter(|name| name.len() == 17 && name.starts_with('s'))
        .collect();
    assert_eq!(sums.len(), 1);
    fs::remove_file(path.join(".npk").join(&sums[0])).unwrap();
    open(&path).backup(&copy).unwrap();
    let report = verified(&copy);
    assert!(report.ok() && report.checked_bytes == 0, "{report}");
    assert_eq!(report.unchecked[0].bytes, 150_000, "{report}");
}
