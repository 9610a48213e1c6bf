//! ndarrays over memory that Rust owns, and the bytes of ndarrays that Python owns.
#![allow(unsafe_code, reason = "NumPy's C API hands raw memory over")]

use std::ffi::c_int;

use arrow::buffer::Buffer;
use numpack::arrow::ArrowRows;
use numpack::{DType, OwnedBuffer, PrivateMap, View};
use numpy::npyffi::{self, NpyTypes, PY_ARRAY_API, PyArrayObject};
use numpy::{PyArrayDescrMethods, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::exceptions::{PyMemoryError, PyOverflowError};
use pyo3::ffi;
use pyo3::prelude::*;

use crate::dtypes;
use crate::errors;

/// Arrays below this size live in NumPy's own memory: its small-block cache beats any of ours.
pub(crate) const SMALL: usize = 64 * 1024;

/// Owner of read-only memory. It has no buffer protocol, so that NumPy refuses to make an array
/// over it writable.
#[pyclass(frozen, module = "numpack._internal")]
struct SharedBytes {
    #[allow(
        dead_code,
        reason = "held for its Drop: the memory lives as long as the array"
    )]
    memory: Shared,
}

/// Memory that others may read too.
enum Shared {
    View(View),
    Arrow(Buffer),
}

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::View(view) => view.as_ref(),
            Self::Arrow(buffer) => buffer.as_slice(),
        }
    }
}

enum Memory {
    Owned(OwnedBuffer),
    Private(PrivateMap),
}

impl AsMut<[u8]> for Memory {
    fn as_mut(&mut self) -> &mut [u8] {
        match self {
            Self::Owned(buffer) => buffer.as_mut(),
            Self::Private(map) => map.as_mut(),
        }
    }
}

/// Owner of memory that only one ndarray and its views reach. Its writable buffer is what lets
/// `setflags(write=True)` succeed after `setflags(write=False)`.
#[pyclass(frozen, module = "numpack._internal")]
struct PrivateBytes {
    #[allow(dead_code, reason = "held for its Drop")]
    memory: Memory,
    address: usize,
    len: usize,
}

#[pymethods]
impl PrivateBytes {
    /// # Safety
    /// Python calls this with a `view` to fill and the flags of the request.
    unsafe fn __getbuffer__(
        slf: Bound<'_, Self>,
        view: *mut ffi::Py_buffer,
        flags: c_int,
    ) -> PyResult<()> {
        let this = slf.get();
        let len = isize::try_from(this.len)?;
        // SAFETY: address and len are the memory that `memory` owns and nobody else moves; the
        // buffer holds a reference to `slf`, so the memory outlives it. Nothing in Rust reads or
        // writes that memory any more, so writing through the buffer races with no reference.
        let done = unsafe {
            ffi::PyBuffer_FillInfo(view, slf.as_ptr(), this.address as *mut _, len, 0, flags)
        };
        if done == 0 {
            Ok(())
        } else {
            Err(PyErr::fetch(slf.py()))
        }
    }
}

/// A read-only ndarray over a view, without a copy.
pub(crate) fn over_view<'py>(
    py: Python<'py>,
    view: View,
    dtype: DType,
    shape: &[usize],
) -> PyResult<Bound<'py, PyAny>> {
    over_shared(py, Shared::View(view), dtype, shape)
}

