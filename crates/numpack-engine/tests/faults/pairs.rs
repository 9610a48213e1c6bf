//! Two processes: what one does happens whole between any two calls of what the other does. Both then have
//! what they would have had one after the other, in one of the two orders.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use numpack_engine::fs::{Fs, RealFs};
use numpack_engine::{Durability, Error, Limits, Mode, Options, Snapshot, Store, View};
use parking_lot::Mutex;

use super::faulty::FaultyFs;
use super::{operations, store_after};
use crate::disk::{Disk, Image, Node};
use crate::images::on_two_threads;
use crate::kit::{OnPanic, PATH};
use crate::workload::{Op, State, perform, plan, tight};

/// What a process does.
#[derive(Clone, Debug, PartialEq)]
enum Act {
    /// Opens the store and looks at everything.
    Open(Mode),
    /// Looks at everything, and goes on to do so.
    View,
    Do(Op),
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
    Before,
    After,
    /// Before this call of the first one.
    At(usize),
}

/// Where the store is.
enum World {
    /// On a disk that tells who writes to what is mapped.
    Disk(Disk),
    /// In the operating system's files, whose maps follow what is written.
    Real(tempfile::TempDir),
}

impl World {
    fn of(image: &Image, real: bool) -> Self {
        if !real {
            return Self::Disk(Disk::new(image));
        }
        // Memory, where there is such a directory: nothing waits for a disk.
        let memory = Path::new("/dev/shm");
        let home = if memory.is_dir() {
            memory
        } else {
            Path::new("/tmp")
        };
        let dir = tempfile::tempdir_in(home).unwrap();
        let store = dir.path().join(PATH);
        std::fs::create_dir(&store).unwrap();
        for (name, node) in &image.names {
            let path = store.join(&**name);
            match node {
                Node::Dir => std::fs::create_dir_all(path).unwrap(),
                Node::File(ino) => std::fs::write(path, &*image.files[ino]).unwrap(),
            }
        }
        Self::Real(dir)
    }

    fn process(&self) -> FaultyFs {
        FaultyFs::new(match self {
            Self::Disk(disk) => Arc::new(disk.process()) as Arc<dyn Fs>,
            Self::Real(_) => Arc::new(RealFs),
        })
    }

    fn path(&self) -> PathBuf {
        match self {
            Self::Disk(_) => PATH.into(),
            Self::Real(dir) => dir.path().join(PATH),
        }
    }
}

/// One of the two.
struct Party {
    fs: FaultyFs,
    path: PathBuf,
    options: Options,
    store: Option<Store>,
    views: Vec<(Snapshot, State, Vec<View>)>,
}

impl Party {
    fn new(world: &World, limits: Limits, level: Durability) -> Self {
        Self {
            fs: world.process(),
            path: world.path(),
            // Whoever waits for the other one here waits for ever.
            options: Options::default()
                .with_limits(limits)
                .with_durability(level)
                .with_lock_timeout(Duration::ZERO),
            store: None,
            views: Vec::new(),
        }
    }

    fn open(&mut self, mode: Mode) -> Result<Store, Error> {
        if let Some(store) = &self.store {
            return Ok(store.clone());
        }
        let options = self.options.clone().with_mode(mode);
        let store = Store::open_on(Arc::new(self.fs.clone()), &self.path, &options)?;
        self.store = Some(store.clone());
        Ok(store)
    }

    fn look(&mut self, store: &Store) -> Result<State, Error> {
        let snapshot = store.snapshot_all()?;
        let mut views = Vec::new();
        for array in snapshot.arrays() {
            for run in array.runs() {
                views.push(array.view(run.range())?);
            }
        }
        let state = State::at_snapshot(&snapshot, store.attrs()?.as_str())?;
        self.views.push((snapshot, state.clone(), views));
        Ok(state)
    }

    /// `before` is what the names and rows of an operation are taken from.
    fn act(&mut self, act: &Act, before: &State, seed: u64) -> Done {
        let mut seen = None;
        let result = match act {
            Act::Open(mode) => {
                let opened = self.open(*mode);
                opened.and_then(|store| State::of(&store).map(|state| seen = Some(state)))
            }
            Act::View => {
                let opened = self.open(Mode::Append);
                let looked = opened.and_then(|store| self.look(&store));
                looked.map(|state| seen = Some(state))
            }
            Act::Do(op) => self.open(Mode::Append).and_then(|store| match op {
                Op::Sync => store.sync(),
                Op::Checkpoint => store.checkpoint(),
                Op::Reopen => {
                    self.store = None;
                    store.close()
                }
                _ => perform(op, &store, before, seed),
            }),
        };
        let kind = |error: Error| {
            let text = format!("{error:?}");
            let end = text.find(|c: char| !c.is_alphanumeric());
            text[..end.unwrap_or(text.len())].to_owned()
        };
        Done {
            refused: result.err().map(kind),
            seen,
        }
    }

