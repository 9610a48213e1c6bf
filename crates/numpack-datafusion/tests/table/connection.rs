//! Connections: over one store, several and a directory; parameters, limits, access, streams.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::{AsArray, FixedSizeListArray, Float32Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type};
use numpack_datafusion::{
    Connection, ConnectionOptions, Params, QueryResult, ScalarValue, SqlError, session,
};
use numpack_engine::{Error, Options, Store};
use numpack_format::{ArrayMeta, DType};
use tempfile::TempDir;

/// A store with one Int64 array for each name, of these values.
fn store(path: &Path, arrays: &[(&str, &[i64])]) -> Store {
    let store = Store::open(path, &Options::default()).expect("a store");
    for (name, values) in arrays {
        put(&store, name, values);
    }
    store
}

fn put(store: &Store, name: &str, values: &[i64]) {
    let bytes: Vec<u8> = values.iter().copied().flat_map(i64::to_le_bytes).collect();
    let meta = ArrayMeta::new(DType::Int64, &[values.len() as u64]).expect("a shape");
    let mut change = store.begin().expect("a transaction");
    change
        .put(name, &meta, &mut bytes.as_slice())
        .expect("rows");
    change.commit().expect("a commit");
}

/// A directory with `train.npk` (id, label) and `labels.npk` (label, code).
fn directory() -> TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    let train = [("id", &[0, 1, 2, 3][..]), ("label", &[7, 8, 7, 9])];
    store(&dir.path().join("train.npk"), &train)
        .close()
        .expect("closed");
    let labels = [("label", &[7, 8, 9][..]), ("code", &[70, 80, 90])];
    store(&dir.path().join("labels.npk"), &labels)
        .close()
        .expect("closed");
    dir
}

fn options() -> ConnectionOptions {
    ConnectionOptions::default()
}

fn integers(result: &QueryResult) -> Vec<i64> {
    let columns = result.batches.iter().map(|batch| batch.column(0));
    columns
        .flat_map(|column| column.as_primitive::<Int64Type>().values().to_vec())
        .collect()
}

fn ask(connection: &Connection, sql: &str) -> Vec<i64> {
    let query = connection.sql(sql, Params::default()).expect(sql);
    integers(&query.collect().expect(sql))
}

fn refusal(connection: &Connection, sql: &str, params: impl Into<Params>) -> String {
    let refused = connection.sql(sql, params).expect_err(sql);
    refused.to_string()
}

