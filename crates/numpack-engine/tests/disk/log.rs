//! What a disk records.

use std::sync::Arc;

pub type Name = Arc<str>;

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Node {
    Dir,
    File(u64),
}

/// One step of the processes that use a disk.
#[derive(Clone, Debug)]
pub enum Event {
    /// A sector of a file has these bytes now, filled up with zeros.
    Sector {
        ino: u64,
        index: usize,
        bytes: Arc<[u8]>,
    },
    /// A file has this length now.
    Size { ino: u64, len: usize },
    /// A name stands for something else now.
    Name(NameChange),
    /// Contents and length of a file are on disk.
    SyncFile(u64),
    /// The names in a directory are on disk.
    SyncDir(Name),
    /// Everything is on disk.
    SyncAll,
    /// How far the workload is.
    Mark(Mark),
}

/// A change of names that happens as a whole or not at all.
#[derive(Clone, Debug)]
pub enum NameChange {
    Bind { name: Name, node: Node },
    Unbind { name: Name },
    Move { from: Name, to: Name, ino: u64 },
}

impl NameChange {
    /// Whether a flush of the names in `dir` covers this. A rename that is on disk in one of its two
    /// directories is on disk in both.
    pub fn is_in(&self, dir: &str) -> bool {
        let parent = super::parent;
        match self {
            Self::Bind { name, .. } | Self::Unbind { name } => parent(name) == dir,
            Self::Move { from, to, .. } => parent(from) == dir || parent(to) == dir,
        }
    }
}

/// How far a workload is: numbers are places in its history of states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// The call that leads to this state has begun.
    Started(usize),
    /// The call that led to this state has returned.
    Returned(usize),
    /// A call that puts everything on disk returned when the store was in this state.
    Safe(usize),
}
