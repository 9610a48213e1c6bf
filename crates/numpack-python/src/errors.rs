//! Engine, Arrow and SQL errors as the classes of `numpack.exceptions`.

use std::io::ErrorKind;

use numpack::datafusion::SqlError;
use numpack::{Error, FormatError};
use pyo3::exceptions::PyKeyboardInterrupt;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyModule;

use crate::signals;

static EXCEPTIONS: PyOnceLock<Py<PyModule>> = PyOnceLock::new();

/// An instance of a class of `numpack.exceptions`.
pub(crate) fn raise(py: Python<'_>, class: &str, text: &str) -> PyErr {
    let made = EXCEPTIONS
        .get_or_try_init(py, || {
            Ok::<_, PyErr>(PyModule::import(py, "numpack.exceptions")?.unbind())
        })
        .and_then(|module| module.bind(py).getattr(class)?.call1((text,)));
    match made {
        Ok(error) => PyErr::from_value(error),
        Err(error) => error,
    }
}

/// An [`Error`] of the engine as a Python exception.
pub(crate) fn engine(py: Python<'_>, error: Error) -> PyErr {
    if matches!(error, Error::Interrupted) {
        return signals::take().unwrap_or_else(|| PyKeyboardInterrupt::new_err(()));
    }
    let class = match &error {
        Error::NotFound { .. } => "ArrayNotFoundError",
        Error::AlreadyExists { .. } => "ArrayExistsError",
        Error::ShapeMismatch { .. } | Error::RowCount { .. } => "ShapeError",
        Error::DTypeMismatch { .. } => "DTypeError",
        Error::OutOfBounds { .. } | Error::MaskLength { .. } | Error::ZeroDimensional { .. } => {
            "RowIndexError"
        }
        Error::NotContiguous { .. } => "NotContiguousError",
        Error::Closed { .. } => "ClosedError",
        Error::ReadOnly { .. } => "ReadOnlyError",
        Error::NoStore { .. } => "StoreNotFoundError",
        Error::StoreExists { .. } | Error::PathExists { .. } => "StoreExistsError",
        Error::NotAStore { .. } => "NotAStoreError",
        Error::Busy { .. } => "BusyError",
        Error::Conflict { .. } => "ConflictError",
        Error::InvalidArgument(_)
        | Error::Format(
            FormatError::InvalidName { .. }
            | FormatError::InvalidShape { .. }
            | FormatError::InvalidAttrs { .. },
        ) => "ArgumentError",
        Error::Corrupt { .. }
        | Error::DataFileTooShort { .. }
        | Error::Foreign { .. }
        | Error::Format(_) => "CorruptStoreError",
        // The path, or a part of it, is a regular file.
        Error::Io { source, .. }
            if matches!(
                source.kind(),
                ErrorKind::NotADirectory | ErrorKind::AlreadyExists
            ) =>
        {
            "StoreExistsError"
        }
        Error::Io { .. } | Error::Poisoned { .. } | Error::NetworkFileSystem { .. } => {
            "StorageError"
        }
        // Error is non_exhaustive: a kind that is younger than this list.
        _ => "NumPackError",
    };
    let raised = raise(py, class, &error.to_string());
    if let Error::Io { source, .. } = &error
        && let Some(code) = source.raw_os_error()
    {
        // Losing errno is no reason to lose the error.
        let _ = raised.value(py).setattr("errno", code);
    }
    raised
}

/// A [`numpack::arrow::Error`] as a Python exception.
pub(crate) fn arrow(py: Python<'_>, error: numpack::arrow::Error) -> PyErr {
    match error {
        numpack::arrow::Error::Engine(error) => engine(py, error),
        numpack::arrow::Error::Scattered { .. } | numpack::arrow::Error::NeedsCopy { .. } => {
            raise(py, "NotContiguousError", &error.to_string())
        }
        numpack::arrow::Error::UnequalRows { .. } | numpack::arrow::Error::UnequalLists { .. } => {
            raise(py, "ShapeError", &error.to_string())
        }
        numpack::arrow::Error::NoColumn { .. } => {
            raise(py, "ArrayNotFoundError", &error.to_string())
        }
        numpack::arrow::Error::Unsupported { .. } => {
            raise(py, "UnsupportedDTypeError", &error.to_string())
        }
        other => raise(py, "ArgumentError", &other.to_string()),
    }
}

/// A [`SqlError`] as a Python exception.
pub(crate) fn sql(py: Python<'_>, error: SqlError) -> PyErr {
    match error {
        SqlError::Engine(error) => engine(py, error),
        SqlError::View(error) => arrow(py, error),
        SqlError::ReadOnly { .. } => raise(py, "ReadOnlyError", &error.to_string()),
        SqlError::Interrupted => engine(py, Error::Interrupted),
        other => raise(py, "SQLError", &other.to_string()),
    }
}

/// An [`arrow`](::arrow) error as a Python exception.
pub(crate) fn arrow_rs(py: Python<'_>, error: ::arrow::error::ArrowError) -> PyErr {
    raise(py, "SQLError", &error.to_string())
}

/// Runs an engine call with the interpreter released.
pub(crate) fn detached<T: Send>(
    py: Python<'_>,
    call: impl FnOnce() -> numpack::Result<T> + Send,
) -> PyResult<T> {
    py.detach(call).map_err(|error| engine(py, error))
}
