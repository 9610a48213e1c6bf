//! A failed flush that takes rows with it which had not been on disk, and processes that go on.

use std::collections::BTreeMap;

use numpack_engine::fs::{Dir, Fs, Open, read_exact_at, write_all_at};
use numpack_engine::{Durability, Error, Limits, Mode};
use numpack_format::journal::HEADER_LEN;
use numpack_format::store_files;

use super::Act;
use super::choices::{RESTARTED, starts};
use super::party::{Party, World};
use crate::disk::Image;
use crate::faults::faulty::{Call, Fault, Plan};
use crate::kit::OnPanic;
use crate::workload::{Op, State};

/// Files that hold rows, and the journal, by inode: name and content.
type Files = BTreeMap<u64, (String, Vec<u8>)>;

fn files(dir: &dyn Dir) -> Files {
    let private = dir.list(".npk").unwrap().into_iter();
    let private = private
        .filter(|name| name == "journal" || store_files::parse_generation_file(name).is_some());
    let own = dir.list("").unwrap().into_iter();
    let own = own.filter(|name| store_files::is_data_file(name));
    let names = own.chain(private.map(|name| format!(".npk/{name}")));
    let read = |name: String| {
        let file = dir.open(&name, Open::Read).unwrap();
        let stat = file.stat().unwrap();
        let mut bytes = vec![0; stat.len as usize];
        read_exact_at(&*file, &mut bytes, 0).unwrap();
        (stat.ino, (name, bytes))
    };
    names.map(read).collect()
}

/// What a file holds when nothing arrived that was written to it since; the head of the journal did.
fn without_news(name: &str, known: &[u8], now: &[u8]) -> Vec<u8> {
    let arrived = if name == ".npk/journal" {
        HEADER_LEN as usize
    } else {
        0
    };
    let mut bytes = known.to_vec();
    bytes.resize(now.len(), 0);
    bytes[..arrived].copy_from_slice(&now[..arrived]);
    bytes
}

/// Loses what was written to a file since, or after the last one to all of them; false if that has been done.
fn lose(dir: &dyn Dir, known: &Files, which: usize) -> bool {
    let now = files(dir);
    let news = now.iter().filter_map(|(ino, (name, bytes))| {
        let before = known.get(ino).map_or(&[][..], |(_, bytes)| bytes);
        let old = without_news(name, before, bytes);
        (old != *bytes).then_some((name, old))
    });
    let news: Vec<_> = news.collect();
    for (at, (name, old)) in news.iter().enumerate() {
        if at == which || which == news.len() {
            write_all_at(&*dir.open(name, Open::Write).unwrap(), old, 0).unwrap();
        }
    }
    which <= news.len()
}

/// Three that have the store open: nothing is flushed but by `Op::Sync`.
fn parties(world: &World) -> [Party; 3] {
    let mut limits = Limits::default();
    (limits.copied, limits.spare) = (0, 1);
    [(); 3].map(|()| {
        let mut party = Party::new(world, limits, Durability::Commit);
        party.open(Mode::Append).unwrap();
        party
    })
}

struct Story<'a> {
    start: &'a (Image, State),
    /// Since the last flush.
    ops: [&'a Op; 3],
    /// After which of them all are looked at.
    looked: usize,
    /// Whether who did them goes on, or somebody else.
    same: bool,
    next: &'a Op,
}

/// What a story came to.
#[derive(Debug, Default)]
struct Met {
    stories: usize,
    /// In so many of them commits were taken back.
    taken_back: usize,
}

