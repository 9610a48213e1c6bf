//! Rows that are replaced: where they wait, who sees them when, and how they get into the file.

use std::path::{Path, PathBuf};

use numpack_engine::fs::{Fs as _, Lock, MemoryFs, Open, RealFs};
use numpack_engine::{Error, Limits, Mode, Options, Selection, Store};

use crate::kit::{append, bytes, delete, mode, open, read, replace, rows, save};
use crate::processes::open_elsewhere;

struct Kept {
    _dir: tempfile::TempDir,
    path: PathBuf,
    model: Vec<u8>,
}

const ROWS: u64 = 1000;
const WIDTH: u64 = 50;

/// A store with one array, `a`, in its own file.
fn kept() -> Kept {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.npk");
    let model = rows(ROWS, WIDTH, 1);
    let store = Store::open(&path, &Options::default()).unwrap();
    save(&store, "a", &[ROWS, WIDTH], &model).unwrap();
    store.close().unwrap();
    Kept {
        _dir: dir,
        path,
        model,
    }
}

impl Kept {
    fn open(&self) -> Store {
        Store::open(&self.path, &Options::default()).unwrap()
    }

    fn file(&self) -> Vec<u8> {
        std::fs::read(self.path.join("data_a.npkd")).unwrap()
    }

    fn inode(&self) -> u64 {
        use std::os::unix::fs::MetadataExt;
        std::fs::metadata(self.path.join("data_a.npkd"))
            .unwrap()
            .ino()
    }

    /// Replaces rows in `store` and in the model.
    fn set(&mut self, store: &Store, rows: &[usize], value: u8) {
        let width = WIDTH as usize;
        let new: Vec<u8> = rows
            .iter()
            .zip(0..)
            .flat_map(|(_, i)| vec![value.wrapping_add(i); width])
            .collect();
        let selection = Selection::Rows(rows.iter().map(|&row| row as i64).collect());
        replace(store, "a", selection, &[rows.len() as u64, WIDTH], &new).unwrap();
        for (&row, new) in rows.iter().zip(new.chunks(width)) {
            self.model[row * width..][..width].copy_from_slice(new);
        }
    }
}

fn limits(change: impl FnOnce(&mut Limits)) -> Options {
    let mut limits = Limits::default();
    change(&mut limits);
    Options::default().with_limits(limits)
}

fn journal_len(path: &Path) -> u64 {
    std::fs::metadata(path.join(".npk/journal")).unwrap().len()
}

#[test]
fn replaced_rows_wait_in_the_journal_until_the_checkpoint() {
    let mut kept = kept();
    let (file, inode) = (kept.file(), kept.inode());
    let store = kept.open();
    kept.set(&store, &[3, 999, 0, 3], 7);
    assert_eq!(kept.file(), file, "the file is as it was");
    assert_eq!(read(&store, "a"), kept.model);
    assert_eq!(
        &*store.array("a").unwrap().contiguous().unwrap(),
        kept.model
    );
    store.close().unwrap();
    assert_eq!(
        kept.file(),
        kept.model,
        "and has the rows when all is closed"
    );
    assert_eq!(kept.inode(), inode, "nobody had it mapped");
}

/// The bytes of one replace are those of its rows, however large the array.
#[test]
fn a_replace_writes_its_rows_and_no_more() {
    let dir = tempfile::tempdir().unwrap();
    for (name, count) in [("small", 1_000_u64), ("large", 400_000)] {
        let path = dir.path().join(name);
        let store = Store::open(&path, &Options::default()).unwrap();
        let mut create = store.begin().unwrap();
        create.create("a", &bytes(&[count, WIDTH])).unwrap();
        create.commit().unwrap();
        store.checkpoint().unwrap();
        let before = journal_len(&path);
        let one = [9; 10 * WIDTH as usize];
        for i in 0..10 {
            let range = Selection::Slice {
                start: Some(i * 7),
                stop: Some(i * 7 + 10),
                step: 1,
            };
            replace(&store, "a", range, &[10, WIDTH], &one).unwrap();
        }
        assert!(
            journal_len(&path) - before < 10 * (10 * WIDTH + 200),
            "{name}"
        );
        let private = std::fs::read_dir(path.join(".npk")).unwrap();
        let names = private.map(|entry| entry.unwrap().file_name());
        assert!(
            names
                .into_iter()
                .all(|name| !name.to_string_lossy().starts_with('g'))
        );
    }
}

