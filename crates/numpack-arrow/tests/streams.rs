//! Snapshots as streams of batches.

use arrow_array::{RecordBatch, RecordBatchReader};
use numpack_arrow::{ArrowOptions, Error, SnapshotReader, batches, schema};
use numpack_format::DType;

use crate::fixture::{DEFAULT, Fixture, ZERO_COPY, ints, value_address};

fn read(fixture: &Fixture, options: &ArrowOptions) -> Vec<RecordBatch> {
    let snapshot = fixture.store.snapshot_all().expect("a snapshot");
    let reader = SnapshotReader::new(&snapshot, options).expect("a reader");
    assert_eq!(
        reader.schema(),
        schema(&snapshot, options).expect("a schema")
    );
    let read: Vec<RecordBatch> = reader.map(|batch| batch.expect("a batch")).collect();
    assert_eq!(read, batches(&snapshot, options).expect("batches"));
    read
}

#[test]
fn a_stream_is_one_batch_for_each_common_run_over_the_mapping() {
    let fixture = Fixture::new();
    fixture.put_ints("a", 0..20_000);
    fixture.put_ints("b", 0..20_000);
    fixture.put("scalar", DType::Int8, &[], &[7]);
    fixture.delete("a", [5000]);
    fixture.delete("b", [10_000]);
    let read = read(&fixture, &DEFAULT);
    let rows: Vec<usize> = read.iter().map(RecordBatch::num_rows).collect();
    assert_eq!(rows, [5000, 5000, 9999]);
    let a = fixture.array("a");
    for (batch, at) in read.iter().zip([0, 5001, 10_001]) {
        let view = a.view(at..at + 1).expect("a row");
        assert_eq!(
            value_address(batch.column(0)),
            view.as_ref().as_ptr() as usize
        );
    }
    let b: Vec<i64> = read
        .iter()
        .flat_map(|batch| ints(batch.column(1)))
        .collect();
    let expected: Vec<i64> = (0..10_000).chain(10_001..20_000).collect();
    assert_eq!(b, expected);
}

#[test]
fn short_runs_are_gathered_unless_copies_are_ruled_out() {
    let fixture = Fixture::new();
    fixture.put_ints("a", 0..9000);
    fixture.delete("a", (0..9000).step_by(3));
    assert_eq!(read(&fixture, &DEFAULT).len(), 1);
    assert_eq!(read(&fixture, &ZERO_COPY).len(), 3000);
}

#[test]
fn a_stream_outlives_its_store_and_reads_what_was_there() {
    let fixture = Fixture::new();
    fixture.put_ints("a", 0..10_000);
    fixture.delete("a", [5000]);
    let snapshot = fixture.store.snapshot_all().expect("a snapshot");
    let mut reader = SnapshotReader::new(&snapshot, &DEFAULT).expect("a reader");
    drop(snapshot);
    assert_eq!(
        reader.next().expect("first").expect("a batch").num_rows(),
        5000
    );
    fixture.put_ints("a", 0..3);
    let Fixture { dir, store } = fixture;
    store.close().expect("closed");
    dir.close().expect("removed");
    let second = reader.next().expect("second").expect("a batch");
    assert_eq!(ints(second.column(0)), (5001..10_000).collect::<Vec<_>>());
    assert!(reader.next().is_none() && reader.next().is_none());
}

#[test]
fn nothing_is_read_of_what_is_no_table() {
    let fixture = Fixture::new();
    assert!(read(&fixture, &DEFAULT).is_empty());
    fixture.put_ints("a", 0..3);
    fixture.put_ints("b", 0..4);
    let snapshot = fixture.store.snapshot_all().expect("a snapshot");
    let error = SnapshotReader::new(&snapshot, &DEFAULT).expect_err("unequal");
    assert!(matches!(error, Error::UnequalRows { .. }), "{error}");
    let refused = ArrowOptions {
        zero_copy_only: true,
        bool8: false,
    };
    let fixture = Fixture::new();
    fixture.put("flag", DType::Bool, &[3], &[0, 1, 1]);
    fixture.delete("flag", [1]);
    let snapshot = fixture.store.snapshot_all().expect("a snapshot");
    let mut reader = SnapshotReader::new(&snapshot, &refused).expect("a reader");
    let error = reader
        .next()
        .expect("an error")
        .expect_err("bits are a copy");
    assert!(error.to_string().contains("\"flag\""), "{error}");
    assert!(reader.next().is_none(), "nothing comes after an error");
}
