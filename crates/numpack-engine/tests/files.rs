//! What lies in the directory: 0.4.2's bytes after close, no leftovers, hostile files refused.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use numpack_engine::fs::{Dir, Fs, MemoryFs, Open, write_all_at};
use numpack_engine::{Durability, Error, Mode, Selection};
use numpack_format::Metadata;

use crate::disk::{Disk, Image};
use crate::kit::{PATH, append, bytes, delete, mode, names, open, read, rows, save, try_open};
use crate::workload;

fn dir(fs: &MemoryFs) -> Arc<dyn Dir> {
    fs.open_dir(Path::new(PATH), true).unwrap()
}

fn files(fs: &MemoryFs) -> BTreeMap<String, Vec<u8>> {
    let dir = dir(fs);
    let mut all = BTreeMap::new();
    for name in dir
        .list("")
        .unwrap()
        .into_iter()
        .filter(|name| name != ".npk")
    {
        let file = dir.open(&name, Open::Read).unwrap();
        let mut content = vec![0; file.stat().unwrap().len as usize];
        numpack_engine::fs::read_exact_at(&*file, &mut content, 0).unwrap();
        all.insert(name, content);
    }
    all
}

#[test]
fn a_closed_store_is_plain() {
    let fs = MemoryFs::default();
    let store = open(&fs);
    save(&store, "a", &[3, 2], &rows(3, 2, 1)).unwrap();
    append(&store, "a", &[1, 2], &[5, 6]).unwrap();
    save(&store, "b", &[4], &[1, 2, 3, 4]).unwrap();
    delete(&store, "b", Selection::Row(1)).unwrap();
    save(&store, "gone", &[1], &[1]).unwrap();
    let mut t = store.begin().unwrap();
    t.drop_array("gone").unwrap();
    t.commit().unwrap();
    store.close().unwrap();
    let files = files(&fs);
    let names: Vec<&String> = files.keys().collect();
    assert_eq!(
        names,
        [
            "data_a.npkd",
            "data_b.npkd",
            "deleted_b.npkb",
            "metadata.npkm"
        ]
    );
    assert_eq!(files["data_a.npkd"], [rows(3, 2, 1), vec![5, 6]].concat());
    assert_eq!(files["data_b.npkd"], [1, 2, 3, 4]);
    assert_eq!(files["deleted_b.npkb"][16..], 0b1101_u64.to_le_bytes());
    let metadata = Metadata::decode(&files["metadata.npkm"]).unwrap();
    assert_eq!(metadata.arrays.len(), 2);
    let mut private = dir(&fs).list(".npk").unwrap();
    private.sort();
    assert_eq!(private, ["LOCK", "journal", "metadata.last"]);
}

/// Writes the metadata as another program does: changed, and without our trailer.
fn rewrite_metadata(fs: &MemoryFs, change: impl FnOnce(&mut Metadata)) {
    let mut metadata = Metadata::decode(&files(fs)["metadata.npkm"]).unwrap();
    metadata.trailer = None;
    change(&mut metadata);
    let file = dir(fs).open("metadata.npkm", Open::Write).unwrap();
    file.set_len(0).unwrap();
    write_all_at(&*file, &metadata.encode(), 0).unwrap();
}

/// 0.4.2 and 0.7.0 rewrite the metadata without our trailer; what they changed counts.
#[test]
fn a_store_that_another_program_changed_opens() {
    let fs = MemoryFs::default();
    let store = open(&fs);
    save(&store, "a", &[3, 2], &rows(3, 2, 1)).unwrap();
    delete(&store, "a", Selection::Row(0)).unwrap();
    store.close().unwrap();
    rewrite_metadata(&fs, |metadata| {
        metadata.arrays[0].meta = bytes(&[4, 2]);
    });
    write_all_at(
        &*dir(&fs).open("data_a.npkd", Open::Write).unwrap(),
        &[9, 9],
        6,
    )
    .unwrap();

    let store = open(&fs);
    let mut expected = rows(3, 2, 1)[2..].to_vec();
    expected.extend([9, 9]);
    assert_eq!(read(&store, "a"), expected);
    append(&store, "a", &[1, 2], &[4, 4]).unwrap();
    expected.extend([4, 4]);
    assert_eq!(read(&store, "a"), expected);
    assert_eq!(read(&open(&fs.image()), "a"), expected);
    store.close().unwrap();
    assert!(
        Metadata::decode(&files(&fs)["metadata.npkm"])
            .unwrap()
            .trailer
            .is_some()
    );
}

