//! What a statement is going to change: gathered row by row from its plan, then committed at once.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{FieldRef, Int32Type, Int64Type};
use datafusion::common::{Result as DataFusionResult, exec_err, internal_err};
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::logical_expr::dml::MergeIntoAction;
use numpack_engine::{Selection, Snapshot, Transaction};

use crate::dml::target::Target;
use crate::dml::values::{self, Values};
use crate::error::Result;
use crate::relation::Relation;

/// Rows to insert move to temporary files whenever this many bytes of them have come together, or
/// the memory limit does not leave room for them.
pub(crate) const IN_MEMORY: usize = 1 << 30;

/// What a statement does to which table.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) target: Target,
    kind: Kind,
}

/// What is done with the rows of the plan.
#[derive(Debug)]
pub(crate) enum Kind {
    /// Every row is appended: one column an array.
    Insert {
        /// After all that there were are gone.
        overwrite: bool,
    },
    /// Rows go: the position.
    Delete,
    /// Rows get new values: the position, and a value for each of these columns.
    Update { columns: Vec<usize> },
    /// The number of an action, the position, and a value for every column, of which these are
    /// assigned to by updates.
    Merge {
        actions: Vec<Action>,
        columns: Vec<usize>,
    },
}

/// What a clause of MERGE does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Insert,
    Update,
    Delete,
}

impl Action {
    pub(crate) fn of(action: &MergeIntoAction) -> Self {
        match action {
            MergeIntoAction::Insert { .. } => Self::Insert,
            MergeIntoAction::Update(_) => Self::Update,
            MergeIntoAction::Delete => Self::Delete,
        }
    }
}

impl Change {
    pub(crate) fn new(target: Target, kind: Kind) -> Self {
        Self { target, kind }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.target.name;
        match &self.kind {
            Kind::Insert { overwrite: false } => write!(f, "insert into {name}"),
            Kind::Insert { overwrite: true } => write!(f, "overwrite {name}"),
            Kind::Delete => write!(f, "delete from {name}"),
            Kind::Update { columns } => {
                let names = columns
                    .iter()
                    .map(|&column| self.target.fields[column].name().as_str());
                let names = names.collect::<Vec<_>>().join(", ");
                write!(f, "update {name}, columns=[{names}]")
            }
            Kind::Merge { actions, .. } => {
                write!(f, "merge into {name}, clauses={}", actions.len())
            }
        }
    }
}

/// The rows of a statement, as far as its plan has given them.
#[derive(Debug)]
pub(crate) struct Edits {
    change: Arc<Change>,
    deleted: Vec<i64>,
    updated: Vec<i64>,
    /// New values of `updated`: the column, and what it gets.
    updates: Vec<(usize, Values)>,
    inserts: Vec<Values>,
    inserted: u64,
    memory: MemoryReservation,
}

impl Edits {
    /// No rows yet.
    pub(crate) fn new(change: &Arc<Change>, context: &TaskContext) -> Self {
        let fields = &change.target.fields;
        let (columns, insert) = match &change.kind {
            Kind::Insert { .. } => (&[][..], true),
            Kind::Delete => (&[][..], false),
            Kind::Update { columns } => (columns.as_slice(), false),
            Kind::Merge { actions, columns } => {
                (columns.as_slice(), actions.contains(&Action::Insert))
            }
        };
        let update = |&column: &usize| (column, Values::new(&fields[column]));
        let inserts = if insert { fields.as_slice() } else { &[] };
        Self {
            deleted: Vec::new(),
            updated: Vec::new(),
            updates: columns.iter().map(update).collect(),
            inserts: inserts
                .iter()
                .map(|field: &FieldRef| Values::new(field))
                .collect(),
            inserted: 0,
            memory: MemoryConsumer::new("NumPackChange").register(context.memory_pool()),
            change: Arc::clone(change),
        }
    }

    /// Takes some rows of the plan.
    pub(crate) fn push(
        &mut self,
        batch: &RecordBatch,
        context: &TaskContext,
    ) -> DataFusionResult<()> {
        let change = Arc::clone(&self.change);
        match &change.kind {
            Kind::Insert { .. } => self.insert(batch, 0, context),
            Kind::Delete => positions(batch, 0, &mut self.deleted, &self.memory),
            Kind::Update { .. } => {
                positions(batch, 0, &mut self.updated, &self.memory)?;
                for (index, (_, values)) in self.updates.iter_mut().enumerate() {
                    values.push(batch.column(index + 1))?;
                }
                self.account()
            }
            Kind::Merge { actions, .. } => self.merge(batch, actions, context),
        }
    }

    fn insert(
        &mut self,
        batch: &RecordBatch,
        first: usize,
        context: &TaskContext,
    ) -> DataFusionResult<()> {
        for (index, values) in self.inserts.iter_mut().enumerate() {
            values.push(batch.column(first + index))?;
        }
        self.inserted += batch.num_rows() as u64;
        let in_memory: usize = self.inserts.iter().map(Values::in_memory).sum();
        if in_memory > IN_MEMORY || self.account().is_err() {
            values::spill(&mut self.inserts, context)?;
            self.account()?;
        }
        Ok(())
    }

