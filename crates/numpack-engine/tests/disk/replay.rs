//! What a crash leaves behind, at any moment of a record.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::log::{Event, Mark, Name, NameChange, Node};
use super::sample::{Choice, Rng, choices};
use super::{Image, SECTOR};

/// A moment of a record: what the page cache holds, what the disk holds for certain, and the changes
/// in between, any of which may have arrived.
#[derive(Clone, Debug, Default)]
pub struct Replay {
    cache: Image,
    files: BTreeMap<u64, Arc<Vec<u8>>>,
    names: BTreeMap<Name, Node>,
    /// Later than `names`; those marked are on disk.
    name_changes: Vec<(NameChange, bool)>,
    file_changes: Vec<FileChange>,
    /// The state after the last call that returned.
    pub returned: usize,
    /// The state after the last call that began.
    pub started: usize,
    /// The state that must be on disk.
    pub safe: usize,
}

#[derive(Clone, Debug)]
struct FileChange {
    ino: u64,
    what: Change,
}

#[derive(Clone, Debug)]
enum Change {
    Sector(usize, Arc<[u8]>),
    Size { len: usize, shrinks: bool },
}

/// What a moment is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// The newest of the changes in between came about just now.
    Changed,
    /// What is promised changed.
    Marked,
    /// Nothing that a crash before would not have left as well.
    Nothing,
}

impl Replay {
    /// All of `image` is on disk.
    pub fn new(image: &Image) -> Self {
        Self {
            cache: image.clone(),
            files: image.files.clone(),
            names: image.names.clone(),
            ..Self::default()
        }
    }

    /// What a process that is killed now leaves behind.
    pub fn killed(&self) -> &Image {
        &self.cache
    }

    /// Goes one step on.
    pub fn step(&mut self, event: &Event) -> Moment {
        match event {
            Event::Sector { ino, index, bytes } => {
                let file = Arc::make_mut(self.cache.files.entry(*ino).or_default());
                let start = index * SECTOR;
                let end = file.len().min(start + SECTOR);
                file[start..end].copy_from_slice(&bytes[..end - start]);
                let what = Change::Sector(*index, Arc::clone(bytes));
                self.file_changes.push(FileChange { ino: *ino, what });
            }
            Event::Size { ino, len } => {
                let file = Arc::make_mut(self.cache.files.entry(*ino).or_default());
                let shrinks = *len < file.len();
                file.resize(*len, 0);
                let what = Change::Size { len: *len, shrinks };
                self.file_changes.push(FileChange { ino: *ino, what });
            }
            Event::Name(change) => {
                apply(&mut self.cache.names, change);
                if let NameChange::Bind {
                    node: Node::File(ino),
                    ..
                } = change
                {
                    self.cache.files.entry(*ino).or_default();
                }
                self.name_changes.push((change.clone(), false));
            }
            Event::SyncFile(ino) => {
                self.sync_file(*ino);
                return Moment::Nothing;
            }
            Event::SyncDir(dir) => {
                self.sync_names(|change| change.is_in(dir));
                return Moment::Nothing;
            }
            Event::SyncAll => {
                self.sync_names(|_| true);
                self.files.clone_from(&self.cache.files);
                self.file_changes.clear();
                return Moment::Nothing;
            }
            Event::Mark(mark) => {
                match *mark {
                    Mark::Started(state) => self.started = state,
                    Mark::Returned(state) => self.returned = state,
                    Mark::Safe(state) => self.safe = state,
                }
                return if matches!(mark, Mark::Started(_)) {
                    Moment::Nothing
                } else {
                    Moment::Marked
                };
            }
        }
        Moment::Changed
    }

    fn sync_file(&mut self, ino: u64) {
        let now = self.cache.files.entry(ino).or_default();
        self.files.insert(ino, Arc::clone(now));
        self.file_changes.retain(|change| change.ino != ino);
    }