#[test]
fn other_processes_see_replaced_rows_at_once_and_may_have_them_folded() {
    let mut kept = kept();
    let (here, there) = (kept.open(), open_elsewhere(&kept.path, &Options::default()));
    assert_eq!(read(&there, "a"), kept.model);
    let inode = kept.inode();
    for i in 0..5_usize {
        kept.set(&here, &[i, 500], i as u8);
        assert_eq!(read(&there, "a"), kept.model);
        assert_eq!(
            &*there.array("a").unwrap().contiguous().unwrap(),
            kept.model
        );
        kept.set(&there, &[i + 1, 700], 100 + i as u8);
        assert_eq!(read(&here, "a"), kept.model);
        here.checkpoint().unwrap();
        assert_eq!(kept.file(), kept.model);
        assert_eq!(
            kept.inode(),
            inode,
            "maps that nobody looks at hold nobody up"
        );
        assert_eq!(read(&there, "a"), kept.model);
    }
}

#[test]
fn what_is_mapped_is_never_written_to() {
    let mut kept = kept();
    let (here, there) = (kept.open(), open_elsewhere(&kept.path, &mode(Mode::Read)));
    let inode = kept.inode();
    let first = (
        there.array("a").unwrap().contiguous().unwrap(),
        kept.model.clone(),
    );
    kept.set(&here, &[1, 2, 3], 50);
    let second = (
        there.array("a").unwrap().contiguous().unwrap(),
        kept.model.clone(),
    );
    here.checkpoint().unwrap();
    assert_ne!(
        kept.inode(),
        inode,
        "a copy has taken the place of the mapped file"
    );
    assert_eq!(kept.file(), kept.model);
    kept.set(&here, &[1], 90);
    assert_eq!(read(&there, "a"), kept.model);
    assert!(*first.0 == first.1 && *second.0 == second.1);
    drop((first, second));
    let inode = kept.inode();
    here.checkpoint().unwrap();
    assert_eq!(kept.inode(), inode);
    assert_eq!(kept.file(), kept.model);
}

/// A view of a generation that was replaced meanwhile is still to be had from its snapshot, rows of the
/// journal included.
#[test]
fn a_snapshot_shows_its_rows_after_its_file_has_lost_its_name() {
    let mut kept = kept();
    let here = kept.open();
    kept.set(&here, &[10, 20], 60);
    let snapshot = here.array("a").unwrap();
    let model = kept.model.clone();
    save(&here, "a", &[1, WIDTH], &[1; WIDTH as usize]).unwrap();
    here.checkpoint().unwrap();
    assert_eq!(&*snapshot.contiguous().unwrap(), model);
    assert_eq!(snapshot.private().unwrap().as_ref(), model);
    let mut some = vec![0; 2 * WIDTH as usize];
    snapshot.gather_rows(&[20, 11], &mut some).unwrap();
    let width = WIDTH as usize;
    assert_eq!(some[..width], model[20 * width..21 * width]);
    assert_eq!(some[width..], model[11 * width..12 * width]);
}

#[test]
fn a_view_of_untouched_rows_is_of_the_file_and_one_of_replaced_rows_is_too() {
    let mut kept = kept();
    let here = kept.open();
    let clean = here.array("a").unwrap().contiguous().unwrap();
    kept.set(&here, &[100], 60);
    let snapshot = here.array("a").unwrap();
    let away = snapshot.view(500..600).unwrap();
    assert_eq!(
        away.as_ptr().addr(),
        clean.as_ptr().addr() + 500 * WIDTH as usize
    );
    let near = snapshot.view(100..101).unwrap();
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let line = maps.lines().find(|line| {
        let (low, high) = line.split_once(' ').unwrap().0.split_once('-').unwrap();
        let number = |text| usize::from_str_radix(text, 16).unwrap();
        (number(low)..number(high)).contains(&near.as_ptr().addr())
    });
    let line = line.unwrap();
    assert!(
        line.ends_with("data_a.npkd") && line.contains("r--p"),
        "{line}"
    );
    let again: Vec<_> = (0..100)
        .map(|_| here.array("a").unwrap().contiguous().unwrap())
        .collect();
    let whole = snapshot.contiguous().unwrap();
    assert!(again.iter().all(|view| view.as_ptr() == whole.as_ptr()));
}

