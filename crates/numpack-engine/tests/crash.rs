//! Processes that die and machines that lose power.

use std::path::Path;
use std::sync::Arc;

use numpack_engine::fs::{Dir, File, Fs, MemoryFs, Open, write_all_at};
use numpack_engine::{Durability, Options, Selection};
use numpack_format::journal::{HEADER_LEN, Header, PROBE_LEN};

use crate::kit::{PATH, append, bytes, delete, names, open, read, replace, rows, save, try_open};

fn dir(fs: &MemoryFs) -> Arc<dyn Dir> {
    fs.open_dir(Path::new(PATH), false).unwrap()
}

fn contents(file: &dyn File) -> Vec<u8> {
    let mut bytes = vec![0; file.stat().unwrap().len as usize];
    numpack_engine::fs::read_exact_at(file, &mut bytes, 0).unwrap();
    bytes
}

/// Makes the journal look as if the machine had been restarted since it was begun.
fn reboot(fs: &MemoryFs) {
    let journal = dir(fs).open(".npk/journal", Open::Write).unwrap();
    let (_, header) = Header::newest(&contents(&*journal)[..PROBE_LEN]).unwrap();
    let header = Header {
        boot_hash: header.boot_hash ^ 1,
        ..header
    };
    write_all_at(
        &*journal,
        &header.encode(),
        Header::slot_offset(header.epoch),
    )
    .unwrap();
}

fn generations(fs: &MemoryFs) -> Vec<String> {
    let mut found: Vec<String> = dir(fs).list(".npk").unwrap();
    found.retain(|name| name.starts_with('g'));
    found
}

/// What a power cut may leave of a commit: the journal cut at any byte. The state is one of those that
/// the commits went through, never anything between.
#[test]
fn every_cut_of_the_journal_is_a_state_that_was() {
    let fs = MemoryFs::default();
    let store = open(&fs);
    save(&store, "a", &[4, 2], &rows(4, 2, 1)).unwrap();
    let mut states: Vec<Option<Vec<u8>>> = vec![None, Some(read(&store, "a"))];
    append(&store, "a", &[2, 2], &rows(2, 2, 2)).unwrap();
    states.push(Some(read(&store, "a")));
    delete(&store, "a", Selection::Rows(vec![0, 3])).unwrap();
    states.push(Some(read(&store, "a")));
    let mut t = store.begin().unwrap();
    t.put("b", &bytes(&[1]), &mut &[5][..]).unwrap();
    t.append("a", &bytes(&[1, 2]), &[8, 8]).unwrap();
    t.delete_rows("a", Selection::Row(0)).unwrap();
    t.commit().unwrap();
    states.push(Some(read(&store, "a")));
    let image = fs.image();
    let full = contents(&*dir(&image).open(".npk/journal", Open::Read).unwrap());
    let mut seen = std::collections::BTreeSet::new();
    for cut in HEADER_LEN as usize..=full.len() {
        let cut_image = image.image();
        dir(&cut_image)
            .open(".npk/journal", Open::Write)
            .unwrap()
            .set_len(cut as u64)
            .unwrap();
        assert!(cut == full.len() || try_open(&cut_image, &Options::default()).is_err());
        reboot(&cut_image);
        let store = open(&cut_image);
        let state = store.contains("a").unwrap().then(|| read(&store, "a"));
        let index = states
            .iter()
            .rposition(|s| *s == state)
            .expect("a state that was");
        assert_eq!(
            store.contains("b").unwrap(),
            index == 4,
            "the commit is whole"
        );
        seen.insert(index);
    }
    assert_eq!(seen.len(), states.len());
}