    fn sync_names(&mut self, covered: impl Fn(&NameChange) -> bool) {
        for (change, on_disk) in &mut self.name_changes {
            *on_disk |= covered(change);
        }
        let certain = self
            .name_changes
            .iter()
            .take_while(|(_, on_disk)| *on_disk)
            .count();
        for (change, _) in self.name_changes.drain(..certain) {
            apply(&mut self.names, &change);
        }
        // Nobody will ever see the contents of a file that has no name any more.
        let mut named: BTreeSet<u64> = self.names.values().filter_map(Node::ino).collect();
        named.extend(self.cache.names.values().filter_map(Node::ino));
        named.extend(
            self.name_changes
                .iter()
                .filter_map(|(change, _)| change.ino()),
        );
        self.file_changes
            .retain(|change| named.contains(&change.ino));
    }

    fn uncertain_names(&self) -> usize {
        self.name_changes
            .iter()
            .filter(|(_, on_disk)| !on_disk)
            .count()
    }

    /// Which of the changes in between arrive, in at most about `budget` ways. If asked for, the newest
    /// always does: without it the crash came earlier.
    pub fn choices(
        &self,
        event: &Event,
        newest: bool,
        budget: usize,
        rng: &mut Rng,
    ) -> Vec<Choice> {
        let names = self.uncertain_names();
        let count = names + self.file_changes.len();
        let newest = match event {
            _ if !newest => None,
            Event::Name(_) => names.checked_sub(1),
            Event::Sector { .. } | Event::Size { .. } => count.checked_sub(1),
            _ => None,
        };
        choices(count, newest, budget, rng)
    }

    /// What a power cut leaves behind if the chosen changes arrive. Where a file has grown and its
    /// bytes did not arrive, `filler` lies.
    pub fn cut(&self, choice: &[bool], filler: u8) -> Image {
        let mut names = self.names.clone();
        let mut chosen = choice.iter();
        for (change, on_disk) in &self.name_changes {
            if *on_disk || chosen.next() == Some(&true) {
                apply(&mut names, change);
            }
        }
        let without_parent: Vec<Name> = names
            .keys()
            .filter(|name| {
                let parent = super::parent(name);
                !parent.is_empty() && !names.contains_key(parent)
            })
            .cloned()
            .collect();
        for name in without_parent {
            names.remove(&name);
        }
        let mut files = BTreeMap::new();
        for ino in names.values().filter_map(Node::ino) {
            files.insert(ino, self.files.get(&ino).cloned().unwrap_or_default());
        }
        let mut lengths: BTreeMap<u64, usize> = BTreeMap::new();
        for (change, &arrives) in self.file_changes.iter().zip(chosen) {
            if let Some(file) = files.get_mut(&change.ino) {
                let len = lengths.entry(change.ino).or_insert(file.len());
                change.what.apply(file, len, arrives, filler);
            }
        }
        for (ino, len) in lengths {
            if let Some(file) = files.get_mut(&ino).filter(|file| file.len() != len) {
                Arc::make_mut(file).resize(len, 0);
            }
        }
        Image { names, files }
    }
}

impl Change {
    /// `len` is the file's length; `file` may be longer, by sectors whose length has not come yet.
    fn apply(&self, file: &mut Arc<Vec<u8>>, len: &mut usize, arrives: bool, filler: u8) {
        match self {
            Self::Sector(index, bytes) => {
                let (start, end) = (index * SECTOR, (index + 1) * SECTOR);
                let lost = !arrives && filler != 0 && file.len() < end;
                if !arrives && !lost {
                    return;
                }
                let file = Arc::make_mut(file);
                if file.len() < end {
                    file.resize(file.len().max(start), 0);
                    file.resize(end, filler);
                }
                if arrives {
                    file[start..end].copy_from_slice(bytes);
                }
            }
            Self::Size { len: new, shrinks } if arrives => {
                *len = *new;
                if *shrinks && file.len() > *new {
                    Arc::make_mut(file).truncate(*new);
                }
            }
            Self::Size { .. } => {}
        }
    }
}

impl NameChange {
    fn ino(&self) -> Option<u64> {
        match self {
            Self::Bind { node, .. } => node.ino(),
            Self::Move { ino, .. } => Some(*ino),
            Self::Unbind { .. } => None,
        }
    }
}

impl Node {
    fn ino(&self) -> Option<u64> {
        match self {
            Self::File(ino) => Some(*ino),
            Self::Dir => None,
        }
    }
}

