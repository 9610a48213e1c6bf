//! `ArrayView`: one array at one instant; the Rust half of `LazyArray`.
#![allow(unsafe_code, reason = "the buffer protocol's slot")]

use std::ffi::c_int;
use std::ops::Range;

use numpack::{ArraySnapshot, Selection};
use numpy::{PyArrayDescr, PyReadonlyArray1, PyUntypedArray};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyCapsule, PySlice, PyString, PyTuple};
use pyo3::{ffi, intern};

use crate::arrow;
use crate::batches::Batches;
use crate::dtypes;
use crate::errors;
use crate::ndarray;
use crate::selection::int64_rows;
use crate::store::Store;

/// A snapshot of one array, possibly seen in another shape.
#[pyclass(frozen, subclass, module = "numpack._internal")]
pub(crate) struct ArrayView {
    pub(crate) snapshot: ArraySnapshot,
    /// The shape, without deleted rows.
    shape: Vec<usize>,
    /// Whether `shape` is not the array's own.
    reshaped: bool,
    /// The whole array as a read-only ndarray, once somebody needed it. Kept only where it costs
    /// no memory, or where a reshaped array has no other form.
    whole: PyOnceLock<Py<PyAny>>,
}

impl ArrayView {
    pub(crate) fn of(snapshot: ArraySnapshot) -> Self {
        let shape = dims(&snapshot);
        Self {
            snapshot,
            shape,
            reshaped: false,
            whole: PyOnceLock::new(),
        }
    }

    fn listed<'py>(
        &self,
        py: Python<'py>,
        rows: PyReadonlyArray1<'py, i64>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let list = rows.as_array().to_vec();
        // The interpreter is released below, and whoever has it may change what was borrowed.
        drop(rows);
        gather(py, &self.snapshot, &Selection::Rows(list))
    }

    /// `len` rows from `start` on as a new ndarray. Not for reshaped arrays.
    fn range<'py>(&self, py: Python<'py>, start: usize, len: usize) -> PyResult<Bound<'py, PyAny>> {
        let mut shape = self.shape.clone();
        if let Some(rows) = shape.first_mut() {
            *rows = len;
        }
        let rows: Range<u64> = start as u64..(start + len) as u64;
        ndarray::filled(py, self.snapshot.dtype(), &shape, |out| {
            self.snapshot.read_range(rows, out)
        })
    }
}

/// The logical shape as NumPy counts.
pub(crate) fn dims(snapshot: &ArraySnapshot) -> Vec<usize> {
    // A shape is checked against isize when it is read, so nothing is cut off.
    snapshot
        .shape()
        .iter()
        .map(|&length| usize::try_from(length).unwrap_or(usize::MAX))
        .collect()
}

/// The array as the caller's own: in memory, or mapped copy-on-write.
pub(crate) fn load<'py>(
    py: Python<'py>,
    snapshot: &ArraySnapshot,
    copy: Option<bool>,
) -> PyResult<Bound<'py, PyAny>> {
    let shape = dims(snapshot);
    let mapped = match copy {
        Some(copy) => !copy,
        None => snapshot.is_contiguous() && snapshot.byte_len() > quarter_of_memory(py)?,
    };
    if mapped {
        let map = errors::detached(py, || snapshot.private())?;
        return ndarray::over_private(py, map, snapshot.dtype(), &shape);
    }
    ndarray::filled(py, snapshot.dtype(), &shape, |out| snapshot.read_all(out))
}

/// The array as a read-only ndarray over the file's pages.
pub(crate) fn view<'py>(
    py: Python<'py>,
    snapshot: &ArraySnapshot,
    shape: &[usize],
) -> PyResult<Bound<'py, PyAny>> {
    let view = errors::detached(py, || snapshot.contiguous())?;
    ndarray::over_view(py, view, snapshot.dtype(), shape)
}

fn quarter_of_memory(py: Python<'_>) -> PyResult<usize> {
    static QUARTER: PyOnceLock<usize> = PyOnceLock::new();
    QUARTER
        .get_or_try_init(py, || {
            let os = py.import("os")?;
            let pages: usize = os.call_method1("sysconf", ("SC_PHYS_PAGES",))?.extract()?;
            let page: usize = os.call_method1("sysconf", ("SC_PAGE_SIZE",))?.extract()?;
            Ok(pages.saturating_mul(page) / 4)
        })
        .copied()
}

