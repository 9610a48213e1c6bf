//! A reader that opened the store before something went wrong, while a writer deals with that.

use std::sync::Arc;

use numpack_engine::{Durability, Limits, Mode};

use super::choices::{RESTARTED, starts};
use super::party::{Meeting, Party, World, interleave};
use super::{Act, Case, Look, operations};
use crate::disk::Image;
use crate::faults::faulty::{Call, Fault, Plan};
use crate::kit::OnPanic;
use crate::workload::{Op, State, tight};

#[test]
fn a_reader_sees_the_same_rows_all_the_while_a_restart_is_dealt_with() {
    let starts = starts();
    let looks = [Look::Never, Look::Goes, Look::Went];
    let ops = operations();
    let mut moments = 0;
    for (number, op) in (RESTARTED.flat_map(|_| &ops)).enumerate() {
        let start = RESTARTED.start + number % RESTARTED.len();
        let case = Case {
            number,
            start: (start, &starts[start]),
            real: number % 2 == 0,
            prelude: &[],
            mine: Act::Do(op.clone()),
            theirs: &[Act::View],
            gap: None,
            late: false,
            looks: [looks[number / 3 % 3]; 2],
            limits: tight(),
            levels: [Durability::None, Durability::Commit],
        };
        moments += case.explore();
    }
    assert!(moments > 500, "{moments}");
}

/// What was done when a writer died after so many calls, which it had told nobody of although all of it was
/// there.
fn untold(start: &(Image, State), op: &Op, calls: usize) -> Option<(World, Party)> {
    let world = World::of(&start.0, false);
    let party = || Party::new(&world, Limits::default(), Durability::Commit);
    let (mut reader, mut other, mut writer) = (party(), party(), party());
    reader.open(Mode::Read).unwrap();
    other.open(Mode::Read).unwrap();
    writer.open(Mode::Append).unwrap();
    writer.fs.arm(Plan {
        fault: Fault::Eio,
        after: calls,
        lasting: true,
    });
    let done = writer.act(&Act::Do(op.clone()), &start.1, 7);
    drop(writer);
    let after = Act::Do(op.clone()).after(&start.1, 7).unwrap();
    let seen = party().act(&Act::Open(Mode::Read), &start.1, 0).seen;
    // Not by the reader itself, which would have the files mapped from then on.
    let told = other.look().unwrap();
    (done.refused.is_some() && seen == Some(after) && told == start.1).then_some((world, reader))
}

#[test]
fn a_reader_sees_whole_commits_while_one_goes_on_after_a_killed_writer() {
    let starts = starts();
    let ops = [
        Op::Over(0, 3),
        Op::Over(0, 5),
        Op::Replace(0, vec![0, 2]),
        Op::Append(0, 2),
        Op::Delete(0, vec![0]),
        Op::Together(0),
        Op::Rename(0),
        Op::Drop(0),
    ];
    let next = [Op::Checkpoint, Op::Sync, Op::Reopen, Op::Save(3, 2)];
    let (mut untolds, mut moments) = (0, 0);
    for start in &starts[..3] {
        for op in &ops {
            let found: Vec<usize> = (0..20)
                .filter(|&c| untold(start, op, c).is_some())
                .collect();
            untolds += found.len();
            for calls in found {
                for next in &next {
                    for level in [Durability::None, Durability::Commit] {
                        let story = format!("{op:?} for {calls} calls, then {next:?} {level:?}");
                        let _story = OnPanic(|| story.clone());
                        moments += witness(start, op, calls, next, level);
                    }
                }
            }
        }
    }
    assert!(untolds >= 20 && moments > 500, "{untolds}, {moments}");
}

/// Has the reader look before each call of a writer that comes after the dead one; gives how many there were.
fn witness(start: &(Image, State), op: &Op, calls: usize, next: &Op, level: Durability) -> usize {
    let between = Act::Do(op.clone()).after(&start.1, 7).unwrap();
    let next = Act::Do(next.clone());
    let last = next.after(&between, 8).unwrap();
    for call in 0.. {
        let _story = OnPanic(|| format!("before call {call}"));
        let (world, reader) = untold(start, op, calls).unwrap();
        let mut writer = Party::new(&world, tight(), level);
        writer.open(Mode::Append).unwrap();
        let meeting = Meeting::new(reader, vec![Act::View], between.clone());
        interleave(&writer.fs, &meeting, call, None);
        assert_eq!(writer.act(&next, &between, 8).refused, None);
        writer.fs.disarm();
        let mut meeting = Arc::into_inner(meeting).unwrap().into_inner();
        if !meeting.begun {
            return call;
        }
        if let Some(done) = meeting.done.pop() {
            let seen = done.seen.unwrap_or_else(|| panic!("{:?}", done.refused));
            assert!(
                [&start.1, &between, &last].contains(&&seen),
                "{seen:?} is none of {:?}, {between:?}, {last:?}",
                start.1
            );
        }
        meeting.other.check_views();
        assert_eq!(meeting.other.look().unwrap(), last);
    }
    0
}