    /// What was looked at shows what it did.
    fn check_views(&self) {
        for (snapshot, shown, views) in &self.views {
            let attrs = &shown.attrs;
            assert_eq!(
                State::at_snapshot(snapshot, attrs).unwrap(),
                *shown,
                "a snapshot changed"
            );
            let bytes: Vec<&[u8]> = views.iter().map(|view| &**view).collect();
            assert!(bytes.concat() == shown.rows(), "a view changed");
        }
    }
}

/// What both have done, and what is there then.
#[derive(Debug, PartialEq)]
struct Outcome {
    mine: Done,
    theirs: Vec<Done>,
    state: State,
}

struct Case<'a> {
    /// Its number among the starts, and what is there.
    start: (usize, &'a (Image, State)),
    real: bool,
    /// What the first process has done before.
    prelude: &'a [Act],
    mine: Act,
    theirs: &'a [Act],
    /// Whether each of the two looks at everything before.
    looking: [bool; 2],
    limits: Limits,
    level: Durability,
}

impl fmt::Debug for Case<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [me, other] = self.looking;
        write!(
            f,
            "start {}, real files {}, {:?}, {:?} meets {:?}, looking {me} and {other}, {}, {:?}",
            self.start.0, self.real, self.prelude, self.mine, self.theirs, self.level, self.limits
        )
    }
}

impl Case<'_> {
    /// Plays it, without those acts of the other that are skipped; gives whether it came to the moment.
    fn play(&self, when: When, skipped: &[bool]) -> Option<Outcome> {
        let (image, start) = self.start.1;
        let world = World::of(image, self.real);
        let mut me = Party::new(&world, self.limits, self.level);
        let mut before = start.clone();
        for (act, seed) in self.prelude.iter().zip(50..) {
            assert_eq!(me.act(act, &before, seed).refused, None);
            before = after(act, before, seed);
        }
        if !matches!(self.mine, Act::Open(_)) {
            me.open(Mode::Append).unwrap();
        }
        let mut other = Party::new(&world, self.limits, self.level);
        other.open(Mode::Append).unwrap();
        for (looks, party) in self.looking.into_iter().zip([&mut me, &mut other]) {
            if looks {
                assert_eq!(
                    party.act(&Act::View, &before, 0).seen.as_ref(),
                    Some(&before)
                );
            }
        }
        let other = Arc::new(Mutex::new(other));
        let theirs: Arc<Mutex<Vec<Done>>> = Arc::default();
        let happen = {
            let (other, theirs) = (Arc::clone(&other), Arc::clone(&theirs));
            let (acts, mut state) = (self.theirs.to_vec(), before.clone());
            let skipped = skipped.to_vec();
            move || {
                for ((act, skip), seed) in acts.iter().zip(skipped).zip(100..) {
                    let done = if skip {
                        let refused = Some("Busy".to_owned());
                        Done {
                            refused,
                            seen: None,
                        }
                    } else {
                        other.lock().act(act, &state, seed)
                    };
                    theirs.lock().push(done);
                    state = after(act, std::mem::take(&mut state), seed);
                }
            }
        };
        let mine = match when {
            When::Before => {
                happen();
                me.act(&self.mine, &before, 7)
            }
            When::After => {
                let mine = me.act(&self.mine, &before, 7);
                happen();
                mine
            }
            When::At(call) => {
                me.fs.interleave(call, happen);
                let mine = me.act(&self.mine, &before, 7);
                me.fs.disarm();
                if theirs.lock().is_empty() {
                    return None;
                }
                mine
            }
        };
        let other = Arc::into_inner(other).unwrap().into_inner();
        let theirs = std::mem::take(&mut *theirs.lock());
        let state = finish(&world, me, other);
        Some(Outcome {
            mine,
            theirs,
            state,
        })
    }

    /// Plays every moment; gives how many there were.
    fn explore(&self) -> usize {
        let mut orders: Vec<(Vec<bool>, [Outcome; 2])> = Vec::new();
        for call in 0.. {
            let _story = OnPanic(|| format!("{self:?} before call {call}"));
            let Some(outcome) = self.play(When::At(call), &vec![false; self.theirs.len()]) else {
                return call;
            };
            let busy: Vec<bool> = outcome.theirs.iter().map(Done::is_busy).collect();
            if !orders.iter().any(|(known, _)| *known == busy) {
                let both = [When::Before, When::After].map(|when| self.play(when, &busy).unwrap());
                orders.push((busy.clone(), both));
            }
            let serial = orders.iter().find(|(known, _)| *known == busy);
            let serial = &serial.unwrap().1;
            // What rests on an array that has changed meanwhile is refused.
            let conflict = outcome.mine.refused.as_deref() == Some("Conflict") && {
                let alone = Case {
                    mine: Act::View,
                    ..*self
                };
                alone.play(When::Before, &busy).unwrap().state == outcome.state
            };
            assert!(
                serial.contains(&outcome) || conflict,
                "{outcome:#?}\nin neither order: {serial:#?}"
            );
        }
        0
    }
}