#[pymethods]
impl ArrayView {
    /// `ArrayView(store, name)` takes a snapshot, `ArrayView(view)` shares one, and
    /// `ArrayView(view, shape)` sees it in another shape of the same size.
    #[new]
    #[pyo3(signature = (source=None, detail=None))]
    fn new(
        py: Python<'_>,
        source: Option<&Bound<'_, PyAny>>,
        detail: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        if let Some(source) = source {
            if let (Ok(store), Some(name)) = (source.cast::<Store>(), detail) {
                let name = name.cast::<PyString>()?.to_str()?;
                let store = store.get();
                return errors::detached(py, || store.engine.array(name)).map(Self::of);
            }
            if let Ok(view) = source.cast::<Self>() {
                let view = view.get();
                let shape = match detail {
                    Some(shape) => shape.extract()?,
                    None => view.shape.clone(),
                };
                return Ok(Self {
                    snapshot: view.snapshot.clone(),
                    reshaped: view.reshaped || detail.is_some(),
                    shape,
                    whole: PyOnceLock::new(),
                });
            }
        }
        Err(PyTypeError::new_err(
            "LazyArray has no constructor: load(name, lazy=True) makes one",
        ))
    }

    /// The array's name.
    #[getter]
    fn name(&self) -> &str {
        self.snapshot.name().as_str()
    }

