//! Random workloads of two processes.

use std::sync::atomic::{AtomicUsize, Ordering};

use numpack_engine::{Durability, Limits};

use super::explore::Depth;
use super::{Count, on_two_threads};
use crate::disk::{Image, Replay, Rng};
use crate::kit::OnPanic;
use crate::workload::{KINDS, Op, Session, State, tight};

fn operation(rng: &mut Rng) -> Op {
    let (at, rows) = (rng.below(3), 1 + rng.below(4));
    let some = (0..rows).map(|_| rng.below(8)).collect();
    match rng.below(43) {
        0..5 => Op::Save(rng.below(KINDS.len()), rows),
        5..7 => Op::Over(at, rows),
        7 => Op::Create(rng.below(KINDS.len()), rows),
        8..13 => Op::Append(at, rows),
        13 => Op::AppendFull(at, rows),
        14..21 => Op::Replace(at, some),
        21..24 => Op::Delete(at, some),
        24 => Op::Clear(at),
        25 => Op::Drop(at),
        26 => Op::Rename(at),
        27 => Op::Copy(at),
        28 => Op::Compact(at),
        29 => Op::Update(at),
        30 => Op::Together(at),
        31..34 => Op::Sync,
        34..36 => Op::Checkpoint,
        36..38 => Op::Reopen,
        38..40 => Op::Describe(at),
        40 => Op::DescribeAll,
        _ => Op::View(at),
    }
}

/// Gives the number of images, at least `wanted`; from the workload on that `NUMPACK_RANDOM` names.
pub fn run(wanted: usize) -> Count {
    let seen = AtomicUsize::new(0);
    let from = std::env::var("NUMPACK_RANDOM").map_or(0, |number| number.parse().unwrap());
    on_two_threads(|number, explorer| {
        let number = number + from;
        if seen.load(Ordering::Relaxed) >= wanted {
            return false;
        }
        let before = explorer.count.images;
        let mut rng = Rng::new(number as u64);
        let level = *rng.pick(&[
            Durability::Commit,
            Durability::Commit,
            Durability::Commit,
            Durability::Full,
            Durability::Full,
            Durability::None,
        ]);
        let processes = 1 + rng.below(2);
        let ops: Vec<(usize, Op)> = (0..10)
            .map(|_| (rng.below(processes), operation(&mut rng)))
            .collect();
        let case = format!("random workload {number}, {level}: {ops:?}");
        let story = OnPanic(|| case.clone());
        let first = vec![State::default()];
        let limits = *rng.pick(&[Limits::default(), tight()]);
        let mut session = Session::new(&Image::default(), first, level, processes).within(limits);
        for (process, op) in &ops {
            session.run(op, *process);
        }
        let session = session.finish();
        drop(story);
        let depth = Depth {
            ways: 6,
            second: 80,
            then: &[],
        };
        explorer.explore(&case, Replay::default(), &session, 0, depth, &mut rng);
        seen.fetch_add(explorer.count.images - before, Ordering::Relaxed);
        true
    })
}