#[test]
fn a_directory_is_a_schema_of_stores_and_each_store_one_of_arrays() {
    let dir = directory();
    std::fs::create_dir(dir.path().join("no store")).expect("a directory");
    let connection = Connection::over_directory(dir.path(), options()).expect("a connection");
    let joined = "SELECT code FROM train JOIN labels USING (label) ORDER BY id";
    assert_eq!(ask(&connection, joined), [70, 80, 70, 90]);
    assert_eq!(
        ask(&connection, "SELECT value FROM train.label"),
        [7, 8, 7, 9]
    );
    assert_eq!(
        ask(&connection, r#"SELECT id FROM "train.npk" LIMIT 1"#),
        [0]
    );
    let tables = "SELECT count(*) FROM information_schema.tables WHERE table_schema = 'public'";
    assert_eq!(ask(&connection, tables), [2]);
    let columns = "SELECT count(*) FROM information_schema.columns WHERE table_name = 'train'";
    assert_eq!(ask(&connection, columns), [3]);

    // A store that comes is a table at once; what lies elsewhere never is one.
    store(&dir.path().join("new"), &[("x", &[5])]);
    assert_eq!(ask(&connection, "SELECT x FROM new"), [5]);
    let inside = Connection::over_directory(dir.path().join("no store"), options());
    let error = refusal(
        &inside.expect("a connection"),
        r#"SELECT * FROM "../train""#,
        Params::default(),
    );
    assert!(error.contains("not found"), "{error}");
}

#[test]
fn a_connection_is_over_a_directory_that_is_there_and_is_no_store() {
    let dir = directory();
    let file = dir.path().join("file");
    std::fs::write(&file, "").expect("a file");
    for nowhere in [dir.path().join("nowhere"), file] {
        let error = Connection::over_directory(&nowhere, options()).expect_err("a refusal");
        assert!(
            matches!(&error, SqlError::Engine(Error::NoStore { path }) if *path == nowhere),
            "{error}"
        );
    }
    let store = dir.path().join("train.npk");
    let error = Connection::over_directory(&store, options()).expect_err("a refusal");
    let text = error.to_string();
    let hint = format!("connect({{\"train\": \"{}\"}})", store.display());
    assert!(
        text.contains("is a store") && text.contains(&hint),
        "{text}"
    );
}

#[test]
fn several_stores_are_tables_by_their_names() {
    let dir = directory();
    let open = |name: &str| store(&dir.path().join(name), &[]);
    let stores = vec![
        ("a".to_owned(), open("train.npk")),
        ("b".to_owned(), open("labels.npk")),
    ];
    let connection = Connection::over_stores(stores.clone(), options()).expect("a connection");
    let joined = "SELECT sum(code) FROM a JOIN b USING (label)";
    assert_eq!(ask(&connection, joined), [310]);
    assert_eq!(ask(&connection, "SELECT max(value) FROM b.code"), [90]);
    let twice = Connection::over_stores([stores.clone(), stores].concat(), options());
    assert!(twice.expect_err("refused").to_string().contains("\"a\""));
}

#[test]
fn an_array_whose_name_means_something_else_is_in_the_schema_arrays() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = store(dir.path(), &[("self", &[1, 2]), ("x", &[3, 4])]);
    let connection = Connection::over(&store, options()).expect("a connection");
    assert_eq!(ask(&connection, "SELECT x FROM self"), [3, 4]);
    assert_eq!(ask(&connection, "SELECT value FROM x"), [3, 4]);
    assert_eq!(
        ask(&connection, r#"SELECT value FROM arrays."self""#),
        [1, 2]
    );
    assert_eq!(ask(&connection, "SELECT value FROM arrays.x"), [3, 4]);
}

#[test]
fn a_query_keeps_its_instant_and_runs_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = store(dir.path(), &[("x", &[1, 2, 3])]);
    let connection = Connection::over(&store, options()).expect("a connection");
    let sql = "SELECT s.x FROM self s JOIN arrays.x a ON s.x = a.value ORDER BY s.x DESC";
    let query = connection.sql(sql, Params::default()).expect("planned");
    put(&store, "x", &[9]);
    for _ in 0..3 {
        assert_eq!(integers(&query.collect().expect("rows")), [3, 2, 1]);
    }
    store.close().expect("closed");
    assert_eq!(integers(&query.collect().expect("rows")), [3, 2, 1]);
    assert_eq!(query.schema().field(0).name(), "x");
    assert!(
        query
            .explain(false)
            .expect("a plan")
            .contains("NumPackSource")
    );
    let analyzed = query.explain(true).expect("a plan");
    assert!(analyzed.contains("output_rows=3"), "{analyzed}");
}

#[test]
fn parameters_stand_for_values() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = store(dir.path(), &[("x", &[1, 2, 3, 4, 5])]);
    let connection = Connection::over(&store, options()).expect("a connection");
    let rows = |sql: &str, params: Params| {
        let query = connection.sql(sql, params).expect(sql);
        integers(&query.collect().expect(sql))
    };
    let values = |values: &[i64]| {
        Params::from(
            values
                .iter()
                .copied()
                .map(ScalarValue::from)
                .collect::<Vec<_>>(),
        )
    };
    assert_eq!(
        rows("SELECT x FROM self WHERE x > ? AND x < ?", values(&[1, 4])),
        [2, 3]
    );
    assert_eq!(
        rows(
            "SELECT x FROM self WHERE x > $2 AND x < $1",
            values(&[4, 1])
        ),
        [2, 3]
    );
    assert_eq!(
        rows("SELECT x FROM self WHERE x > ? LIMIT ?", values(&[1, 2])),
        [2, 3]
    );
    assert_eq!(rows("SELECT ? + x FROM self LIMIT 1", values(&[40])), [41]);
    let named = Params::default().with_value("q", 3_i64.into());
    assert_eq!(
        rows("SELECT x FROM self WHERE x = $q OR x = $q + 1", named),
        [3, 4]
    );
    let list = ScalarValue::new_list_nullable(&[1_i64.into(), 5_i64.into()], &DataType::Int64);
    let listed = Params::default().with_value("ids", ScalarValue::List(list));
    assert_eq!(
        rows("SELECT x FROM self WHERE array_has($ids, x)", listed),
        [1, 5]
    );
    let none = Params::default().with_value("q", ScalarValue::Null);
    assert!(rows("SELECT x FROM self WHERE x = $q", none).is_empty());

    let missing = refusal(&connection, "SELECT x FROM self WHERE x = $q", values(&[1]));
    assert!(
        missing.contains("$q") && missing.contains("1 value"),
        "{missing}"
    );
    let unused = refusal(
        &connection,
        "SELECT x FROM self WHERE x = ?",
        values(&[1, 2]),
    );
    assert!(unused.contains("$2"), "{unused}");
    let missing = refusal(
        &connection,
        "SELECT x FROM self WHERE x = ?",
        Params::default(),
    );
    assert!(
        missing.contains("$1") && missing.contains("none"),
        "{missing}"
    );
}