fn apply(names: &mut BTreeMap<Name, Node>, change: &NameChange) {
    match change {
        NameChange::Bind { name, node } => {
            names.insert(Arc::clone(name), *node);
        }
        NameChange::Unbind { name } => {
            names.remove(name);
        }
        NameChange::Move { from, to, ino } => {
            if names.get(from) == Some(&Node::File(*ino)) {
                names.remove(from);
            }
            names.insert(Arc::clone(to), Node::File(*ino));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::Disk;
    use numpack_engine::fs::{Dir as _, Lock, Open, write_all_at};

    fn contents(image: &Image, name: &str) -> Contents {
        match image.names.get(name)? {
            Node::File(ino) => Some(image.files[ino].to_vec()),
            Node::Dir => Some(Vec::new()),
        }
    }

    type Contents = Option<Vec<u8>>;

    /// Every way in which the recorded changes can arrive, as contents of the file `a` and `b`.
    fn ways(disk: &Disk) -> BTreeSet<(Contents, Contents)> {
        let mut replay = Replay::default();
        for event in disk.take_log() {
            replay.step(&event);
        }
        let all = replay.choices(&Event::SyncAll, false, 256, &mut Rng::new(0));
        all.iter()
            .map(|choice| replay.cut(choice, 0))
            .map(|image| (contents(&image, "a"), contents(&image, "b")))
            .collect()
    }

    #[test]
    fn what_is_not_flushed_arrives_in_any_way() {
        let disk = Disk::new(&Image::default());
        disk.record();
        let a = disk.open("a", Open::Create).unwrap();
        write_all_at(&*a, &[1; SECTOR + 3], 0).unwrap();
        let (one, zero) = (vec![1; SECTOR], vec![0; SECTOR]);
        let with = |sector: &Vec<u8>, rest: [u8; 3]| Some([&sector[..], &rest].concat());
        let expected = [
            None,
            Some(vec![]),
            with(&one, [1; 3]),
            with(&zero, [1; 3]),
            with(&one, [0; 3]),
            with(&zero, [0; 3]),
        ];
        assert_eq!(ways(&disk), expected.map(|a| (a, None)).into());
    }

    #[test]
    fn what_is_flushed_stays_and_renames_are_whole() {
        let disk = Disk::new(&Image::default());
        disk.record();
        let a = disk.open("a", Open::Create).unwrap();
        write_all_at(&*a, &[1], 0).unwrap();
        a.sync_data().unwrap();
        disk.sync("").unwrap();
        write_all_at(&*a, &[2], 0).unwrap();
        write_all_at(&*a, &[3], 0).unwrap();
        disk.rename("a", "b").unwrap();
        let versions = [[1], [2], [3]].map(|v| Some(v.to_vec()));
        let at_a = versions.iter().map(|v| (v.clone(), None));
        let at_b = versions.iter().map(|v| (None, v.clone()));
        assert_eq!(ways(&disk), at_a.chain(at_b).collect());
    }

    #[test]
    fn a_write_under_a_view_is_noticed() {
        let disk = Disk::new(&Image::default());
        let a = disk.open("a", Open::Create).unwrap();
        write_all_at(&*a, &[1; 10], 0).unwrap();
        let view = disk.open("a", Open::Read).unwrap();
        assert!(view.try_lock(Lock::Shared).unwrap());
        let _map = view.map(8).unwrap();
        write_all_at(&*a, &[2; 2], 8).unwrap();
        a.set_len(8).unwrap();
        assert_eq!(disk.breaches(), Vec::<String>::new());
        write_all_at(&*a, &[2], 7).unwrap();
        a.set_len(7).unwrap();
        assert_eq!(disk.breaches().len(), 2);
        drop(view);
        a.set_len(0).unwrap();
        assert_eq!(disk.breaches().len(), 2);
    }

    #[test]
    fn a_cut_takes_back_what_was_behind_it() {
        let disk = Disk::new(&Image::default());
        disk.record();
        let a = disk.open("a", Open::Create).unwrap();
        write_all_at(&*a, &[1, 2], 0).unwrap();
        a.sync_data().unwrap();
        disk.sync("").unwrap();
        a.set_len(1).unwrap();
        a.set_len(2).unwrap();
        let ways = ways(&disk);
        let expected = [vec![1, 2], vec![1], vec![1, 0]].map(|a| (Some(a), None));
        assert_eq!(ways, expected.into());
    }
}
