//! Random operations against a model of plain vectors: two handles, reopening, processes that die.

use proptest::prelude::*;

use numpack_engine::fs::MemoryFs;
use numpack_engine::{ArraySnapshot, Limits, Options, Selection, Store};

use crate::kit::{append, bytes, delete, read, replace, rows, save, try_open};
use crate::workload::tight;

const NAMES: [&str; 3] = ["a", "b", "a/b"];
const WIDTH: u64 = 3;

#[derive(Clone, Debug)]
enum Step {
    Save(usize, u64),
    Create(usize, u64),
    Append(usize, u64),
    Replace(usize, Vec<i64>),
    ReplaceSlice(usize, Option<i64>, Option<i64>, i64),
    Delete(usize, Vec<i64>),
    Clear(usize),
    Drop(usize),
    DropAll,
    Rename(usize, usize),
    Copy(usize, usize),
    Compact(usize),
    Update(usize, Vec<usize>),
    /// Several changes in one commit.
    Together(usize, u64),
    Checkpoint,
    Sync,
    Reopen,
    /// The process dies: nothing is closed.
    Die,
}

fn step() -> impl Strategy<Value = Step> {
    let name = || 0..NAMES.len();
    let index = || proptest::collection::vec(-9_i64..9, 0..5);
    let end = || proptest::option::of(-9_i64..9);
    let by = prop_oneof![-3_i64..0, 1_i64..4];
    prop_oneof![
        3 => (name(), 0_u64..9).prop_map(|(a, n)| Step::Save(a, n)),
        1 => (name(), 0_u64..9).prop_map(|(a, n)| Step::Create(a, n)),
        4 => (name(), 0_u64..5).prop_map(|(a, n)| Step::Append(a, n)),
        3 => (name(), index()).prop_map(|(a, i)| Step::Replace(a, i)),
        2 => (name(), end(), end(), by).prop_map(|(a, s, e, by)| Step::ReplaceSlice(a, s, e, by)),
        4 => (name(), index()).prop_map(|(a, i)| Step::Delete(a, i)),
        1 => name().prop_map(Step::Clear),
        1 => name().prop_map(Step::Drop),
        1 => Just(Step::DropAll),
        2 => (name(), name()).prop_map(|(a, b)| Step::Rename(a, b)),
        2 => (name(), name()).prop_map(|(a, b)| Step::Copy(a, b)),
        1 => name().prop_map(Step::Compact),
        2 => (name(), proptest::collection::vec(0_usize..40, 0..4)).prop_map(|(a, i)| Step::Update(a, i)),
        2 => (name(), 1_u64..4).prop_map(|(a, n)| Step::Together(a, n)),
        1 => Just(Step::Checkpoint),
        1 => Just(Step::Sync),
        2 => Just(Step::Reopen),
        2 => Just(Step::Die),
    ]
}

/// Arrays in member order, each a list of rows.
type Model = Vec<(String, Vec<Vec<u8>>)>;

struct World {
    fs: MemoryFs,
    limits: Limits,
    handles: [Store; 2],
    model: Model,
    /// Snapshots taken on the way with what they showed.
    kept: Vec<(ArraySnapshot, Vec<u8>)>,
    turn: usize,
}

fn open(fs: &MemoryFs, limits: Limits) -> Store {
    try_open(fs, &Options::default().with_limits(limits)).unwrap()
}

fn to_rows(data: &[u8]) -> Vec<Vec<u8>> {
    data.chunks(WIDTH as usize).map(<[u8]>::to_vec).collect()
}

/// NumPy's meaning of an index list.
fn resolve(indices: &[i64], len: usize) -> Option<Vec<usize>> {
    let one = |&i: &i64| {
        let at = if i < 0 { i + len as i64 } else { i };
        (0..len as i64).contains(&at).then_some(at as usize)
    };
    indices.iter().map(one).collect()
}

impl World {
    fn new(limits: Limits) -> Self {
        let fs = MemoryFs::default();
        let handles = [open(&fs, limits), open(&fs, limits)];
        Self {
            fs,
            limits,
            handles,
            model: Vec::new(),
            kept: Vec::new(),
            turn: 0,
        }
    }

    fn array(&mut self, name: &str) -> Option<&mut Vec<Vec<u8>>> {
        self.model
            .iter_mut()
            .find(|(n, _)| n == name)
            .map(|(_, rows)| rows)
    }

    fn set(&mut self, name: &str, rows: Vec<Vec<u8>>) {
        match self.array(name) {
            Some(old) => *old = rows,
            None => self.model.push((name.to_owned(), rows)),
        }
    }

    fn remove(&mut self, name: &str) {
        self.model.retain(|(n, _)| n != name);
    }