    /// The dtype.
    #[getter]
    fn dtype<'py>(&self, py: Python<'py>) -> Bound<'py, PyArrayDescr> {
        dtypes::descr(py, self.snapshot.dtype())
    }

    /// The shape, without deleted rows.
    #[getter]
    fn shape<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, &self.shape)
    }

    /// Whether the whole array is there as an ndarray without a copy for each use.
    #[getter]
    fn _direct(&self) -> bool {
        self.reshaped || self.snapshot.is_contiguous()
    }

    #[getter]
    fn _reshaped(&self) -> bool {
        self.reshaped
    }

    #[getter]
    fn _nbytes(&self) -> usize {
        self.snapshot.byte_len()
    }

    #[getter]
    fn _physical_rows(&self) -> u64 {
        self.snapshot.physical_rows()
    }

    /// The whole array, read-only: over the file's pages, or gathered where rows are deleted.
    #[pyo3(name = "_ndarray")]
    fn ndarray<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        if let Some(whole) = self.whole.get(py) {
            return Ok(whole.bind(py).clone());
        }
        let contiguous = self.snapshot.is_contiguous();
        let whole = if contiguous {
            view(py, &self.snapshot, &self.shape)?
        } else {
            let whole = ndarray::filled(py, self.snapshot.dtype(), &self.shape, |out| {
                self.snapshot.read_all(out)
            })?;
            whole.call_method1(intern!(py, "setflags"), (false,))?;
            whole
        };
        if contiguous || self.reshaped {
            // Two threads may both have made one: the first stays.
            return Ok(self
                .whole
                .get_or_init(py, || whole.unbind())
                .bind(py)
                .clone());
        }
        Ok(whole)
    }

    /// The whole array as a new writable ndarray.
    fn _read<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        ndarray::filled(py, self.snapshot.dtype(), &self.shape, |out| {
            self.snapshot.read_all(out)
        })
    }

    /// The array (in its own shape) as `NumPack.load` gives it.
    #[pyo3(signature = (copy=None))]
    fn _load<'py>(&self, py: Python<'py>, copy: Option<bool>) -> PyResult<Bound<'py, PyAny>> {
        load(py, &self.snapshot, copy)
    }

    /// The array as a read-only ndarray without a copy, or an error.
    fn _view<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        view(py, &self.snapshot, &self.shape)
    }

    /// The array as a writable copy-on-write ndarray, or an error.
    fn _private<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        load(py, &self.snapshot, Some(false))
    }

    /// The array as a pyarrow.Array.
    fn _to_arrow<'py>(
        &self,
        py: Python<'py>,
        zero_copy_only: bool,
        bool8: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        arrow::array(py, &self.snapshot, zero_copy_only, bool8)
    }

    /// The array in batches of `rows` rows, read ahead; None where batches are too small for that, or there
    /// are no rows.
    fn _batches(&self, rows: usize) -> Option<Batches> {
        let len = rows.saturating_mul(self.snapshot.row_bytes());
        let long = !self.reshaped && !self.shape.is_empty() && len >= ndarray::SMALL;
        long.then(|| Batches::of(&self.snapshot, rows as u64))
    }

    /// The rows of the two commonest keys, a slice with a step of 1 and an int64 ndarray of one dimension, as
    /// a new ndarray; None for any other key, and where there are no rows. Here rather than in Python, since
    /// that takes as long as copying a hundred rows.
    fn _rows<'py>(
        &self,
        py: Python<'py>,
        key: &Bound<'py, PyAny>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let rows = match self.shape.first() {
            Some(&rows) if !self.reshaped => rows,
            _ => return Ok(None),
        };
        if let Ok(slice) = key.cast::<PySlice>() {
            let of = slice.indices(isize::try_from(rows)?)?;
            if of.step != 1 {
                return Ok(None);
            }
            let start = usize::try_from(of.start)?;
            return self.range(py, start, of.slicelength).map(Some);
        }
        // A subclass may read its own indices in its own way.
        if let Ok(array) = key.cast_exact::<PyUntypedArray>()
            && let Some(rows) = int64_rows(array)
        {
            return self.listed(py, rows).map(Some);
        }
        Ok(None)
    }

    /// The rows of an int64 array as a new ndarray; negative rows count from the end. Not for
    /// reshaped arrays.
    fn _gather<'py>(
        &self,
        py: Python<'py>,
        rows: PyReadonlyArray1<'py, i64>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.listed(py, rows)
    }

    /// Capsules of the array's field and of its rows, for `pyarrow.array` and others.
    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_array__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<(Bound<'py, PyCapsule>, Bound<'py, PyCapsule>)> {
        if self.reshaped {
            return Err(errors::raise(
                py,
                "ArgumentError",
                &format!(
                    "array \"{}\" is seen in another shape, which has no Arrow form: \
                     numpy.asarray gives the values",
                    self.snapshot.name()
                ),
            ));
        }
        arrow::capsules(py, &self.snapshot, requested_schema)
    }

    /// # Safety
    /// Python calls this with a `view` to fill and the flags of the request.
    unsafe fn __getbuffer__(
        slf: Bound<'_, Self>,
        view: *mut ffi::Py_buffer,
        flags: c_int,
    ) -> PyResult<()> {
        let py = slf.py();
        // Gathered where rows are deleted, as numpy.asarray has it.
        let array = slf.get().ndarray(py)?;
        // SAFETY: view is Python's to fill. The exporter becomes the ndarray, which keeps the
        // memory alive and which PyBuffer_Release will release; it is read-only, so a request for
        // a writable buffer fails.
        if unsafe { ffi::PyObject_GetBuffer(array.as_ptr(), view, flags) } == 0 {
            Ok(())
        } else {
            Err(PyErr::fetch(py))
        }
    }
}

/// The rows of a selection, axis 0 kept.
pub(crate) fn gather<'py>(
    py: Python<'py>,
    snapshot: &ArraySnapshot,
    selection: &Selection,
) -> PyResult<Bound<'py, PyAny>> {
    let mut shape = dims(snapshot);
    let Some(rows) = shape.first_mut() else {
        return Err(errors::raise(
            py,
            "RowIndexError",
            &format!(
                "array \"{}\" is 0-dimensional: it has no rows to choose",
                snapshot.name()
            ),
        ));
    };
    let chosen = selection
        .resolve(snapshot.rows(), snapshot.name().as_str())
        .map_err(|error| errors::engine(py, error))?;
    *rows = usize::try_from(chosen.len())?;
    ndarray::filled(py, snapshot.dtype(), &shape, |out| match &chosen {
        numpack::RowSet::Range { start, len } => snapshot.read_range(*start..*start + *len, out),
        numpack::RowSet::List(rows) => snapshot.gather_rows(rows, out),
    })
}
