//! The processes that meet, and where their store is.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use numpack_engine::fs::{Fs, RealFs};
use numpack_engine::{Durability, Error, Limits, Mode, Options, Snapshot, Store, View};
use parking_lot::Mutex;

use super::{Act, Done};
use crate::disk::{Disk, Image, Node};
use crate::faults::faulty::FaultyFs;
use crate::kit::PATH;
use crate::workload::{Op, State, perform};

/// Where the store is.
pub enum World {
    /// On a disk that tells who writes to what is mapped.
    Disk(Disk),
    /// In the operating system's files, whose maps follow what is written.
    Real(tempfile::TempDir),
}

impl World {
    pub fn of(image: &Image, real: bool) -> Self {
        if !real {
            let disk = Disk::new(image);
            disk.record();
            return Self::Disk(disk);
        }
        // Memory, where there is such a directory and nobody wants another: nothing waits for a disk.
        let memory = Path::new("/dev/shm");
        let make = tempfile::Builder::new().prefix("numpack-pairs-").to_owned();
        let dir = match std::env::var_os("TMPDIR") {
            None => make.tempdir_in(memory).or_else(|_| make.tempdir()),
            Some(_) => make.tempdir(),
        };
        let dir = dir.unwrap();
        let store = dir.path().join(PATH);
        std::fs::create_dir(&store).unwrap();
        let mut first_names = BTreeMap::new();
        for (name, node) in &image.names {
            let path = store.join(&**name);
            match node {
                Node::Dir => std::fs::create_dir_all(path).unwrap(),
                Node::File(ino) => {
                    if let Some(first) = first_names.get(ino) {
                        std::fs::hard_link(first, path).unwrap();
                    } else {
                        std::fs::write(&path, &*image.files[ino]).unwrap();
                        first_names.insert(ino, path);
                    }
                }
            }
        }
        Self::Real(dir)
    }

    pub fn process(&self) -> FaultyFs {
        FaultyFs::new(match self {
            Self::Disk(disk) => Arc::new(disk.process()) as Arc<dyn Fs>,
            Self::Real(_) => Arc::new(RealFs),
        })
    }

    pub fn path(&self) -> PathBuf {
        match self {
            Self::Disk(_) => PATH.into(),
            Self::Real(dir) => dir.path().join(PATH),
        }
    }
}

fn show(views: &[View], state: &State) -> bool {
    let bytes: Vec<&[u8]> = views.iter().map(|view| &**view).collect();
    bytes.concat() == state.rows()
}

/// One of the two.
pub struct Party {
    pub fs: FaultyFs,
    path: PathBuf,
    options: Options,
    pub store: Option<Store>,
    /// Handles that it had before.
    pub others: Vec<Store>,
    pub views: Vec<(Snapshot, State, Vec<View>)>,
}

impl Party {
    pub fn new(world: &World, limits: Limits, level: Durability) -> Self {
        Self {
            fs: world.process(),
            path: world.path(),
            // Whoever waits for the other one here waits for ever.
            options: Options::default()
                .with_limits(limits)
                .with_durability(level)
                .with_lock_timeout(Duration::ZERO),
            store: None,
            others: Vec::new(),
            views: Vec::new(),
        }
    }

    pub fn open(&mut self, mode: Mode) -> Result<Store, Error> {
        let options = self.options.clone().with_mode(mode);
        let store = Store::open_on(Arc::new(self.fs.clone()), &self.path, &options)?;
        self.others.extend(self.store.replace(store.clone()));
        Ok(store)
    }

    fn store(&mut self) -> Result<Store, Error> {
        match &self.store {
            Some(store) => Ok(store.clone()),
            None => self.open(Mode::Append),
        }
    }

    pub fn look(&mut self) -> Result<State, Error> {
        let snapshot = self.store()?.snapshot_all()?;
        let mut views = Vec::new();
        for array in snapshot.arrays() {
            for run in array.runs() {
                views.push(array.view(run.range())?);
            }
        }
        let state = State::at_moment(&snapshot)?;
        self.views.push((snapshot, state.clone(), views));
        Ok(state)
    }

    /// `before` is what the names and rows of an operation are taken from.
    pub fn act(&mut self, act: &Act, before: &State, seed: u64) -> Done {
        let mut seen = None;
        let result = match act {
            Act::Open(mode) => self.open(*mode).and_then(|store| {
                seen = Some(State::of(&store)?);
                Ok(())
            }),
            Act::View => self.look().map(|state| seen = Some(state)),
            Act::Verify => self.store().and_then(|store| {
                let report = store.verify(true)?;
                assert!(report.ok(), "{report}");
                Ok(())
            }),
            Act::Do(op) => self.store().and_then(|store| match op {
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
    pub fn check_views(&self) {
        for (snapshot, shown, views) in &self.views {
            assert_eq!(
                State::at_moment(snapshot).unwrap(),
                *shown,
                "a snapshot changed"
            );
            assert!(show(views, shown), "a view changed");
        }
    }

    /// Lets go of what does not show any more what it did: the pages of a mapped file are gone.
    pub fn forget_changed_views(&mut self) {
        self.views.retain(|(_, shown, views)| show(views, shown));
    }

    /// Whether every handle shows this, and what they show can be looked at.
    pub fn check(&mut self, state: &State) {
        for store in self.store.iter().chain(&self.others) {
            assert_eq!(State::of(store).unwrap(), *state);
        }
        if self.store.is_some() {
            assert_eq!(self.look().unwrap(), *state);
            self.views.pop();
        }
    }
}

/// The other process at work.
pub struct Meeting {
    pub other: Party,
    pub acts: Vec<Act>,
    pub done: Vec<Done>,
    /// What its next act is planned on.
    pub state: State,
    /// Whether it came to the moment.
    pub begun: bool,
    /// Whether it has to wait until the first process is through.
    pub busy: bool,
}

impl Meeting {
    pub fn new(other: Party, acts: Vec<Act>, state: State) -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self {
            other,
            acts,
            done: Vec::new(),
            state,
            begun: false,
            busy: false,
        }))
    }

    /// Does the next act, and tells whether there is more to do.
    pub fn step(&mut self) -> bool {
        self.begun = true;
        let at = self.done.len();
        let Some(act) = self.acts.get(at).filter(|_| !self.busy) else {
            return false;
        };
        let seed = 100 + at as u64;
        let done = self.other.act(act, &self.state, seed);
        if done.is_busy() {
            self.busy = true;
            return false;
        }
        self.state = act.after(&self.state, seed).unwrap();
        self.done.push(done);
        self.done.len() < self.acts.len()
    }
}

/// Has the other process act before call number `after` from now, and again every `gap` calls.
pub fn interleave(fs: &FaultyFs, meeting: &Arc<Mutex<Meeting>>, after: usize, gap: Option<usize>) {
    let (again, meeting) = (fs.clone(), Arc::clone(meeting));
    fs.interleave(after, move || {
        let more = meeting.lock().step();
        match gap {
            Some(gap) if more => interleave(&again, &meeting, gap, Some(gap)),
            _ => while meeting.lock().step() {},
        }
    });
}