/// Arrow data as an ndarray: read-only over the Arrow buffer where it lies there as NumPy has it,
/// else a writable one that holds a copy.
pub(crate) fn over_rows(py: Python<'_>, rows: ArrowRows) -> PyResult<Bound<'_, PyAny>> {
    let dims = rows.meta().shape.dims().iter();
    let shape = dims
        .map(|&length| usize::try_from(length))
        .collect::<Result<Vec<_>, _>>()?;
    let dtype = rows.meta().dtype;
    match rows.buffer() {
        Some(buffer) => over_shared(py, Shared::Arrow(buffer.clone()), dtype, &shape),
        None => filled(py, dtype, &shape, move |out| rows.read_all(out)),
    }
}

fn over_shared<'py>(
    py: Python<'py>,
    memory: Shared,
    dtype: DType,
    shape: &[usize],
) -> PyResult<Bound<'py, PyAny>> {
    let bytes = memory.as_ref();
    let (address, len) = (bytes.as_ptr() as usize, bytes.len());
    if len == 0 {
        let array = empty(py, dtype, shape)?;
        array.call_method1("setflags", (false,))?;
        return Ok(array);
    }
    let owner = Bound::new(py, SharedBytes { memory })?;
    // SAFETY: address and len are the bytes of a view or an Arrow buffer, which `owner` keeps where
    // they are. The array is made
    // without the writeable flag, and SharedBytes has no buffer through which to get it back.
    unsafe { over(py, owner.into_any(), address, len, dtype, shape, false) }
}

/// A writable ndarray over a private copy-on-write mapping.
pub(crate) fn over_private<'py>(
    py: Python<'py>,
    map: PrivateMap,
    dtype: DType,
    shape: &[usize],
) -> PyResult<Bound<'py, PyAny>> {
    over_memory(py, Memory::Private(map), dtype, shape)
}

/// A writable ndarray in memory of the engine's.
pub(crate) fn over_owned<'py>(
    py: Python<'py>,
    buffer: OwnedBuffer,
    dtype: DType,
    shape: &[usize],
) -> PyResult<Bound<'py, PyAny>> {
    over_memory(py, Memory::Owned(buffer), dtype, shape)
}

fn over_memory<'py>(
    py: Python<'py>,
    mut memory: Memory,
    dtype: DType,
    shape: &[usize],
) -> PyResult<Bound<'py, PyAny>> {
    let bytes = memory.as_mut();
    let (address, len) = (bytes.as_mut_ptr() as usize, bytes.len());
    if len == 0 {
        return empty(py, dtype, shape);
    }
    let owner = Bound::new(
        py,
        PrivateBytes {
            memory,
            address,
            len,
        },
    )?;
    // SAFETY: the bytes at address are the ones `memory` owns. Their place does not change when
    // `memory` is moved: OwnedBuffer and PrivateMap are handles of memory from mmap.
    unsafe { over(py, owner.into_any(), address, len, dtype, shape, true) }
}

/// # Safety
/// `len` bytes at `address` stay valid for as long as `owner` lives; if `writable`, nothing else
/// reads or writes them.
unsafe fn over<'py>(
    py: Python<'py>,
    owner: Bound<'py, PyAny>,
    address: usize,
    len: usize,
    dtype: DType,
    shape: &[usize],
    writable: bool,
) -> PyResult<Bound<'py, PyAny>> {
    if byte_len(dtype, shape)? != len {
        return Err(errors::raise(
            py,
            "ArgumentError",
            &format!(
                "{len} bytes do not make a {} array of shape {shape:?}",
                dtype.name()
            ),
        ));
    }
    let mut flags = npyffi::NPY_ARRAY_C_CONTIGUOUS;
    if address.is_multiple_of(dtype.align()) {
        flags |= npyffi::NPY_ARRAY_ALIGNED;
    }
    if writable {
        flags |= npyffi::NPY_ARRAY_WRITEABLE;
    }
    // SAFETY: the bytes are as many as shape and dtype need (just checked) and valid while the
    // owner lives (the caller's promise); the owner becomes the array's base below.
    let array = unsafe { new_array(py, dtype, shape, address as *mut _, flags)? };
    // SAFETY: array is a new ndarray without a base; SetBaseObject takes over the reference.
    let done = unsafe {
        PY_ARRAY_API.PyArray_SetBaseObject(
            py,
            array.as_ptr().cast::<PyArrayObject>(),
            owner.into_ptr(),
        )
    };
    if done == 0 {
        Ok(array)
    } else {
        Err(PyErr::fetch(py))
    }
}