#[test]
fn rows_in_many_pages_are_folded_without_a_checkpoint() {
    let mut kept = kept();
    let options = limits(|limits| limits.pages = 3);
    let here = Store::open(&kept.path, &options).unwrap();
    let there = open_elsewhere(&kept.path, &options);
    let before = kept.file();
    kept.set(&here, &[0, 200, 400, 600], 1);
    assert_eq!(kept.file(), before);
    let folded = kept.model.clone();
    kept.set(&here, &[0], 2);
    assert_eq!(kept.file(), folded, "folded by the commit after");
    let reader = open_elsewhere(&kept.path, &mode(Mode::Read));
    for store in [&here, &there, &reader] {
        assert_eq!(read(store, "a"), kept.model);
    }
    // Somebody looks: the rows wait, and wait on with the next.
    let view = there.array("a").unwrap().contiguous().unwrap();
    let seen = kept.model.clone();
    kept.set(&here, &[1, 200, 400, 600], 3);
    kept.set(&here, &[1, 200, 400, 600], 4);
    kept.set(&here, &[2, 200, 400, 600], 5);
    assert_eq!(kept.file(), folded);
    assert_eq!(*view, seen);
    drop(view);
    assert_eq!(read(&there, "a"), kept.model);
    for value in 6..10 {
        kept.set(&here, &[2, 200, 400, 600], value);
    }
    assert_ne!(kept.file(), folded);
    assert_eq!(read(&there, "a"), kept.model);
    assert_eq!(read(&here, "a"), kept.model);
}

#[test]
fn a_long_journal_makes_a_checkpoint_unless_large_arrays_are_mapped() {
    let mut kept = kept();
    let options = limits(|limits| {
        limits.journal = 10_000;
        limits.copied = 100;
    });
    let here = Store::open(&kept.path, &options).unwrap();
    let there = open_elsewhere(&kept.path, &options);
    let first = journal_len(&kept.path);
    for i in 0..100_u8 {
        kept.set(&here, &[usize::from(i), 300], i);
    }
    assert!(journal_len(&kept.path) < first + 12_000);
    let view = there.array("a").unwrap().contiguous().unwrap();
    let seen = kept.model.clone();
    let inode = kept.inode();
    let mut copied_at = None;
    for i in 0..200_u8 {
        kept.set(&here, &[usize::from(i), 300], i);
        if kept.inode() != inode && copied_at.is_none() {
            copied_at = Some((i, journal_len(&kept.path)));
        }
    }
    let (turn, len) = copied_at.expect("at twice the limit the mapped array is copied");
    assert!(turn > 40 && len > 19_000, "{turn} {len}");
    assert_eq!(*view, seen);
    assert_eq!(read(&there, "a"), kept.model);
}

#[test]
fn replaced_rows_go_along_with_everything_else() {
    let mut kept = kept();
    let here = kept.open();
    kept.set(&here, &[5, 6, 7], 30);
    delete(&here, "a", Selection::Rows(vec![6])).unwrap();
    append(&here, "a", &[1, WIDTH], &[77; WIDTH as usize]).unwrap();
    replace(
        &here,
        "a",
        Selection::Row(-1),
        &[1, WIDTH],
        &[78; WIDTH as usize],
    )
    .unwrap();
    let mut change = here.begin().unwrap();
    change.rename("a", "b").unwrap();
    change.commit().unwrap();
    replace(
        &here,
        "b",
        Selection::Row(0),
        &[1, WIDTH],
        &[79; WIDTH as usize],
    )
    .unwrap();
    let width = WIDTH as usize;
    let mut model = kept.model.clone();
    model.drain(6 * width..7 * width);
    model.extend_from_slice(&[78; WIDTH as usize]);
    model[..width].fill(79);
    assert_eq!(read(&here, "b"), model);
    let mut change = here.begin().unwrap();
    change.copy_array("b", "c").unwrap();
    change
        .replace(
            "b",
            Selection::Row(1),
            &bytes(&[WIDTH]),
            &[80; WIDTH as usize],
        )
        .unwrap();
    change.compact("b").unwrap();
    change
        .replace(
            "b",
            Selection::Row(2),
            &bytes(&[WIDTH]),
            &[81; WIDTH as usize],
        )
        .unwrap();
    change.commit().unwrap();
    assert_eq!(read(&here, "c"), model);
    model[width..2 * width].fill(80);
    model[2 * width..3 * width].fill(81);
    for _ in 0..2 {
        assert_eq!(read(&here, "b"), model);
        assert_eq!(
            read(&open_elsewhere(&kept.path, &mode(Mode::Read)), "b"),
            model
        );
        here.checkpoint().unwrap();
    }
}

