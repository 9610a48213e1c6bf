//! The table in a DataFusion session: what a scan gives, where it lies, what it refuses.

mod connection;

use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Float32Type, Int64Type};
use datafusion::catalog::TableProvider;
use datafusion::common::stats::Precision;
use datafusion::physical_plan::{ExecutionPlan, StatisticsArgs, collect};
use datafusion::prelude::SessionContext;
use numpack_datafusion::{NumPackTable, SqlError, query, session, sql_collect};
use numpack_engine::{Options, Selection, Store};
use numpack_format::{ArrayMeta, DType, Shape};
use tempfile::TempDir;

const ROWS: u64 = 20_000;

/// A store with `id` int64, `emb` float32 of 4 and `flag` bool, in a directory that goes with it.
struct Fixture {
    dir: TempDir,
    store: Store,
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("fixture.npk");
        let store = Store::open(&path, &Options::default()).expect("a new store");
        let fixture = Self { dir, store };
        let ids: Vec<u8> = (0..ROWS).flat_map(u64::to_le_bytes).collect();
        fixture.put("id", DType::Int64, &[ROWS], &ids);
        let values = (0..ROWS * 4).map(|i| f32::from(u16::try_from(i % 65_536).expect("small")));
        let emb: Vec<u8> = values.flat_map(f32::to_le_bytes).collect();
        fixture.put("emb", DType::Float32, &[ROWS, 4], &emb);
        let flags: Vec<u8> = (0..ROWS).map(|i| u8::from(i % 3 == 0)).collect();
        fixture.put("flag", DType::Bool, &[ROWS], &flags);
        fixture
    }

    fn put(&self, name: &str, dtype: DType, dims: &[u64], bytes: &[u8]) {
        let shape = Shape::new(dims, dtype).expect("a shape");
        let mut change = self.store.begin().expect("a transaction");
        let meta = ArrayMeta { dtype, shape };
        change
            .put(name, &meta, &mut &*bytes)
            .expect("rows that fit");
        change.commit().expect("a commit");
    }

    fn delete(&self, name: &str, rows: impl IntoIterator<Item = i64>) {
        let mut change = self.store.begin().expect("a transaction");
        let rows = Selection::Rows(rows.into_iter().collect());
        change.delete_rows(name, rows).expect("rows that exist");
        change.commit().expect("a commit");
    }

    fn table(&self) -> Arc<NumPackTable> {
        Arc::new(NumPackTable::all(&self.store).expect("a table"))
    }

    /// A session in which the store is the table `train`.
    fn session(&self) -> SessionContext {
        let ctx = session();
        ctx.register_table("train", self.table())
            .expect("a new name");
        ctx
    }
}

async fn plan(ctx: &SessionContext, sql: &str) -> Arc<dyn ExecutionPlan> {
    let frame = ctx.sql(sql).await.expect("a query");
    frame.create_physical_plan().await.expect("a plan")
}

async fn run(ctx: &SessionContext, sql: &str) -> Vec<RecordBatch> {
    collect(plan(ctx, sql).await, ctx.task_ctx())
        .await
        .expect("rows")
}

fn ints(batches: &[RecordBatch], column: usize) -> Vec<i64> {
    let columns = batches
        .iter()
        .map(|batch| batch.column(column).as_primitive::<Int64Type>());
    columns
        .flat_map(|column| column.values().to_vec())
        .collect()
}

#[tokio::test]
async fn a_scan_hands_out_the_mapping_in_full_batches() {
    let fixture = Fixture::new();
    let batches = run(&fixture.session(), "SELECT id, emb FROM train").await;
    let rows: Vec<usize> = batches.iter().map(RecordBatch::num_rows).collect();
    assert_eq!(rows, [8192, 8192, 3616]);

    let emb = fixture.store.array("emb").expect("emb");
    let whole = emb.contiguous().expect("one run");
    let mut start = 0;
    for batch in &batches {
        let lists = batch.column(1).as_fixed_size_list();
        let values = lists.values().as_primitive::<Float32Type>();
        let buffer = values.values().inner();
        assert_eq!(
            buffer.as_ptr(),
            whole.as_ref()[start * 16..].as_ptr(),
            "row {start}"
        );
        // Sorts and joins reserve memory by the capacity of buffers.
        assert_eq!(buffer.capacity(), batch.num_rows() * 16, "row {start}");
        start += batch.num_rows();
    }
}

