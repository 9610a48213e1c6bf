//! Every operation at every level, with a live view and without, on a store whose arrays are at rest,
//! in the journal, or synced.

use numpack_engine::Durability;

use super::explore::Depth;
use super::{Count, on_two_threads};
use crate::disk::{Image, Replay, Rng};
use crate::kit::OnPanic;
use crate::workload::{Op, Session, State};

pub const LEVELS: [Durability; 3] = [Durability::Commit, Durability::Full, Durability::None];

fn operations() -> Vec<Vec<Op>> {
    let one = |op: Op| vec![op];
    vec![
        one(Op::Save(3, 2)),
        one(Op::Over(0, 2)),
        one(Op::Create(3, 2)),
        one(Op::Append(0, 2)),
        one(Op::Replace(0, vec![1, 2])),
        one(Op::Replace(0, vec![0, 2])),
        one(Op::Delete(0, vec![1])),
        one(Op::Delete(1, vec![0, 1, 2, 3])),
        one(Op::Clear(0)),
        one(Op::Drop(0)),
        one(Op::Rename(0)),
        one(Op::Copy(0)),
        vec![Op::Delete(0, vec![1]), Op::Compact(0)],
        one(Op::Update(0)),
        one(Op::Together(0)),
        one(Op::Describe(0)),
        one(Op::DescribeAll),
        vec![Op::Describe(0), Op::Rename(0), Op::Checkpoint],
        vec![Op::Describe(1), Op::DescribeAll, Op::Over(1, 2), Op::Reopen],
        vec![Op::Describe(0), Op::Drop(0), Op::Save(0, 1), Op::Sync],
        one(Op::Sync),
        one(Op::Checkpoint),
        one(Op::Reopen),
        vec![Op::Append(0, 1), Op::Replace(0, vec![0, 3]), Op::Checkpoint],
        vec![
            Op::Replace(0, vec![1]),
            Op::Sync,
            Op::Replace(0, vec![1]),
            Op::Reopen,
        ],
        vec![Op::Over(0, 4), Op::Sync, Op::Over(0, 2), Op::Sync],
        vec![Op::Rename(0), Op::Save(0, 2), Op::Reopen],
        vec![Op::Delete(0, vec![0]), Op::Over(0, 2), Op::Reopen],
        vec![Op::Drop(0), Op::Save(0, 3), Op::Checkpoint],
        // What is on disk when it returns stands on what was not.
        vec![Op::Save(3, 2), Op::AppendFull(0, 1)],
        vec![Op::Over(0, 2), Op::Delete(0, vec![0]), Op::AppendFull(0, 2)],
        // Names that another array had before: its file must not be taken for the new one's.
        vec![Op::Rename(0), Op::Rename(0)],
        vec![Op::Drop(0), Op::Create(0, 3), Op::Sync],
        // The metadata counts deleted rows: the bitmap has its name before it.
        vec![
            Op::Delete(0, vec![1]),
            Op::Checkpoint,
            Op::Delete(0, vec![0]),
            Op::Reopen,
        ],
    ]
}

/// How the arrays lie before the operation.
fn beginnings() -> [Vec<Op>; 3] {
    let saved = [Op::Save(0, 3), Op::Save(1, 4)];
    let with = |more: &[Op]| [&saved[..], more].concat();
    [
        with(&[Op::Checkpoint]),
        with(&[Op::Sync, Op::Append(0, 1)]),
        with(&[Op::Replace(0, vec![0]), Op::Delete(1, vec![3])]),
    ]
}

/// Gives the number of images.
pub fn run(wanted: usize) -> Count {
    let (operations, beginnings) = (operations(), beginnings());
    let count = operations.len() * beginnings.len() * LEVELS.len() * 2;
    // A small run looks at all of them, less thoroughly.
    let ways = (wanted / 50_000).clamp(3, 256);
    on_two_threads(|number, explorer| {
        let view = number % 2 == 1;
        let level = LEVELS[number / 2 % 3];
        let beginning = &beginnings[number / 6 % 3];
        let (from_the_start, operation) = match operations.get(number / 18) {
            Some(operation) => (false, operation),
            // The making of a store, and what comes right after it.
            None if number < count + 18 => (true, &vec![Op::Sync]),
            None => return false,
        };
        let case = format!("{level}, view {view}, {beginning:?}, {operation:?}");
        let story = OnPanic(|| case.clone());
        let first = vec![State::default()];
        let mut session = Session::new(&Image::default(), first, level, 1);
        for op in beginning {
            session.run(op, 0);
        }
        if view {
            session.run(&Op::View(0), 0);
        }
        let mut from = session.disk.log_len();
        for op in operation {
            session.run(op, 0);
        }
        let session = session.finish();
        drop(story);
        let mut depth = Depth {
            ways,
            second: 60,
            then: &[],
        };
        if from_the_start {
            from = 0;
            depth.ways = ways.max(32);
        }
        let mut rng = Rng::new(number as u64);
        explorer.explore(&case, Replay::default(), &session, from, depth, &mut rng);
        true
    })
}
