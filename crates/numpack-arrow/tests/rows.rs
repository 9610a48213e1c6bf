//! Arrow data as rows: everything of ours comes back exactly, of others what a store can hold.

use std::sync::Arc;

use arrow_array::builder::{
    ArrayBuilder, FixedSizeListBuilder, Int16Builder, LargeListBuilder, ListBuilder,
};
use arrow_array::types::{Int8Type, Int32Type};
use arrow_array::{
    Array, ArrayRef, BooleanArray, Date32Array, Decimal128Array, DictionaryArray,
    FixedSizeListArray, Float64Array, Int8Array, Int64Array, ListViewArray, NullArray, RecordBatch,
    StringArray, StructArray, new_empty_array,
};
use arrow_schema::extension::Bool8;
use arrow_schema::{DataType, Field, Schema};
use numpack_arrow::{ArrowOptions, ArrowRows, Error, SnapshotReader, array, chunks, field};
use numpack_engine::{Selection, Store};
use numpack_format::{ArrayMeta, DType};
use proptest::collection::{btree_set, vec};
use proptest::prelude::*;
use proptest::sample::select;

use crate::fixture::{DEFAULT, Fixture, value_address};

/// Saves rows under their name, as a user does.
fn save(store: &Store, mut rows: ArrowRows) {
    let (name, meta) = (rows.name().to_owned(), rows.meta().clone());
    let mut change = store.begin().expect("a transaction");
    change.put(&name, &meta, &mut rows).expect("rows that fit");
    change.commit().expect("a commit");
}

/// Dtype, shape and live rows of an array.
fn content(store: &Store, name: &str) -> (DType, Vec<u64>, Vec<u8>) {
    let array = store.array(name).expect("an array");
    let mut bytes = vec![0; array.byte_len()];
    array.read_all(&mut bytes).expect("the rows");
    (array.dtype(), array.shape(), bytes)
}

