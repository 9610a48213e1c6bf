use std::collections::HashSet;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use numpack_arrow::{ArrowOptions, ArrowType};
use numpack_engine::{ArraySnapshot, Snapshot};

use crate::error::{Result, SqlError};

/// Name of the column that holds the position of each row: Int64, counted from 0 over live rows.
pub const ROW_ID: &str = "row_id";

/// Name of the one column of an array's own table.
const VALUE: &str = "value";

/// How arrays become columns: bools are packed, since DataFusion's Boolean is made of bits.
pub(crate) const COLUMNS: ArrowOptions = ArrowOptions {
    zero_copy_only: false,
    bool8: false,
};

/// Arrays of one instant and one length as columns, and `row_id` behind them.
#[derive(Debug)]
pub(crate) struct Relation {
    arrays: Vec<ArraySnapshot>,
    schema: SchemaRef,
    rows: u64,
}

impl Relation {
    /// A relation of `arrays`, in this order.
    pub(crate) fn new(arrays: &[ArraySnapshot]) -> Result<Self> {
        let names = arrays.iter().map(|array| array.name().as_str());
        Self::named(arrays, names)
    }

    /// A relation of all arrays of a snapshot that have rows.
    pub(crate) fn all(snapshot: &Snapshot) -> Result<Self> {
        let arrays = snapshot.arrays().iter().filter(|array| array.ndim() > 0);
        Self::new(&arrays.cloned().collect::<Vec<_>>())
    }

    /// The relation of one array alone, whose column is called `value`.
    pub(crate) fn of_array(array: &ArraySnapshot) -> Result<Self> {
        Self::named(std::slice::from_ref(array), [VALUE])
    }

    fn named<'a>(
        arrays: &[ArraySnapshot],
        names: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self> {
        let mut fields = Vec::with_capacity(arrays.len() + 1);
        let mut seen = HashSet::new();
        for (array, column) in arrays.iter().zip(names) {
            let name = array.name().as_str();
            if array.ndim() == 0 {
                return Err(SqlError::NoRows {
                    name: name.to_owned(),
                });
            }
            if !seen.insert(name) {
                return Err(SqlError::NamedTwice {
                    name: name.to_owned(),
                });
            }
            let arrow = ArrowType::new(name, array.dtype(), &array.shape(), &COLUMNS)?;
            fields.push(arrow.field(column));
        }
        if !seen.contains(ROW_ID) {
            fields.push(Field::new(ROW_ID, DataType::Int64, false));
        }
        Ok(Self {
            rows: common_rows(arrays)?,
            arrays: arrays.to_vec(),
            schema: Arc::new(Schema::new(fields)),
        })
    }

    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    /// The arrays, which are the first columns.
    pub(crate) fn arrays(&self) -> &[ArraySnapshot] {
        &self.arrays
    }

    /// The relation with the position of each row once more, as its last column.
    pub(crate) fn with_position(&self, name: &str) -> Self {
        Self {
            arrays: self.arrays.clone(),
            schema: schema_with_position(&self.schema, name),
            rows: self.rows,
        }
    }

    /// The array behind a column; None for `row_id`.
    pub(crate) fn array(&self, column: usize) -> Option<&ArraySnapshot> {
        self.arrays.get(column)
    }

    /// Fails unless the columns are still those of `schema`, which a table was made with.
    pub(crate) fn expect_schema(&self, schema: &SchemaRef) -> Result<()> {
        for (expected, found) in schema.fields().iter().zip(self.schema.fields()) {
            if expected != found {
                return Err(SqlError::Changed {
                    name: expected.name().clone(),
                    expected: expected.data_type().to_string(),
                    found: found.data_type().to_string(),
                });
            }
        }
        Ok(())
    }
}

/// A schema with the position of each row as its last column.
pub(crate) fn schema_with_position(schema: &SchemaRef, name: &str) -> SchemaRef {
    let fields = schema.fields().iter().cloned();
    let position = Arc::new(Field::new(name, DataType::Int64, false));
    Arc::new(Schema::new(fields.chain([position]).collect::<Vec<_>>()))
}

/// The number of rows that all arrays have.
fn common_rows(arrays: &[ArraySnapshot]) -> Result<u64> {
    let rows = arrays.first().map_or(0, ArraySnapshot::rows);
    if arrays.iter().all(|array| array.rows() == rows) {
        return Ok(rows);
    }
    let lengths = arrays
        .iter()
        .map(|array| format!("\"{}\" {}", array.name(), array.rows()));
    let of_length = |rows: u64| arrays.iter().filter(move |array| array.rows() == rows);
    let most = arrays
        .iter()
        .rev()
        .max_by_key(|array| of_length(array.rows()).count())
        .map_or(rows, ArraySnapshot::rows);
    let together = of_length(most).map(|array| format!("'{}'", array.name()));
    Err(SqlError::UnequalRows {
        lengths: lengths.collect::<Vec<_>>().join(", "),
        together: together.collect::<Vec<_>>().join(", "),
    })
}
