//! Two processes: what one does happens between any two calls of what the other does. Both then have what
//! they would have had one after the other, in some order.

mod choices;
mod lost_pages;
mod party;
mod witness;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use numpack_engine::{Durability, Limits, Mode};

use super::{after_a_power_cut, operations};
use crate::disk::{Image, Rng};
use crate::images::on_two_threads;
use crate::kit::OnPanic;
use crate::workload::{Op, State, plan, tight};
use choices::{events, preludes, starts};
use party::{Meeting, Party, World, interleave};

/// What a process does.
#[derive(Clone, Debug, PartialEq)]
enum Act {
    /// Opens the store and looks at everything.
    Open(Mode),
    /// Looks at everything, and goes on to do so.
    View,
    /// Looks for damage.
    Verify,
    Do(Op),
}

impl Act {
    /// What it makes of the store; `None` if there is nothing that it could be done to.
    fn after(&self, state: &State, seed: u64) -> Option<State> {
        match self {
            Self::Do(Op::Sync | Op::Checkpoint | Op::Reopen) => Some(state.clone()),
            Self::Do(op) => plan(op, state, seed),
            _ => Some(state.clone()),
        }
    }
}

/// What came of it.
#[derive(Debug, PartialEq)]
struct Done {
    /// The kind of error.
    refused: Option<String>,
    seen: Option<State>,
}

impl Done {
    fn is_busy(&self) -> bool {
        self.refused.as_deref() == Some("Busy")
    }
}

/// When the other process does what it does.
#[derive(Clone, Copy, Debug)]
enum When {
    /// So many acts before, the others after.
    Around(usize),
    /// Before this call of the first process.
    At(usize),
}

/// What both have done, and what is there then.
#[derive(Debug, PartialEq)]
struct Outcome {
    mine: Done,
    theirs: Vec<Done>,
    state: State,
}

/// Whether a process has everything mapped.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Look {
    Never,
    Goes,
    /// It looked twice, and its maps rest with their locks.
    Went,
}

struct Case<'a> {
    number: usize,
    /// Its number among the starts, and what is there.
    start: (usize, &'a (Image, State)),
    real: bool,
    /// What was done before, by the first process or the other one.
    prelude: &'a [(bool, Act)],
    mine: Act,
    theirs: &'a [Act],
    /// Calls between two acts of the other process.
    gap: Option<usize>,
    /// Whether the other process opens the store no sooner than it has to.
    late: bool,
    looks: [Look; 2],
    limits: Limits,
    levels: [Durability; 2],
}

impl fmt::Debug for Case<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "case {}: start {}, real files {}, {:?}, {:?} meets {:?} every {:?} calls, late {}, {:?}, {:?}, {:?}",
            self.number,
            self.start.0,
            self.real,
            self.prelude,
            self.mine,
            self.theirs,
            self.gap,
            self.late,
            self.looks,
            self.levels,
            self.limits
        )
    }
}