/// The first commit to what another program wrote makes a checkpoint, which is no change of the rows.
#[test]
fn rows_of_another_program_are_updated() {
    let fs = MemoryFs::default();
    let store = open(&fs);
    save(&store, "a", &[4], &[1, 2, 3, 4]).unwrap();
    store.close().unwrap();
    rewrite_metadata(&fs, |_| {});

    let (store, image) = (open(&fs), fs.image());
    let other = open(&image);
    let update = |store: &numpack_engine::Store, rows: &[u8]| {
        let base = store.array("a").unwrap();
        let at = std::iter::once(base.clone()).collect();
        let mut t = store.begin_at(&at).unwrap();
        t.update(&base, rows).unwrap();
        t.commit()
    };
    update(&store, &[1, 2, 3, 5]).unwrap();
    update(&store, &[1, 2, 3, 6]).unwrap();
    assert_eq!(read(&store, "a"), [1, 2, 3, 6]);
    // What that program writes behind our back is a change.
    let base = other.array("a").unwrap();
    write_all_at(
        &*dir(&image).open("data_a.npkd", Open::Write).unwrap(),
        &[7],
        0,
    )
    .unwrap();
    let late = open(&image);
    assert_ne!(late.array("a").unwrap().version(), base.version());
}

/// Another program wrote while the journal of a killed process waited: nothing is guessed.
#[test]
fn waiting_changes_on_foreign_metadata_are_not_guessed() {
    let fs = MemoryFs::default();
    let store = open(&fs);
    save(&store, "a", &[1, 2], &[1, 2]).unwrap();
    store.checkpoint().unwrap();
    append(&store, "a", &[1, 2], &[3, 4]).unwrap();
    let image = fs.image();
    rewrite_metadata(&image, |_| {});
    let store = try_open(&image, &mode(Mode::ReadWrite)).unwrap();
    assert_eq!(read(&store, "a"), [1, 2]);
    let refused = append(&store, "a", &[1, 2], &[5, 6]).unwrap_err();
    assert!(matches!(refused, Error::Foreign { .. }), "{refused}");
    let before = files(&image);
    store.close().unwrap();
    assert_eq!(files(&image), before);
}

#[test]
fn damaged_metadata_is_an_error_and_stays_as_it_is() {
    let fs = MemoryFs::default();
    let store = open(&fs);
    save(&store, "a", &[3, 2], &rows(3, 2, 1)).unwrap();
    store.close().unwrap();
    let whole = files(&fs)["metadata.npkm"].clone();
    let (mut refused, mut legacy) = (0, 0);
    for len in 0..whole.len() {
        let image = fs.image();
        dir(&image)
            .open("metadata.npkm", Open::Write)
            .unwrap()
            .set_len(len as u64)
            .unwrap();
        let before = files(&image);
        match try_open(&image, &mode(Mode::Append)) {
            Err(Error::Corrupt { .. }) => refused += 1,
            // Cut exactly behind the last array it is what 0.4.2 would have written.
            Ok(store) => {
                assert_eq!(read(&store, "a"), rows(3, 2, 1));
                store.close().unwrap();
                legacy += 1;
            }
            Err(other) => panic!("{len}: {other}"),
        }
        assert_eq!(files(&image), before);
    }
    assert!(legacy <= 1 && refused > 100, "{refused} {legacy}");
    let image = fs.image();
    dir(&image).unlink("metadata.npkm").unwrap();
    assert!(matches!(
        try_open(&image, &mode(Mode::Append)),
        Err(Error::Corrupt { .. })
    ));
    // Mode w is the way out.
    assert_eq!(
        names(&try_open(&image, &mode(Mode::Write)).unwrap()),
        Vec::<String>::new()
    );
}