    fn run(&mut self, step: &Step) {
        self.turn += 1;
        let seed = self.turn as u64;
        let store = self.handles[self.turn % 2].clone();
        match step {
            Step::Save(a, n) => {
                let data = rows(*n, WIDTH, seed);
                save(&store, NAMES[*a], &[*n, WIDTH], &data).unwrap();
                self.set(NAMES[*a], to_rows(&data));
            }
            Step::Create(a, n) => {
                let mut t = store.begin().unwrap();
                t.create(NAMES[*a], &bytes(&[*n, WIDTH])).unwrap();
                t.commit().unwrap();
                self.set(NAMES[*a], vec![vec![0; WIDTH as usize]; *n as usize]);
            }
            Step::Append(a, n) => {
                let data = rows(*n, WIDTH, seed);
                let done = append(&store, NAMES[*a], &[*n, WIDTH], &data);
                match self.array(NAMES[*a]) {
                    Some(array) => {
                        done.unwrap();
                        array.extend(to_rows(&data));
                    }
                    None => assert!(done.is_err()),
                }
            }
            Step::Replace(a, indices) => {
                let data = rows(indices.len() as u64, WIDTH, seed);
                let selection = Selection::Rows(indices.clone());
                let dims = [indices.len() as u64, WIDTH];
                let done = replace(&store, NAMES[*a], selection, &dims, &data);
                let target = self
                    .array(NAMES[*a])
                    .and_then(|array| Some((resolve(indices, array.len())?, array)));
                match target {
                    Some((targets, array)) => {
                        done.unwrap();
                        for (row, to) in to_rows(&data).into_iter().zip(targets) {
                            array[to] = row;
                        }
                    }
                    None => assert!(done.is_err()),
                }
            }
            Step::ReplaceSlice(a, start, stop, by) => {
                self.replace_slice(&store, *a, *start, *stop, *by);
            }
            Step::Delete(a, indices) => {
                let done = delete(&store, NAMES[*a], Selection::Rows(indices.clone()));
                let target = self
                    .array(NAMES[*a])
                    .and_then(|array| Some((resolve(indices, array.len())?, array)));
                match target {
                    Some((mut targets, array)) => {
                        done.unwrap();
                        targets.sort_unstable();
                        targets.dedup();
                        for row in targets.iter().rev() {
                            array.remove(*row);
                        }
                        if array.is_empty() && !targets.is_empty() {
                            self.remove(NAMES[*a]);
                        }
                    }
                    None => assert!(done.is_err()),
                }
            }
            Step::Clear(a) => {
                let mut t = store.begin().unwrap();
                t.clear_rows(NAMES[*a]).unwrap();
                assert_eq!(t.commit().is_ok(), self.array(NAMES[*a]).is_some());
                if let Some(array) = self.array(NAMES[*a]) {
                    array.clear();
                }
            }
            Step::Drop(a) => {
                let mut t = store.begin().unwrap();
                t.drop_array(NAMES[*a]).unwrap();
                t.commit().unwrap();
                self.remove(NAMES[*a]);
            }
            Step::DropAll => {
                let mut t = store.begin().unwrap();
                t.drop_all().unwrap();
                t.commit().unwrap();
                self.model.clear();
            }
            Step::Rename(a, b) => {
                let mut t = store.begin().unwrap();
                t.rename(NAMES[*a], NAMES[*b]).unwrap();
                let free = a == b || self.array(NAMES[*b]).is_none();
                let possible = self.array(NAMES[*a]).is_some() && free;
                assert_eq!(t.commit().is_ok(), possible);
                if possible {
                    for (name, _) in &mut self.model {
                        if name == NAMES[*a] {
                            NAMES[*b].clone_into(name);
                        }
                    }
                }
            }
            Step::Copy(a, b) => {
                let mut t = store.begin().unwrap();
                t.copy_array(NAMES[*a], NAMES[*b]).unwrap();
                let source = self.array(NAMES[*a]).cloned();
                let possible = source.is_some() && self.array(NAMES[*b]).is_none();
                assert_eq!(t.commit().is_ok(), possible);
                if let (true, Some(source)) = (possible, source) {
                    self.set(NAMES[*b], source);
                }
            }
            Step::Compact(a) => {
                let mut t = store.begin().unwrap();
                t.compact(NAMES[*a]).unwrap();
                assert_eq!(t.commit().is_ok(), self.array(NAMES[*a]).is_some());
                if self.array(NAMES[*a]).is_some() {
                    assert_eq!(store.info(NAMES[*a]).unwrap().deleted, 0);
                }
            }
            Step::Update(a, places) => {
                let Some(array) = self.array(NAMES[*a]) else {
                    return;
                };
                let mut data: Vec<u8> = array.concat();
                for place in places
                    .iter()
                    .filter(|&&place| place < data.len())
                    .copied()
                    .collect::<Vec<_>>()
                {
                    data[place] ^= 0x55;
                }
                *array = to_rows(&data);
                let base = store.array(NAMES[*a]).unwrap();
                let mut t = store.begin().unwrap();
                t.update(&base, &data).unwrap();
                t.commit().unwrap();
            }
            Step::Together(a, n) => self.together(&store, *a, *n, seed),
            Step::Checkpoint => store.checkpoint().unwrap(),
            Step::Sync => store.sync().unwrap(),
            Step::Reopen => {
                for handle in &self.handles {
                    handle.close().unwrap();
                }
                self.handles = [0; 2].map(|_| open(&self.fs, self.limits));
            }
            Step::Die => {
                let image = self.fs.image();
                self.handles = [0; 2].map(|_| open(&image, self.limits));
                self.fs = image;
            }
        }
    }