impl Case<'_> {
    /// What is there before the two meet, and when the other process has done all that it does; `None` if
    /// an act has nothing to be done to.
    fn planned(&self) -> Option<(State, State)> {
        let mut before = self.start.1.1.clone();
        for ((_, act), seed) in self.prelude.iter().zip(50..) {
            before = act.after(&before, seed)?;
        }
        let mut then = before.clone();
        for (act, seed) in self.theirs.iter().zip(100..) {
            then = act.after(&then, seed)?;
        }
        self.mine.after(&before, 7)?;
        Some((before, then))
    }

    /// Plays it; `None` if it did not come to the moment.
    fn play(&self, when: When) -> Option<Outcome> {
        let world = World::of(&self.start.1.0, self.real);
        let mut me = Party::new(&world, self.limits, self.levels[0]);
        let mut other = Party::new(&world, self.limits, self.levels[1]);
        if !matches!(self.mine, Act::Open(_)) {
            me.open(Mode::Append).unwrap();
        }
        if !self.late {
            other.open(Mode::Append).unwrap();
        }
        let mut before = self.start.1.1.clone();
        for ((mine, act), seed) in self.prelude.iter().zip(50..) {
            let party = if *mine { &mut me } else { &mut other };
            assert_eq!(party.act(act, &before, seed).refused, None);
            before = act.after(&before, seed).unwrap();
        }
        for (look, party) in self.looks.into_iter().zip([&mut me, &mut other]) {
            for _ in 0..2 {
                if look != Look::Never {
                    assert_eq!(party.look().unwrap(), before);
                }
                if look == Look::Went {
                    party.views.clear();
                }
            }
        }
        let fs = me.fs.clone();
        let meeting = Meeting::new(other, self.theirs.to_vec(), before.clone());
        match when {
            When::Around(acts) => (0..acts).for_each(|_| {
                meeting.lock().step();
            }),
            When::At(call) => interleave(&fs, &meeting, call, self.gap),
        }
        let mine = me.act(&self.mine, &before, 7);
        fs.disarm();
        let mut meeting = Arc::into_inner(meeting).unwrap().into_inner();
        if matches!(when, When::At(_)) && !meeting.begun {
            return None;
        }
        meeting.busy = false;
        while meeting.step() {}
        assert!(!meeting.busy, "a lock was not given back");
        let (theirs, other) = (meeting.done, meeting.other);
        let state = self.finish(&world, me, other);
        Some(Outcome {
            mine,
            theirs,
            state,
        })
    }

    /// Everybody sees the same and can go on, views stay, and closing keeps it. Gives what was there.
    fn finish(&self, world: &World, mut me: Party, mut other: Party) -> State {
        let seen = || {
            let mut third = Party::new(world, Limits::default(), Durability::Commit);
            let third = third.act(&Act::Open(Mode::Read), &State::default(), 0);
            third.seen.unwrap_or_else(|| panic!("{:?}", third.refused))
        };
        let state = seen();
        for party in [&mut me, &mut other] {
            party.check_views();
            party.check(&state);
        }
        let full = self.levels == [Durability::Full; 2];
        if let World::Disk(disk) = world
            && full
        {
            let left = after_a_power_cut(&self.start.1.0, disk);
            assert_eq!(left, state, "a power cut");
        }
        let mut last = state.clone();
        for seed in [400, 500] {
            for party in [&mut other, &mut me] {
                if let Some(store) = party
                    .store
                    .take_if(|store| !store.options().mode.is_writable())
                {
                    party.others.push(store);
                }
                for op in [
                    Op::Append(0, 1),
                    Op::Replace(0, vec![0]),
                    Op::Over(0, 100),
                    Op::Over(0, 2),
                ] {
                    let act = Act::Do(op);
                    if let Some(after) = act.after(&last, seed) {
                        assert_eq!(party.act(&act, &last, seed).refused, None, "{act:?}");
                        last = after;
                    }
                }
            }
            assert_eq!(seen(), last);
            me.check(&last);
            other.check(&last);
        }
        for mut party in [me, other] {
            for store in party.store.take().into_iter().chain(party.others.drain(..)) {
                store.close().unwrap();
            }
            party.check_views();
        }
        let mut end = Party::new(world, Limits::default(), Durability::Commit);
        let store = end.open(Mode::Append).unwrap();
        assert_eq!(State::of(&store).unwrap(), last, "after closing");
        // What was looked at when the last one closed goes when the next one does.
        store.close().unwrap();
        let store = end.open(Mode::Append).unwrap();
        let report = store.verify(true).unwrap();
        assert!(report.ok() && report.leftovers.is_empty(), "{report}");
        if let World::Disk(disk) = world {
            assert_eq!(disk.breaches(), Vec::<String>::new());
            if !full && !self.levels.contains(&Durability::None) {
                let left = after_a_power_cut(&self.start.1.0, disk);
                assert_eq!(left, last, "a power cut after closing");
            }
        }
        state
    }

    /// Plays every moment; gives how many there were.
    fn explore(&self) -> usize {
        let Some((before, then)) = self.planned() else {
            return 0;
        };
        let orders: Vec<Outcome> = (0..=self.theirs.len())
            .map(|acts| {
                let _story = OnPanic(|| format!("{self:?}, {acts} of them before"));
                self.play(When::Around(acts)).unwrap()
            })
            .collect();
        // Who comes first finds what was planned on.
        let [first, .., last] = &orders[..] else {
            return 0;
        };
        let _story = OnPanic(|| format!("{self:?}"));
        assert_eq!(first.mine.refused, None);
        assert!(
            last.theirs.iter().all(|done| done.refused.is_none()),
            "{last:?}"
        );
        if last.mine.refused.is_some() {
            assert_eq!(last.state, then);
        }
        // What rests on an array that has changed meanwhile is refused.
        let may_conflict = matches!(self.mine, Act::Do(Op::Update(_))) && then != before;
        for call in 0.. {
            let _story = OnPanic(|| format!("before call {call}"));
            let Some(outcome) = self.play(When::At(call)) else {
                return call;
            };
            let conflict = may_conflict
                && outcome.mine.refused.as_deref() == Some("Conflict")
                && outcome.state == then;
            assert!(
                orders.contains(&outcome) || conflict,
                "{outcome:#?}\nin none of these orders: {orders:#?}"
            );
        }
        0
    }
}

