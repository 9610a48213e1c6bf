//! Runs sql/**/*.slt, each file as a test of its own. sql/README.md says what a file looks like.
mod store;

use std::fmt;
use std::path::PathBuf;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Schema};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use numpack::Store;
use numpack::datafusion::{QueryResult, SqlError, sql_collect};
use sqllogictest::{DB, DBOutput, DefaultColumnType, Runner};
use tempfile::TempDir;

use self::store::{FixtureError, change_store, new_store};

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
    complex: "complex.slt",
    deleted_rows: "deleted_rows.slt",
    errors: "errors.slt",
    explain_scan: "explain/scan.slt",
    explain_vectors: "explain/vectors.slt",
    limit: "limit.slt",
    projection: "projection.slt",
    row_id: "row_id.slt",
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

/// The store that a file has made, and the directory that it lies in.
#[derive(Default)]
struct Database {
    current: Option<(TempDir, Store)>,
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
        if let Some(declaration) = sql.strip_prefix("new store") {
            self.current = Some(new_store(declaration).map_err(Failure::Fixture)?);
            return Ok(DBOutput::StatementComplete(0));
        }
        let (_, store) = self.current.as_ref().ok_or(Failure::NoStore)?;
        if let Some(declaration) = sql.strip_prefix("change store") {
            change_store(store, declaration).map_err(Failure::Fixture)?;
            return Ok(DBOutput::StatementComplete(0));
        }
        let result = sql_collect(store, sql).map_err(Failure::Sql)?;
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