    fn replace_slice(
        &mut self,
        store: &Store,
        a: usize,
        start: Option<i64>,
        stop: Option<i64>,
        by: i64,
    ) {
        let seed = self.turn as u64;
        let Some(array) = self.array(NAMES[a]) else {
            return;
        };
        let selection = Selection::Slice {
            start,
            stop,
            step: by,
        };
        let targets = selection.resolve(array.len() as u64, "").unwrap();
        let data = rows(targets.len(), WIDTH, seed);
        for (row, to) in to_rows(&data).into_iter().zip(targets.rows()) {
            array[to as usize] = row;
        }
        replace(
            store,
            NAMES[a],
            selection.clone(),
            &[targets.len(), WIDTH],
            &data,
        )
        .unwrap();
        let wrong = rows(targets.len() + 1, WIDTH, seed);
        assert!(
            replace(
                store,
                NAMES[a],
                selection,
                &[targets.len() + 1, WIDTH],
                &wrong
            )
            .is_err()
        );
    }

    /// Changes that build on one another in one commit; and the same with an error at the end, which
    /// must leave nothing behind.
    fn together(&mut self, store: &Store, a: usize, n: u64, seed: u64) {
        let first = rows(n + 1, WIDTH, seed);
        let more = rows(n, WIDTH, seed + 1);
        let (one, two) = ([1_u8; WIDTH as usize], [2_u8; WIDTH as usize]);
        for fail in [true, false] {
            let mut t = store.begin().unwrap();
            t.put(NAMES[a], &bytes(&[n + 1, WIDTH]), &mut &*first)
                .unwrap();
            t.append(NAMES[a], &bytes(&[n, WIDTH]), &more).unwrap();
            t.delete_rows(NAMES[a], Selection::Row(0)).unwrap();
            t.replace(NAMES[a], Selection::Row(0), &bytes(&[WIDTH]), &one)
                .unwrap();
            t.replace(NAMES[a], Selection::Row(0), &bytes(&[1, WIDTH]), &two)
                .unwrap();
            t.copy_array(NAMES[a], "copied").unwrap();
            t.rename("copied", "renamed").unwrap();
            t.compact(NAMES[a]).unwrap();
            t.drop_array("renamed").unwrap();
            if fail {
                t.delete_rows(NAMES[a], Selection::Row(1000)).unwrap();
            }
            assert_eq!(t.commit().is_err(), fail);
            if fail {
                self.check();
            }
        }
        let mut all = to_rows(&first);
        all.extend(to_rows(&more));
        all.remove(0);
        all[0] = two.to_vec();
        self.set(NAMES[a], all);
    }

    fn check(&mut self) {
        for store in &self.handles {
            let names: Vec<String> = store
                .names()
                .unwrap()
                .iter()
                .map(ToString::to_string)
                .collect();
            let expected: Vec<&String> = self.model.iter().map(|(name, _)| name).collect();
            assert_eq!(names.iter().collect::<Vec<_>>(), expected);
            for (name, rows) in &self.model {
                assert_eq!(
                    store.info(name).unwrap().shape,
                    [rows.len() as u64, WIDTH],
                    "{name}"
                );
                assert_eq!(read(store, name), rows.concat(), "{name}");
            }
        }
        for (snapshot, shown) in &self.kept {
            let mut now = vec![0; snapshot.byte_len()];
            snapshot.read_all(&mut now).unwrap();
            assert_eq!(&now, shown, "a snapshot of {} changed", snapshot.name());
        }
        if self.turn.is_multiple_of(3) {
            let store = &self.handles[0];
            for (name, rows) in &self.model {
                self.kept.push((store.array(name).unwrap(), rows.concat()));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(
        std::env::var("NUMPACK_DEEP").map_or(200, |_| 20_000)
    ))]
    #[test]
    fn stores_are_lists_of_rows(small in any::<bool>(), steps in proptest::collection::vec(step(), 1..30)) {
        let limits = if small { tight() } else { Limits::default() };
        let mut world = World::new(limits);
        for (turn, step) in steps.iter().enumerate() {
            world.run(step);
            // Looking at an array leaves its file mapped, and files that are mapped go other ways.
            if turn % 4 == 3 || turn + 1 == steps.len() {
                world.check();
            }
        }
    }
}