impl Story<'_> {
    /// Loses what was written to one file after the other, or to all of them.
    fn explore(&self, met: &mut Met) {
        for lost in 0.. {
            let text = format!(
                "{:?}, looked at after {}, file {lost} lost, then {:?} ({})",
                self.ops, self.looked, self.next, self.same
            );
            let _story = OnPanic(|| text.clone());
            let Some(seen) = self.play(lost, None, met) else {
                break;
            };
            let _blind = OnPanic(|| "without a look".to_owned());
            self.play(lost, Some(&seen), met);
        }
    }

    /// What is there when it went on; None if there are not so many files to lose. Where that is `seen` already,
    /// who goes on does so without a look.
    fn play(&self, lost: usize, seen: Option<&State>, met: &mut Met) -> Option<State> {
        let world = World::of(&self.start.0, false);
        let dir = world.process().open_dir(&world.path(), false).unwrap();
        let [failing, writer, other] = &mut parties(&world);
        assert_eq!(
            writer.act(&Act::Do(Op::Sync), &self.start.1, 0).refused,
            None
        );
        let mut known = files(&*dir);
        let mut history = vec![self.start.1.clone()];
        for (at, op) in self.ops.into_iter().enumerate() {
            let act = Act::Do(op.clone());
            let before = history.last().unwrap();
            let after = act.after(before, at as u64)?;
            assert_eq!(writer.act(&act, before, at as u64).refused, None);
            history.push(after);
            if op.is_safe() {
                history.drain(..history.len() - 1);
                known = files(&*dir);
            }
            if at == self.looked {
                for party in [&mut *failing, &mut *writer, &mut *other] {
                    party.look().unwrap();
                }
            }
        }
        let last = history.last().unwrap();
        failing.fs.arm(Plan {
            fault: Fault::Flush,
            after: 0,
            lasting: false,
        });
        let done = failing.act(&Act::Do(Op::Sync), last, 7);
        if failing.fs.disarm() != [Call::Sync] {
            return None;
        }
        assert_eq!(done.refused.as_deref(), Some("Io"));
        if !lose(&*dir, &known, lost) {
            return None;
        }
        for party in [&mut *failing, &mut *writer, &mut *other] {
            party.forget_changed_views();
        }
        met.stories += 1;
        let parties = if self.same {
            [writer, other, failing]
        } else {
            [other, writer, failing]
        };
        let state = match seen {
            None => parties[0].look().unwrap(),
            Some(seen) => {
                let act = Act::Do(Op::Over(0, 4));
                assert_eq!(parties[0].act(&act, seen, 19).refused, None);
                act.after(seen, 19)?
            }
        };
        if seen.is_none() {
            assert!(history.contains(&state), "{state:?} is none of {history:?}");
            met.taken_back += usize::from(history.last() != Some(&state));
        }
        self.go_on(parties, state.clone());
        Some(state)
    }

    fn go_on(&self, parties: [&mut Party; 3], mut state: State) {
        let [first, second, third] = parties;
        for party in [&mut *first, &mut *second, &mut *third] {
            assert_eq!(party.look().unwrap(), state);
        }
        for (op, seed) in [self.next, &Op::Replace(0, vec![1]), self.next, &Op::Sync]
            .into_iter()
            .zip(20..)
        {
            let act = Act::Do(op.clone());
            let Some(after) = act.after(&state, seed) else {
                continue;
            };
            assert_eq!(first.act(&act, &state, seed).refused, None, "{op:?}");
            state = after;
            for party in [&mut *first, &mut *second, &mut *third] {
                assert_eq!(party.look().unwrap(), state, "after {op:?}");
                party.check_views();
            }
        }
        for act in [Act::Do(Op::Checkpoint), Act::Verify] {
            assert_eq!(second.act(&act, &state, 30).refused, None, "{act:?}");
        }
        for party in [first, second, third] {
            party.check(&state);
            party.check_views();
        }
    }
}

/// One in so many stories is played in an ordinary run.
const STEP: usize = 37;

#[test]
fn what_a_failed_flush_lost_is_taken_back_whole() {
    let ops = [
        Op::Over(0, 3),
        Op::Over(1, 4),
        Op::Replace(0, vec![0]),
        Op::Append(0, 2),
        Op::Sync,
        Op::Drop(0),
        Op::Rename(0),
        Op::Delete(0, vec![0]),
        Op::Together(0),
        Op::Update(1),
        Op::Describe(0),
        Op::Compact(0),
        Op::Create(5, 3),
        Op::Copy(0),
    ];
    let nexts = [
        Op::Replace(0, vec![0]),
        Op::Over(0, 4),
        Op::Append(0, 1),
        Op::Update(0),
    ];
    let starts = starts();
    let deep = std::env::var("NUMPACK_DEEP").is_ok();
    let mut met = Met::default();
    let numbers = 0..ops.len().pow(3) * RESTARTED.start;
    for number in numbers.step_by(if deep { 1 } else { STEP }) {
        let op = |at: u32| &ops[number / ops.len().pow(at) % ops.len()];
        let story = Story {
            start: &starts[number / ops.len().pow(3)],
            ops: [op(0), op(1), op(2)],
            looked: number % 4,
            same: number % 3 < 2,
            next: &nexts[number % 7 % 4],
        };
        story.explore(&mut met);
    }
    assert!(met.stories > 500 && met.taken_back > 200, "{met:?}");
}

#[test]
fn a_change_that_rests_on_rows_that_were_taken_back_is_refused() {
    let starts = starts();
    let world = World::of(&starts[0].0, false);
    let [mut failing, mut writer, mut other] = parties(&world);
    let mut act = |op: Op, before: &State, seed| {
        let act = Act::Do(op);
        assert_eq!(writer.act(&act, before, seed).refused, None);
        act.after(before, seed).unwrap()
    };
    let known = act(Op::Sync, &starts[0].1, 0);
    let dir = world.process().open_dir(&world.path(), false).unwrap();
    let before = files(&*dir);
    let appended = act(Op::Append(0, 2), &known, 1);
    assert_eq!(other.look().unwrap(), appended);
    let store = other.store.clone().unwrap();
    let name = &appended.at(0).unwrap().name;
    let base = store.snapshot(&[name]).unwrap();
    let mut change = store.begin_at(&base).unwrap();
    change.set_attrs(Some(name), "{\"of\":2}").unwrap();
    failing.fs.arm(Plan {
        fault: Fault::Flush,
        after: 0,
        lasting: false,
    });
    assert!(
        failing
            .act(&Act::Do(Op::Sync), &appended, 2)
            .refused
            .is_some()
    );
    failing.fs.disarm();
    assert!(lose(&*dir, &before, 0));
    // As many rows as were taken back.
    act(Op::Append(0, 2), &known, 3);
    assert!(matches!(change.commit(), Err(Error::Conflict { .. })));
}