#[test]
fn a_vector_is_a_value_of_its_own_type() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = store(dir.path(), &[("x", &[1])]);
    let connection = Connection::over(&store, options()).expect("a connection");
    let item = Arc::new(Field::new_list_field(DataType::Float32, true));
    let values = Arc::new(Float32Array::from(vec![0.5, 1.5]));
    let vector = FixedSizeListArray::new(item, 2, values, None);
    let vector = ScalarValue::FixedSizeList(Arc::new(vector));
    let query = connection.sql(
        "SELECT $q AS q FROM self",
        Params::default().with_value("q", vector),
    );
    let result = query.expect("planned").collect().expect("rows");
    let found = result.batches[0].column(0).as_fixed_size_list().clone();
    assert_eq!(found.value_type(), DataType::Float32);
    assert_eq!(found.value_length(), 2);
}

#[test]
fn tables_come_with_a_query_or_stay_with_the_connection() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = store(dir.path(), &[("x", &[1, 2, 3])]);
    let connection = Connection::over(&store, options()).expect("a connection");
    let batch = |values: Vec<i64>| {
        let column: arrow::array::ArrayRef = Arc::new(arrow::array::Int64Array::from(values));
        RecordBatch::try_from_iter([("x", column)]).expect("a batch")
    };
    let given = batch(vec![3, 4]);
    let params = Params::default()
        .with_batches("df", given.schema(), vec![given])
        .expect("a table");
    let query = connection.sql("SELECT x FROM self JOIN df USING (x)", params);
    assert_eq!(
        integers(&query.expect("planned").collect().expect("rows")),
        [3]
    );
    let gone = refusal(&connection, "SELECT * FROM df", Params::default());
    assert!(gone.contains("not found"), "{gone}");
    let kept = batch(vec![2]);
    connection
        .register_batches("df", kept.schema(), vec![kept])
        .expect("a table");
    assert_eq!(
        ask(&connection, "SELECT x FROM self JOIN df USING (x)"),
        [2]
    );
}

#[test]
fn files_and_other_stores_are_tables_where_access_is_on() {
    let dir = directory();
    let train = dir.path().join("train.npk");
    let store = store(&dir.path().join("labels.npk"), &[]);
    let connection = Connection::over(&store, options()).expect("a connection");
    let at = |sql: &str| sql.replace("PATH", &train.display().to_string());
    let read = at("SELECT id FROM self JOIN read_numpack('PATH') USING (label) ORDER BY id");
    assert_eq!(ask(&connection, &read), [0, 1, 2, 3]);
    let one = at("SELECT * FROM read_numpack('PATH', 'label') LIMIT 1");
    let query = connection.sql(&one, Params::default()).expect("planned");
    assert_eq!(query.schema().fields().len(), 2);
    let create = at("CREATE EXTERNAL TABLE t STORED AS NUMPACK LOCATION 'PATH'");
    assert!(ask(&connection, &create).is_empty());
    assert_eq!(ask(&connection, "SELECT sum(id) FROM t"), [6]);
    assert!(refusal(&connection, &create, Params::default()).contains("exists"));
    let twice = at("CREATE EXTERNAL TABLE IF NOT EXISTS t STORED AS NUMPACK LOCATION 'PATH'");
    assert!(ask(&connection, &twice).is_empty());
    let csv = dir.path().join("codes.csv");
    std::fs::write(&csv, "label,name\n7,seven\n8,eight\n").expect("a file");
    let create = format!(
        "CREATE EXTERNAL TABLE names STORED AS CSV LOCATION '{}' OPTIONS ('format.has_header' 'true')",
        csv.display()
    );
    assert!(ask(&connection, &create).is_empty());
    assert_eq!(
        ask(
            &connection,
            "SELECT count(*) FROM self JOIN names USING (label)"
        ),
        [2]
    );

    for (sql, part) in [
        ("SELECT * FROM read_numpack()", "read_numpack takes"),
        ("SELECT * FROM read_numpack(3)", "quotes"),
        ("SELECT * FROM read_numpack('/nowhere.npk')", "/nowhere.npk"),
        (
            "CREATE EXTERNAL TABLE u STORED AS NUMPACK LOCATION '/nowhere.npk'",
            "/nowhere.npk",
        ),
        (
            "CREATE EXTERNAL TABLE u (a INT) STORED AS NUMPACK LOCATION 'x'",
            "declared",
        ),
        (
            "CREATE EXTERNAL TABLE u STORED AS HDF5 LOCATION 'x'",
            "NUMPACK",
        ),
    ] {
        let error = refusal(&connection, sql, Params::default());
        assert!(error.contains(part), "{sql}: {error}");
    }
}