/// A bit that flips in the journal never gives a wrong state: the flipped commit and all after it are
/// gone, or the header is damaged and the store says so.
#[test]
fn a_flipped_journal_bit_is_never_wrong_data() {
    let fs = MemoryFs::default();
    let store = open(&fs);
    let mut states = vec![None];
    for seed in 0..3 {
        save(&store, "a", &[2, 2], &rows(2, 2, seed)).unwrap();
        states.push(Some(read(&store, "a")));
    }
    let image = fs.image();
    let full = contents(&*dir(&image).open(".npk/journal", Open::Read).unwrap());
    let (mut fine, mut refused) = (0, 0);
    for at in (0..PROBE_LEN).chain(HEADER_LEN as usize..full.len()) {
        let flipped = image.image();
        let journal = dir(&flipped).open(".npk/journal", Open::Write).unwrap();
        write_all_at(&*journal, &[full[at] ^ 0x10], at as u64).unwrap();
        // Superseded generations are gone, so an earlier state may have no file: an error, not rows.
        let state = try_open(&flipped, &Options::default()).and_then(|store| {
            if !store.contains("a")? {
                return Ok(None);
            }
            let array = store.array("a")?;
            let mut out = vec![0; array.byte_len()];
            array.read_all(&mut out)?;
            Ok(Some(out))
        });
        match state {
            Ok(state) => {
                assert!(states.contains(&state), "byte {at}");
                fine += 1;
            }
            Err(_) => refused += 1,
        }
    }
    assert!(fine > 100 && refused > 10, "{fine} {refused}");
}

/// The machine loses power; the journal's records arrived on disk and the payload of the last one
/// did not.
#[test]
fn payload_that_did_not_arrive_takes_its_commit_back() {
    let fs = MemoryFs::default();
    let store = open(&fs);
    save(&store, "a", &[3, 2], &rows(3, 2, 1)).unwrap();
    store.sync().unwrap();
    append(&store, "a", &[2, 2], &rows(2, 2, 2)).unwrap();
    save(&store, "b", &[3, 2], &rows(3, 2, 3)).unwrap();
    delete(&store, "a", Selection::Row(0)).unwrap();
    let image = fs.image();
    reboot(&image);
    let whole = open(&image.image());
    assert_eq!(names(&whole), ["a", "b"]);
    assert_eq!(whole.info("a").unwrap().shape, [4, 2]);

    // The rows of "b" are lost: everything from its commit on is taken back.
    let lost = image.image();
    let b = generations(&lost).into_iter().find(|name| {
        let file = dir(&lost)
            .open(&format!(".npk/{name}"), Open::Read)
            .unwrap();
        contents(&*file) == rows(3, 2, 3)
    });
    let file = dir(&lost)
        .open(&format!(".npk/{}", b.unwrap()), Open::Write)
        .unwrap();
    write_all_at(&*file, &[0], 0).unwrap();
    let store = open(&lost);
    assert_eq!(names(&store), ["a"]);
    assert_eq!(store.info("a").unwrap().shape, [5, 2]);
    // The next commit follows on that state, and what was taken back never comes again.
    append(&store, "a", &[1, 2], &[7, 7]).unwrap();
    let again = open(&lost.image());
    assert_eq!(names(&again), ["a"]);
    assert_eq!(again.info("a").unwrap().shape, [6, 2]);
    assert_eq!(read(&again, "a")[10..], [7, 7]);

    // The appended rows are lost: the append is taken back as well, down to what was synced.
    let torn = image.image();
    for name in generations(&torn) {
        let file = dir(&torn)
            .open(&format!(".npk/{name}"), Open::Write)
            .unwrap();
        if file.stat().unwrap().len == 10 {
            file.set_len(8).unwrap();
        }
    }
    let store = open(&torn);
    assert_eq!(names(&store), ["a"]);
    assert_eq!(read(&store, "a"), rows(3, 2, 1));
}

/// A process dies between any two steps of a checkpoint: the next open finishes it.
#[test]
fn an_interrupted_checkpoint_is_finished() {
    let fs = MemoryFs::default();
    let store = open(&fs);
    save(&store, "old", &[3, 2], &rows(3, 2, 0)).unwrap();
    delete(&store, "old", Selection::Row(1)).unwrap();
    save(&store, "gone", &[2], &[1, 2]).unwrap();
    store.checkpoint().unwrap();
    let before = fs.image();
    save(&store, "old", &[2, 2], &rows(2, 2, 5)).unwrap();
    append(&store, "old", &[1, 2], &[9, 9]).unwrap();
    let mut t = store.begin().unwrap();
    t.drop_array("gone").unwrap();
    t.rename("old", "new").unwrap();
    t.commit().unwrap();
    let journal = fs.image();
    store.close().unwrap();
    let expected = [rows(2, 2, 5), vec![9, 9]].concat();

    // The last step, the new header, is missing: metadata is ahead of the journal.
    let image = fs.image();
    let old = contents(&*dir(&journal).open(".npk/journal", Open::Read).unwrap());
    let file = dir(&image).open(".npk/journal", Open::Write).unwrap();
    write_all_at(&*file, &old, 0).unwrap();
    dir(&image).open("data_gone.npkd", Open::Create).unwrap();
    check_finished(&image, &expected);

    // Metadata is missing too: own files are new, metadata and bitmaps old.
    let metadata = contents(&*dir(&before).open("metadata.npkm", Open::Read).unwrap());
    let file = dir(&image).open("metadata.npkm", Open::Write).unwrap();
    file.set_len(0).unwrap();
    write_all_at(&*file, &metadata, 0).unwrap();
    let bitmap = contents(&*dir(&before).open("deleted_old.npkb", Open::Read).unwrap());
    let file = dir(&image).open("deleted_old.npkb", Open::Create).unwrap();
    write_all_at(&*file, &bitmap, 0).unwrap();
    check_finished(&image, &expected);
}

