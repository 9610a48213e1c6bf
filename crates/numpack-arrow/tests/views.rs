//! Arrays of a real store as Arrow: what they hold, where they lie, and how long they live.

use arrow_array::cast::AsArray;
use arrow_array::{Array, RecordBatch};
use arrow_schema::DataType;
use numpack_arrow::{
    ArrayReader, ArrowOptions, Error, array, batch, batches, chunk, chunks, field, schema,
};
use numpack_format::DType;

use crate::fixture::{DEFAULT, Fixture, PACKED, ZERO_COPY, ints, value_address, value_bytes};

#[test]
fn every_dtype_and_rank_lies_in_the_mapping() {
    let fixture = Fixture::new();
    let mut cases = 0;
    for dtype in DType::ALL {
        for rank in 0..=4 {
            let dims = &[3, 2, 4, 2][..rank];
            let elements: u64 = dims.iter().product();
            let len = usize::try_from(elements).expect("small") * dtype.itemsize();
            let bytes: Vec<u8> = (0..len).map(|i| u8::from(i % 3 == 0)).collect();
            let name = format!("{}-{rank}", dtype.name());
            fixture.put(&name, dtype, dims, &bytes);

            let snapshot = fixture.array(&name);
            let arrow = array(&snapshot, &ZERO_COPY).expect("zero-copy");
            let rows = if rank == 0 { 1 } else { 3 };
            assert_eq!(arrow.len(), rows, "{name}");
            assert_eq!(arrow.null_count(), 0, "{name}");
            let field = field(&snapshot, &ZERO_COPY).expect("a field");
            assert_eq!(arrow.data_type(), field.data_type(), "{name}");
            assert_eq!(value_bytes(&arrow), bytes, "{name}");

            let view = snapshot.contiguous().expect("one run");
            assert_eq!(
                value_address(&arrow),
                view.as_ref().as_ptr() as usize,
                "{name}"
            );
            cases += 1;
        }
    }
    assert_eq!(cases, 14 * 5);
}

#[test]
fn arrays_without_elements_keep_their_length() {
    let fixture = Fixture::new();
    for (dims, rows) in [
        (&[0][..], 0),
        (&[0, 3], 0),
        (&[3, 0], 3),
        (&[2, 0, 4], 2),
        (&[0, 2, 2], 0),
    ] {
        for dtype in DType::ALL {
            let name = format!("{}{dims:?}", dtype.name());
            fixture.put(&name, dtype, dims, &[]);
            let snapshot = fixture.array(&name);
            for options in [DEFAULT, ZERO_COPY, PACKED] {
                if options == PACKED && dtype != DType::Bool {
                    continue;
                }
                let arrow = array(&snapshot, &options).expect("an empty array");
                assert_eq!(arrow.len(), rows, "{name}");
                let field = field(&snapshot, &options).expect("a field");
                assert_eq!(arrow.data_type(), field.data_type(), "{name}");
            }
        }
    }
}

#[test]
fn bools_pack_any_non_zero_byte_as_true() {
    let fixture = Fixture::new();
    fixture.put("flag", DType::Bool, &[5], &[0, 1, 2, 255, 0]);
    fixture.put("flags", DType::Bool, &[2, 3], &[1, 0, 0, 0, 1, 7]);
    let flag = array(&fixture.array("flag"), &PACKED).expect("bits");
    let bits: Vec<bool> = flag.as_boolean().values().iter().collect();
    assert_eq!(bits, [false, true, true, true, false]);
    let flags = array(&fixture.array("flags"), &PACKED).expect("lists of bits");
    assert_eq!(flags.len(), 2);
    let bits: Vec<bool> = flags
        .as_fixed_size_list()
        .values()
        .as_boolean()
        .values()
        .iter()
        .collect();
    assert_eq!(bits, [true, false, false, false, true, true]);

    let refused = ArrowOptions {
        zero_copy_only: true,
        bool8: false,
    };
    let error = array(&fixture.array("flag"), &refused).expect_err("bits are a copy");
    assert!(matches!(error, Error::NeedsCopy { .. }), "{error}");
}

