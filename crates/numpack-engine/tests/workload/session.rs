//! Processes at work on a recorded disk.

use std::path::Path;
use std::sync::Arc;

use numpack_engine::fs::Fs;
use numpack_engine::{ArraySnapshot, Durability, Limits, Mode, Options, Result, Store};

use super::{Op, State, perform, plan};
use crate::disk::{Disk, Event, Image, Mark};
use crate::kit::PATH;

/// Opens the store on `disk`.
pub fn open(disk: &Disk, mode: Mode, durability: Durability) -> Result<Store> {
    open_within(disk, mode, durability, Limits::default())
}

/// Limits under which a store tidies up by itself all the time.
pub fn tight() -> Limits {
    let mut limits = Limits::default();
    (limits.journal, limits.pages, limits.copied, limits.spare) = (8192, 1, 0, 1);
    limits
}

pub fn open_within(
    disk: &Disk,
    mode: Mode,
    durability: Durability,
    limits: Limits,
) -> Result<Store> {
    let options = Options::default()
        .with_mode(mode)
        .with_durability(durability)
        .with_limits(limits);
    Store::open_on(
        Arc::new(disk.clone()) as Arc<dyn Fs>,
        Path::new(PATH),
        &options,
    )
}

/// Processes that run operations, one after the other.
pub struct Session {
    pub disk: Disk,
    level: Durability,
    limits: Limits,
    /// One a process.
    stores: Vec<(Disk, Option<Store>)>,
    /// Every state the store went through.
    history: Vec<State>,
    views: Vec<(ArraySnapshot, Vec<u8>)>,
    turn: u64,
}

/// What a session leaves for those who look at its crashes.
pub struct Recorded {
    pub history: Vec<State>,
    pub log: Vec<Event>,
    pub level: Durability,
    pub limits: Limits,
}

impl Session {
    /// Goes on from `image`, whose state is the last of `history`.
    pub fn new(image: &Image, history: Vec<State>, level: Durability, processes: usize) -> Self {
        let disk = Disk::new(image);
        disk.record();
        let turn = 1000 * history.len() as u64;
        let stores = (0..processes).map(|_| (disk.process(), None)).collect();
        Self {
            disk,
            level,
            limits: Limits::default(),
            stores,
            history,
            views: Vec::new(),
            turn,
        }
    }

    /// The same with other limits.
    pub fn within(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    fn store(&mut self, process: usize) -> Store {
        let (level, limits) = (self.level, self.limits);
        let (disk, store) = &mut self.stores[process];
        store
            .get_or_insert_with(|| open_within(disk, Mode::Append, level, limits).unwrap())
            .clone()
    }

    fn last(&self) -> usize {
        self.history.len() - 1
    }

    /// Runs `op` in one of the processes.
    pub fn run(&mut self, op: &Op, process: usize) {
        self.turn += 1;
        let (seed, last) = (self.turn, self.last());
        let store = self.store(process);
        match op {
            Op::Sync => store.sync().unwrap(),
            Op::Checkpoint => store.checkpoint().unwrap(),
            Op::Reopen => {
                store.close().unwrap();
                self.stores[process].1 = None;
            }
            Op::View(at) => {
                if let Some(array) = self.history[last].at(*at).cloned() {
                    let view = store.array(&array.name).unwrap();
                    self.views.push((view, array.rows));
                }
            }
            Op::LetGo => self.views.clear(),
            _ => {
                if let Some(after) = plan(op, &self.history[last], seed) {
                    self.history.push(after);
                    self.disk.mark(Mark::Started(last + 1));
                    perform(op, &store, &self.history[last], seed)
                        .unwrap_or_else(|error| panic!("{op:?}: {error}"));
                    self.disk.mark(Mark::Returned(last + 1));
                    if self.level == Durability::Full || matches!(op, Op::AppendFull(..)) {
                        self.disk.mark(Mark::Safe(last + 1));
                    }
                }
            }
        }
        if op.is_safe() && self.level != Durability::None {
            self.disk.mark(Mark::Safe(last));
        }
        self.check(op);
    }

    /// What a new process sees, and what views show.
    fn check(&mut self, op: &Op) {
        let reader = open(&self.disk.process(), Mode::Read, self.level).unwrap();
        assert_eq!(
            State::of(&reader).unwrap(),
            self.history[self.last()],
            "{op:?}"
        );
        drop(reader);
        for (view, shown) in &self.views {
            let mut now = vec![0; view.byte_len()];
            view.read_all(&mut now).unwrap();
            assert!(now == *shown, "{op:?} changed a view of {}", view.name());
        }
        assert_eq!(self.disk.breaches(), Vec::<String>::new(), "{op:?}");
        // Reading leaves maps behind for the next reader, so it is not done where nobody looks.
        for store in self.stores.iter().filter_map(|(_, store)| store.as_ref()) {
            if !self.views.is_empty() {
                assert_eq!(
                    State::of(store).unwrap(),
                    self.history[self.last()],
                    "{op:?}"
                );
            }
        }
    }

    /// How many states the store went through.
    pub fn states(&self) -> usize {
        self.history.len()
    }

    /// Ends the record. The handles go on with a disk that nobody looks at.
    pub fn finish(self) -> Recorded {
        Recorded {
            log: self.disk.take_log(),
            history: self.history,
            level: self.level,
            limits: self.limits,
        }
    }
}