/// How many cases an ordinary run plays, and one with `NUMPACK_DEEP`.
const CASES: [usize; 2] = [300, 8_000];

#[test]
#[allow(clippy::print_stderr, reason = "the count is part of the result")]
fn what_another_process_does_between_any_two_calls_comes_before_or_after() {
    let end = CASES[usize::from(std::env::var("NUMPACK_DEEP").is_ok())];
    let from = std::env::var("NUMPACK_PAIRS").map_or(0, |number| number.parse().unwrap());
    let (starts, preludes, events) = (starts(), preludes(), events());
    let more = [
        Act::View,
        Act::Open(Mode::Read),
        Act::Open(Mode::Append),
        Act::Verify,
        Act::Do(Op::AppendFull(0, 1)),
        Act::Do(Op::Describe(0)),
        // Rows enough to be written in one piece.
        Act::Do(Op::Replace(0, (0..40).collect())),
    ];
    let mine: Vec<Act> = operations().into_iter().map(Act::Do).chain(more).collect();
    let levels = [Durability::Commit, Durability::Full, Durability::None];
    // Of a journal that is long at once, every commit makes a checkpoint.
    let mut short = tight();
    short.journal = 4096;
    let limits = [Limits::default(), tight(), short];
    let (cases, moments) = (AtomicUsize::new(0), AtomicUsize::new(0));
    on_two_threads(|number, _| {
        let number = number + from;
        let rng = &mut Rng::new(number as u64);
        let theirs = &events[rng.below(events.len())];
        let mine = rng.pick(&mine);
        let start = rng.below(starts.len());
        let looks = [Look::Never, Look::Goes, Look::Went];
        let opens = matches!(mine, Act::Open(_));
        let mut looks = [*rng.pick(&looks), *rng.pick(&looks)];
        let mut late = rng.below(8) == 0;
        if starts[start].1 == State::default() {
            // Both make the store.
            (late, looks) = (true, [Look::Never; 2]);
        }
        if opens && rng.below(2) == 0 {
            looks[0] = Look::Never;
        }
        if mine == &Act::Open(Mode::Read) && starts[start].1 == State::default() {
            // Nothing is there to open.
            return number + 1 < from + end;
        }
        let case = Case {
            number,
            theirs,
            prelude: &preludes[rng.below(preludes.len())],
            start: (start, &starts[start]),
            real: rng.below(2) == 0,
            mine: mine.clone(),
            gap: *rng.pick(&[None, Some(0), Some(1), Some(4)]),
            late,
            looks,
            limits: *rng.pick(&limits),
            levels: [*rng.pick(&levels), *rng.pick(&levels)],
        };
        let played = case.explore();
        cases.fetch_add(usize::from(played > 0), Ordering::Relaxed);
        moments.fetch_add(played, Ordering::Relaxed);
        number + 1 < from + end
    });
    let (cases, moments) = (cases.into_inner(), moments.into_inner());
    eprintln!("{moments} moments of {cases} pairs of operations");
    assert!(
        cases > end / 2 && moments > 10 * end,
        "{moments} of {cases}"
    );
}