#[test]
fn without_access_nothing_outside_is_reached() {
    let dir = directory();
    let outside = tempfile::tempdir().expect("a directory");
    let path = outside.path().join("other.npk");
    store(&path, &[("x", &[1])]).close().expect("closed");
    let connection = Connection::over_directory(dir.path(), options().with_external_access(false));
    let connection = connection.expect("a connection");
    assert_eq!(ask(&connection, "SELECT count(*) FROM train"), [4]);
    for sql in [
        "SELECT * FROM read_numpack('PATH')",
        "SELECT * FROM train WHERE id IN (SELECT x FROM read_numpack('PATH', 'x'))",
        "CREATE EXTERNAL TABLE t STORED AS NUMPACK LOCATION 'PATH'",
        "CREATE EXTERNAL TABLE t STORED AS CSV LOCATION 'PATH'",
    ] {
        let sql = sql.replace("PATH", &path.display().to_string());
        let error = connection.sql(&sql, Params::default()).expect_err(&sql);
        assert!(matches!(error, SqlError::NoAccess { .. }), "{sql}: {error}");
        assert!(error.to_string().contains("external_access"), "{error}");
    }
}

#[test]
fn a_sort_beyond_the_memory_limit_goes_on_on_disk() {
    let dir = tempfile::tempdir().expect("a directory");
    let values: Vec<i64> = (0..1_000_000).map(|i| i * 7_919 % 1_000_003).collect();
    let store = store(dir.path(), &[("x", &values)]);
    let limited = options()
        .with_memory_limit(4 << 20)
        .with_threads(NonZeroUsize::new(2).expect("two"));
    let connection = Connection::over(&store, limited).expect("a connection");
    let sql = "SELECT x FROM self ORDER BY x";
    let query = connection.sql(sql, Params::default()).expect("planned");
    let mut expected = values;
    expected.sort_unstable();
    assert_eq!(integers(&query.collect().expect("rows")), expected);
    let analyzed = query.explain(true).expect("a plan");
    let spills = analyzed
        .split("spill_count=")
        .nth(1)
        .expect("a sort says so");
    assert!(!spills.starts_with('0'), "{analyzed}");

    let hopeless = Connection::over(&store, options().with_memory_limit(1000));
    let query = hopeless.expect("a connection").sql(sql, Params::default());
    let error = query.expect("planned").collect().expect_err("no memory");
    assert!(error.to_string().contains("Resources exhausted"), "{error}");
}

#[test]
fn rows_that_nobody_reads_are_not_computed() {
    let dir = tempfile::tempdir().expect("a directory");
    let values: Vec<i64> = (0..4000).collect();
    let store = store(dir.path(), &[("x", &values)]);
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    let interrupt = Arc::new(move || counter.fetch_add(1, Ordering::Relaxed) > 1);
    let connection = Connection::over(&store, options().with_interrupt(interrupt));
    let connection = connection.expect("a connection");
    // 64 thousand million rows: only a query that is stopped ends.
    let endless =
        "SELECT a.x FROM self a CROSS JOIN self b CROSS JOIN self c WHERE a.x + b.x + c.x < 0";
    let query = connection.sql(endless, Params::default()).expect("planned");
    let mut rows = query.rows().expect("started");
    let error = rows.next().expect("an item").expect_err("interrupted");
    assert!(matches!(error, SqlError::Interrupted), "{error}");
    assert!(rows.next().is_none());
    assert!(asked.load(Ordering::Relaxed) > 1);

    let patient = Connection::over(&store, options()).expect("a connection");
    let all = "SELECT a.x FROM self a CROSS JOIN self b CROSS JOIN self c";
    let query = patient.sql(all, Params::default()).expect("planned");
    let mut rows = query.rows().expect("started");
    assert!(rows.next().expect("an item").expect("a batch").num_rows() > 0);
    drop(rows);
}

#[tokio::test]
async fn a_stream_is_a_stream_of_the_callers_runtime() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = store(dir.path(), &[("x", &[1, 2, 3])]);
    let connection = Connection::over(&store, options()).expect("a connection");
    let query = connection
        .query("SELECT x FROM self", Params::default())
        .await;
    let query = query.expect("planned");
    let batches: Vec<_> = futures::StreamExt::collect(query.stream().await.expect("started")).await;
    assert_eq!(batches.len(), 1);
    assert!(matches!(query.rows(), Err(SqlError::InsideRuntime)));
}

#[tokio::test]
async fn a_session_of_ours_knows_what_sql_names() {
    let dir = directory();
    let path = dir.path().join("train.npk");
    let sql = format!("SELECT id FROM read_numpack('{}')", path.display());
    let rows = session().sql(&sql).await.expect("planned").count().await;
    assert_eq!(rows.expect("rows"), 4);
}