/// A map with rows in their places rests while nobody looks. What is replaced and folded meanwhile is in
/// no record any more, and not in the pages that the map has of its own.
#[test]
fn a_resting_map_does_not_miss_what_was_folded_meanwhile() {
    let mut kept = kept();
    let (here, there) = (kept.open(), open_elsewhere(&kept.path, &Options::default()));
    for (row, value) in [(0, 1), (2, 9), (700, 8)] {
        kept.set(&here, &[row], value);
        for store in [&here, &there] {
            let view = store.array("a").unwrap().contiguous().unwrap();
            assert!(*view == kept.model);
        }
    }
    // In the same page, and nobody looks before it is folded.
    kept.set(&here, &[1], 2);
    let inode = kept.inode();
    here.checkpoint().unwrap();
    assert_eq!(kept.inode(), inode);
    kept.set(&here, &[500], 3);
    for store in [&here, &there] {
        let view = store.array("a").unwrap().contiguous().unwrap();
        assert!(*view == kept.model);
    }
}

/// A transaction that fails has changed nothing, not even what later ones find in memory under the numbers
/// that it would have had.
#[test]
fn rows_of_a_failed_commit_are_never_seen() {
    let mut kept = kept();
    let here = kept.open();
    kept.set(&here, &[5], 30);
    let mut change = here.begin().unwrap();
    let one = bytes(&[WIDTH]);
    change
        .replace("a", Selection::Row(8), &one, &[1; WIDTH as usize])
        .unwrap();
    change.copy_array("a", "copy").unwrap();
    change
        .replace("missing", Selection::Row(0), &one, &[1; WIDTH as usize])
        .unwrap();
    assert!(matches!(change.commit(), Err(Error::NotFound { .. })));
    assert_eq!(read(&here, "a"), kept.model);
    kept.set(&here, &[9], 40);
    assert_eq!(&*here.array("a").unwrap().contiguous().unwrap(), kept.model);
    assert_eq!(read(&here, "a"), kept.model);
}

#[test]
fn conflicts_are_noticed_over_checkpoints_and_only_where_there_are_any() {
    let mut kept = kept();
    let (here, there) = (kept.open(), open_elsewhere(&kept.path, &Options::default()));
    kept.set(&here, &[1], 1);
    let base = there.snapshot(&["a"]).unwrap();
    save(&here, "b", &[1], &[1]).unwrap();
    here.checkpoint().unwrap();
    let mut change = there.begin_at(&base).unwrap();
    change.put("c", &bytes(&[1]), &mut &[1][..]).unwrap();
    change.commit().expect("a checkpoint is no change");

    let base = there.snapshot(&["a"]).unwrap();
    kept.set(&here, &[1], 2);
    here.checkpoint().unwrap();
    let mut change = there.begin_at(&base).unwrap();
    change.put("d", &bytes(&[1]), &mut &[1][..]).unwrap();
    assert!(matches!(change.commit(), Err(Error::Conflict { name }) if name == "a"));
}

