use std::path::Path;
use std::sync::Arc;

use datafusion::catalog::{TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::{Result as DataFusionResult, ScalarValue};
use datafusion::logical_expr::Expr;

use crate::error::{Result, SqlError};
use crate::reach::Reach;
use crate::table::NumPackTable;

/// Name of the table function [`ReadNumPack`].
pub const READ_NUMPACK: &str = "read_numpack";

/// `read_numpack('path'[, 'array', ...])`: a store, or some of its arrays, as a table.
///
/// [`register`](crate::register) makes it known to a session. The store is opened for reading, and
/// a path that is not absolute starts at the working directory of the process.
#[derive(Debug)]
pub struct ReadNumPack;

impl TableFunctionImpl for ReadNumPack {
    fn call_with_args(
        &self,
        args: TableFunctionArgs<'_, '_>,
    ) -> DataFusionResult<Arc<dyn TableProvider>> {
        let mut texts = args.exprs().iter().map(text).collect::<Result<Vec<_>>>()?;
        if texts.is_empty() {
            return Err(SqlError::Usage(
                "read_numpack takes the path of a store, and names of arrays: \
                 read_numpack('train.npk', 'emb')"
                    .to_owned(),
            )
            .into());
        }
        let path = texts.remove(0);
        let session = args.session();
        Reach::outside(session, || format!("read_numpack('{path}')"))?;
        let table = NumPackTable::open_arrays(Path::new(&path), &texts)?;
        Ok(Reach::at_instant(session, table)?)
    }
}

fn text(expr: &Expr) -> Result<String> {
    match expr {
        Expr::Literal(
            ScalarValue::Utf8(Some(text))
            | ScalarValue::LargeUtf8(Some(text))
            | ScalarValue::Utf8View(Some(text)),
            _,
        ) => Ok(text.clone()),
        other => Err(SqlError::Usage(format!(
            "read_numpack takes texts in quotes, not {other}"
        ))),
    }
}