#[tokio::test]
async fn deleted_rows_leave_full_batches_that_are_copied_only_across_holes() {
    let fixture = Fixture::new();
    for name in ["id", "emb", "flag"] {
        fixture.delete(name, [10, 9_000]);
    }
    let ctx = fixture.session();
    let plan = plan(&ctx, "SELECT id, row_id FROM train").await;
    let batches = collect(Arc::clone(&plan), ctx.task_ctx())
        .await
        .expect("rows");
    let rows: Vec<usize> = batches.iter().map(RecordBatch::num_rows).collect();
    assert_eq!(rows, [8192, 8192, 3614]);
    let expected: Vec<i64> = (0..20_000).filter(|id| ![10, 9_000].contains(id)).collect();
    assert_eq!(ints(&batches, 0), expected);
    assert_eq!(ints(&batches, 1), (0..19_998).collect::<Vec<_>>());

    let metrics = plan.metrics().expect("metrics");
    let counter = |name: &str| metrics.sum_by_name(name).expect("a counter").as_usize();
    assert_eq!(metrics.output_rows(), Some(19_998));
    assert_eq!(counter("bytes_copied"), 2 * 8192 * 8);
    assert_eq!(counter("bytes_mapped"), 3614 * 8);
}

#[tokio::test]
async fn statistics_are_exact_and_follow_the_limit() {
    let fixture = Fixture::new();
    fixture.delete("id", [5]);
    let table = Arc::new(NumPackTable::new(&fixture.store, &["id"]).expect("a table"));
    let ctx = SessionContext::new();
    ctx.register_table("ids", table).expect("a new name");
    for (sql, rows) in [
        ("SELECT id FROM ids", 19_999),
        ("SELECT id FROM ids LIMIT 7", 7),
        ("SELECT id FROM ids LIMIT 50000", 19_999),
    ] {
        let plan = plan(&ctx, sql).await;
        let statistics = plan.statistics_from_inputs(&[], &StatisticsArgs::default());
        let statistics = statistics.expect("statistics");
        assert_eq!(statistics.num_rows, Precision::Exact(rows), "{sql}");
        assert_eq!(
            statistics.total_byte_size,
            Precision::Exact(rows * 8),
            "{sql}"
        );
        assert_eq!(
            statistics.column_statistics[0].null_count,
            Precision::Exact(0)
        );
        let read: usize = run(&ctx, sql).await.iter().map(RecordBatch::num_rows).sum();
        assert_eq!(read, rows, "{sql}");
    }
}

#[tokio::test]
async fn a_live_table_sees_commits_and_an_instant_does_not() {
    let fixture = Fixture::new();
    let ctx = fixture.session();
    let snapshot = fixture.store.snapshot_all().expect("a snapshot");
    let instant = NumPackTable::at(&snapshot).expect("a table");
    ctx.register_table("before", Arc::new(instant))
        .expect("a new name");
    for name in ["id", "emb", "flag"] {
        fixture.delete(name, 0..100);
    }
    let count = async |table: &str| {
        let batches = run(&ctx, &format!("SELECT count(*) FROM {table}")).await;
        ints(&batches, 0)[0]
    };
    assert_eq!(count("train").await, 19_900);
    assert_eq!(count("before").await, 20_000);
}

#[tokio::test]
async fn a_table_whose_array_changed_its_type_says_so() {
    let fixture = Fixture::new();
    let ctx = fixture.session();
    fixture.put("emb", DType::Float32, &[ROWS, 2], &vec![0; 160_000]);
    let frame = ctx.sql("SELECT id FROM train").await.expect("a query");
    let error = SqlError::from(frame.collect().await.expect_err("another type"));
    assert!(matches!(error, SqlError::Changed { .. }), "{error}");
    assert_eq!(
        error.to_string(),
        "array \"emb\" was FixedSizeList(4 x Float32) when the table was opened and is \
         FixedSizeList(2 x Float32) now; open the table again"
    );
}

