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

/// The last checkpoint's view of a store after `change`, which then was closed.
fn closed_after(change: impl FnOnce(&numpack_engine::Store)) -> MemoryFs {
    let fs = MemoryFs::default();
    let store = open(&fs);
    change(&store);
    store.close().unwrap();
    fs
}

fn assert_all_checked(fs: &MemoryFs, bytes: u64) {
    let report = verify(fs, true);
    assert!(report.ok() && report.unchecked.is_empty(), "{report}");
    assert!(report.leftovers.is_empty(), "{report}");
    assert_eq!(report.checked_bytes, bytes);
}

fn data_files(fs: &MemoryFs) -> Vec<String> {
    let mut names = dir(fs).list("").unwrap();
    names.retain(|name| name.starts_with("data_"));
    names.sort();
    assert!(!names.is_empty());
    names
}

/// Flips bytes one at a time: each is found, by the array, and in the right place.
fn assert_flips_are_found(fs: &MemoryFs, step: usize) {
    let mut flips = 0;
    for name in data_files(fs) {
        let len = content(fs, &name).len();
        for at in (0..len).step_by(step).chain([len - 1]) {
            flip(fs, &name, at as u64);
            let report = verify(fs, true);
            assert_eq!(report.problems.len(), 1, "{name} at {at}: {report}");
            let problem = &report.problems[0];
            assert_eq!(problem.file, name);
            let damage = problem.damage.as_ref().unwrap();
            assert!(
                damage.bytes.contains(&(at as u64)),
                "{name} at {at}: {report}"
            );
            assert_eq!(damage.bytes.start, damage.blocks.start << 16);
            assert!(damage.bytes.end - damage.bytes.start <= 1 << 16);
            flip(fs, &name, at as u64);
            flips += 1;
        }
    }
    assert!(flips > 40, "{flips}");
    assert!(verify(fs, true).ok());
}

#[test]
fn every_flipped_byte_of_a_closed_store_is_found() {
    let fs = closed();
    assert_all_checked(&fs, 245);
    assert_flips_are_found(&fs, 1);
}

#[test]
fn the_place_of_a_damage_is_named() {
    let fs = closed_after(|store| {
        save(store, "a", &[4000, 50], &rows(4000, 50, 1)).unwrap();
    });
    flip(&fs, "data_a.npkd", 70_000);
    flip(&fs, "data_a.npkd", 199_999);
    let report = verify(&fs, true);
    let damages: Vec<_> = report.problems.iter().map(|p| p.damage.clone()).collect();
    let first = damages[0].clone().unwrap();
    assert_eq!(
        (first.blocks, first.bytes, first.rows),
        (1..2, 65_536..131_072, 1310..2622)
    );
    assert_eq!(
        report.problems[1].to_string(),
        "array \"a\": bytes 196608..200000 of data_a.npkd (blocks 3..4, rows 3932..4000) are changed since written: \
         something else has written to the file, replaced or copied it"
    );
    assert_eq!(report.checked_bytes, 200_000 - 65_536 - 3392);
}