/// Dimensions of every rank, zeros among them.
fn dims() -> impl Strategy<Value = Vec<u64>> {
    vec(prop_oneof![1 => Just(0_u64), 6 => 1..=5_u64], 0..=4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever was saved and whichever of its rows were deleted: the array, its chunks and its
    /// stream are saved again as the same dtype, shape and bytes.
    #[test]
    fn what_arrow_was_made_of_comes_back(
        dtype in select(DType::ALL.to_vec()),
        dims in dims(),
        seed in any::<u8>(),
        gone in btree_set(0..5_i64, 0..4),
        bool8 in any::<bool>(),
    ) {
        let fixture = Fixture::new();
        let count: u64 = dims.iter().product();
        let len = usize::try_from(count).expect("small") * dtype.itemsize();
        // Every pattern of bits is a number, and must come back as it is; a bool is 0 or 1.
        let byte = |i: usize| (i.wrapping_mul(0x9e37_79b9) >> 5).to_le_bytes()[0] ^ seed;
        let byte = |i: usize| if dtype == DType::Bool { byte(i) & 1 } else { byte(i) };
        fixture.put("x", dtype, &dims, &(0..len).map(byte).collect::<Vec<_>>());
        let rows = i64::try_from(dims.first().copied().unwrap_or(0)).expect("small");
        let gone: Vec<i64> = gone.into_iter().filter(|&row| row < rows).collect();
        if gone.len() < usize::try_from(rows).expect("small") && !gone.is_empty() {
            fixture.delete("x", gone);
        }
        let mut saved = content(&fixture.store, "x");
        if dims.is_empty() {
            saved.1.push(1);
        }

        let snapshot = fixture.array("x");
        let options = ArrowOptions { bool8, ..DEFAULT };
        let field = field(&snapshot, &options).expect("a field");
        let whole = array(&snapshot, &options).expect("an array");
        let parts = chunks(&snapshot, &options).expect("chunks");
        for (name, chunks) in [("whole", vec![whole]), ("parts", parts)] {
            let rows = ArrowRows::new(&field.clone().with_name(name), &chunks).expect("rows");
            let expected = &saved.2;
            let found = rows.to_bytes().expect("bytes");
prop_assert_eq!(found.as_ref(), &expected[..]);
            let mut memory = vec![7; expected.len()];
            rows.read_all(&mut memory).expect("as long");
            prop_assert_eq!(&memory, expected);
            save(&fixture.store, rows);
            prop_assert_eq!(&content(&fixture.store, name), &saved);
        }

        if !dims.is_empty() {
            let only = fixture.store.snapshot(&["x"]).expect("a snapshot");
            let reader = SnapshotReader::new(&only, &options).expect("a reader");
            let schema = arrow_array::RecordBatchReader::schema(&reader);
            let batches: Vec<RecordBatch> = reader.map(|batch| batch.expect("a batch")).collect();
            let columns = ArrowRows::columns(&schema, &batches, None).expect("columns");
            prop_assert_eq!(columns.len(), 1);
            for rows in columns {
                save(&fixture.store, rows);
            }
            prop_assert_eq!(&content(&fixture.store, "x"), &saved);
        }
    }

    /// A slice of an Arrow array has offsets everywhere, and chunks may be of any length.
    #[test]
    fn slices_and_chunks_are_the_rows_they_show(
        dtype in select(DType::ALL.to_vec()),
        rank in 1..=4_usize,
        ends in vec(0..=20_usize, 2..6),
        bool8 in any::<bool>(),
    ) {
        let fixture = Fixture::new();
        let dims = &[20, 3, 2, 2][..rank];
        let count: u64 = dims.iter().product();
        let len = usize::try_from(count).expect("small") * dtype.itemsize();
        let bytes: Vec<u8> = (0..len).map(|i| u8::from(i % 3 == 0)).collect();
        fixture.put("x", dtype, dims, &bytes);
        let options = ArrowOptions { bool8, ..DEFAULT };
        let field = field(&fixture.array("x"), &options).expect("a field");
        let whole = array(&fixture.array("x"), &options).expect("an array");
        let row = len / 20;
        let ranges = ends.windows(2).map(|w| w[0].min(w[1])..w[0].max(w[1]));
        let pieces: Vec<ArrayRef> = ranges.clone().map(|r| whole.slice(r.start, r.len())).collect();
        let expected: Vec<u8> = ranges.flat_map(|r| bytes[r.start * row..r.end * row].to_vec()).collect();
        let rows = ArrowRows::new(&field, &pieces).expect("rows");
        let found = rows.to_bytes().expect("bytes");
prop_assert_eq!(found.as_ref(), &expected[..]);
        prop_assert_eq!(rows.meta().dtype, dtype);
    }

    /// Lists of any kind, nested or not, are rows when they have one length, else an error.
    #[test]
    fn lists_are_rows_when_they_are_equally_long(
        lengths in vec(0..3_usize, 0..6),
        equal in any::<bool>(),
        skip in 0..3_usize,
    ) {
        let lengths = if equal { vec![2; lengths.len()] } else { lengths };
        let (mut small, mut large) = (
            ListBuilder::new(Int16Builder::new()),
            LargeListBuilder::new(Int16Builder::new()),
        );
        let mut next = 0_i16;
        let mut bytes = Vec::new();
        for (row, &length) in lengths.iter().enumerate() {
            for _ in 0..length {
                small.values().append_value(next);
                large.values().append_value(next);
                if row >= skip {
                    bytes.extend(next.to_le_bytes());
                }
                next += 1;
            }
            small.append(true);
            large.append(true);
        }
        let skip = skip.min(lengths.len());
        let lengths = &lengths[skip..];
        for lists in [Arc::new(small.finish()) as ArrayRef, Arc::new(large.finish())] {
            let lists = lists.slice(skip, lengths.len());
            let field = Field::new("v", lists.data_type().clone(), true);
            let halves = [lists.slice(0, lengths.len() / 2), lists.slice(lengths.len() / 2, lengths.len().div_ceil(2))];
            let width = lengths.first().copied().unwrap_or(0);
            match ArrowRows::new(&field, &halves) {
                Ok(rows) => {
                    prop_assert!(lengths.iter().all(|&length| length == width));
                    prop_assert_eq!(rows.meta().shape.dims(), &[lengths.len() as u64, width as u64]);
                    let found = rows.to_bytes().expect("bytes");
                    prop_assert_eq!(found.as_ref(), &bytes[..]);
                }
                Err(Error::UnequalLists { row, expected, given, .. }) => {
                    let first = lengths.iter().position(|&length| length != width);
                    prop_assert_eq!(first.map(|row| row as u64), Some(row));
                    let row = usize::try_from(row).expect("small");
                    prop_assert_eq!((expected, given), (width, lengths[row]));
                }
                Err(other) => prop_assert!(false, "{}", other),
            }
        }
    }
}

#[test]
fn rows_in_one_piece_are_not_copied() {
    let fixture = Fixture::new();
    let mut mapped = 0;
    for dtype in DType::ALL {
        for rank in 1..=4 {
            let dims = &[3, 2, 4, 2][..rank];
            let count: u64 = dims.iter().product();
            let len = usize::try_from(count).expect("small") * dtype.itemsize();
            fixture.put("x", dtype, dims, &vec![1; len]);
            let snapshot = fixture.array("x");
            let arrow = array(&snapshot, &DEFAULT).expect("zero-copy");
            let field = field(&snapshot, &DEFAULT).expect("a field");
            let rows = ArrowRows::new(&field, &[Arc::clone(&arrow)]).expect("rows");
            let buffer = rows.buffer().expect("one piece");
            assert_eq!(buffer.as_ptr() as usize, value_address(&arrow));
            assert_eq!(rows.to_bytes().expect("bytes").as_ptr(), buffer.as_ptr());
            mapped += 1;
        }
    }
    assert_eq!(mapped, 14 * 4);
}

#[test]
fn rows_are_appended_and_replaced() {
    let fixture = Fixture::new();
    fixture.put("a", DType::Bool, &[2], &[0, 1]);
    let bits: ArrayRef = Arc::new(BooleanArray::from(vec![true, true, false]));
    let rows = ArrowRows::new(&Field::new("a", DataType::Boolean, true), &[bits]).expect("rows");
    assert!(rows.buffer().is_none(), "bits are not bytes");
    let bytes = rows.to_bytes().expect("bytes");
    let mut change = fixture.store.begin().expect("a transaction");
    change.append("a", rows.meta(), &bytes).expect("fits");
    change.commit().expect("a commit");
    assert_eq!(content(&fixture.store, "a").2, [0, 1, 1, 1, 0]);
    let mut change = fixture.store.begin().expect("a transaction");
    let at = Selection::Rows(vec![0, 1, 4]);
    change.replace("a", at, rows.meta(), &bytes).expect("fits");
    change.commit().expect("a commit");
    assert_eq!(content(&fixture.store, "a").2, [1, 1, 1, 1, 0]);

    let error = rows.read_all(&mut [0; 2]).expect_err("too short");
    assert!(
        error.to_string().contains("3 bytes of rows for 2 bytes"),
        "{error}"
    );
    rows.read_all(&mut [0; 4]).expect_err("too long");
}

#[test]
fn a_byte_of_bool8_is_true_unless_it_is_zero() {
    let values: ArrayRef = Arc::new(Int8Array::from(vec![0, 1, -1, 7]));
    let field = Field::new("b", DataType::Int8, true).with_extension_type(Bool8);
    let rows = ArrowRows::new(&field, &[values]).expect("rows");
    assert_eq!(rows.meta().dtype, DType::Bool);
    assert_eq!(rows.to_bytes().expect("bytes").as_ref(), [0, 1, 1, 1]);
}

#[test]
fn more_values_than_are_turned_at_once() {
    let count = 200_001;
    let values: Vec<bool> = (0..count).map(|i| i % 7 == 0).collect();
    let expected: Vec<u8> = values.iter().map(|&value| u8::from(value)).collect();
    let bits: ArrayRef = Arc::new(BooleanArray::from(values));
    let field = Field::new("b", DataType::Boolean, true);
    let rows = ArrowRows::new(&field, &[bits.slice(3, count - 3)]).expect("rows");
    assert_eq!(rows.to_bytes().expect("bytes").as_ref(), &expected[3..]);
    let bytes: ArrayRef = Arc::new(Int8Array::from_iter_values(
        expected.iter().map(|&byte| if byte == 1 { 2 } else { 0 }),
    ));
    let field = Field::new("b", DataType::Int8, true).with_extension_type(Bool8);
    let rows = ArrowRows::new(&field, &[bytes]).expect("rows");
    assert_eq!(rows.to_bytes().expect("bytes").as_ref(), expected);
}

#[test]
fn lists_of_lists_are_an_axis_each() {
    let mut rows = ListBuilder::new(FixedSizeListBuilder::new(Int16Builder::new(), 2));
    for row in 0..3_i16 {
        for list in 0..4 {
            rows.values().values().append_value(row * 8 + list * 2);
            rows.values().values().append_value(row * 8 + list * 2 + 1);
            rows.values().append(true);
        }
        rows.append(true);
    }
    let rows: ArrayRef = Arc::new(rows.finish());
    let field = Field::new("v", rows.data_type().clone(), true);
    let taken = ArrowRows::new(&field, &[rows.slice(1, 2)]).expect("rows");
    assert_eq!(taken.meta().shape.dims(), [2, 4, 2]);
    let expected: Vec<u8> = (8_i16..24).flat_map(i16::to_le_bytes).collect();
    assert_eq!(taken.to_bytes().expect("bytes").as_ref(), expected);

    let mut ragged = ListBuilder::new(ListBuilder::new(Int16Builder::new()));
    for length in [1, 1, 1, 1, 2, 1] {
        for value in 0..length {
            ragged.values().values().append_value(value);
        }
        ragged.values().append(true);
        if ragged.values_ref().len() % 2 == 0 {
            ragged.append(true);
        }
    }
    let ragged: ArrayRef = Arc::new(ragged.finish());
    let field = Field::new("v", ragged.data_type().clone(), true);
    let error = ArrowRows::new(&field, &[ragged]).expect_err("ragged inside");
    assert_eq!(
        error.to_string(),
        "column \"v\": row 2 has a list of 2, the first row one of 1; a store holds lists of one \
         length"
    );
}

#[test]
fn list_views_may_lie_in_any_order() {
    let values: ArrayRef = Arc::new(Int64Array::from_iter_values(0..10));
    let item = Arc::new(Field::new("item", DataType::Int64, true));
    let views = ListViewArray::new(
        item,
        vec![6, 0, 2, 6].into(),
        vec![2, 2, 2, 2].into(),
        values,
        None,
    );
    let views: ArrayRef = Arc::new(views);
    let field = Field::new("v", views.data_type().clone(), true);
    let rows = ArrowRows::new(&field, &[views]).expect("rows");
    let expected: Vec<u8> = [6_i64, 7, 0, 1, 2, 3, 6, 7]
        .into_iter()
        .flat_map(i64::to_le_bytes)
        .collect();
    assert_eq!(rows.to_bytes().expect("bytes").as_ref(), expected);
}

#[test]
fn nulls_are_counted_where_they_are() {
    let list = |of: Vec<Option<Vec<Option<i32>>>>| -> ArrayRef {
        Arc::new(FixedSizeListArray::from_iter_primitive::<Int32Type, _, _>(
            of, 2,
        ))
    };
    let cases: [(ArrayRef, &str); 6] = [
        (
            Arc::new(Int64Array::from(vec![Some(1), None, None])),
            "2 nulls",
        ),
        (
            Arc::new(Float64Array::from(vec![Some(1.0), None])),
            "1 null,",
        ),
        (
            Arc::new(BooleanArray::from(vec![Some(true), None])),
            "1 null,",
        ),
        (list(vec![Some(vec![Some(1), Some(2)]), None]), "1 null,"),
        (list(vec![Some(vec![Some(1), None]); 3]), "3 nulls,"),
        (list(vec![None, Some(vec![Some(1), None])]), "1 null,"),
    ];
    for (values, text) in cases {
        let field = Field::new("bad", values.data_type().clone(), true);
        let error = ArrowRows::new(&field, &[Arc::clone(&values)]).expect_err("nulls");
        let expected = format!("column \"bad\" has {text}");
        assert!(error.to_string().starts_with(&expected), "{error}");
        // What a slice leaves out does not count.
        let good = values.slice(0, usize::from(values.is_valid(0)));
        if good.logical_null_count() == 0 && !matches!(text, "3 nulls,") {
            ArrowRows::new(&field, &[good]).expect("no nulls");
        }
    }
}

#[test]
fn what_no_dtype_stands_for_is_refused_by_name_type_and_count() {
    let texts: DictionaryArray<Int8Type> = ["a", "b", "a"].into_iter().collect();
    let fields = vec![Field::new("x", DataType::Int64, true)].into();
    let structs = StructArray::new(
        fields,
        vec![Arc::new(Int64Array::from(vec![1, 2, 3]))],
        None,
    );
    let cases: [(ArrayRef, &str); 6] = [
        (Arc::new(StringArray::from(vec!["a", "b", "c"])), "Utf8"),
        (Arc::new(Date32Array::from(vec![1, 2, 3])), "Date32"),
        (
            Arc::new(Decimal128Array::from(vec![1, 2, 3])),
            "Decimal128(38, 10)",
        ),
        (Arc::new(texts), "Dictionary(Int8, Utf8)"),
        (Arc::new(NullArray::new(3)), "Null"),
        (Arc::new(structs), "Struct"),
    ];
    for (values, text) in cases {
        let field = Field::new("bad", values.data_type().clone(), true);
        let error = ArrowRows::new(&field, &[values]).expect_err("no dtype");
        assert!(
            matches!(error, Error::Unsupported { rows: 3, .. }),
            "{error}"
        );
        let expected = format!("column \"bad\" is {text}");
        assert!(error.to_string().starts_with(&expected), "{error}");
    }
    let wide = Field::new("x", DataType::Int64, true);
    let narrow: ArrayRef = Arc::new(Int8Array::from(vec![1]));
    let error = ArrowRows::new(&wide, &[narrow]).expect_err("another type");
    assert!(
        error
            .to_string()
            .contains("is Int64, and a chunk of it Int8"),
        "{error}"
    );
}

#[test]
fn columns_by_name() {
    let schema = Schema::new(vec![
        Field::new("a", DataType::Int64, true),
        Field::new("b", DataType::Utf8, true),
        Field::new("a", DataType::Int8, true),
    ]);
    let batch = RecordBatch::try_new(
        Arc::new(schema.clone()),
        vec![
            Arc::new(Int64Array::from(vec![1, 2])),
            Arc::new(StringArray::from(vec!["x", "y"])),
            Arc::new(Int8Array::from(vec![3, 4])),
        ],
    )
    .expect("a batch");
    let batches = [batch.clone(), batch];
    let taken = ArrowRows::columns(&schema, &batches, Some(&["a"])).expect("one column");
    assert_eq!((taken.len(), taken[0].name()), (1, "a"));
    assert_eq!(
        taken[0].meta(),
        &ArrayMeta::new(DType::Int64, &[4]).expect("a shape")
    );
    let text = |names: &[&str]| {
        ArrowRows::columns(&schema, &batches, Some(names))
            .expect_err("refused")
            .to_string()
    };
    assert_eq!(
        text(&["z"]),
        "column \"z\" not found, the data has: a, b, a"
    );
    assert_eq!(text(&["a", "a"]), "two columns are named \"a\"");
    assert!(text(&["b"]).starts_with("column \"b\" is Utf8 (4 rows)"));
}

#[test]
fn no_chunks_are_no_rows() {
    for (of, dims) in [
        (DataType::Boolean, &[0][..]),
        (DataType::new_list(DataType::Int8, true), &[0, 0]),
        (
            DataType::new_fixed_size_list(DataType::Float32, 3, true),
            &[0, 3],
        ),
    ] {
        let field = Field::new("x", of, true);
        for chunks in [vec![], vec![new_empty_array(field.data_type())]] {
            let rows = ArrowRows::new(&field, &chunks).expect("no rows");
            assert_eq!(rows.meta().shape.dims(), dims);
            assert!(rows.to_bytes().expect("none").is_empty());
        }
    }
}
