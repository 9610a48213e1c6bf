//! All sequences of up to three operations out of eight: most crash bugs of file systems and databases
//! need no more (Mohan et al., "Finding Crash-Consistency Bugs with Bounded Black-Box Crash Testing",
//! OSDI 2018).

use numpack_engine::Durability;

use super::explore::Depth;
use super::{Count, on_two_threads};
use crate::disk::{Image, Replay, Rng};
use crate::kit::OnPanic;
use crate::workload::{Op, Session, State};

fn operation(number: usize) -> Op {
    match number {
        0 => Op::Over(0, 2),
        1 => Op::Append(0, 1),
        2 => Op::Replace(0, vec![0, 2]),
        3 => Op::Delete(0, vec![1]),
        4 => Op::Drop(0),
        5 => Op::Rename(0),
        6 => Op::Sync,
        _ => Op::Reopen,
    }
}

/// The sequence of a number below 8 + 64 + 512.
fn sequence(number: usize) -> Option<Vec<Op>> {
    let (number, length) = match number {
        0..8 => (number, 1),
        8..72 => (number - 8, 2),
        72..584 => (number - 72, 3),
        _ => return None,
    };
    Some(
        (0..length)
            .map(|i| operation(number >> (3 * i) & 7))
            .collect(),
    )
}

/// Gives the number of images.
pub fn run(wanted: usize) -> Count {
    let ways = (wanted / 100_000).clamp(2, 64);
    on_two_threads(|number, explorer| {
        let Some(ops) = sequence(number / 2) else {
            return false;
        };
        let view = number % 2 == 1;
        let level = match number / 2 % 5 {
            0 => Durability::Full,
            _ => Durability::Commit,
        };
        let case = format!("{level}, view {view}, {ops:?}");
        let story = OnPanic(|| case.clone());
        let mut session = Session::new(&Image::default(), vec![State::default()], level, 1);
        for op in [Op::Save(0, 3), Op::Save(1, 2), Op::Checkpoint] {
            session.run(&op, 0);
        }
        if view {
            session.run(&Op::View(0), 0);
        }
        let mut from = 0;
        for op in &ops {
            // What comes before the last one is a sequence of its own.
            from = session.disk.log_len();
            session.run(op, 0);
        }
        let session = session.finish();
        drop(story);
        let depth = Depth {
            ways,
            second: 100,
            then: &[],
        };
        explorer.explore(
            &case,
            Replay::default(),
            &session,
            from,
            depth,
            &mut Rng::new(number as u64),
        );
        true
    })
}