/// Rows that came by every way there is, over several sessions, to a store of several blocks an array.
#[test]
fn rows_that_came_by_any_way_are_checked() {
    type Way<'a> = (&'a str, &'a dyn Fn(&numpack_engine::Store));
    const N: u64 = 3000;
    let base = rows(N, 50, 3);
    let ways: [Way<'_>; 9] = [
        ("append", &|s| {
            append(s, "a", &[700, 50], &rows(700, 50, 4)).unwrap();
            append(s, "a", &[1, 50], &rows(1, 50, 4)).unwrap();
            append(s, "a", &[9000, 50], &rows(9000, 50, 4)).unwrap();
        }),
        ("replace", &|s| {
            let picked: Vec<i64> = vec![0, 7, 1310, 2999];
            replace(s, "a", Selection::Rows(picked), &[4, 50], &rows(4, 50, 8)).unwrap();
        }),
        ("replace and append", &|s| {
            replace(s, "a", Selection::Row(2999), &[50], &rows(1, 50, 8)).unwrap();
            append(s, "a", &[10, 50], &rows(10, 50, 4)).unwrap();
            replace(s, "a", Selection::Row(3005), &[50], &rows(1, 50, 9)).unwrap();
        }),
        ("replace all", &|s| {
            let wide = rows(N, 50, 11);
            replace(s, "a", Selection::All, &[N, 50], &wide).unwrap();
        }),
        ("delete", &|s| {
            delete(s, "a", Selection::Rows((0..600).map(|i| i * 3).collect())).unwrap();
        }),
        ("compact", &|s| {
            delete(s, "a", Selection::Rows(vec![0, 1500, 2999])).unwrap();
            let mut t = s.begin().unwrap();
            t.compact("a").unwrap();
            t.copy_array("a", "copy").unwrap();
            t.commit().unwrap();
        }),
        ("rename", &|s| {
            append(s, "a", &[10, 50], &rows(10, 50, 4)).unwrap();
            let mut t = s.begin().unwrap();
            t.rename("a", "b").unwrap();
            t.commit().unwrap();
            append(s, "b", &[10, 50], &rows(10, 50, 5)).unwrap();
        }),
        ("zeros", &|s| {
            let mut t = s.begin().unwrap();
            t.create("z", &crate::kit::bytes(&[2000, 50])).unwrap();
            t.append("z", &crate::kit::bytes(&[2, 50]), &[1; 100])
                .unwrap();
            t.commit().unwrap();
            replace(s, "z", Selection::Row(1500), &[50], &[7; 50]).unwrap();
        }),
        ("a view alive", &|s| {
            let view = s.array("a").unwrap();
            replace(s, "a", Selection::Row(1), &[50], &rows(1, 50, 8)).unwrap();
            s.checkpoint().unwrap();
            drop(view);
            append(s, "a", &[10, 50], &rows(10, 50, 4)).unwrap();
        }),
    ];
    for (way, change) in ways {
        // In the session that saved the array, and in a later one that knows it from its files.
        for sessions in [1, 2, 3] {
            let fs = closed_after(|store| {
                save(store, "a", &[N, 50], &base).unwrap();
                if sessions == 1 {
                    change(store);
                }
            });
            for _ in 1..sessions {
                if names_of(&fs).contains(&"a".to_owned()) {
                    let store = open(&fs);
                    change(&store);
                    store.close().unwrap();
                }
                if way == "compact" || way == "zeros" {
                    break;
                }
            }
            let sizes = data_files(&fs);
            let sizes = sizes.iter().map(|name| content(&fs, name).len() as u64);
            let _which = crate::kit::OnPanic(|| format!("{way}, {sessions} sessions"));
            assert_all_checked(&fs, sizes.sum());
            assert_flips_are_found(&fs, 2999);
        }
    }
}

fn names_of(fs: &MemoryFs) -> Vec<String> {
    crate::kit::names(&try_open(fs, &mode(Mode::Read)).unwrap())
}

/// What another program wrote is not held against our sums, and not passed over in silence either.
#[test]
fn a_store_that_another_program_rewrote_is_said_to_be_changed() {
    let fs = closed();
    let bytes = content(&fs, "metadata.npkm");
    let trailer = bytes.windows(8).position(|window| window == b"NPKXTRL1");
    let file = dir(&fs).open("metadata.npkm", Open::Write).unwrap();
    file.set_len(trailer.unwrap() as u64).unwrap();
    flip(&fs, "data_a.npkd", 3);
    for deep in [false, true] {
        let report = verify(&fs, deep);
        assert!(report.ok(), "{report}");
        assert_eq!(report.unchecked.len(), 2);
        for unchecked in &report.unchecked {
            assert!(
                unchecked.reason.starts_with("changed since written"),
                "{report}"
            );
        }
        assert_eq!(report.checked_bytes, 0);
    }
}

/// An untouched copy has other inodes and is fine; a damaged one is not.
#[test]
fn a_copied_store_keeps_its_sums() {
    let copy = closed().image();
    assert_all_checked(&copy, 245);
    let store = open(&copy);
    append(&store, "b", &[1], &[1]).unwrap();
    store.close().unwrap();
    assert_all_checked(&copy, 246);
    assert_flips_are_found(&copy, 4);
}

