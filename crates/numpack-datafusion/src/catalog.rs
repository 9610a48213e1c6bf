use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use datafusion::catalog::{CatalogProvider, SchemaProvider};
use numpack_engine::{Store, directories_in};

use crate::error::Result;
use crate::held::held;
use crate::schema::NumPackSchema;
use crate::session::SCHEMA;

/// A directory of directories of stores as a DataFusion catalog: each of them is a schema, and
/// `public` is the directory itself.
///
/// ```
/// use std::sync::Arc;
/// use datafusion::prelude::SessionContext;
/// use numpack_datafusion::NumPackCatalog;
/// # use numpack_engine::{Options, Store};
/// # use numpack_format::{ArrayMeta, DType};
/// # let dir = std::env::temp_dir().join(format!("numpack-catalog-doc-{}", std::process::id()));
/// # let store = Store::open(&dir.join("digits/train.npk"), &Options::default())?;
/// # let mut change = store.begin()?;
/// # change.put("id", &ArrayMeta::new(DType::UInt8, &[2])?, &mut [3u8, 1].as_slice())?;
/// # change.commit()?;
/// # store.close()?;
/// # let runtime = tokio::runtime::Builder::new_current_thread().build()?;
/// # runtime.block_on(async {
/// let ctx = SessionContext::new();
/// ctx.register_catalog("data", Arc::new(NumPackCatalog::open(&dir)?)); // holds digits/train.npk
/// let ids = ctx.sql("SELECT id FROM data.digits.train").await?.count().await?;
/// assert_eq!(ids, 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # std::fs::remove_dir_all(&dir)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct NumPackCatalog {
    path: PathBuf,
    schemas: Mutex<HashMap<String, Arc<NumPackSchema>>>,
}

impl NumPackCatalog {
    /// The directories below `path`, whose stores are opened for reading when they are first named.
    ///
    /// # Errors
    /// [`Error::Io`](numpack_engine::Error::Io) for a directory that cannot be read.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref().to_path_buf();
        directories_in(&path)?;
        Ok(Self {
            path,
            schemas: Mutex::default(),
        })
    }
}

impl CatalogProvider for NumPackCatalog {
    fn schema_names(&self) -> Vec<String> {
        let directories = directories_in(&self.path).unwrap_or_default();
        let is_schema = |name: &String| name != SCHEMA && !Store::exists(&self.path.join(name));
        let mut names = vec![SCHEMA.to_owned()];
        names.extend(directories.into_iter().filter(is_schema));
        names
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        if !self.schema_names().iter().any(|schema| schema == name) {
            return None;
        }
        let mut schemas = held(&self.schemas);
        if let Some(schema) = schemas.get(name) {
            return Some(Arc::clone(schema) as _);
        }
        let path = if name == SCHEMA {
            self.path.clone()
        } else {
            self.path.join(name)
        };
        let schema = Arc::new(NumPackSchema::open(path).ok()?);
        schemas.insert(name.to_owned(), Arc::clone(&schema));
        Some(schema)
    }
}