#[test]
fn deleted_rows_cost_one_copy_or_are_chunks() {
    let fixture = Fixture::new();
    fixture.put_ints("id", 0..10);
    fixture.delete("id", [3, 4, 8]);
    let snapshot = fixture.array("id");

    let gathered = array(&snapshot, &DEFAULT).expect("a copy");
    assert_eq!(ints(&gathered), [0, 1, 2, 5, 6, 7, 9]);

    let error = array(&snapshot, &ZERO_COPY).expect_err("three runs");
    assert_eq!(
        error.to_string(),
        "array \"id\": its live rows lie in 3 runs (3 rows are deleted), so one Arrow array \
         needs a copy, which zero_copy_only rules out"
    );

    let parts = chunks(&snapshot, &ZERO_COPY).expect("one chunk a run");
    let values: Vec<Vec<i64>> = parts.iter().map(ints).collect();
    assert_eq!(values, [vec![0, 1, 2], vec![5, 6, 7], vec![9]]);
    for (part, run) in parts.iter().zip(snapshot.runs()) {
        let view = snapshot
            .view(run.start..run.start + run.len)
            .expect("a run");
        assert_eq!(value_address(part), view.as_ref().as_ptr() as usize);
    }
    let part = chunk(&snapshot, 6..8, &ZERO_COPY).expect("inside a run");
    assert_eq!(ints(&part), [6, 7]);
    assert_eq!(
        chunk(&snapshot, 7..7, &ZERO_COPY).expect("no rows").len(),
        0
    );
    for apart in [2..6, 3..5, 7..9, 9..11, 0..4] {
        let error = chunk(&snapshot, apart.clone(), &ZERO_COPY).expect_err("not one run");
        assert!(
            matches!(error, Error::NotOneRun { .. }),
            "{apart:?}: {error}"
        );
    }
}

#[test]
fn one_run_of_live_rows_is_zero_copy_wherever_it_starts() {
    let fixture = Fixture::new();
    fixture.put_ints("id", 0..10);
    fixture.delete("id", [0, 1, 2, 9]);
    let snapshot = fixture.array("id");
    let arrow = array(&snapshot, &ZERO_COPY).expect("one run");
    assert_eq!(ints(&arrow), [3, 4, 5, 6, 7, 8]);
    let view = snapshot.view(3..9).expect("the run");
    assert_eq!(value_address(&arrow), view.as_ref().as_ptr() as usize);
}

#[test]
fn an_arrow_array_outlives_all_it_came_from() {
    let fixture = Fixture::new();
    fixture.put_ints("id", 0..1000);
    let arrow = array(&fixture.array("id"), &ZERO_COPY).expect("zero-copy");
    fixture.put_ints("id", 5000..6000);
    fixture.delete("id", 0..500);
    assert_eq!(ints(&arrow), (0..1000).collect::<Vec<_>>());
    let Fixture { dir, store } = fixture;
    store.close().expect("closed");
    drop(store);
    dir.close().expect("removed");
    assert_eq!(ints(&arrow), (0..1000).collect::<Vec<_>>());
}

#[test]
fn a_table_is_one_batch_or_one_for_each_common_run() {
    let fixture = Fixture::new();
    fixture.put_ints("a", 0..20_000);
    fixture.put_ints("b", 0..20_000);
    fixture.put("scalar", DType::Int64, &[], &7_i64.to_le_bytes());
    let snapshot = fixture.store.snapshot_all().expect("a snapshot");
    let names = |schema: arrow_schema::SchemaRef| -> Vec<String> {
        schema
            .fields()
            .iter()
            .map(|field| field.name().clone())
            .collect()
    };
    assert_eq!(
        names(schema(&snapshot, &DEFAULT).expect("a schema")),
        ["a", "b"]
    );
    let whole = batches(&snapshot, &ZERO_COPY).expect("zero-copy");
    assert_eq!(whole.len(), 1);
    assert_eq!(whole[0].num_rows(), 20_000);

    // Deleted at different places, so the runs differ and the lengths do not.
    fixture.delete("a", [5000]);
    fixture.delete("b", [10_000]);
    let snapshot = fixture.store.snapshot_all().expect("a snapshot");
    let parts = batches(&snapshot, &ZERO_COPY).expect("zero-copy");
    let rows: Vec<usize> = parts.iter().map(RecordBatch::num_rows).collect();
    assert_eq!(rows, [5000, 5000, 9999]);
    let gathered = batch(&snapshot, &DEFAULT).expect("a copy");
    let joined = |column: usize| -> Vec<i64> {
        parts
            .iter()
            .flat_map(|batch| ints(batch.column(column)))
            .collect()
    };
    assert_eq!(joined(0), ints(gathered.column(0)));
    assert_eq!(joined(1), ints(gathered.column(1)));
    assert_eq!(joined(0)[5000], 5001);
    assert_eq!(joined(1)[5000], 5000);
    batch(&snapshot, &ZERO_COPY).expect_err("two runs each");

    // Runs that are short on average are worth one gather.
    fixture.delete("a", (0..4000).step_by(2));
    fixture.delete("b", (0..4000).step_by(2));
    let snapshot = fixture.store.snapshot_all().expect("a snapshot");
    let parts = batches(&snapshot, &DEFAULT).expect("a copy");
    assert_eq!(parts.len(), 1);
    assert_eq!(parts[0].num_rows(), 17_999);
    let many = batches(&snapshot, &ZERO_COPY).expect("one batch a run");
    assert!(many.len() > 2000, "{}", many.len());

    fixture.put_ints("b", 0..3);
    let snapshot = fixture.store.snapshot_all().expect("a snapshot");
    let error = batch(&snapshot, &DEFAULT).expect_err("unequal");
    assert_eq!(
        error.to_string(),
        "arrays of unequal length are not one table: \"a\" 17999, \"b\" 3"
    );
}