#[test]
fn what_is_committed_after_another_process_failed_to_flush_stays() {
    let starts = starts();
    let mut faults = 0;
    for start in &starts[..3] {
        for op in [Op::Sync, Op::Over(0, 3), Op::Append(0, 2), Op::Checkpoint] {
            for fault in [Fault::Eio, Fault::Enospc] {
                for calls in 0.. {
                    let _story = OnPanic(|| format!("{op:?} with {fault:?} at call {calls}"));
                    if !after_a_failure(start, &op, fault, calls) {
                        break;
                    }
                    faults += 1;
                }
            }
        }
    }
    assert!(faults > 100, "{faults}");
}

fn one_to_fail_and_two(world: &World) -> [Party; 3] {
    let levels = [Durability::Full, Durability::Commit, Durability::Commit];
    levels.map(|level| Party::new(world, Limits::default(), level))
}

/// Has one process fail while two others have the store open and go on; false if it did not come to that.
fn after_a_failure(start: &(Image, State), op: &Op, fault: Fault, calls: usize) -> bool {
    let world = World::of(&start.0, false);
    let [mut failing, mut before, mut since] = one_to_fail_and_two(&world);
    before.open(Mode::Append).unwrap();
    failing.open(Mode::Append).unwrap();
    failing.fs.arm(Plan {
        fault,
        after: calls,
        lasting: false,
    });
    let _either = failing.act(&Act::Do(op.clone()), &start.1, 7);
    if failing.fs.disarm().is_empty() {
        return false;
    }
    since.open(Mode::Append).unwrap();
    let mut last = before.look().unwrap();
    let mut go_on = |party: &mut Party, op: Op| {
        let act = Act::Do(op);
        assert_eq!(party.act(&act, &last, 8).refused, None, "{act:?}");
        last = act.after(&last, 8).unwrap();
        last.clone()
    };
    for _ in 0..2 {
        for op in [Op::Append(1, 1), Op::Replace(1, vec![0]), Op::Sync] {
            go_on(&mut before, op);
        }
        let shown = go_on(&mut since, Op::Append(1, 1));
        for party in [&mut before, &mut since, &mut failing] {
            assert_eq!(party.look().unwrap(), shown);
        }
    }
    true
}

/// After a failed flush everything is verified; what a writer folds or removes meanwhile must not count as lost.
#[test]
fn a_reader_verifies_beside_a_writer_that_does_so_too() {
    let starts = starts();
    let mut moments = 0;
    for start in &starts[..3] {
        for next in [Op::Replace(1, vec![0]), Op::Over(0, 4), Op::Checkpoint] {
            for call in 0.. {
                let _story = OnPanic(|| format!("{next:?} before call {call}"));
                if !verifies(start, &next, call) {
                    break;
                }
                moments += 1;
            }
        }
    }
    assert!(moments > 50, "{moments}");
}

/// A store that two processes have open while a third fails to flush, and what they have seen.
fn failed_flush(start: &(Image, State)) -> ([Party; 2], State) {
    let world = World::of(&start.0, false);
    let [mut failing, mut writer, mut reader] = one_to_fail_and_two(&world);
    for party in [&mut failing, &mut writer, &mut reader] {
        party.open(Mode::Append).unwrap();
    }
    let mut told = start.1.clone();
    for op in [Op::Over(0, 3), Op::Replace(0, vec![1]), Op::Append(1, 1)] {
        let act = Act::Do(op);
        assert_eq!(writer.act(&act, &told, 6).refused, None);
        told = act.after(&told, 6).unwrap();
    }
    // The reader has no file mapped, so that rows are folded into it.
    let store = reader.store.as_ref().unwrap();
    assert_eq!(store.names().unwrap().len(), 2);
    failing.fs.arm(Plan {
        fault: Fault::Flush,
        after: 0,
        lasting: false,
    });
    let done = failing.act(&Act::Do(Op::Sync), &told, 7);
    assert_eq!(failing.fs.disarm(), [Call::Sync]);
    assert_eq!(done.refused.as_deref(), Some("Io"));
    ([writer, reader], told)
}

/// Has the writer go on before a call of the reader's next look; false if that does not make so many.
fn verifies(start: &(Image, State), next: &Op, call: usize) -> bool {
    let ([writer, mut reader], told) = failed_flush(start);
    let act = Act::Do(next.clone());
    let after = act.after(&told, 100).unwrap();
    let meeting = Meeting::new(writer, vec![act], told.clone());
    interleave(&reader.fs, &meeting, call, None);
    // Not at the rows, which would pin the files.
    let store = reader.store.clone().unwrap();
    assert_eq!(store.names().unwrap().len(), 2);
    let seen = reader.look().unwrap();
    reader.fs.disarm();
    assert!([&told, &after].contains(&&seen), "{seen:?} of {told:?}");
    let meeting = Arc::into_inner(meeting).unwrap().into_inner();
    if meeting.begun && !meeting.busy {
        assert_eq!(meeting.done[0].refused, None);
        assert_eq!(reader.look().unwrap(), after);
    }
    meeting.begun
}
