//! Looks at the crashes of a recorded session.

use std::ops::RangeInclusive;

use numpack_engine::{Durability, Error, Mode, Result};
use numpack_format::journal::{Header, SLOT_LEN, SLOT_OFFSETS};

use super::Count;
use crate::disk::{Disk, Event, Image, Moment, Node, Replay, Rng};
use crate::kit::OnPanic;
use crate::workload::{Op, Recorded, Session, State, open, perform, plan};

/// How thoroughly to look.
#[derive(Clone, Copy, Debug)]
pub struct Depth<'a> {
    /// Ways in which the changes of one moment arrive.
    pub ways: usize,
    /// One in so many images is worked on in a second session, whose crashes are looked at as well;
    /// 0 is none.
    pub second: usize,
    /// What the second session does; some operations or other if this is empty.
    pub then: &'a [Op],
}

/// Counts images, and names the one at hand if something goes wrong.
#[derive(Debug, Default)]
pub struct Explorer {
    pub count: Count,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Crash {
    /// The process was killed.
    Kill,
    /// The machine lost power.
    Cut,
}

/// Where in a session a crash comes.
struct Story<'a> {
    case: &'a str,
    step: usize,
    event: &'a Event,
    crash: Crash,
    choice: &'a [bool],
}

impl Story<'_> {
    fn tell(&self) -> String {
        let event = match self.event {
            Event::Sector { ino, index, .. } => format!("sector {index} of inode {ino}"),
            other => format!("{other:?}"),
        };
        let bit = |&arrives: &bool| if arrives { '1' } else { '0' };
        let choice: String = self.choice.iter().map(bit).collect();
        format!(
            "{}\n  {:?} after step {} ({event}), of what was not flushed arrived: {choice}",
            self.case, self.crash, self.step
        )
    }
}

impl Explorer {
    /// Looks at the crashes of `session` from step `from` on. `replay` is where it began.
    pub fn explore(
        &mut self,
        case: &str,
        mut replay: Replay,
        session: &Recorded,
        from: usize,
        depth: Depth<'_>,
        rng: &mut Rng,
    ) {
        for (step, event) in session.log.iter().enumerate() {
            let moment = replay.step(event);
            if moment == Moment::Nothing || step < from {
                continue;
            }
            let story = |crash, choice: &[bool]| {
                Story {
                    case,
                    step,
                    event,
                    crash,
                    choice,
                }
                .tell()
            };
            {
                let _story = OnPanic(|| story(Crash::Kill, &[]));
                let allowed = replay.returned..=replay.started;
                let image = replay.killed();
                let now = self.check(image, session, &allowed, Crash::Kill, rng);
                if let Some(now) = now.filter(|_| chosen(depth.second, rng)) {
                    let mut next = replay.clone();
                    (next.returned, next.started) = (now, now);
                    self.second(case, next, &image.clone(), session, depth, rng);
                }
            }
            // Rubbish lies only where a write is on its way, so that it may be the newest that is lost.
            let filler = if rng.below(4) == 0 { 0xa5 } else { 0 };
            for choice in replay.choices(event, filler == 0, depth.ways, rng) {
                let _story = OnPanic(|| story(Crash::Cut, &choice));
                let mut image = replay.cut(&choice, filler);
                reboot(&mut image);
                let now = self.check(
                    &image,
                    session,
                    &(replay.safe..=replay.started),
                    Crash::Cut,
                    rng,
                );
                if let Some(now) = now.filter(|_| chosen(depth.second, rng)) {
                    let mut next = Replay::new(&image);
                    (next.returned, next.started, next.safe) = (now, now, now);
                    self.second(case, next, &image, session, depth, rng);
                }
            }
        }
    }

    /// Opens what a crash has left; gives its place in the history. Then works on it.
    fn check(
        &mut self,
        image: &Image,
        session: &Recorded,
        allowed: &RangeInclusive<usize>,
        crash: Crash,
        rng: &mut Rng,
    ) -> Option<usize> {
        self.count.images += 1;
        let disk = Disk::new(image);
        let torn = crash == Crash::Cut && session.level == Durability::None;
        let mode = *rng.pick(&[Mode::Read, Mode::Append]);
        let state = match show(&disk, mode, session.level) {
            // What a checkpoint without flushes wrote may be torn; that it is must not make a panic.
            Err(_) if torn => return None,
            state => state.unwrap_or_else(|error| panic!("{error}")),
        };
        let place = (allowed.clone().rev()).find(|&place| session.history[place] == state);
        if torn {
            return place;
        }
        let Some(place) = place else {
            let was = session.history.iter().position(|past| *past == state);
            panic!(
                "{state:?}\n  is none of {allowed:?} (but {was:?}) of {:#?}",
                &session.history[allowed.clone()]
            );
        };
        if mode == Mode::Append {
            go_on(&disk, &state, session.level, rng);
        }
        Some(place)
    }

