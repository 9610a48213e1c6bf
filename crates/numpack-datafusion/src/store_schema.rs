use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use datafusion::catalog::{
    CatalogProvider, CatalogProviderList, MemoryCatalogProvider, MemoryCatalogProviderList,
    SchemaProvider, TableProvider,
};
use datafusion::common::Result as DataFusionResult;
use datafusion::logical_expr::TableType;
use numpack_engine::{Snapshot, Store};

use crate::error::{Result, SqlError};
use crate::relation::Relation;
use crate::session::{CATALOG, SCHEMA};
use crate::table::NumPackTable;

/// What a query calls the store that it runs over.
const SELF: &str = "self";

/// The tables of one query over one store, all of the same instant: `self` is the store, and each
/// array is a table `name(value, row_id)`.
#[derive(Debug)]
pub(crate) struct StoreSchema {
    store: Store,
    /// The arrays that the query may see; all of them when it is None.
    only: Option<Vec<String>>,
    /// Taken when the query names its first table.
    snapshot: OnceLock<Snapshot>,
}

impl StoreSchema {
    /// A list of catalogs that holds the tables of `store`, or of these arrays of it, and nothing
    /// else.
    pub(crate) fn catalogs(
        store: &Store,
        only: Option<Vec<String>>,
    ) -> DataFusionResult<Arc<dyn CatalogProviderList>> {
        let schema = Self {
            store: store.clone(),
            only,
            snapshot: OnceLock::new(),
        };
        let catalog = MemoryCatalogProvider::new();
        catalog.register_schema(SCHEMA, Arc::new(schema))?;
        let catalogs = MemoryCatalogProviderList::new();
        catalogs.register_catalog(CATALOG.to_owned(), Arc::new(catalog));
        Ok(Arc::new(catalogs))
    }

    fn snapshot(&self) -> Result<&Snapshot> {
        if let Some(snapshot) = self.snapshot.get() {
            return Ok(snapshot);
        }
        let snapshot = match &self.only {
            None => self.store.snapshot_all()?,
            Some(names) => {
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                self.store.snapshot(&names)?
            }
        };
        Ok(self.snapshot.get_or_init(|| snapshot))
    }

    fn relation(&self, name: &str) -> Result<Option<Relation>> {
        let snapshot = self.snapshot()?;
        if name == SELF {
            return Relation::all(snapshot).map(Some);
        }
        let array = snapshot.get(name).filter(|array| array.ndim() > 0);
        array.map(Relation::of_array).transpose()
    }
}

#[async_trait]
impl SchemaProvider for StoreSchema {
    fn table_names(&self) -> Vec<String> {
        let arrays = self.snapshot().map_or(&[][..], Snapshot::arrays);
        let arrays = arrays.iter().filter(|array| array.ndim() > 0);
        let names = arrays.map(|array| array.name().to_string());
        let names = names.filter(|name| name != SELF);
        std::iter::once(SELF.to_owned()).chain(names).collect()
    }

    async fn table(&self, name: &str) -> DataFusionResult<Option<Arc<dyn TableProvider>>> {
        let relation = self.relation(name)?;
        Ok(relation.map(|relation| Arc::new(NumPackTable::instant(relation)) as _))
    }

    /// Without looking at the arrays: SHOW TABLES also works where `self` is not a relation.
    async fn table_type(&self, name: &str) -> DataFusionResult<Option<TableType>> {
        Ok(self.table_exist(name).then_some(TableType::Base))
    }

    fn table_exist(&self, name: &str) -> bool {
        let exists = |snapshot: &Snapshot| snapshot.get(name).is_some_and(|a| a.ndim() > 0);
        name == SELF || self.snapshot().is_ok_and(exists)
    }

    fn register_table(
        &self,
        name: String,
        _table: Arc<dyn TableProvider>,
    ) -> DataFusionResult<Option<Arc<dyn TableProvider>>> {
        Err(SqlError::NotAQuery {
            statement: format!("CREATE TABLE {name}"),
        }
        .into())
    }
}