#[test]
fn a_store_without_rows_has_no_batches_but_one_empty_table() {
    let fixture = Fixture::new();
    let nothing = fixture.store.snapshot_all().expect("a snapshot");
    assert!(batches(&nothing, &DEFAULT).expect("none").is_empty());
    fixture.put_ints("id", 0..0);
    let snapshot = fixture.store.snapshot_all().expect("a snapshot");
    assert!(batches(&snapshot, &DEFAULT).expect("none").is_empty());
    let empty = batch(&snapshot, &DEFAULT).expect("an empty batch");
    assert_eq!((empty.num_rows(), empty.num_columns()), (0, 1));
}

#[test]
fn a_reader_maps_what_it_can_and_gathers_the_rest() {
    let fixture = Fixture::new();
    fixture.put_ints("id", 0..100);
    fixture.delete("id", [25, 26]);
    let snapshot = fixture.array("id");
    let mut reader = ArrayReader::new(&snapshot, &DEFAULT).expect("a reader");

    let first = reader.read(10).expect("inside a run");
    assert_eq!(ints(&first), (0..10).collect::<Vec<_>>());
    let view = snapshot.view(0..10).expect("a run");
    assert_eq!(value_address(&first), view.as_ref().as_ptr() as usize);
    // Who charges a query by its buffers must not be charged for the whole array.
    assert_eq!(first.to_data().buffers()[0].capacity(), 80);
    assert_eq!((reader.bytes_mapped(), reader.bytes_copied()), (80, 0));

    reader.skip(10);
    let across = reader.read(10).expect("across deleted rows");
    assert_eq!(ints(&across), [20, 21, 22, 23, 24, 27, 28, 29, 30, 31]);
    assert_eq!((reader.bytes_mapped(), reader.bytes_copied()), (80, 80));

    assert_eq!(reader.run_left(), 68);
    let rest = reader.read(1000).expect("what is left");
    assert_eq!(ints(&rest), (32..100).collect::<Vec<_>>());
    assert_eq!(reader.run_left(), 0);
    assert_eq!(reader.read(5).expect("nothing").len(), 0);

    let mut strict = ArrayReader::new(&snapshot, &ZERO_COPY).expect("a reader");
    strict.skip(20);
    let error = strict.read(10).expect_err("a gather");
    assert!(matches!(error, Error::NeedsCopy { .. }), "{error}");
}

#[test]
fn rows_with_deletions_keep_their_lists() {
    let fixture = Fixture::new();
    let floats: Vec<u8> = (0_u8..24)
        .flat_map(|i| f32::from(i).to_le_bytes())
        .collect();
    fixture.put("emb", DType::Float32, &[6, 4], &floats);
    fixture.delete("emb", [1, 3]);
    let emb = array(&fixture.array("emb"), &DEFAULT).expect("a copy");
    assert_eq!(emb.len(), 4);
    let DataType::FixedSizeList(item, 4) = emb.data_type() else {
        unreachable!("lists of 4, got {}", emb.data_type());
    };
    assert_eq!((item.name().as_str(), item.is_nullable()), ("item", true));
    let values = emb.as_fixed_size_list().values();
    let values = values
        .as_primitive::<arrow_array::types::Float32Type>()
        .values();
    assert_eq!(values[4..8], [8.0, 9.0, 10.0, 11.0]);
    assert_eq!(values[12..16], [20.0, 21.0, 22.0, 23.0]);
}