    /// Goes on with what a crash left, and looks at the crashes of that.
    fn second(
        &mut self,
        case: &str,
        replay: Replay,
        image: &Image,
        first: &Recorded,
        depth: Depth<'_>,
        rng: &mut Rng,
    ) {
        let history = first.history[..=replay.started].to_vec();
        let ops: Vec<Op> = match depth.then {
            [] => (0..=rng.below(3)).map(|_| later(rng)).collect(),
            then => then.to_vec(),
        };
        let case = format!("{case}\n  then {ops:?}");
        let story = OnPanic(|| case.clone());
        let mut session = Session::new(image, history, first.level, 1).within(first.limits);
        for op in &ops {
            session.run(op, 0);
        }
        let session = session.finish();
        drop(story);
        let depth = Depth {
            ways: depth.ways.min(8),
            second: 0,
            then: &[],
        };
        let before = self.count.images;
        self.explore(&case, replay, &session, 0, depth, rng);
        self.count.second += self.count.images - before;
    }
}

/// An operation of a second session.
fn later(rng: &mut Rng) -> Op {
    match rng.below(9) {
        0 => Op::Sync,
        1 => Op::Checkpoint,
        2 => Op::Reopen,
        3 => Op::Save(rng.below(4), 2),
        4 => Op::Over(0, 2),
        5 => Op::Delete(0, vec![rng.below(3)]),
        6 => Op::Replace(0, vec![rng.below(3)]),
        7 => Op::Rename(0),
        _ => Op::Append(rng.below(2), 1),
    }
}

fn chosen(one_in: usize, rng: &mut Rng) -> bool {
    one_in > 0 && rng.below(one_in) == 0
}

fn show(disk: &Disk, mode: Mode, level: Durability) -> Result<State> {
    match open(disk, mode, level) {
        Ok(store) => State::of(&store),
        // Its making was cut short; mode `a` would make it.
        Err(Error::NoStore { .. }) => Ok(State::default()),
        Err(error) => Err(error),
    }
}

/// A store that was opened after a crash works as any other.
fn go_on(disk: &Disk, state: &State, level: Durability, rng: &mut Rng) {
    let op = match rng.below(6) {
        0 => Op::Sync,
        1 => Op::Save(1, 2),
        2 => Op::Append(rng.below(3), 1),
        3 => Op::Over(rng.below(3), 2),
        4 => Op::Replace(rng.below(3), vec![0]),
        _ => Op::Delete(rng.below(3), vec![0]),
    };
    let store = open(disk, Mode::Append, level).unwrap();
    let seed = 77_777;
    let mut expected = state.clone();
    if let Some(after) = plan(&op, state, seed) {
        perform(&op, &store, state, seed).unwrap();
        expected = after;
    }
    let again = show(&disk.process(), Mode::Read, level).unwrap();
    assert_eq!(again, expected, "after {op:?} on {state:?}");
    store.close().unwrap();
    let again = show(&disk.process(), Mode::Read, level).unwrap();
    assert_eq!(again, expected, "after {op:?} on {state:?} and closing");
}

/// Makes the journal look as if the machine had been restarted since it was begun.
pub fn reboot(image: &mut Image) {
    const ANOTHER_BOOT: u64 = 0x0b00_7ed0;
    let Some(Node::File(journal)) = image.names.get(".npk/journal") else {
        return;
    };
    let Some(bytes) = image.files.get_mut(journal) else {
        return;
    };
    for at in SLOT_OFFSETS {
        let at = usize::try_from(at).unwrap_or(usize::MAX);
        let slot = bytes.get(at..at + SLOT_LEN).and_then(Header::decode);
        if let Some(header) = slot.filter(|header| header.boot_hash != ANOTHER_BOOT) {
            let header = Header {
                boot_hash: ANOTHER_BOOT,
                ..header
            };
            std::sync::Arc::make_mut(bytes)[at..at + SLOT_LEN].copy_from_slice(&header.encode());
        }
    }
}