#[test]
fn a_short_data_file_is_named() {
    let fs = MemoryFs::default();
    let store = open(&fs);
    save(&store, "a", &[3, 2], &rows(3, 2, 1)).unwrap();
    save(&store, "b", &[1], &[1]).unwrap();
    store.close().unwrap();
    dir(&fs)
        .open("data_a.npkd", Open::Write)
        .unwrap()
        .set_len(5)
        .unwrap();
    let store = open(&fs);
    let error = store.array("a").unwrap_err().to_string();
    assert!(
        error.contains("\"a\"") && error.contains("expected 6 bytes, found 5"),
        "{error}"
    );
    assert!(append(&store, "a", &[1, 2], &[1, 1]).is_err());
    assert_eq!(read(&store, "b"), [1]);
    append(&store, "b", &[1], &[2]).unwrap();
    store.close().unwrap();
    assert_eq!(read(&open(&fs), "b"), [1, 2]);
    dir(&fs).unlink("data_a.npkd").unwrap();
    assert!(open(&fs).array("a").is_err());
}

#[test]
fn files_of_killed_writers_go_and_files_in_work_stay() {
    let fs = MemoryFs::default();
    let store = open(&fs);
    save(&store, "a", &[1], &[1]).unwrap();
    dir(&fs)
        .open(".npk/g00000000000000ff", Open::CreateNew)
        .unwrap();
    let mut staged = store.begin().unwrap();
    staged.put("b", &bytes(&[2]), &mut &[7, 8][..]).unwrap();
    store.checkpoint().unwrap();
    let left = dir(&fs).list(".npk").unwrap();
    assert!(!left.contains(&"g00000000000000ff".to_owned()));
    assert_eq!(left.len(), 4, "{left:?}");
    staged.commit().unwrap();
    assert_eq!(read(&store, "b"), [7, 8]);
    drop(
        store
            .begin()
            .map(|mut t| t.put("c", &bytes(&[1]), &mut &[0][..])),
    );
    store.close().unwrap();
    assert_eq!(dir(&fs).list(".npk").unwrap().len(), 3);
}

#[test]
fn saving_over_and_over_does_not_fill_the_disk() {
    let fs = MemoryFs::default();
    let store = open(&fs);
    for seed in 0..50 {
        save(&store, "a", &[10, 10], &rows(10, 10, seed)).unwrap();
        if seed % 7 == 0 {
            store.sync().unwrap();
        }
        let generations = dir(&fs).list(".npk").unwrap().len() - 2;
        assert!(generations <= 3, "{generations} files after save {seed}");
    }
}

