//! Every call to the file system that an operation makes fails once, in every way in which it can: the
//! operation has happened or it has not, for this process and for the next.

mod between;
mod faulty;
mod pairs;

use std::path::Path;
use std::sync::Arc;

use numpack_engine::fs::MemoryFs;
use numpack_engine::{Durability, Error, Limits, Mode, Options, Result, Selection, Store};

use crate::disk::{Disk, Image, Replay};
use crate::images::reboot;
use crate::kit::{OnPanic, PATH, bytes, replace};
use crate::workload::{Op, Session, State, open, open_within, perform, plan, tight};
use faulty::{Call, Fault, FaultyFs, Plan};

const SEED: u64 = 4242;

fn operations() -> Vec<Op> {
    vec![
        Op::Save(3, 2),
        Op::Over(0, 2),
        Op::Create(3, 2),
        Op::Append(0, 2),
        Op::Replace(0, vec![0, 2]),
        Op::Delete(0, vec![1]),
        Op::Clear(0),
        Op::Drop(0),
        Op::Rename(0),
        Op::Copy(0),
        Op::Compact(1),
        Op::Update(0),
        Op::Together(0),
        Op::Sync,
        Op::Checkpoint,
        Op::Reopen,
    ]
}

/// How the store lies before the operation: at rest, in new generations beside files at rest, with
/// records in the journal, and with synced ones.
fn beginnings() -> Vec<(Image, State)> {
    let more: [&[Op]; 4] = [
        &[Op::Checkpoint],
        &[Op::Checkpoint, Op::Over(0, 3), Op::Replace(1, vec![0])],
        &[Op::Append(0, 1)],
        &[Op::Sync, Op::Over(0, 3), Op::Sync],
    ];
    more.iter().map(|more| store_after(more)).collect()
}

fn store_after(more: &[Op]) -> (Image, State) {
    let saved = [Op::Save(0, 3), Op::Save(1, 4), Op::Delete(1, vec![2])];
    let first = vec![State::default()];
    let mut session = Session::new(&Image::default(), first, Durability::Commit, 1);
    saved.iter().chain(more).for_each(|op| session.run(op, 0));
    let image = session.disk.image();
    let recorded = session.finish();
    (image, recorded.history[recorded.history.len() - 1].clone())
}

fn attempt(op: &Op, store: &Store, before: &State) -> Result<()> {
    match op {
        Op::Sync => store.sync(),
        Op::Checkpoint => store.checkpoint(),
        Op::Reopen => store.close(),
        _ => perform(op, store, before, SEED),
    }
}

/// What one operation went through.
#[derive(Debug, Default)]
struct Count {
    faults: usize,
    refused: usize,
    poisoned: usize,
}

