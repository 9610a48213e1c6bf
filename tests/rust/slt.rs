//! Runs sql/**/*.slt, each file as a test of its own. sql/README.md says what a file looks like.
mod store;

use std::fmt;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Schema};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use numpack::Store;
use numpack::datafusion::{Connection, ConnectionOptions, Params, QueryResult, SqlError};
use sqllogictest::{DB, DBOutput, DefaultColumnType, Runner};
use tempfile::TempDir;

use self::store::{FixtureError, change_store, new_directory, new_store};

/// Of every query.
const THREADS: NonZeroUsize = NonZeroUsize::new(2).unwrap();

/// One test a file, and one that no file is forgotten.
macro_rules! files {
    ($($name:ident: $file:literal,)*) => {
        $(#[test] fn $name() { run($file); })*

        #[test]
        fn every_file_is_run() {
            let listed = [$($file),*];
            let found = numpack_tests::files("sql", "slt");
            let found = found.iter().map(|file| file.strip_prefix(sql()).expect("below sql/"));
            let found: Vec<_> = found.map(|file| file.to_str().expect("a plain name")).collect();
            assert!(found.len() >= 8, "only {found:?}");
            assert_eq!(found, listed);
        }
    };
}

files! {
    catalog: "catalog.slt",
    changes_delete: "changes/delete.slt",
    changes_insert: "changes/insert.slt",
    changes_prepare: "changes/prepare.slt",
    changes_tables: "changes/tables.slt",
    changes_update: "changes/update.slt",
    changes_views: "changes/views.slt",
    complex: "complex.slt",
    deleted_rows: "deleted_rows.slt",
    errors: "errors.slt",
    explain_bounds: "explain/bounds.slt",
    explain_filters: "explain/filters.slt",
    explain_partitions: "explain/partitions.slt",
    explain_scan: "explain/scan.slt",
    explain_vectors: "explain/vectors.slt",
    filters: "filters.slt",
    item: "item.slt",
    limit: "limit.slt",
    projection: "projection.slt",
    row_id: "row_id.slt",
    row_ranges: "row_ranges.slt",
    select: "select.slt",
    types: "types.slt",
    vectors: "vectors.slt",
}

fn sql() -> PathBuf {
    numpack_tests::root().join("sql")
}

fn run(file: &str) {
    let mut runner = Runner::new(|| async { Ok(Database::default()) });
    runner.with_column_validator(sqllogictest::strict_column_validator);
    if let Err(error) = runner.run_file(sql().join(file)) {
        panic!("{}", error.display(false));
    }
}

/// What a file has made last.
#[derive(Default)]
struct Database {
    current: Option<Fixture>,
}

/// A connection, the one store that it is over, and the directory that all lies in.
struct Fixture {
    connection: Connection,
    store: Option<Store>,
    _dir: TempDir,
}

#[derive(Debug)]
enum Failure {
    Sql(SqlError),
    Fixture(FixtureError),
    NoStore,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sql(error) => error.fmt(f),
            Self::Fixture(error) => error.fmt(f),
            Self::NoStore => f.write_str("the file makes no store before its first query"),
        }
    }
}

impl std::error::Error for Failure {}

impl DB for Database {
    type Error = Failure;
    type ColumnType = DefaultColumnType;

    fn run(&mut self, sql: &str) -> Result<DBOutput<DefaultColumnType>, Failure> {
        // Plans are the same on every machine.
        let options = ConnectionOptions::default().with_threads(THREADS);
        if let Some(declaration) = sql.strip_prefix("new store") {
            let (dir, store) = new_store(declaration).map_err(Failure::Fixture)?;
            self.current = Some(Fixture {
                connection: Connection::over(&store, options).map_err(Failure::Sql)?,
                store: Some(store),
                _dir: dir,
            });
            return Ok(DBOutput::StatementComplete(0));
        }
        if let Some(declaration) = sql.strip_prefix("new directory") {
            let dir = new_directory(declaration).map_err(Failure::Fixture)?;
            let connection = Connection::over_directory(dir.path(), options);
            self.current = Some(Fixture {
                connection: connection.map_err(Failure::Sql)?,
                store: None,
                _dir: dir,
            });
            return Ok(DBOutput::StatementComplete(0));
        }
        let current = self.current.as_ref().ok_or(Failure::NoStore)?;
        if let Some(declaration) = sql.strip_prefix("change store") {
            let store = current.store.as_ref().ok_or(Failure::NoStore)?;
            change_store(store, declaration).map_err(Failure::Fixture)?;
            return Ok(DBOutput::StatementComplete(0));
        }
        let query = current.connection.sql(sql, Params::default());
        let result = query.and_then(|query| query.collect());
        let result = result.map_err(Failure::Sql)?;
        Ok(if is_plan(&result.schema) {
            plan(&result)
        } else {
            rows(&result)
        })
    }
}

fn is_plan(schema: &Schema) -> bool {
    schema.fields().len() == 2 && schema.field(0).name() == "plan_type"
}

/// The physical plan, one line a row, two dashes for each level.
fn plan(result: &QueryResult) -> DBOutput<DefaultColumnType> {
    let cells = result.batches.iter().flat_map(cells);
    let physical = cells.filter(|row| row[0] == "physical_plan");
    let lines = physical.flat_map(|row| row[1].lines().map(str::to_owned).collect::<Vec<_>>());
    let rows = lines.map(|line| {
        let text = line.trim_start();
        vec![format!("{}{text}", "-".repeat(line.len() - text.len()))]
    });
    DBOutput::Rows {
        types: vec![DefaultColumnType::Text],
        rows: rows.collect(),
    }
}

fn rows(result: &QueryResult) -> DBOutput<DefaultColumnType> {
    let types = result
        .schema
        .fields()
        .iter()
        .map(|field| match field.data_type() {
            DataType::Float16 | DataType::Float32 | DataType::Float64 => {
                DefaultColumnType::FloatingPoint
            }
            number if number.is_integer() => DefaultColumnType::Integer,
            _ => DefaultColumnType::Text,
        });
    let types = types.collect();
    DBOutput::Rows {
        types,
        rows: result.batches.iter().flat_map(cells).collect(),
    }
}

/// The texts of a batch, row by row.
fn cells(batch: &RecordBatch) -> Vec<Vec<String>> {
    let options = FormatOptions::default().with_null("NULL");
    let columns: Vec<ArrayFormatter<'_>> = batch
        .columns()
        .iter()
        .map(|column| ArrayFormatter::try_new(column.as_ref(), &options).expect("a printable type"))
        .collect();
    (0..batch.num_rows())
        .map(|row| {
            columns
                .iter()
                .map(|column| column.value(row).to_string())
                .collect()
        })
        .collect()
}
