//! `__datafusion_table_provider__`: a table for the `datafusion` package of the same major version.
#![allow(
    unsafe_code,
    reason = "the session's codec arrives as a capsule's pointer"
)]

use std::sync::Arc;

use numpack::datafusion::NumPackTable;
use numpack::datafusion::ffi::{FFI_LogicalExtensionCodec, datafusion_major, table_provider};
use pyo3::exceptions::PyImportError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyCapsule;

use crate::errors;
use crate::store::Store;

/// All arrays of a store, or those that are named, as a capsule for the session that asks.
#[pyfunction]
pub(crate) fn datafusion_table<'py>(
    py: Python<'py>,
    store: PyRef<'py, Store>,
    names: Option<Vec<String>>,
    session: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyCapsule>> {
    let codec = codec(py, session)?;
    let engine = &store.engine;
    let provider = py.detach(|| {
        let table = match &names {
            None => NumPackTable::all(engine)?,
            Some(names) => {
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                NumPackTable::new(engine, &names)?
            }
        };
        table_provider(Arc::new(table), codec)
    });
    let provider = provider.map_err(|error| errors::sql(py, error))?;
    PyCapsule::new_with_value(py, provider, c"datafusion_table_provider")
}

/// How the session reads what it hands over, once it is known to be of our major version.
fn codec(
    py: Python<'_>,
    session: Option<&Bound<'_, PyAny>>,
) -> PyResult<FFI_LogicalExtensionCodec> {
    let installed = installed(py)?;
    let ours = datafusion_major();
    let major = installed
        .as_deref()
        .and_then(|version| version.split('.').next());
    if major.is_some_and(|major| major != ours.to_string()) {
        return Err(other_version(ours, installed.as_deref()));
    }
    let Some(session) = session else {
        return Err(other_version(ours, installed.as_deref()));
    };
    let getter = intern!(py, "__datafusion_logical_extension_codec__");
    let capsule = if session.hasattr(getter)? {
        session.call_method0(getter)?
    } else {
        session.clone()
    };
    let Ok(capsule) = capsule.cast::<PyCapsule>() else {
        return Err(other_version(ours, installed.as_deref()));
    };
    let pointer = capsule
        .pointer_checked(Some(c"datafusion_logical_extension_codec"))?
        .cast::<FFI_LogicalExtensionCodec>();
    // SAFETY: a capsule of this name holds such a codec by DataFusion's capsule interface, in the
    // layout of the major version that was compared above; it is only read, to be cloned, while the
    // capsule is borrowed.
    Ok(unsafe { pointer.as_ref() }.clone())
}

/// The version of the `datafusion` package that is loaded, or else installed.
fn installed(py: Python<'_>) -> PyResult<Option<String>> {
    let loaded = py
        .import("sys")?
        .getattr("modules")?
        .call_method1("get", ("datafusion",))?;
    if let Ok(version) = loaded.getattr("__version__") {
        return Ok(version.extract().ok());
    }
    let metadata = py.import("importlib.metadata")?;
    let version = metadata.call_method1("version", ("datafusion",));
    Ok(version.ok().and_then(|version| version.extract().ok()))
}

fn other_version(ours: u64, theirs: Option<&str>) -> PyErr {
    let theirs = theirs.map_or_else(
        || "the session that asks is of another one".to_owned(),
        |version| format!("the datafusion package here is {version}"),
    );
    PyImportError::new_err(format!(
        "this numpack speaks DataFusion {ours}, and {theirs}: pip install 'datafusion=={ours}.*', or \
         use sql() of numpack itself"
    ))
}
