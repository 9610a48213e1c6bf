//! `Connection`: SQL over several stores, or a directory of them.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use numpack::datafusion::{Connection as Engine, ConnectionOptions};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::errors;
use crate::incoming;
use crate::query::{self, Query};
use crate::signals;
use crate::store::Store;

/// What a connection is over.
#[derive(FromPyObject)]
enum Over<'py> {
    Stores(Vec<(String, PyRef<'py, Store>)>),
    Directory(PathBuf),
}

#[pyclass(frozen, module = "numpack._internal")]
pub(crate) struct Connection {
    engine: Engine,
}

#[pymethods]
impl Connection {
    /// `memory_limit` is in bytes; `tables` are Arrow tables or streams by name.
    #[new]
    fn new(
        py: Python<'_>,
        over: Over<'_>,
        tables: &Bound<'_, PyDict>,
        memory_limit: Option<usize>,
        threads: Option<usize>,
        external_access: bool,
    ) -> PyResult<Self> {
        let mut options = ConnectionOptions::default()
            .with_external_access(external_access)
            .with_interrupt(signals::interrupt());
        if let Some(bytes) = memory_limit {
            options = options.with_memory_limit(bytes);
        }
        if let Some(threads) = threads.and_then(NonZeroUsize::new) {
            options = options.with_threads(threads);
        }
        let engine = match over {
            Over::Stores(stores) => {
                let stores = stores.into_iter();
                let stores = stores.map(|(name, store)| (name, store.engine.clone()));
                let stores = stores.collect();
                py.detach(|| Engine::over_stores(stores, options))
            }
            Over::Directory(path) => py.detach(|| Engine::over_directory(path, options)),
        };
        let engine = engine.map_err(|error| errors::sql(py, error))?;
        for (name, data) in tables {
            let (schema, batches) = incoming::table(&data)?;
            engine
                .register_batches(&name.extract::<String>()?, schema, batches)
                .map_err(|error| errors::sql(py, error))?;
        }
        Ok(Self { engine })
    }

    fn sql(
        &self,
        py: Python<'_>,
        text: &str,
        args: &Bound<'_, PyTuple>,
        named: &Bound<'_, PyDict>,
    ) -> PyResult<Query> {
        query::plan(py, &self.engine, text, args, named)
    }

    fn close(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| self.engine.close())
            .map_err(|error| errors::sql(py, error))
    }
}