/// What NumPack 0.7.0 writes for large arrays.
#[test]
fn segments_are_read_and_become_one_file() {
    let fs = MemoryFs::default();
    drop(open(&fs));
    let root = dir(&fs);
    root.make_dir("data_big_segments").unwrap();
    let manifest = r#"{"version":1,"segments":[
        {"file":"data_big_segments/seg_000000.npkd","rows":2,"bytes":4},
        {"file":"data_big_segments/seg_000001.npkd","rows":1,"bytes":2}]}"#;
    let put = |name: &str, content: &[u8]| {
        write_all_at(&*root.open(name, Open::Create).unwrap(), content, 0).unwrap();
    };
    put("data_big.npkseg", manifest.as_bytes());
    put("data_big_segments/seg_000000.npkd", &[1, 2, 3, 4]);
    put("data_big_segments/seg_000001.npkd", &[5, 6]);
    let entry = numpack_format::MetadataEntry {
        name: numpack_format::ArrayName::new("big").unwrap(),
        meta: bytes(&[3, 2]),
        storage: numpack_format::Storage::Segmented,
        modified_us: 1,
    };
    let metadata = Metadata {
        arrays: vec![entry],
        trailer: None,
    }
    .encode();
    root.unlink("metadata.npkm").unwrap();
    root.unlink(".npk/journal").unwrap();
    put("metadata.npkm", &metadata);

    let store = open(&fs);
    let array = store.array("big").unwrap();
    assert_eq!(array.runs().len(), 2);
    assert!(array.contiguous().is_err());
    assert_eq!(read(&store, "big"), [1, 2, 3, 4, 5, 6]);
    let mut out = [0; 4];
    array.gather_rows(&[2, 0], &mut out).unwrap();
    assert_eq!(out, [5, 6, 1, 2]);
    append(&store, "big", &[1, 2], &[7, 8]).unwrap();
    assert_eq!(read(&store, "big"), [1, 2, 3, 4, 5, 6, 7, 8]);
    store.close().unwrap();
    assert_eq!(files(&fs)["data_big.npkd"], [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(files(&fs).len(), 2, "manifest and segments are gone");
    assert_eq!(read(&open(&fs), "big"), [1, 2, 3, 4, 5, 6, 7, 8]);
    let mut old = vec![0; 6];
    array.read_all(&mut old).unwrap();
    assert_eq!(old, [1, 2, 3, 4, 5, 6], "the snapshot keeps its files");
}

/// The pages of a replaced generation are written again instead of new ones, unless somebody looks.
#[test]
fn a_replaced_file_is_used_again_when_nobody_holds_it() {
    let fs = MemoryFs::default();
    let store = open(&fs);
    let ino = || {
        let dir = dir(&fs);
        let mut names = dir.list(".npk").unwrap();
        names.retain(|name| name.starts_with('g'));
        let mut found: Vec<u64> = names
            .iter()
            .map(|name| dir.stat(&format!(".npk/{name}")).unwrap().ino)
            .collect();
        found.sort_unstable();
        found
    };
    let data = |seed| rows(1000, 100, seed);
    save(&store, "a", &[1000, 100], &data(0)).unwrap();
    save(&store, "a", &[1000, 100], &data(1)).unwrap();
    let two = ino();
    assert_eq!(two.len(), 2, "the array's and the spare");
    save(&store, "a", &[1000, 100], &data(2)).unwrap();
    save(&store, "a", &[900, 100], &data(3)[..90_000]).unwrap();
    assert_eq!(ino(), two, "no new file");
    assert_eq!(read(&store, "a"), &data(3)[..90_000]);
    let held = store.array("a").unwrap();
    save(&store, "a", &[1000, 100], &data(4)).unwrap();
    save(&store, "a", &[1000, 100], &data(5)).unwrap();
    assert_ne!(ino(), two, "the held file is left alone");
    assert_eq!(&*held.contiguous().unwrap(), &data(3)[..90_000]);
    assert_eq!(read(&store, "a"), data(5));
    store.close().unwrap();
    assert!(ino().is_empty(), "no spare stays");
}

/// A replaced file that somebody looks at stays when others close the store, and goes with the next handle
/// that is closed.
#[test]
fn what_a_view_left_behind_goes_with_the_next_handle() {
    let disk = Disk::new(&Image::default());
    let open = |mode| workload::open(&disk.process(), mode, Durability::Commit).unwrap();
    let generations = || {
        let names = disk.image().names;
        names
            .keys()
            .filter(|name| name.starts_with(".npk/g"))
            .count()
    };
    let (killed, looking, third) = (open(Mode::Append), open(Mode::Append), open(Mode::Append));
    save(&killed, "a", &[4], &[1, 2, 3, 4]).unwrap();
    killed.sync().unwrap();
    let view = looking.array("a").unwrap().contiguous().unwrap();
    save(&killed, "a", &[4], &[5, 6, 7, 8]).unwrap();
    std::mem::forget(killed);
    third.close().unwrap();
    assert_eq!(generations(), 1, "in use");
    assert_eq!(*view, [1, 2, 3, 4]);
    drop(view);
    open(Mode::Read).close().unwrap();
    assert_eq!(generations(), 1, "a reader writes nothing");
    looking.close().unwrap();
    assert_eq!(generations(), 0);
    assert_eq!(read(&open(Mode::Read), "a"), [5, 6, 7, 8]);
    assert_eq!(disk.breaches(), Vec::<String>::new());
}

/// The file of an array that was replaced is written to again, but for one that a renamed array has by now.
#[test]
fn the_file_of_a_renamed_array_is_not_used_again() {
    let fs = MemoryFs::default();
    let store = open(&fs);
    let len = 70_000;
    let data = |value: u8| vec![value; len];
    save(&store, "a", &[len as u64], &data(1)).unwrap();
    let mut t = store.begin().unwrap();
    t.rename("a", "b").unwrap();
    t.commit().unwrap();
    // Not looked at before: a file that is mapped is not used again in any case.
    for turn in 2..5 {
        save(&store, "a", &[len as u64], &data(turn)).unwrap();
    }
    for store in [&store, &open(&fs.image())] {
        assert_eq!(read(store, "a"), data(4));
        assert_eq!(read(store, "b"), data(1));
    }
}

/// Within one commit an array is moved on, grows, and leaves its name to a smaller one.
#[test]
fn an_array_moves_on_within_a_commit() {
    for last in ["rename", "drop"] {
        let fs = MemoryFs::default();
        let store = open(&fs);
        let mut t = store.begin().unwrap();
        t.put("a", &bytes(&[10]), &mut &[1; 10][..]).unwrap();
        t.rename("a", "b").unwrap();
        t.append("b", &bytes(&[3]), &[2; 3]).unwrap();
        t.replace("b", Selection::Row(9), &bytes(&[]), &[3])
            .unwrap();
        if last == "rename" {
            t.rename("b", "c").unwrap();
        } else {
            t.drop_array("b").unwrap();
        }
        t.put("a", &bytes(&[2]), &mut &[4, 5][..]).unwrap();
        t.commit().unwrap();
        for store in [&store, &open(&fs.image())] {
            assert_eq!(read(store, "a"), [4, 5]);
            if last == "rename" {
                assert_eq!(read(store, "c"), [1, 1, 1, 1, 1, 1, 1, 1, 1, 3, 2, 2, 2]);
            } else {
                assert_eq!(names(store), ["a"]);
            }
        }
    }
}

/// Within one commit a name may be given away and taken again; each array keeps what is its own.
#[test]
fn names_change_hands_within_a_commit() {
    let fs = MemoryFs::default();
    let store = open(&fs);
    save(&store, "z", &[1], &[7]).unwrap();
    let mut t = store.begin().unwrap();
    t.put("a", &bytes(&[2]), &mut &[1, 2][..]).unwrap();
    t.rename("a", "b").unwrap();
    t.put("a", &bytes(&[3]), &mut &[3, 4, 5][..]).unwrap();
    t.delete_rows("b", Selection::Row(0)).unwrap();
    t.rename("z", "y").unwrap();
    t.rename("b", "z").unwrap();
    t.put("b", &bytes(&[1]), &mut &[9][..]).unwrap();
    t.drop_array("y").unwrap();
    t.commit().unwrap();
    let check = |store: &numpack_engine::Store| {
        assert_eq!(names(store), ["z", "a", "b"]);
        assert_eq!(read(store, "z"), [2]);
        assert_eq!(read(store, "a"), [3, 4, 5]);
        assert_eq!(read(store, "b"), [9]);
    };
    check(&store);
    check(&open(&fs.image()));
    store.close().unwrap();
    check(&open(&fs.image()));
}

/// Rows without a byte may be more than there is memory for a bit each.
#[test]
fn rows_of_an_endless_array_are_not_deleted() {
    let fs = MemoryFs::default();
    let store = open(&fs);
    save(&store, "thin", &[1 << 60, 0], &[]).unwrap();
    let error = delete(&store, "thin", Selection::Row(0)).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("\"thin\"") && text.contains("it has 1152921504606846976"),
        "{text}"
    );
    store.close().unwrap();
    assert_eq!(open(&fs).array("thin").unwrap().rows(), 1 << 60);
}