/// One fault in one operation, with a view of the first array if asked for. Gives `false` when the
/// operation is over before the fault comes.
fn one(
    (image, before, viewed): &(Image, State, bool),
    op: &Op,
    level: Durability,
    fault: Plan,
    count: &mut Count,
) -> bool {
    let after = plan(op, before, SEED).unwrap_or_else(|| before.clone());
    let disk = Disk::new(image);
    disk.record();
    let fs = FaultyFs::new(Arc::new(disk.process()));
    let options = Options::default().with_durability(level);
    let store = Store::open_on(Arc::new(fs.clone()), Path::new(PATH), &options).unwrap();
    let first = before.at(0).filter(|_| *viewed);
    let view = first.map(|first| (store.array(&first.name).unwrap(), &first.rows));
    fs.arm(fault);
    let result = attempt(op, &store, before);
    let hit = fs.disarm();
    if hit.is_empty() {
        result.unwrap();
        return false;
    }
    count.faults += 1;
    let possible: &[&State] = match &result {
        Ok(()) => &[&after],
        Err(_) => &[before, &after],
    };
    if fault.fault.is_invisible() {
        result.as_ref().unwrap();
    }
    count.refused += usize::from(result.is_err());
    let is_possible = |state: &State| possible.contains(&state);
    if *op != Op::Reopen {
        let here = State::of(&store).unwrap();
        assert!(is_possible(&here), "in this process: {here:?}");
    }
    let next = State::of(&open(&disk.process(), Mode::Read, level).unwrap()).unwrap();
    assert!(
        is_possible(&next),
        "in another process: {next:?} after {result:?}"
    );
    if *op != Op::Reopen {
        let write = perform(&Op::Save(2, 1), &store, &next, SEED);
        if hit.contains(&Call::Sync) {
            assert!(result.is_err(), "a flush failed and nobody was told");
            assert!(
                matches!(write, Err(Error::Poisoned { .. })),
                "a flush failed, then {write:?}"
            );
        }
        count.poisoned += usize::from(write.is_err());
        match write {
            Ok(()) | Err(Error::Poisoned { .. }) => {}
            Err(error) => panic!("the fault is over, and yet: {error}"),
        }
    }
    let expected = State::of(&open(&disk.process(), Mode::Read, level).unwrap()).unwrap();
    // The handle gives up or goes through with it; the next process has the same store either way.
    let _synced = store.sync();
    let _closed = store.close();
    drop(store);
    if let Some((view, rows)) = view {
        let mut shown = vec![0; view.byte_len()];
        view.read_all(&mut shown).unwrap();
        assert!(shown == *rows, "the view changed");
    }
    let store = open(&disk.process(), Mode::Append, level).unwrap();
    assert_eq!(
        State::of(&store).unwrap(),
        expected,
        "after closing; {result:?} {hit:?}"
    );
    perform(&Op::Save(1, 2), &store, &expected, SEED).unwrap();
    let last = plan(&Op::Save(1, 2), &expected, SEED).unwrap();
    assert_eq!(State::of(&store).unwrap(), last);
    store.close().unwrap();
    let again = open(&disk.process(), Mode::Read, level).unwrap();
    assert_eq!(State::of(&again).unwrap(), last);
    assert_eq!(
        after_a_power_cut(image, &disk),
        last,
        "closed, then a power cut"
    );
    true
}

/// What is there if nothing arrived that was not flushed.
fn after_a_power_cut(image: &Image, disk: &Disk) -> State {
    let mut replay = Replay::new(image);
    for event in &disk.take_log() {
        replay.step(event);
    }
    let mut left = replay.cut(&[], 0xa5);
    reboot(&mut left);
    State::of(&open(&Disk::new(&left), Mode::Read, Durability::Commit).unwrap()).unwrap()
}

/// A process dies at one call, while another has the store open, a file for writing, and a view of it; this
/// one goes on and folds what both have replaced. Gives `false` when the operation is over before.
fn dying(image: &Image, before: &State, op: &Op, level: Durability, after: usize) -> bool {
    let disk = Disk::new(image);
    let other = open_within(&disk.process(), Mode::Append, level, tight()).unwrap();
    let earlier = Op::Append(0, 1);
    perform(&earlier, &other, before, SEED + 1).unwrap();
    let before = &plan(&earlier, before, SEED + 1).unwrap();
    let then = plan(op, before, SEED).unwrap_or_else(|| before.clone());
    let first = before.at(0).unwrap();
    let view = other.array(&first.name).unwrap();
    let fs = FaultyFs::new(Arc::new(disk.process()));
    let options = Options::default().with_durability(level);
    let store = Store::open_on(Arc::new(fs.clone()), Path::new(PATH), &options).unwrap();
    // Whatever it tries from the call on has no effect, also while its handle is dropped.
    fs.arm(Plan {
        fault: Fault::Eio,
        after,
        lasting: true,
    });
    let _unknown = attempt(op, &store, before);
    drop(store);
    let died = !fs.disarm().is_empty();
    let seen = State::of(&other).unwrap();
    // A commit that died before it told anybody is adopted by the next one to lock the store.
    other.sync().unwrap();
    let now = State::of(&other).unwrap();
    let possible = [before, &then];
    assert!(
        possible.contains(&&seen) && possible.contains(&&now),
        "{seen:?}, {now:?}"
    );
    assert!(seen == now || seen == *before, "{seen:?} is gone");
    let next = Op::Append(0, 1);
    perform(&next, &other, &now, SEED).unwrap();
    let mut last = plan(&next, &now, SEED).unwrap();
    assert_eq!(State::of(&other).unwrap(), last);
    for (at, row) in [(0, 0), (0, 1), (1, 0), (1, 1), (0, 2)] {
        let next = Op::Replace(at, vec![row]);
        if let Some(after) = plan(&next, &last, SEED + row as u64) {
            perform(&next, &other, &last, SEED + row as u64).unwrap();
            last = after;
            assert_eq!(State::of(&other).unwrap(), last);
        }
    }
    let third = open(&disk.process(), Mode::Read, level).unwrap();
    assert_eq!(State::of(&third).unwrap(), last);
    other.close().unwrap();
    let mut shown = vec![0; view.byte_len()];
    view.read_all(&mut shown).unwrap();
    assert!(shown == first.rows, "the view changed");
    assert_eq!(disk.breaches(), Vec::<String>::new());
    let again = open(&disk.process(), Mode::Read, level).unwrap();
    assert_eq!(
        State::of(&again).unwrap(),
        last,
        "closed by the other process"
    );
    died
}