/// Everybody sees the same, views stay, and closing keeps it. Gives what is there.
fn finish(world: &World, me: Party, other: Party) -> State {
    let mut third = Party::new(world, Limits::default(), Durability::Commit);
    let state = third.act(&Act::Open(Mode::Read), &State::default(), 0);
    let state = state.seen.unwrap_or_else(|| panic!("{:?}", state.refused));
    for party in [&me, &other] {
        party.check_views();
        if let Some(store) = &party.store {
            assert_eq!(State::of(store).unwrap(), state);
        }
    }
    for mut party in [me, other] {
        if let Some(store) = party.store.take() {
            store.close().unwrap();
        }
        party.check_views();
    }
    let mut last = Party::new(world, Limits::default(), Durability::Commit);
    let store = last.open(Mode::Append).unwrap();
    assert_eq!(State::of(&store).unwrap(), state, "after closing");
    let report = store.verify(true).unwrap();
    assert!(report.ok(), "{report}");
    if let World::Disk(disk) = world {
        assert_eq!(disk.breaches(), Vec::<String>::new());
    }
    state
}

fn after(act: &Act, state: State, seed: u64) -> State {
    match act {
        Act::Do(op) => plan(op, &state, seed).unwrap_or(state),
        _ => state,
    }
}

/// What the other process does in the meantime.
fn events() -> Vec<Vec<Act>> {
    let single = operations().into_iter().map(|op| vec![Act::Do(op)]);
    let more: [&[Op]; 8] = [
        &[Op::Over(0, 3), Op::Checkpoint],
        &[Op::Replace(0, vec![1]), Op::Sync],
        &[Op::Replace(0, vec![0]), Op::Checkpoint],
        &[Op::Drop(0), Op::Save(0, 3)],
        &[Op::Rename(0), Op::Save(0, 2)],
        &[Op::Over(0, 2), Op::Over(0, 3)],
        &[Op::Checkpoint, Op::Append(0, 1)],
        &[Op::Append(0, 1), Op::Reopen],
    ];
    let more = more
        .iter()
        .map(|ops| ops.iter().cloned().map(Act::Do).collect());
    single
        .chain(more)
        .chain([vec![Act::View], vec![Act::View, Act::Do(Op::Append(0, 1))]])
        .collect()
}

/// Of all cases an ordinary run plays one in so many, and one with `NUMPACK_DEEP`. Primes, so that no choice
/// goes with the number of the case.
const ONE_IN: [usize; 2] = [719, 17];

#[test]
#[allow(clippy::print_stderr, reason = "the count is part of the result")]
fn what_another_process_does_between_any_two_calls_comes_before_or_after() {
    let one_in = ONE_IN[usize::from(std::env::var("NUMPACK_DEEP").is_ok())];
    let rows = |at, rows: &[usize]| Op::Replace(at, rows.to_vec());
    let starts: [&[Op]; 4] = [
        &[Op::Checkpoint],
        &[Op::Checkpoint, Op::Over(0, 3), rows(1, &[0]), rows(0, &[2])],
        &[Op::Append(0, 1), rows(0, &[0, 3])],
        // Files that are used again when they are replaced.
        &[Op::Over(0, 100), Op::Sync, rows(0, &[5, 70])],
    ];
    let starts = starts.map(store_after);
    let again = [Act::Do(Op::Over(0, 100)), Act::Do(Op::Over(0, 100))];
    let preludes: [&[Act]; 3] = [&[], &[Act::Do(rows(0, &[1]))], &again];
    let more = [Act::View, Act::Open(Mode::Read), Act::Open(Mode::Append)];
    let mine: Vec<Act> = operations().into_iter().map(Act::Do).chain(more).collect();
    let events = events();
    let levels = [Durability::Commit, Durability::Full, Durability::None];
    let (cases, moments) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let all = starts.len() * preludes.len() * mine.len() * events.len() * levels.len() * 16;
    on_two_threads(|number, _| {
        // Numbers that follow each other differ in everything.
        let number = number * one_in;
        let mut left = number * 7919 % all;
        let mut choose = |ways: usize| (left % ways, left /= ways).0;
        let [me, other, tidy, real] = [0; 4].map(|_| choose(2) == 1);
        let mine = &mine[choose(mine.len())];
        let theirs = &events[choose(events.len())];
        let prelude = preludes[choose(preludes.len())];
        let start = choose(starts.len());
        let case = Case {
            theirs,
            prelude,
            start: (start, &starts[start]),
            real,
            mine: mine.clone(),
            looking: [me && !matches!(mine, Act::Open(_)), other],
            limits: if tidy { tight() } else { Limits::default() },
            level: levels[choose(levels.len())],
        };
        cases.fetch_add(1, Ordering::Relaxed);
        moments.fetch_add(case.explore(), Ordering::Relaxed);
        number + one_in < all
    });
    let (cases, moments) = (cases.into_inner(), moments.into_inner());
    eprintln!("{moments} moments of {cases} pairs of operations");
    assert!(moments > 5000, "{moments}");
}
