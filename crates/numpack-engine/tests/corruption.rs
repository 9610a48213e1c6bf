//! Files that rot: every byte of what has a checksum flips, every length is cut. The store is refused,
//! or it shows a state that it was in; it never shows wrong rows and never comes out empty.

use std::path::Path;
use std::sync::Arc;

use numpack_engine::fs::{Fs as _, Open, read_exact_at, write_all_at};
use numpack_engine::{Durability, Error, Mode, Options, Result, Store};
use numpack_format::Metadata;
use numpack_format::journal::{HEADER_LEN, HINT_LEN, HINT_OFFSETS, PROBE_LEN};

use crate::disk::{Disk, Image, Node};
use crate::kit::{self, PATH, append, save};
use crate::workload::{Op, Recorded, Session, State, open};

/// Five arrays at rest, two of them with deleted rows, and in the journal records of every kind.
fn store() -> (Image, Recorded, usize) {
    let first = vec![State::default()];
    let mut session = Session::new(&Image::default(), first, Durability::Commit, 1);
    let rest = [
        Op::Save(0, 3),
        Op::Save(1, 9),
        Op::Save(2, 2),
        Op::Save(3, 3),
        Op::Save(4, 70),
        Op::Delete(1, vec![1, 4]),
        Op::Delete(4, vec![0, 65]),
        Op::Checkpoint,
    ];
    let pending = [
        Op::Append(0, 1),
        Op::Replace(0, vec![1]),
        Op::Append(1, 1),
        Op::Sync,
        Op::Delete(2, vec![0]),
        Op::Drop(3),
        Op::Rename(2),
        Op::Create(5, 2),
        Op::Over(0, 2),
        Op::Together(0),
        Op::Copy(1),
    ];
    let mut at_rest = 0;
    for op in rest.iter().chain(&pending) {
        session.run(op, 0);
        if *op == Op::Checkpoint {
            at_rest = session.states() - 1;
        }
    }
    let image = session.disk.image();
    (image, session.finish(), at_rest)
}

fn read(image: &Image) -> Result<State> {
    State::of(&open(&Disk::new(image), Mode::Read, Durability::Commit)?)
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    refused: usize,
    newest: usize,
    older: usize,
}

/// Reads `image` with a file changed.
fn outcome(
    image: &Image,
    name: &str,
    change: impl FnOnce(&mut Vec<u8>),
    possible: &[State],
) -> Outcome {
    let mut image = image.clone();
    let Some(Node::File(ino)) = image.names.get(name) else {
        panic!("no file {name}");
    };
    if let Some(bytes) = image.files.get_mut(ino) {
        change(Arc::make_mut(bytes));
    }
    let mut seen = Outcome::default();
    match read(&image) {
        Err(_) => seen.refused = 1,
        Ok(state) => match possible.iter().rposition(|past| *past == state) {
            Some(place) if place + 1 == possible.len() => seen.newest = 1,
            Some(_) => seen.older = 1,
            None => panic!("{name}: {state:?}"),
        },
    }
    seen
}

fn files(image: &Image) -> Vec<(String, usize)> {
    image
        .names
        .iter()
        .filter(|(name, _)| {
            let bitmap = name.starts_with("deleted_");
            bitmap || &***name == "metadata.npkm" || &***name == ".npk/journal"
        })
        .filter_map(|(name, node)| match node {
            Node::File(ino) => Some((name.to_string(), image.files[ino].len())),
            Node::Dir => None,
        })
        .collect()
}

#[test]
fn a_flipped_byte_is_never_wrong_rows() {
    let (image, recorded, at_rest) = store();
    let possible = &recorded.history[at_rest..];
    assert_eq!(read(&image).unwrap(), possible[possible.len() - 1]);
    for (name, len) in files(&image) {
        let mut sum = Outcome::default();
        for at in 0..len {
            for mask in [1 << (at % 8), 0xff] {
                let one = outcome(&image, &name, |bytes| bytes[at] ^= mask, possible);
                sum.refused += one.refused;
                sum.newest += one.newest;
                sum.older += one.older;
            }
        }
        assert!(sum.refused > 0, "{name}: {sum:?}");
        if name == "metadata.npkm" {
            assert_eq!(sum.refused, 2 * len, "{name} has a checksum over all of it");
        }
        if name == ".npk/journal" {
            // The hint tells which records must be there; without it all of them still are.
            assert!(sum.refused > 1000 && sum.newest > 1000, "{sum:?}");
            assert_eq!(sum.older, 0, "{sum:?}");
        }
    }
}

#[test]
fn a_cut_file_is_never_wrong_rows() {
    let (image, recorded, at_rest) = store();
    let possible = &recorded.history[at_rest..];
    let names = files(&image);
    assert_eq!(names.len(), 4, "{names:?}");
    for (name, len) in names {
        let mut sum = Outcome::default();
        for to in 0..len {
            let one = outcome(&image, &name, |bytes| bytes.truncate(to), possible);
            sum.refused += one.refused;
            sum.newest += one.newest;
            sum.older += one.older;
        }
        if name == "metadata.npkm" {
            // Cut right before the trailer it is what 0.4 writes: its state, which nobody may change.
            assert_eq!((sum.refused, sum.older), (len - 1, 1), "{name}");
        } else if name != ".npk/journal" {
            assert_eq!((sum.refused, sum.older), (len, 0), "{name}");
        } else {
            assert!(sum.refused > 1000, "{sum:?}");
            assert!(sum.older < 1200, "only without the hint, {sum:?}");
        }
    }
}

