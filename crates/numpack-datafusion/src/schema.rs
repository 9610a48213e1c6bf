use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::{SchemaProvider, TableProvider};
use datafusion::common::Result as DataFusionResult;
use datafusion::logical_expr::TableType;
use numpack_engine::{Mode, Options};

use crate::directory::Directory;
use crate::error::Result;
use crate::table::NumPackTable;

/// A directory of stores as a DataFusion schema: each store right below it is a table, named like
/// its directory without `.npk`.
///
/// The tables are live: stores that come and go come and go as tables, and each scan sees its store
/// as it is then.
///
/// ```
/// use std::sync::Arc;
/// use datafusion::prelude::SessionContext;
/// use numpack_datafusion::NumPackSchema;
/// # use numpack_engine::{Options, Store};
/// # use numpack_format::{ArrayMeta, DType};
/// # let dir = std::env::temp_dir().join(format!("numpack-schema-doc-{}", std::process::id()));
/// # let store = Store::open(&dir.join("train.npk"), &Options::default())?;
/// # let mut change = store.begin()?;
/// # change.put("id", &ArrayMeta::new(DType::UInt8, &[2])?, &mut [3u8, 1].as_slice())?;
/// # change.commit()?;
/// # store.close()?;
/// # let runtime = tokio::runtime::Builder::new_current_thread().build()?;
/// # runtime.block_on(async {
/// let ctx = SessionContext::new();
/// let schema = NumPackSchema::open(&dir)?; // holds train.npk
/// ctx.catalog("datafusion").unwrap().register_schema("stores", Arc::new(schema))?;
/// let ids = ctx.sql("SELECT id FROM stores.train").await?.count().await?;
/// assert_eq!(ids, 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # std::fs::remove_dir_all(&dir)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct NumPackSchema {
    directory: Directory,
}

impl NumPackSchema {
    /// The stores below `path`, opened for reading when they are first named.
    ///
    /// # Errors
    /// [`Error::Io`](numpack_engine::Error::Io) for a directory that cannot be read.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(path, Options::default().with_mode(Mode::Read))
    }

    /// As [`NumPackSchema::open`], with the options that its stores are opened with.
    ///
    /// # Errors
    /// As for [`NumPackSchema::open`].
    pub fn open_with(path: impl AsRef<Path>, options: Options) -> Result<Self> {
        Ok(Self {
            directory: Directory::open(path.as_ref(), options)?,
        })
    }
}

#[async_trait]
impl SchemaProvider for NumPackSchema {
    fn table_names(&self) -> Vec<String> {
        // The trait has no way to say that the directory is gone; naming a table does.
        self.directory.tables().unwrap_or_default()
    }

    async fn table(&self, name: &str) -> DataFusionResult<Option<Arc<dyn TableProvider>>> {
        let Some(store) = self.directory.store(name)? else {
            return Ok(None);
        };
        Ok(Some(Arc::new(NumPackTable::all(&store)?)))
    }

    async fn table_type(&self, name: &str) -> DataFusionResult<Option<TableType>> {
        Ok(self.table_exist(name).then_some(TableType::Base))
    }

    fn table_exist(&self, name: &str) -> bool {
        self.directory.store_name(name).is_some()
    }
}