/// A damage is never signed: whatever is written over it, added to it or copied from it afterwards.
#[test]
fn no_later_write_vouches_for_a_flipped_byte() {
    const N: u64 = 3000;
    type Way<'a> = (&'a str, &'a dyn Fn(&numpack_engine::Store));
    let ways: [Way<'_>; 6] = [
        ("untouched", &|s| {
            save(s, "other", &[1], &[1]).map(drop).unwrap();
        }),
        ("patched beside", &|s| {
            replace(s, "a", Selection::Row(2), &[50], &[9; 50]).unwrap();
        }),
        ("added to", &|s| {
            append(s, "a", &[5000, 50], &rows(5000, 50, 4)).unwrap();
        }),
        ("rewritten around", &|s| {
            let half: Vec<i64> = (1500..3000).collect();
            let mut t = s.begin().unwrap();
            let threes = vec![3; 75_000];
            t.replace(
                "a",
                Selection::Rows(half),
                &crate::kit::bytes(&[1500, 50]),
                &threes,
            )
            .unwrap();
            t.copy_array("a", "b").unwrap();
            t.drop_array("a").unwrap();
            t.commit().unwrap();
        }),
        ("compacted", &|s| {
            delete(s, "a", Selection::Rows(vec![10, 2000])).unwrap();
            let mut t = s.begin().unwrap();
            t.compact("a").unwrap();
            t.commit().unwrap();
        }),
        ("patched under a view", &|s| {
            let view = s.array("a").unwrap();
            replace(s, "a", Selection::Row(2), &[50], &[9; 50]).unwrap();
            s.checkpoint().unwrap();
            drop(view);
        }),
    ];
    for (way, change) in ways {
        // In the first block, and in the last one, which is not complete.
        for at in [5000, 149_000] {
            let fs = closed_after(|store| {
                save(store, "a", &[N, 50], &rows(N, 50, 3)).unwrap();
            });
            flip(&fs, "data_a.npkd", at);
            let store = open(&fs);
            change(&store);
            store.close().unwrap();
            let report = verify(&fs, true);
            let _which = crate::kit::OnPanic(|| format!("{way} at {at}: {report}"));
            let len: u64 = (data_files(&fs).iter())
                .map(|name| content(&fs, name).len() as u64)
                .sum();
            assert!(
                len - report.checked_bytes >= 18_000,
                "the block counts as good"
            );
            assert!(!report.ok() || !report.unchecked.is_empty());
        }
    }
}

/// A sums file that is missing, torn or flipped takes knowledge away and nothing else.
#[test]
fn sums_that_are_damaged_are_no_alarm() {
    let fs = closed_after(|store| {
        save(store, "a", &[3000, 50], &rows(3000, 50, 3)).unwrap();
    });
    let private = dir(&fs).list(".npk").unwrap();
    let name = private.iter().find(|name| name.starts_with('s')).unwrap();
    let name = format!(".npk/{name}");
    for at in 0..content(&fs, &name).len() {
        for cut in [false, true] {
            let image = fs.image();
            if cut {
                let file = dir(&image).open(&name, Open::Write).unwrap();
                file.set_len(at as u64).unwrap();
            } else {
                flip(&image, &name, at as u64);
            }
            let report = verify(&image, true);
            assert!(report.ok(), "{report}");
            assert_eq!(
                (report.unchecked[0].bytes, report.checked_bytes),
                (150_000, 0)
            );
        }
    }
    dir(&fs).unlink(&name).unwrap();
    let report = verify(&fs, true);
    assert!(
        report.ok() && report.unchecked[0].bytes == 150_000,
        "{report}"
    );
    let store = open(&fs);
    append(&store, "a", &[3000, 50], &rows(3000, 50, 4)).unwrap();
    store.close().unwrap();
    let report = verify(&fs, true);
    assert!(report.ok(), "{report}");
    assert_eq!(report.unchecked[0].bytes, 196_608, "{report}");
    assert_eq!(report.checked_bytes, 300_000 - 196_608);
}

/// A killed process takes its sums with it; what was known before stays known.
#[test]
fn a_killed_session_costs_knowledge_and_no_alarm() {
    let fs = closed_after(|store| {
        save(store, "a", &[3000, 50], &rows(3000, 50, 3)).unwrap();
    });
    let store = open(&fs);
    replace(&store, "a", Selection::Row(2), &[50], &[9; 50]).unwrap();
    append(&store, "a", &[10, 50], &rows(10, 50, 4)).unwrap();
    let killed = fs.image();
    let report = verify(&killed, true);
    assert!(report.ok(), "{report}");
    assert_eq!(report.checked_bytes, 150_500 - 65_536, "{report}");
    open(&killed).close().unwrap();
    let report = verify(&killed, true);
    assert!(report.ok(), "{report}");
    assert_eq!(report.checked_bytes, 131_072, "{report}");
    assert_eq!(report.unchecked[0].bytes, 150_500 - 131_072);
}