#[test]
fn a_large_replace_is_a_new_generation_and_a_small_one_of_every_width_is_not() {
    let fs = MemoryFs::default();
    let store = open(&fs);
    let data = rows(3_000_000, 1, 3);
    save(&store, "a", &[3_000_000, 1], &data).unwrap();
    let version = store.array("a").unwrap().version();
    replace(
        &store,
        "a",
        Selection::All,
        &[3_000_000, 1],
        &rows(3_000_000, 1, 9),
    )
    .unwrap();
    assert_eq!(read(&store, "a"), rows(3_000_000, 1, 9));
    assert_ne!(store.array("a").unwrap().version(), version);
    save(&store, "empty", &[4, 0], &[]).unwrap();
    replace(&store, "empty", Selection::Row(2), &[1, 0], &[]).unwrap();
    assert_eq!(store.info("empty").unwrap().shape, [4, 0]);
    for (name, width) in [("one", 1), ("page", 4096), ("wide", 70_000)] {
        let mut model = rows(20, width, 5);
        save(&store, name, &[20, width], &model).unwrap();
        let new = rows(2, width, 8);
        replace(
            &store,
            name,
            Selection::Rows(vec![19, 4]),
            &[2, width],
            &new,
        )
        .unwrap();
        let width = width as usize;
        model[19 * width..].copy_from_slice(&new[..width]);
        model[4 * width..5 * width].copy_from_slice(&new[width..]);
        assert_eq!(read(&store, name), model);
        store.checkpoint().unwrap();
        assert_eq!(read(&store, name), model);
    }
}

/// A private map is patched page by page, which is dear where many pages are touched, and not where one is
/// touched many times.
#[test]
fn rows_replaced_again_and_again_leave_a_private_map_a_map() {
    let temp = tempfile::tempdir().unwrap();
    let store = Store::open(temp.path(), &Options::default()).unwrap();
    save(&store, "a", &[600, 4096], &vec![1; 600 * 4096]).unwrap();
    let private = || store.array("a").unwrap().private().unwrap();
    for value in 0..=255 {
        for row in [7, 8] {
            replace(&store, "a", Selection::Row(row), &[1, 4096], &[value; 4096]).unwrap();
        }
    }
    let map = private();
    assert!(map.is_mapped());
    assert_eq!(map.as_ref()[7 * 4096..9 * 4096], [255; 2 * 4096]);
    assert_eq!((map.as_ref()[7 * 4096 - 1], map.as_ref()[9 * 4096]), (1, 1));
    for row in 0..300 {
        replace(&store, "a", Selection::Row(row), &[1, 4096], &[2; 4096]).unwrap();
    }
    assert!(!private().is_mapped());
    assert_eq!(private().as_ref()[300 * 4096 - 1..=300 * 4096], [2, 1]);
}

/// A lock that a resting map has kept for a moment and given back is taken again for the next view.
#[test]
fn a_map_whose_lock_was_kept_for_a_moment_is_locked_again() {
    let kept = kept();
    let store = Store::open(&kept.path, &Options::default()).unwrap();
    let other = open_elsewhere(&kept.path, &Options::default());
    for _ in 0..5 {
        drop(store.array("a").unwrap());
    }
    let is_free = || {
        let file = RealFs.open_dir(&kept.path, false).unwrap();
        let file = file.open("data_a.npkd", Open::Write).unwrap();
        file.try_lock(Lock::Exclusive).unwrap()
    };
    while !is_free() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let view = store.array("a").unwrap().contiguous().unwrap();
    assert!(!is_free());
    let new = rows(ROWS, WIDTH, 9);
    replace(&other, "a", Selection::Row(3), &[1, WIDTH], &new[..50]).unwrap();
    other.checkpoint().unwrap();
    assert!(*view == kept.model);
}

/// A row that does not fit into a record is replaced in the way of large replacements.
#[test]
fn a_row_as_long_as_a_record_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.npk");
    let len: usize = 64 << 20;
    for rows in [5, 4] {
        let store = Store::open(&path, &Options::default()).unwrap();
        let mut create = store.begin().unwrap();
        create.create("a", &bytes(&[rows, len as u64])).unwrap();
        create.commit().unwrap();
        replace(&store, "a", Selection::Row(1), &[len as u64], &vec![7; len]).unwrap();
        // Opening reads everything anew.
        let again = Store::open(&path, &Options::default().with_mode(Mode::Read)).unwrap();
        let mut shown = vec![0; len];
        let array = again.array("a").unwrap();
        array.read_range(1..2, &mut shown).unwrap();
        assert!(shown.iter().all(|&byte| byte == 7));
        store.close().unwrap();
    }
}
