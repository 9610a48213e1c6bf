//! Looking through stores: what is damaged is found, what cannot be told is said, and nothing else is.

use std::path::Path;
use std::sync::Arc;

use numpack_engine::fs::{Dir, Fs, MemoryFs, Open, read_exact_at, write_all_at};
use numpack_engine::{Mode, Report, Selection};

use crate::kit::{PATH, append, delete, mode, open, replace, rows, save, try_open};

fn dir(fs: &MemoryFs) -> Arc<dyn Dir> {
    fs.open_dir(Path::new(PATH), true).unwrap()
}

fn content(fs: &MemoryFs, name: &str) -> Vec<u8> {
    let file = dir(fs).open(name, Open::Read).unwrap();
    let mut bytes = vec![0; file.stat().unwrap().len as usize];
    read_exact_at(&*file, &mut bytes, 0).unwrap();
    bytes
}

fn flip(fs: &MemoryFs, name: &str, at: u64) {
    let file = dir(fs).open(name, Open::Write).unwrap();
    let mut byte = [0];
    read_exact_at(&*file, &mut byte, at).unwrap();
    write_all_at(&*file, &[byte[0] ^ 0x20], at).unwrap();
}

fn verify(fs: &MemoryFs, deep: bool) -> Report {
    let store = try_open(fs, &mode(Mode::Read)).unwrap();
    store.verify(deep).unwrap()
}

/// Some arrays, some deletions, all of it closed.
fn closed() -> MemoryFs {
    let fs = MemoryFs::default();
    let store = open(&fs);
    save(&store, "a", &[40, 5], &rows(40, 5, 1)).unwrap();
    save(&store, "b", &[30], &rows(30, 1, 2)).unwrap();
    append(&store, "a", &[3, 5], &rows(3, 5, 3)).unwrap();
    delete(&store, "b", Selection::Rows(vec![2, 9])).unwrap();
    store.close().unwrap();
    fs
}

#[test]
fn a_store_without_fault_has_no_findings() {
    let report = verify(&closed(), false);
    assert!(report.ok() && report.unchecked.is_empty() && report.leftovers.is_empty());
    assert_eq!(report.arrays, 2);
    assert_eq!(report.to_string(), "s.npk: 2 arrays, 0 problems");
}

#[test]
fn every_flipped_byte_of_metadata_and_bitmaps_is_a_problem() {
    let fs = closed();
    for name in ["metadata.npkm", "deleted_b.npkb"] {
        for at in 0..content(&fs, name).len() as u64 {
            let image = fs.image();
            let store = try_open(&image, &mode(Mode::Read)).unwrap();
            flip(&image, name, at);
            let report = store.verify(false).unwrap();
            // Of a bitmap, the words that say which rows are live.
            let matters = name == "metadata.npkm" || (16..20).contains(&at);
            assert!(!matters || !report.ok(), "{name} at {at}: {report}");
        }
    }
}

#[test]
fn files_that_are_short_or_gone_are_problems_of_their_array() {
    let image = closed();
    dir(&image)
        .open("data_a.npkd", Open::Write)
        .unwrap()
        .set_len(99)
        .unwrap();
    dir(&image).unlink("data_b.npkd").unwrap();
    let report = verify(&image, true);
    let texts: Vec<String> = report.problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        texts,
        [
            "array \"a\": Data file is smaller than expected: expected 215 bytes, found 99 bytes",
            "array \"b\": cannot open \"s.npk/data_b.npkd\": entity not found",
        ]
    );
    assert_eq!(report.problems[1].array.as_deref(), Some("b"));
}

#[test]
fn what_belongs_to_nothing_is_left_over_and_no_problem() {
    let image = closed();
    for name in [
        "data_old.npkd",
        "metadata.npkm.tmp",
        ".npk/g00000000000000aa",
        ".npk/s00000000000000bb",
        ".npk/metadata.next",
        "notes.txt",
    ] {
        dir(&image).open(name, Open::Create).unwrap();
    }
    let report = verify(&image, false);
    assert!(report.ok());
    assert_eq!(
        report.leftovers,
        [
            ".npk/g00000000000000aa",
            ".npk/metadata.next",
            ".npk/s00000000000000bb",
            "data_old.npkd",
            "metadata.npkm.tmp",
        ]
    );
}

/// Beside a writer: nothing of a session that goes on is a problem or left over.
#[test]
fn an_open_store_is_looked_at_as_it_is() {
    let fs = closed();
    let store = open(&fs);
    append(&store, "a", &[2, 5], &rows(2, 5, 7)).unwrap();
    replace(&store, "b", Selection::Row(1), &[1], &[9]).unwrap();
    save(&store, "c", &[70_000], &rows(70_000, 1, 4)).unwrap();
    append(&store, "c", &[10], &rows(10, 1, 4)).unwrap();
    let mut t = store.begin().unwrap();
    t.rename("a", "d").unwrap();
    t.drop_array("b").unwrap();
    t.commit().unwrap();
    for deep in [false, true] {
        let report = verify(&fs, deep);
        assert!(report.ok() && report.leftovers.is_empty(), "{report}");
        assert_eq!(report.arrays, 2);
        assert_eq!(report.journal.as_ref().unwrap().0, 6);
        if deep {
            assert!(report.checked_bytes >= 70_010, "{report}");
        }
    }
    // The record of a save has a hash of its rows, long before any checkpoint.
    let journal_only = fs.image();
    let name = dir(&journal_only).list(".npk").unwrap();
    let large = |name: &&String| {
        name.starts_with('g') && content(&journal_only, &format!(".npk/{name}")).len() > 70_000
    };
    let name = format!(".npk/{}", name.iter().find(large).unwrap());
    flip(&journal_only, &name, 69_999);
    let report = verify(&journal_only, true);
    let damage = report.problems[0].damage.clone().unwrap();
    assert_eq!((damage.rows, damage.blocks), (0..70_000, 0..2), "{report}");
    assert_eq!(report.problems.len(), 1);
}
