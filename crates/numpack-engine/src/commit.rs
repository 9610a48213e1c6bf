//! Committing a transaction: lock, check, plan, write, clean up.

use std::collections::HashSet;
use std::sync::atomic::Ordering;

use numpack_format::Attrs;

use crate::error::{Error, Result};
use crate::options::{Durability, Options};
use crate::plan::Plan;
use crate::shared::Shared;
use crate::snapshot::{ArraySnapshot, Snapshot};
use crate::staging::Staged;
use crate::state::State;
use crate::store::Store;
use crate::transaction::Change;

/// Commits `changes`; see [`crate::Transaction::commit`].
pub(crate) fn commit(
    store: &Store,
    base: Option<&Snapshot>,
    changes: Vec<Change<'_>>,
    durability: Durability,
) -> Result<u64> {
    let shared = store.writable()?;
    commit_changes(&shared, store.options(), base, changes, durability)
}

/// Removes all arrays and the attributes of the store as one commit.
pub(crate) fn drop_all(shared: &Shared, options: &Options) -> Result<u64> {
    let attrs = Change::Attrs {
        name: None,
        attrs: Attrs::default(),
    };
    let changes = vec![Change::DropAll, attrs];
    commit_changes(shared, options, None, changes, options.durability)
}

fn commit_changes(
    shared: &Shared,
    options: &Options,
    base: Option<&Snapshot>,
    changes: Vec<Change<'_>>,
    durability: Durability,
) -> Result<u64> {
    let mut guard = shared.lock(options)?;
    if let Some(base) = base {
        let state = shared.state.read();
        for read in base.arrays() {
            check_unchanged(&state, read)?;
        }
    }
    if guard.must_checkpoint() || guard.checkpoint_due() {
        guard.checkpoint(durability, false)?;
    }
    for change in &changes {
        if let Some(name) = change.replaced() {
            guard.fold_if_many(name, durability)?;
        }
    }
    let mut plan = Plan::new(&mut guard, options, changes.len() == 1);
    for change in changes {
        plan.add(change)?;
    }
    let Plan {
        records,
        staged,
        replaced,
        scratch,
        ..
    } = plan;
    if records.is_empty() {
        return Ok(shared.state.read().lsn);
    }
    let lsn = match guard.commit(records, &scratch, durability) {
        Ok(lsn) => lsn,
        Err(error) => {
            // Whether the disk took the records or not, a poisoned store keeps its files.
            if shared.poisoned.load(Ordering::Acquire) {
                staged.into_iter().for_each(Staged::claim);
            }
            return Err(error);
        }
    };
    staged.into_iter().for_each(Staged::claim);
    guard.writer.sums.end();
    if !replaced.is_empty() {
        let arrays = scratch.arrays.values();
        let kept: HashSet<u64> = arrays.map(|array| array.generation).collect();
        for old in replaced {
            if !kept.contains(&old.generation) {
                guard.supersede(&old, lsn);
            }
        }
    }
    if durability == Durability::Full {
        guard.collect();
    }
    Ok(lsn)
}

fn check_unchanged(state: &State, read: &ArraySnapshot) -> Result<()> {
    match state.get(read.name().as_str()) {
        Some(now) if now.same_content(read.state()) => Ok(()),
        _ => Err(Error::Conflict {
            name: read.name().to_string(),
        }),
    }
}
