//! What there is to meet in: stores to begin with, and what is done to them.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use numpack_engine::{Durability, Mode, Options, Store};
use numpack_format::Metadata;

use super::Act;
use crate::disk::{Disk, Image, Node};
use crate::faults::faulty::{Fault, FaultyFs, Plan};
use crate::faults::{attempt, operations, store_after};
use crate::images::reboot;
use crate::kit::PATH;
use crate::workload::{Op, State, open};

/// The places of those stores among [`starts`] of which the machine was restarted since.
pub const RESTARTED: Range<usize> = 8..11;

/// Stores to begin with.
pub fn starts() -> Vec<(Image, State)> {
    let rows = |at, rows: &[usize]| Op::Replace(at, rows.to_vec());
    let worked_on: [&[Op]; 8] = [
        &[Op::Checkpoint],
        &[Op::Checkpoint, Op::Over(0, 3), rows(1, &[0]), rows(0, &[2])],
        &[Op::Append(0, 1), rows(0, &[0, 3])],
        // Files that are used again when they are replaced, whatever the limits.
        &[Op::Over(0, 100), Op::Sync, rows(0, &[5, 70])],
        &[Op::Rename(0)],
        &[Op::Checkpoint, Op::Rename(0), rows(0, &[1])],
        &[
            Op::Describe(0),
            Op::DescribeAll,
            Op::Checkpoint,
            Op::Clear(1),
        ],
        // Many files to flush.
        &[
            Op::Copy(0),
            Op::Copy(0),
            Op::Copy(1),
            Op::Copy(0),
            rows(2, &[0]),
        ],
    ];
    let mut starts: Vec<_> = worked_on.into_iter().map(store_after).collect();
    let shown = |image: &Image| {
        let store = open(&Disk::new(image), Mode::Read, Durability::Commit).unwrap();
        State::of(&store).unwrap()
    };
    // The machine was restarted since.
    for at in [1, 2, 5] {
        let mut image = starts[at].0.clone();
        reboot(&mut image);
        let state = shown(&image);
        starts.push((image, state));
    }
    assert_eq!(starts.len(), RESTARTED.end);
    // Another program wrote the metadata.
    let mut image = starts[0].0.clone();
    let Some(Node::File(ino)) = image.names.get("metadata.npkm") else {
        panic!("no metadata");
    };
    let bytes = image.files.get_mut(ino).unwrap();
    let mut metadata = Metadata::decode(bytes).unwrap();
    metadata.trailer = None;
    *bytes = Arc::new(metadata.encode());
    let state = shown(&image);
    starts.push((image, state));
    // A process died.
    for (op, calls) in [
        (Op::Checkpoint, 14),
        (Op::Checkpoint, 18),
        (Op::Over(0, 3), 4),
    ] {
        let (image, before) = &starts[1];
        let disk = Disk::new(image);
        let fs = FaultyFs::new(Arc::new(disk.process()));
        let store = Store::open_on(Arc::new(fs.clone()), Path::new(PATH), &Options::default());
        let store = store.unwrap();
        fs.arm(Plan {
            fault: Fault::Eio,
            after: calls,
            lasting: true,
        });
        attempt(&op, &store, before).unwrap_err();
        drop(store);
        let image = disk.image();
        assert_eq!(shown(&image), *before);
        starts.push((image, before.clone()));
    }
    starts.push((Image::default(), State::default()));
    starts
}

/// What was done before the two meet: by the first process, or not.
pub fn preludes() -> Vec<Vec<(bool, Act)>> {
    let over = || Act::Do(Op::Over(0, 100));
    vec![
        vec![],
        vec![(true, Act::Do(Op::Replace(0, vec![1])))],
        vec![(false, Act::Do(Op::Append(0, 1)))],
        // A file to use again, of the first process, of the other one, and one that is looked at.
        vec![(true, over()), (true, over())],
        vec![(false, over()), (false, over())],
        vec![(true, over()), (false, Act::View), (true, over())],
    ]
}

/// What the other process does in the meantime.
pub fn events() -> Vec<Vec<Act>> {
    let rows = |row| Op::Replace(0, vec![row]);
    let more: [&[Op]; 13] = [
        &[Op::Over(0, 3), Op::Checkpoint],
        &[rows(1), Op::Sync],
        &[rows(0), Op::Checkpoint],
        &[rows(0), Op::Checkpoint, rows(1), Op::Checkpoint],
        &[Op::Drop(0), Op::Save(0, 3)],
        &[Op::Rename(0), Op::Save(0, 2)],
        &[Op::Rename(0), Op::Save(0, 100)],
        &[Op::Over(0, 2), Op::Over(0, 3)],
        &[Op::Over(0, 100), Op::Over(0, 90), Op::Over(0, 95)],
        &[Op::Checkpoint, Op::Append(0, 1)],
        &[Op::Append(0, 1), Op::Reopen, Op::Append(0, 1)],
        &[Op::AppendFull(0, 1)],
        &[Op::Describe(0), Op::DescribeAll],
    ];
    let single = operations().into_iter().map(|op| vec![Act::Do(op)]);
    let more = more
        .iter()
        .map(|ops| ops.iter().cloned().map(Act::Do).collect());
    let looks = [
        vec![Act::View],
        vec![Act::View, Act::Do(Op::Append(0, 1))],
        vec![Act::Open(Mode::Read), Act::Do(Op::Reopen)],
        vec![Act::Open(Mode::Append), Act::Do(rows(0))],
        vec![Act::Verify],
    ];
    single.chain(more).chain(looks).collect()
}