/// A journal that has lost its hints, too, may end anywhere without anybody noticing. It then names a
/// generation that was superseded and removed, and the rows that its array had before do not stand in.
#[test]
fn a_journal_cut_without_its_hints_is_never_wrong_rows() {
    let first = vec![State::default()];
    let mut session = Session::new(&Image::default(), first, Durability::Commit, 1);
    for op in [Op::Save(0, 3), Op::Save(1, 4), Op::Checkpoint] {
        session.run(&op, 0);
    }
    let at_rest = session.states() - 1;
    for op in [Op::Over(0, 2), Op::Over(0, 4), Op::Replace(1, vec![0])] {
        session.run(&op, 0);
    }
    let image = session.disk.image();
    let possible = &session.finish().history[at_rest..];
    let files = files(&image);
    let (name, len) = files.iter().find(|file| file.0 == ".npk/journal").unwrap();
    let mut sum = Outcome::default();
    for to in HEADER_LEN as usize..=*len {
        let cut = |bytes: &mut Vec<u8>| {
            for at in HINT_OFFSETS {
                bytes[at as usize..at as usize + HINT_LEN].fill(0);
            }
            bytes.truncate(to);
        };
        let one = outcome(&image, name, cut, possible);
        sum.refused += one.refused;
        sum.newest += one.newest;
        sum.older += one.older;
    }
    assert!(
        sum.refused > 0 && sum.older > 0 && sum.newest > 0,
        "{sum:?}"
    );
}

/// A record that is hinted at and cannot be read is no end of the journal for a handle that is open either:
/// what it would write behind it would go over what another process has committed.
#[test]
fn an_open_handle_does_not_write_over_a_damaged_record() {
    let disk = Disk::new(&Image::default());
    let process = || open(&disk.process(), Mode::Append, Durability::Commit).unwrap();
    let (one, other) = (process(), process());
    save(&one, "a", &[4], &[1, 2, 3, 4]).unwrap();
    one.checkpoint().unwrap();
    assert_eq!(kit::read(&other, "a"), [1, 2, 3, 4]);
    append(&one, "a", &[1], &[5]).unwrap();
    let dir = disk.process().open_dir(Path::new(PATH), false).unwrap();
    let journal = dir.open(".npk/journal", Open::Write).unwrap();
    let at = HEADER_LEN + 20;
    let mut byte = [0];
    read_exact_at(&*journal, &mut byte, at).unwrap();
    write_all_at(&*journal, &[byte[0] ^ 1], at).unwrap();
    for _ in 0..2 {
        let refused = save(&other, "b", &[1], &[9]).unwrap_err();
        assert!(matches!(refused, Error::Corrupt { .. }), "{refused}");
        assert!(matches!(other.array("a"), Err(Error::Corrupt { .. })));
    }
    write_all_at(&*journal, &byte, at).unwrap();
    save(&other, "b", &[1], &[9]).unwrap();
    assert_eq!(kit::read(&other, "a"), [1, 2, 3, 4, 5]);
    assert_eq!(kit::read(&one, "b"), [9]);
}

/// A power cut may leave rubbish where the head of a new journal did not arrive. Readers have what the metadata
/// say, also of a program that writes no trailer, and the first writer begins the journal anew.
#[test]
fn a_journal_whose_making_was_cut_short_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.npk");
    let store = Store::open(&path, &Options::default()).unwrap();
    save(&store, "a", &[4], &[1, 2, 3, 4]).unwrap();
    store.close().unwrap();
    let journal = path.join(".npk/journal");
    for trailer in [true, false] {
        if !trailer {
            let file = path.join("metadata.npkm");
            let mut metadata = Metadata::decode(&std::fs::read(&file).unwrap()).unwrap();
            metadata.trailer = None;
            std::fs::write(&file, metadata.encode()).unwrap();
        }
        for rubbish in [0xa5, 0xff] {
            std::fs::write(&journal, vec![rubbish; PROBE_LEN]).unwrap();
            let reader = Store::open(&path, &kit::mode(Mode::Read)).unwrap();
            for _ in 0..3 {
                assert_eq!(kit::read(&reader, "a"), [1, 2, 3, 4]);
                assert!(reader.verify(true).unwrap().ok());
            }
        }
        let store = Store::open(&path, &Options::default()).unwrap();
        let reader = Store::open(&path, &kit::mode(Mode::Read)).unwrap();
        save(&store, "b", &[1], &[9]).unwrap();
        assert_eq!(kit::read(&reader, "b"), [9]);
        store.close().unwrap();
        assert!(reader.verify(true).unwrap().ok());
        // Of another length it is damage.
        std::fs::write(&journal, vec![0xff; 4096]).unwrap();
        let refused = Store::open(&path, &kit::mode(Mode::Read)).map(drop);
        assert!(matches!(refused, Err(Error::Corrupt { .. })), "{refused:?}");
    }
}