#[tokio::test]
async fn columns_that_make_no_relation_are_refused() {
    let fixture = Fixture::new();
    fixture.put("scalar", DType::Int64, &[], &[0; 8]);
    let error = NumPackTable::new(&fixture.store, &["id", "scalar"]).expect_err("0-d");
    assert!(matches!(error, SqlError::NoRows { .. }), "{error}");
    let error = NumPackTable::new(&fixture.store, &["id", "id"]).expect_err("twice");
    assert!(matches!(error, SqlError::NamedTwice { .. }), "{error}");
    let error = NumPackTable::new(&fixture.store, &["nope"]).expect_err("missing");
    assert!(
        matches!(
            error,
            SqlError::Engine(numpack_engine::Error::NotFound { .. })
        ),
        "{error}"
    );
    assert_eq!(
        fixture.table().schema().fields().len(),
        4,
        "the 0-d array is left out"
    );

    fixture.delete("id", [0]);
    let error = NumPackTable::all(&fixture.store).expect_err("unequal");
    assert_eq!(
        error.to_string(),
        "arrays of unequal length are not one relation: \"id\" 19999, \"emb\" 20000, \
         \"flag\" 20000; name only arrays of one length, in Python npk.table('emb', 'flag').sql(...)"
    );
}

#[tokio::test]
async fn a_large_sort_is_charged_for_its_batches_only() {
    use datafusion::execution::memory_pool::GreedyMemoryPool;
    use datafusion::execution::runtime_env::RuntimeEnvBuilder;
    use datafusion::prelude::SessionConfig;

    let fixture = Fixture::new();
    // The table is 480 kB. Were each of its three batches charged for the whole of every mapping,
    // a sort would need three times that and twice again.
    let pool = Arc::new(GreedyMemoryPool::new(1_500_000));
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_pool(pool)
        .build_arc()
        .expect("a runtime");
    let config = SessionConfig::new().with_sort_spill_reservation_bytes(0);
    let ctx = SessionContext::new_with_config_rt(config, runtime);
    ctx.register_table("train", fixture.table())
        .expect("a new name");
    let batches = run(&ctx, "SELECT id, emb FROM train ORDER BY id DESC").await;
    assert_eq!(ints(&batches, 0)[..3], [19_999, 19_998, 19_997]);
}

#[test]
fn a_query_is_one_instant_of_all_its_tables() {
    let fixture = Fixture::new();
    let result = sql_collect(
        &fixture.store,
        "SELECT count(*), sum(a.id - b.value) FROM self AS a JOIN id AS b USING (row_id)",
    )
    .expect("a result");
    assert_eq!(ints(&result.batches, 0), [20_000]);
    assert_eq!(ints(&result.batches, 1), [0]);
    let empty = sql_collect(&fixture.store, "SELECT id FROM self WHERE id < 0").expect("a result");
    assert_eq!(
        (empty.rows(), empty.schema.field(0).name().as_str()),
        (0, "id")
    );
}

#[test]
fn results_outlive_the_store() {
    let fixture = Fixture::new();
    let result = sql_collect(&fixture.store, "SELECT id FROM self").expect("a result");
    let Fixture { dir, store } = fixture;
    store.close().expect("closed");
    drop(store);
    dir.close().expect("removed");
    assert_eq!(ints(&result.batches, 0), (0..20_000).collect::<Vec<_>>());
}

#[test]
fn an_interrupt_stops_a_query() {
    let fixture = Fixture::new();
    let path = fixture.store.path();
    let interrupt: numpack_engine::Interrupt = Arc::new(|| true);
    let options = Options::default().with_interrupt(interrupt);
    let store = Store::open(path, &options).expect("a second handle");
    // Four hundred million pairs: the interrupt comes long before the end.
    let sql =
        "SELECT count(*) FROM self AS a JOIN self AS b ON a.id + b.id > 7 AND a.id < b.id * 2";
    let error = sql_collect(&store, sql).expect_err("interrupted");
    assert!(matches!(error, SqlError::Interrupted), "{error}");
}

#[tokio::test]
async fn blocking_inside_a_runtime_is_an_error_and_no_panic() {
    let fixture = Fixture::new();
    let error = sql_collect(&fixture.store, "SELECT 1").expect_err("inside a runtime");
    assert!(matches!(error, SqlError::InsideRuntime), "{error}");
    let result = query(&fixture.store, "SELECT max(id) FROM self")
        .await
        .expect("a result");
    assert_eq!(ints(&result.batches, 0), [19_999]);
}