    fn merge(
        &mut self,
        batch: &RecordBatch,
        actions: &[Action],
        context: &TaskContext,
    ) -> DataFusionResult<()> {
        let clauses = batch.column(0).as_primitive::<Int32Type>();
        for wanted in [Action::Delete, Action::Update, Action::Insert] {
            let chosen = |clause: i32| {
                let index = usize::try_from(clause).ok();
                index.and_then(|index| actions.get(index)) == Some(&wanted)
            };
            let chosen: BooleanArray = clauses.iter().map(|clause| clause.map(chosen)).collect();
            if chosen.true_count() == 0 {
                continue;
            }
            let rows = filter_record_batch(batch, &chosen)?;
            match wanted {
                Action::Delete => positions(&rows, 1, &mut self.deleted, &self.memory)?,
                Action::Update => {
                    positions(&rows, 1, &mut self.updated, &self.memory)?;
                    for (column, values) in &mut self.updates {
                        values.push(rows.column(*column + 2))?;
                    }
                    self.account()?;
                }
                Action::Insert => self.insert(&rows, 2, context)?,
            }
        }
        Ok(())
    }

    /// Tells the query's memory limit what is held here.
    fn account(&self) -> DataFusionResult<()> {
        let updates = self.updates.iter().map(|(_, values)| values.in_memory());
        let inserts = self.inserts.iter().map(Values::in_memory);
        let positions = (self.deleted.len() + self.updated.len()) * size_of::<i64>();
        self.memory
            .try_resize(updates.chain(inserts).sum::<usize>() + positions)
    }

    /// Rows that there are, each of them once in the deletions and once in the updates.
    fn settle(&mut self) -> DataFusionResult<()> {
        if !self.deleted.is_sorted_by(|a, b| a < b) {
            let before = self.deleted.len();
            self.deleted.sort_unstable();
            self.deleted.dedup();
            if self.deleted.len() < before {
                return self.twice();
            }
        }
        if !self.updated.is_sorted_by(|a, b| a < b) || !self.deleted.is_empty() {
            let mut seen: HashSet<i64> = self.deleted.iter().copied().collect();
            if !self.updated.iter().all(|&row| seen.insert(row)) {
                return self.twice();
            }
        }
        Ok(())
    }

    fn twice(&self) -> DataFusionResult<()> {
        exec_err!(
            "a row of {} is changed twice by one statement: more than one row of the source matches it",
            self.change.target.name
        )
    }

    /// Commits all of it as one transaction; gives the number of rows that changed.
    ///
    /// # Errors
    /// What the engine reports, [`Conflict`](numpack_engine::Error::Conflict) when the target is no
    /// longer as in `base`, and nulls on their way into arrays.
    pub(crate) fn commit(&mut self, base: Option<&Relation>) -> DataFusionResult<u64> {
        self.settle()?;
        let count = self.deleted.len() + self.updated.len();
        let positions = count > 0;
        let base = match (positions, base) {
            (true, None) => return internal_err!("positions of no instant"),
            (true, Some(base)) => Some(base),
            (false, _) => None,
        };
        self.commit_all(base)?;
        Ok(count as u64 + self.inserted)
    }

    fn commit_all(&self, base: Option<&Relation>) -> Result<()> {
        let target = &self.change.target;
        let overwrite = matches!(self.change.kind, Kind::Insert { overwrite: true });
        let metas = self.inserts.iter().map(Values::meta);
        let metas = metas.collect::<Result<Vec<_>>>()?;
        let update_metas = self.updates.iter().map(|(_, values)| values.meta());
        let update_metas = update_metas.collect::<Result<Vec<_>>>()?;
        let update_bytes = self.updates.iter().map(|(_, values)| values.bytes());
        let update_bytes = update_bytes.collect::<Result<Vec<_>>>()?;
        let store = target.store();
        let mut sources: Vec<_> = self.inserts.iter().map(Values::source).collect();
        let mut transaction = match base {
            Some(base) => store.begin_at(&base.arrays().iter().cloned().collect::<Snapshot>())?,
            None => store.begin()?,
        };
        if base.is_none() && self.inserted == 0 && !overwrite {
            return Ok(());
        }
        if !self.updated.is_empty() {
            for (((column, _), bytes), meta) in
                self.updates.iter().zip(&update_bytes).zip(&update_metas)
            {
                let rows = selection(&self.updated);
                transaction.replace(target.array(*column), rows, meta, bytes)?;
            }
        }
        if let Some(base) = base.filter(|_| !self.deleted.is_empty()) {
            self.delete(&mut transaction, base.rows())?;
        }
        if overwrite {
            for array in target.arrays() {
                transaction.clear_rows(array)?;
            }
        }
        if self.inserted > 0 {
            for ((array, source), meta) in target.arrays().iter().zip(&mut sources).zip(&metas) {
                transaction.append_from(array, meta, source)?;
            }
        }
        transaction.commit()?;
        Ok(())
    }

    fn delete(&self, transaction: &mut Transaction<'_>, rows: u64) -> Result<()> {
        for array in self.change.target.arrays() {
            // Deleting all rows would remove the array with them.
            if self.deleted.len() as u64 == rows {
                transaction.clear_rows(array)?;
            } else {
                transaction.delete_rows(array, selection(&self.deleted))?;
            }
        }
        Ok(())
    }
}

/// Adds the positions in a column of a batch.
fn positions(
    batch: &RecordBatch,
    column: usize,
    out: &mut Vec<i64>,
    memory: &MemoryReservation,
) -> DataFusionResult<()> {
    let column = batch.column(column).as_primitive::<Int64Type>();
    memory.try_grow(size_of_val(column.values().as_ref()))?;
    out.extend_from_slice(column.values());
    Ok(())
}

/// Rows in their order, as a slice where they are one.
fn selection(rows: &[i64]) -> Selection {
    match (rows.first(), rows.last()) {
        (Some(&first), Some(&last))
            if rows.is_sorted_by(|a, b| a < b)
                && i64::try_from(rows.len()) == Ok(last - first + 1) =>
        {
            Selection::Slice {
                start: Some(first),
                stop: Some(last + 1),
                step: 1,
            }
        }
        _ => Selection::Rows(rows.to_vec()),
    }
}