fn check_finished(fs: &MemoryFs, expected: &[u8]) {
    let image = fs.image();
    let store = open(&image);
    assert_eq!(names(&store), ["new"]);
    assert_eq!(read(&store, "new"), expected);
    store.close().unwrap();
    let mut left = dir(&image).list("").unwrap();
    left.sort();
    assert_eq!(left, [".npk", "data_new.npkd", "metadata.npkm"]);
    assert_eq!(generations(&image), Vec::<String>::new());
    assert_eq!(read(&open(&image), "new"), expected);
}

/// Rows that begin in the middle of a block and end in another one are verified in the blocks of their file.
#[test]
fn appended_blocks_that_arrived_stay() {
    const LEN: u64 = 150_000;
    let fs = MemoryFs::default();
    let store = open(&fs);
    save(&store, "a", &[7], &rows(7, 1, 1)).unwrap();
    append(&store, "a", &[LEN], &rows(LEN, 1, 2)).unwrap();
    append(&store, "a", &[LEN], &rows(LEN, 1, 3)).unwrap();
    let image = fs.image();
    reboot(&image);
    assert_eq!(open(&image.image()).info("a").unwrap().shape, [7 + 2 * LEN]);

    // A byte in the middle of the last of them did not arrive.
    let generation = format!(".npk/{}", generations(&image)[0]);
    let file = dir(&image).open(&generation, Open::Write).unwrap();
    let at = 7 + LEN + LEN / 2;
    let other = !contents(&*file)[at as usize];
    write_all_at(&*file, &[other], at).unwrap();
    assert_eq!(open(&image).info("a").unwrap().shape, [7 + LEN]);
}

#[test]
fn full_survives_a_power_cut_as_it_is() {
    let fs = MemoryFs::default();
    let options = Options::default().with_durability(Durability::Full);
    let store = try_open(&fs, &options).unwrap();
    save(&store, "a", &[2, 2], &rows(2, 2, 1)).unwrap();
    append(&store, "a", &[1, 2], &[3, 3]).unwrap();
    let image = fs.image();
    reboot(&image);
    assert_eq!(open(&image).info("a").unwrap().shape, [3, 2]);
}

/// A checkpoint that flushes nothing, and a power cut that leaves its metadata and takes the records: the
/// numbers of what comes next are none of those that the metadata speaks of, by which versions are told
/// apart.
#[test]
fn the_number_of_a_commit_never_comes_again() {
    let fs = MemoryFs::default();
    let options = Options::default().with_durability(Durability::None);
    let store = try_open(&fs, &options).unwrap();
    save(&store, "a", &[4, 2], &rows(4, 2, 1)).unwrap();
    store.checkpoint().unwrap();
    let old = contents(&*dir(&fs).open(".npk/journal", Open::Read).unwrap());
    let mut last = 0;
    for value in 0..8 {
        last = replace(&store, "a", Selection::Row(0), &[2], &[value; 2]).unwrap();
    }
    let version = store.array("a").unwrap().version();
    store.checkpoint().unwrap();

    let left = fs.image();
    let journal = dir(&left).open(".npk/journal", Open::Write).unwrap();
    journal.set_len(0).unwrap();
    write_all_at(&*journal, &old, 0).unwrap();
    reboot(&left);
    let store = try_open(&left, &options).unwrap();
    assert_eq!(store.array("a").unwrap().version(), version);
    for value in 10..20 {
        let number = replace(&store, "a", Selection::Row(1), &[2], &[value; 2]).unwrap();
        assert!(number > last, "{number} after {last}");
        assert_ne!(store.array("a").unwrap().version(), version);
    }
}