#[test]
fn a_process_dies_at_every_call_and_another_goes_on() {
    let mut deaths = 0;
    let mut stores = beginnings();
    // Rows wait for a file that is mapped: a checkpoint copies it.
    stores.push(store_after(&[Op::Checkpoint, Op::Replace(0, vec![0])]));
    for (beginning, (image, before)) in stores.iter().enumerate() {
        for op in operations() {
            for level in [Durability::Commit, Durability::Full] {
                for after in 0.. {
                    let _story = OnPanic(|| {
                        format!("{op:?} at {level} on store {beginning}, dead at call {after}")
                    });
                    if !dying(image, before, &op, level, after) {
                        break;
                    }
                    deaths += 1;
                }
            }
        }
    }
    assert!(deaths > 1000, "{deaths}");
}

/// Opening fails at one call; gives whether it came to that. The directory is empty, the store was
/// killed, or the machine was restarted.
fn opening(image: &Image, before: &State, mode: Mode, plan: Plan, count: &mut Count) -> bool {
    let disk = Disk::new(image);
    let fs = FaultyFs::new(Arc::new(disk.process()));
    let options = Options::default().with_mode(mode);
    fs.arm(plan);
    let opened = Store::open_on(Arc::new(fs.clone()), Path::new(PATH), &options);
    let shown = opened.and_then(|store| State::of(&store));
    let hit = fs.disarm();
    if hit.is_empty() {
        assert_eq!(shown.unwrap(), *before);
        return false;
    }
    count.faults += 1;
    if plan.fault.is_invisible() {
        assert_eq!(shown.as_ref().unwrap(), before);
    }
    match shown {
        Ok(state) => assert_eq!(state, *before),
        Err(_) => count.refused += 1,
    }
    let store = open(&disk.process(), Mode::Append, Durability::Commit).unwrap();
    assert_eq!(State::of(&store).unwrap(), *before, "opened again");
    perform(&Op::Save(1, 2), &store, before, SEED).unwrap();
    let last = crate::workload::plan(&Op::Save(1, 2), before, SEED).unwrap();
    store.close().unwrap();
    let again = open(&disk.process(), Mode::Read, Durability::Commit).unwrap();
    assert_eq!(State::of(&again).unwrap(), last);
    true
}

#[test]
fn opening_fails_at_every_call_and_leaves_the_store_as_it_was() {
    let mut stores = beginnings();
    let (mut rebooted, state) = stores[2].clone();
    reboot(&mut rebooted);
    stores.push((rebooted, state));
    let mut modes: Vec<_> = stores
        .iter()
        .flat_map(|s| [(s, Mode::Read), (s, Mode::Append)])
        .collect();
    let nothing = (Image::default(), State::default());
    modes.push((&nothing, Mode::Append));
    modes.push((&nothing, Mode::Exclusive));
    let mut count = Count::default();
    for ((image, before), mode) in modes {
        for fault in [
            Fault::Eio,
            Fault::Enospc,
            Fault::Emfile,
            Fault::Eintr,
            Fault::Short,
        ] {
            for lasting in [false, true] {
                // A signal that comes at every call would never let any of them through.
                if lasting && fault == Fault::Eintr {
                    continue;
                }
                for after in 0.. {
                    let plan = Plan {
                        fault,
                        after,
                        lasting,
                    };
                    let _story = OnPanic(|| format!("opening {before:?} with {mode}: {plan:?}"));
                    if !opening(image, before, mode, plan, &mut count) {
                        break;
                    }
                }
            }
        }
    }
    assert!(count.faults > 500 && count.refused > 300, "{count:?}");
}

