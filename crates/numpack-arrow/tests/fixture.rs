//! A store to look at through Arrow, and what to look at.

use std::ops::Range;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, ArrayRef};
use numpack_arrow::ArrowOptions;
use numpack_engine::{ArraySnapshot, Options, Selection, Store};
use numpack_format::{ArrayMeta, DType, Shape};
use tempfile::TempDir;

pub(crate) const DEFAULT: ArrowOptions = ArrowOptions {
    zero_copy_only: false,
    bool8: true,
};
pub(crate) const ZERO_COPY: ArrowOptions = ArrowOptions {
    zero_copy_only: true,
    bool8: true,
};
pub(crate) const PACKED: ArrowOptions = ArrowOptions {
    zero_copy_only: false,
    bool8: false,
};

/// A store in a directory that goes away with it.
pub(crate) struct Fixture {
    pub(crate) dir: TempDir,
    pub(crate) store: Store,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("fixture.npk");
        let store = Store::open(&path, &Options::default()).expect("a new store");
        Self { dir, store }
    }

    pub(crate) fn put(&self, name: &str, dtype: DType, dims: &[u64], bytes: &[u8]) {
        let shape = Shape::new(dims, dtype).expect("a shape");
        let meta = ArrayMeta { dtype, shape };
        let mut change = self.store.begin().expect("a transaction");
        change
            .put(name, &meta, &mut &*bytes)
            .expect("rows that fit");
        change.commit().expect("a commit");
    }

    /// An int64 array that holds `values`.
    pub(crate) fn put_ints(&self, name: &str, values: Range<i64>) {
        let bytes: Vec<u8> = values.clone().flat_map(i64::to_le_bytes).collect();
        let rows = u64::try_from(values.end - values.start).expect("some rows");
        self.put(name, DType::Int64, &[rows], &bytes);
    }

    pub(crate) fn delete(&self, name: &str, rows: impl IntoIterator<Item = i64>) {
        let mut change = self.store.begin().expect("a transaction");
        let rows = Selection::Rows(rows.into_iter().collect());
        change.delete_rows(name, rows).expect("rows that exist");
        change.commit().expect("a commit");
    }

    pub(crate) fn array(&self, name: &str) -> ArraySnapshot {
        self.store.array(name).expect("an array")
    }
}

/// The bytes of a fixed-width array or of the values of its lists.
pub(crate) fn value_bytes(array: &ArrayRef) -> Vec<u8> {
    let data = array.to_data();
    let values = data.child_data().first().unwrap_or(&data);
    values.buffers()[0].as_slice().to_vec()
}

pub(crate) fn value_address(array: &ArrayRef) -> usize {
    let data = array.to_data();
    let values = data.child_data().first().unwrap_or(&data);
    values.buffers()[0].as_ptr() as usize
}

pub(crate) fn ints(array: &ArrayRef) -> Vec<i64> {
    array.as_primitive::<Int64Type>().values().to_vec()
}
