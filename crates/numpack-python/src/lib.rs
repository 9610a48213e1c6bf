//! `numpack._internal`: the engine, Arrow and SQL as seen by the Python package `numpack`.
//!
//! The classes here are private halves: their Python counterparts in `python/numpack` hold the
//! documentation, the defaults and the manners, this side holds what touches bytes. The interpreter
//! is released around every engine call, for two reasons: files may block, and the engine's
//! interrupt check takes the interpreter back to look for signals.

#![allow(
    clippy::needless_pass_by_value,
    reason = "pyo3 hands arguments and errors over by value"
)]

mod array_view;
mod arrow;
mod batches;
mod capsule;
mod columns;
mod commit;
mod connection;
mod dtypes;
mod errors;
mod fill;
mod incoming;
mod info;
mod locked;
mod ndarray;
mod params;
mod query;
mod relation;
mod report;
mod requested;
mod selection;
mod signals;
mod stats;
mod store;
mod values;

use mimalloc::MiMalloc;
use pyo3::prelude::*;

/// Planning a statement makes thousands of small objects: docs/decisions/0016-short-statements.md.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Runs the command line on the process's own streams; `argv` starts with the program's name.
#[pyfunction]
fn cli_main(py: Python<'_>, argv: Vec<std::ffi::OsString>) -> u8 {
    py.detach(|| numpack_cli::main_with(argv))
}

#[pymodule(gil_used = false)]
mod _internal {
    #[pymodule_export]
    use super::array_view::ArrayView;
    #[pymodule_export]
    use super::batches::Batches;
    #[pymodule_export]
    use super::capsule::datafusion_table;
    #[pymodule_export]
    use super::cli_main;
    #[pymodule_export]
    use super::connection::Connection;
    #[pymodule_export]
    use super::dtypes::dtype_name;
    #[pymodule_export]
    use super::incoming::{arrow_columns, arrow_values};
    #[pymodule_export]
    use super::info::{ArrayInfo, data_file};
    #[pymodule_export]
    use super::locked::Locked;
    #[pymodule_export]
    use super::query::Query;
    #[pymodule_export]
    use super::relation::{arrow_schema, arrow_stream, arrow_table};
    #[pymodule_export]
    use super::report::Report;
    #[pymodule_export]
    use super::selection::resolve_rows;
    #[pymodule_export]
    use super::signals::check_signals;
    #[pymodule_export]
    use super::store::Store;
    #[pymodule_export]
    use super::values::{checked_array, checked_rows, checked_values};

    #[allow(non_upper_case_globals, reason = "Python's name")]
    #[pymodule_export]
    const __version__: &str = env!("CARGO_PKG_VERSION");
}