#[test]
fn every_call_fails_once_and_nothing_is_between() {
    let mut count = Count::default();
    let waiting: [&[Op]; 2] = [
        &[Op::Checkpoint, Op::Replace(0, vec![0])],
        &[
            Op::Checkpoint,
            Op::Over(0, 3),
            Op::Sync,
            Op::Replace(0, vec![0]),
        ],
    ];
    let stores = beginnings().into_iter().map(|store| (store, false));
    let waiting = waiting.map(|more| (store_after(more), true));
    let stores: Vec<_> = stores
        .chain(waiting)
        .map(|((image, state), viewed)| (image, state, viewed))
        .collect();
    for (fault, lasting) in [
        (Fault::Eio, false),
        (Fault::Eio, true),
        (Fault::Enospc, false),
        (Fault::Enospc, true),
        (Fault::Emfile, false),
        (Fault::Emfile, true),
        (Fault::Eintr, false),
        (Fault::Short, false),
        (Fault::Short, true),
    ] {
        for (beginning, store) in stores.iter().enumerate() {
            // With a view, a checkpoint copies its array.
            let all = if store.2 {
                vec![Op::Checkpoint, Op::Reopen]
            } else {
                operations()
            };
            for op in all {
                for level in [Durability::Commit, Durability::Full] {
                    for after in 0.. {
                        let plan = Plan {
                            fault,
                            after,
                            lasting,
                        };
                        let _story =
                            OnPanic(|| format!("{op:?} at {level} on store {beginning}: {plan:?}"));
                        if !one(store, &op, level, plan, &mut count) {
                            break;
                        }
                    }
                }
            }
        }
    }
    assert!(count.faults > 3000, "{count:?}");
    assert!(count.refused > 1000 && count.poisoned > 100, "{count:?}");
}

/// The disk refuses a part of the journal that was sent ahead of any flush. The commit is made; as the kernel
/// may not say so again, nothing may be built on it.
#[test]
fn a_journal_that_the_disk_refuses_is_added_to_no_more() {
    let rows = [7; 3000];
    let refused = (0..10).filter(|&after| {
        let fs = FaultyFs::new(Arc::new(MemoryFs::default()));
        let mut limits = Limits::default();
        // A sixteenth of it is sent at once.
        limits.journal = 16 * 2048;
        let options = Options::default().with_limits(limits);
        let store = Store::open_on(Arc::new(fs.clone()), Path::new(PATH), &options).unwrap();
        let mut save = store.begin().unwrap();
        save.create("a", &bytes(&[9000])).unwrap();
        save.commit().unwrap();
        store.checkpoint().unwrap();
        let change = || {
            replace(
                &store,
                "a",
                Selection::Slice {
                    start: None,
                    stop: Some(1000),
                    step: 1,
                },
                &[1000],
                &rows[..1000],
            )
        };
        change().unwrap();
        fs.arm(Plan {
            fault: Fault::Eio,
            after,
            lasting: false,
        });
        let result = change();
        if fs.disarm() != [Call::Sync] {
            return false;
        }
        result.unwrap();
        assert!(matches!(change(), Err(Error::Poisoned { .. })));
        drop(store);
        let again = Store::open_on(Arc::new(fs), Path::new(PATH), &options).unwrap();
        let mut shown = vec![0; 9000];
        again.array("a").unwrap().read_all(&mut shown).unwrap();
        assert_eq!((&shown[..1000], shown[1000]), (&rows[..1000], 0));
        true
    });
    assert_eq!(refused.count(), 1);
}
