//! Rows that are replaced, on their way through the journal into the file: with limits under which the
//! store folds them at every turn, each crash of the last operations, and after it a second one in what
//! the next process does.

use numpack_engine::Durability;

use super::explore::Depth;
use super::{Count, on_two_threads};
use crate::disk::{Image, Replay, Rng};
use crate::kit::OnPanic;
use crate::workload::{Op, Session, State, tight};

struct Story {
    /// What comes before, by process; nothing where the store's making is crashed as well.
    before: Vec<(usize, Op)>,
    /// What is crashed at every step.
    crashed: Vec<(usize, Op)>,
    /// What the next process does, which is crashed at every step as well.
    then: Vec<Op>,
    /// One in so many crashes is followed by a second one.
    second: usize,
    /// How many of the ways in which a power cut may leave a step are looked at.
    ways: usize,
}

const FEW: usize = 6;

fn here(ops: &[Op]) -> Vec<(usize, Op)> {
    ops.iter().map(|op| (0, op.clone())).collect()
}

/// On top of two arrays at rest.
fn above_two(ops: Vec<(usize, Op)>) -> Vec<(usize, Op)> {
    let mut all = here(&[Op::Save(0, 3), Op::Save(1, 4), Op::Checkpoint]);
    all.extend(ops);
    all
}

/// With these limits a replace folds what an earlier one left, if nobody looks.
fn stories() -> Vec<Story> {
    let replace = |row: usize| Op::Replace(0, vec![row]);
    let story = |before: &[Op], crashed: &[Op], then: &[Op], second| Story {
        before: above_two(here(before)),
        crashed: here(crashed),
        then: then.to_vec(),
        second,
        ways: FEW,
    };
    vec![
        // Somebody looks, so rows wait; then nobody does, and they are folded.
        story(
            &[Op::View(0), replace(1), replace(2), Op::LetGo],
            &[replace(0), replace(1), Op::Checkpoint],
            &[replace(2), Op::Sync],
            8,
        ),
        // Rows that are folded one after the other, some of them on disk, and the checkpoint that flushes
        // the file.
        story(
            &[Op::Replace(0, vec![0, 1]), replace(2)],
            &[Op::Sync, replace(1), replace(0), Op::Checkpoint],
            &[replace(2), replace(0), Op::Checkpoint],
            8,
        ),
        story(
            &[replace(0), replace(1), replace(2)],
            &[Op::Reopen],
            &[replace(1)],
            2,
        ),
        // A flush that is cut short after it said so in the journal: what is replaced then counts as on disk
        // after a power cut, and its file is not to be used again before the next flush.
        story(
            &[Op::Over(0, 3)],
            &[Op::Sync],
            &[Op::Over(0, 3), Op::Over(0, 4)],
            1,
        ),
        // Nothing waits for the checkpoint, but what was folded is not on disk: after a replace of no rows,
        // and where a process was killed between its fold and its rows.
        story(
            &[Op::Replace(0, vec![0, 1]), Op::Replace(0, vec![])],
            &[Op::Checkpoint],
            &[replace(0)],
            6,
        ),
        story(
            &[Op::Replace(0, vec![0, 1])],
            &[replace(2)],
            &[Op::Checkpoint],
            1,
        ),
        // What was folded and what waits goes along with another name, and a third array takes the old one.
        story(
            &[replace(0), replace(1)],
            &[Op::Rename(0), replace(2), replace(0)],
            &[replace(1), Op::Checkpoint],
            8,
        ),
        story(
            &[Op::View(0), replace(0), Op::Rename(0)],
            &[Op::Save(0, 2), Op::LetGo, replace(1), Op::Reopen],
            &[replace(1), Op::Rename(0)],
            8,
        ),
        // A mapped array is copied by the checkpoint. Where that stops, the next process must not go on
        // with a copy that the metadata on disk does not know.
        story(
            &[Op::View(0), replace(1)],
            &[Op::Checkpoint],
            &[Op::Append(0, 1)],
            1,
        ),
        story(
            &[Op::View(0), replace(1)],
            &[Op::Checkpoint],
            &[replace(0), replace(2)],
            2,
        ),
        story(
            &[Op::Over(0, 3), Op::Sync, Op::View(0), replace(1)],
            &[Op::Checkpoint, replace(0), Op::Checkpoint],
            &[Op::Over(0, 2), replace(1)],
            8,
        ),
        // A process is killed before it has flushed the record that says so: the next one neither tells
        // of that flush nor relies on it.
        story(
            &[Op::Append(0, 1)],
            &[Op::Sync],
            &[Op::Append(0, 1), Op::Append(1, 1)],
            1,
        ),
        story(&[Op::Over(0, 3)], &[Op::Sync], &[Op::Over(0, 2)], 1),
        // Rows appended to zeros share their last block, and a power cut may take both.
        story(
            &[Op::Create(3, 2)],
            &[Op::Append(2, 1), Op::Append(2, 2)],
            &[Op::Append(2, 1)],
            8,
        ),
        story(
            &[],
            &[Op::Create(3, 2), Op::Append(2, 1), Op::Sync],
            &[Op::Append(2, 1)],
            8,
        ),
        // Another process folds what this one has committed, and this one what the other has.
        Story {
            before: above_two(vec![(0, replace(0)), (1, Op::Append(0, 1))]),
            crashed: vec![(0, replace(1)), (1, replace(2)), (0, replace(0))],
            then: vec![replace(1), replace(2), Op::Checkpoint],
            second: 6,
            ways: FEW,
        },
        Story {
            before: above_two(vec![(1, Op::View(0)), (0, replace(0))]),
            crashed: vec![
                (1, replace(1)),
                (1, Op::LetGo),
                (0, replace(2)),
                (1, Op::Checkpoint),
            ],
            then: vec![replace(1), replace(2)],
            second: 8,
            ways: FEW,
        },
        // Rows that did not arrive are the same as those in the old file of their array's name.
        Story {
            before: here(&[
                Op::Create(0, 2),
                Op::Checkpoint,
                Op::Drop(0),
                Op::Create(1, 4),
            ]),
            crashed: here(&[Op::Copy(0)]),
            then: vec![Op::Append(0, 1)],
            second: 0,
            ways: 200,
        },
        // The maker of the store is killed, and another process goes on before the header is on disk.
        Story {
            before: Vec::new(),
            crashed: here(&[Op::Save(0, 3)]),
            then: vec![Op::Save(0, 2), Op::Sync],
            second: 1,
            ways: FEW,
        },
    ]
}

/// Gives the number of images.
pub fn run() -> Count {
    const LEVELS: [Durability; 2] = [Durability::Commit, Durability::Full];
    let stories = stories();
    on_two_threads(|number, explorer| {
        let level = LEVELS[number % 2];
        let Some(story) = stories.get(number / 2) else {
            return false;
        };
        let case = format!("{level}, {:?}, {:?}", story.before, story.crashed);
        let at = OnPanic(|| case.clone());
        let first = vec![State::default()];
        let mut session = Session::new(&Image::default(), first, level, 2).within(tight());
        for (process, op) in &story.before {
            session.run(op, *process);
        }
        let from = session.disk.log_len();
        for (process, op) in &story.crashed {
            session.run(op, *process);
        }
        let session = session.finish();
        drop(at);
        let depth = Depth {
            ways: story.ways,
            second: story.second * (1 + number % 2),
            then: &story.then,
        };
        let mut rng = Rng::new(number as u64);
        explorer.explore(&case, Replay::default(), &session, from, depth, &mut rng);
        true
    })
}