/// # Safety
/// `data` is null, or holds as many bytes as `dtype` and `shape` need.
unsafe fn new_array<'py>(
    py: Python<'py>,
    dtype: DType,
    shape: &[usize],
    data: *mut std::ffi::c_void,
    flags: c_int,
) -> PyResult<Bound<'py, PyAny>> {
    let mut dims = shape
        .iter()
        .map(|&length| isize::try_from(length))
        .collect::<Result<Vec<_>, _>>()?;
    // SAFETY: the type object and the descriptor are NumPy's own; NewFromDescr takes over the
    // descriptor's reference and copies dims.
    unsafe {
        let made = PY_ARRAY_API.PyArray_NewFromDescr(
            py,
            npyffi::get_type_object(py, NpyTypes::PyArray_Type),
            dtypes::descr(py, dtype).into_dtype_ptr(),
            c_int::try_from(dims.len())?,
            dims.as_mut_ptr(),
            std::ptr::null_mut(),
            data,
            flags,
            std::ptr::null_mut(),
        );
        Bound::from_owned_ptr_or_err(py, made)
    }
}

/// A writable ndarray in NumPy's own memory, its contents unspecified.
fn empty<'py>(py: Python<'py>, dtype: DType, shape: &[usize]) -> PyResult<Bound<'py, PyAny>> {
    // SAFETY: with null data NumPy allocates.
    unsafe { new_array(py, dtype, shape, std::ptr::null_mut(), 0) }
}

/// A writable ndarray filled by `fill`, which runs without the interpreter.
pub(crate) fn filled<'py>(
    py: Python<'py>,
    dtype: DType,
    shape: &[usize],
    fill: impl FnOnce(&mut [u8]) -> numpack::Result<()> + Send,
) -> PyResult<Bound<'py, PyAny>> {
    let len = byte_len(dtype, shape)?;
    if len >= SMALL {
        let buffer = errors::detached(py, move || {
            let mut buffer = OwnedBuffer::new(len)?;
            fill(buffer.as_mut())?;
            Ok(buffer)
        })?;
        return over_owned(py, buffer, dtype, shape);
    }
    let array = empty(py, dtype, shape)?;
    if len > 0 {
        // SAFETY: array is a new C-contiguous ndarray of len bytes that nobody else knows; the
        // bytes are initialised before the slice over them exists.
        let bytes = unsafe {
            let data = (*array.as_ptr().cast::<PyArrayObject>()).data.cast::<u8>();
            data.write_bytes(0, len);
            std::slice::from_raw_parts_mut(data, len)
        };
        errors::detached(py, || fill(bytes))?;
    }
    Ok(array)
}

/// The bytes of a C-contiguous ndarray, borrowed.
pub(crate) fn bytes<'a>(array: &'a Bound<'_, PyUntypedArray>) -> PyResult<&'a [u8]> {
    if !array.is_c_contiguous() {
        return Err(PyMemoryError::new_err("the ndarray is not C-contiguous"));
    }
    let len = array.len() * array.dtype().itemsize();
    if len == 0 {
        return Ok(&[]);
    }
    // SAFETY: a C-contiguous ndarray of len bytes, kept alive by the reference that the borrow
    // holds, and NumPy cannot resize it while that reference exists. Another Python thread may
    // write into it while we read with the interpreter released, exactly as it may under
    // numpy.save; what is read then is unspecified. Rows that changed between the write and the
    // checksum look incomplete to the recovery after a power cut, which takes their commit back.
    Ok(unsafe {
        std::slice::from_raw_parts((*array.as_array_ptr()).data.cast::<u8>().cast_const(), len)
    })
}

/// Bytes of an array, checked.
fn byte_len(dtype: DType, shape: &[usize]) -> PyResult<usize> {
    shape
        .iter()
        .try_fold(dtype.itemsize(), |len, &length| len.checked_mul(length))
        .filter(|&len| isize::try_from(len).is_ok())
        .ok_or_else(|| PyOverflowError::new_err(format!("shape {shape:?} is too large")))
}
