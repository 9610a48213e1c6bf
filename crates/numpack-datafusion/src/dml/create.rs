//! CREATE TABLE [AS]: a new store in a directory of stores, a new array in a store.

use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::Result as DataFusionResult;
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::execute_stream;
use futures::StreamExt;
use numpack_engine::{Mode, Store};

use crate::dml::edits::IN_MEMORY;
use crate::dml::values::{self, Values};
use crate::errands;
use crate::error::{Result, SqlError};
use crate::place::Place;
use crate::relation::ROW_ID;

/// Runs a plan and saves what it gives, whole or not at all; gives the number of rows.
pub(crate) async fn create(
    state: &SessionState,
    plan: &LogicalPlan,
    place: Place,
    replace: bool,
) -> DataFusionResult<u64> {
    match &place {
        Place::Array { store, .. } => drop(store.begin().map_err(SqlError::from)?),
        Place::Store { path, options, .. } if options.mode == Mode::Read => {
            let path = path.clone();
            return Err(SqlError::from(numpack_engine::Error::ReadOnly { path }).into());
        }
        Place::Store { .. } => {}
    }
    let plan = state.create_physical_plan(plan).await?;
    let context = state.task_ctx();
    let schema = plan.schema();
    let kept: Vec<usize> = (0..schema.fields().len())
        .filter(|&index| !is_position(&schema.fields()[index]))
        .collect();
    if let (Place::Array { name, .. }, false) = (&place, kept.len() == 1) {
        return Err(SqlError::NotOneColumn {
            name: name.clone(),
            columns: kept.len(),
        }
        .into());
    }
    let mut columns: Vec<Values> = kept
        .iter()
        .map(|&index| Values::new(&schema.fields()[index]))
        .collect();
    let memory = MemoryConsumer::new("CREATE TABLE").register(context.memory_pool());
    let mut batches = execute_stream(plan, Arc::clone(&context))?;
    let mut rows = 0;
    while let Some(batch) = batches.next().await {
        let batch = batch?;
        rows += batch.num_rows() as u64;
        for (values, &index) in columns.iter_mut().zip(&kept) {
            values.push(batch.column(index))?;
        }
        let held = columns.iter().map(Values::in_memory).sum();
        if held > IN_MEMORY || memory.try_resize(held).is_err() {
            values::spill(&mut columns, &context)?;
            memory.free();
        }
    }
    drop(batches);
    let work = move || Ok(save(&place, &columns, replace)?);
    errands::blocking(state.config(), work).await?;
    Ok(rows)
}

/// Whether a column is the `row_id` of a table: a position, which a new table has of its own. An
/// array of that name is nullable, as every array is.
fn is_position(field: &FieldRef) -> bool {
    field.name() == ROW_ID && !field.is_nullable() && *field.data_type() == DataType::Int64
}

fn save(place: &Place, columns: &[Values], replace: bool) -> Result<()> {
    match place {
        Place::Array { store, name } => {
            let mut change = store.begin()?;
            if !replace {
                change.require_absent(name)?;
            }
            for values in columns {
                change.put(name, &values.meta()?, &mut values.source())?;
            }
            change.commit()?;
            Ok(())
        }
        Place::Store { path, options, .. } if replace && Store::exists(path) => {
            let store = Store::open(path, &options.clone().with_mode(Mode::ReadWrite))?;
            let saved = save_all(&store, columns, true);
            store.close()?;
            saved
        }
        Place::Store { path, options, .. } => {
            Store::make(path, options, |store| save_all(store, columns, false))
        }
    }
}

fn save_all(store: &Store, columns: &[Values], replace: bool) -> Result<()> {
    let mut change = store.begin()?;
    if replace {
        change.drop_all()?;
    }
    for values in columns {
        change.put(values.name(), &values.meta()?, &mut values.source())?;
    }
    change.commit()?;
    Ok(())
}
