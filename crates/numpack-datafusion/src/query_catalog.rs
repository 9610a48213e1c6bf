//! The tables that one query can name, all of one instant for each store.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::information_schema::{INFORMATION_SCHEMA, InformationSchemaProvider};
use datafusion::catalog::{
    CatalogProvider, CatalogProviderList, MemoryCatalogProviderList, SchemaProvider, TableProvider,
};
use datafusion::common::{DataFusionError, Result as DataFusionResult};
use datafusion::datasource::ViewTable;
use datafusion::logical_expr::TableType;
use numpack_engine::Snapshot;

use crate::error::{Result, SqlError};
use crate::instants::Instants;
use crate::relation::Relation;
use crate::session::{CATALOG, SCHEMA};
use crate::session_tables::SessionTables;
use crate::sources::{Source, Sources, array_tables};
use crate::table::{Live, NumPackTable};
use crate::views;

/// What a query sees.
#[derive(Clone, Debug)]
pub(crate) struct QueryCatalog {
    pub(crate) sources: Arc<Sources>,
    pub(crate) instants: Arc<Instants>,
    pub(crate) session: Arc<SessionTables>,
    /// Tables of this query alone.
    pub(crate) given: BTreeMap<String, Arc<dyn TableProvider>>,
    /// Whether a store that is not a relation is no table, rather than an error.
    pub(crate) lenient: bool,
}

impl QueryCatalog {
    /// A list of catalogs that holds this one and nothing else.
    pub(crate) fn alone(self) -> Arc<dyn CatalogProviderList> {
        let catalogs = MemoryCatalogProviderList::new();
        catalogs.register_catalog(CATALOG.to_owned(), Arc::new(self));
        Arc::new(catalogs)
    }

    fn snapshot(&self, source: &Source) -> Result<Snapshot> {
        self.instants.of(&source.store, source.only.as_deref())
    }

    /// The store that is the table `name`, as a relation.
    fn store_table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        let Some(source) = self.sources.store(name)? else {
            return Ok(None);
        };
        let relation = match Relation::all(&self.snapshot(&source)?) {
            Err(SqlError::UnequalRows { .. }) if self.lenient => return Ok(None),
            relation => relation?,
        };
        let live = Live::new(&source.store, &relation, false);
        Ok(Some(Arc::new(NumPackTable::instant(relation, live))))
    }

    /// An array of the store that is the table `of`, as a table of its own.
    fn array_table(&self, of: &str, array: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        let Some(source) = self.sources.store(of)? else {
            return Ok(None);
        };
        let snapshot = self.snapshot(&source)?;
        let Some(array) = snapshot.get(array).filter(|array| array.ndim() > 0) else {
            return Ok(None);
        };
        let relation = Relation::of_array(array)?;
        let live = Live::new(&source.store, &relation, true);
        Ok(Some(Arc::new(NumPackTable::instant(relation, live))))
    }

    /// None also where the store cannot be read: the traits have no way to say so, and naming a
    /// table of it does.
    fn arrays(&self, of: &str) -> Option<Snapshot> {
        let source = self.sources.store(of).ok().flatten()?;
        self.snapshot(&source).ok()
    }

    fn array_names(&self, of: &str) -> Vec<String> {
        let snapshot = self.arrays(of);
        snapshot.map_or_else(Vec::new, |snapshot| array_tables(&snapshot).collect())
    }

    fn has_array(&self, of: &str, name: &str) -> bool {
        let snapshot = self.arrays(of);
        snapshot.is_some_and(|snapshot| snapshot.get(name).is_some_and(|array| array.ndim() > 0))
    }
}

impl CatalogProvider for QueryCatalog {
    fn schema_names(&self) -> Vec<String> {
        let tables = self.sources.names().unwrap_or_default();
        let schemas = tables
            .iter()
            .map(|table| self.sources.arrays_schema(table).to_owned())
            .filter(|schema| schema != SCHEMA);
        std::iter::once(SCHEMA.to_owned()).chain(schemas).collect()
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        if name == SCHEMA {
            return Some(Arc::new(Tables(self.clone())));
        }
        if name == INFORMATION_SCHEMA {
            // It asks for every table there is, whatever the query is about.
            let described = Self {
                lenient: true,
                ..self.clone()
            };
            return Some(Arc::new(InformationSchemaProvider::new(described.alone())));
        }
        let table = self.sources.table_of_schema(name)?.to_owned();
        Some(Arc::new(Arrays {
            catalog: self.clone(),
            table,
        }))
    }
}

/// The schema that plain names are looked up in. The first that has a name wins: tables given to the
/// query, tables of the connection, stores, arrays.
#[derive(Debug)]
struct Tables(QueryCatalog);

impl Tables {
    fn named(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        let Self(catalog) = self;
        let kept = || catalog.session.get(name);
        if let Some(table) = catalog.given.get(name).map(Arc::clone).or_else(kept) {
            return at_instant(table, &catalog.instants).map(Some);
        }
        if let Some(table) = catalog.store_table(name)? {
            return Ok(Some(table));
        }
        match catalog.sources.arrays_beside() {
            Some(store) => catalog.array_table(store, name),
            None => Ok(None),
        }
    }
}

/// A live table of ours, or a view over some, as this query sees it; others as they are.
fn at_instant(
    table: Arc<dyn TableProvider>,
    instants: &Instants,
) -> Result<Arc<dyn TableProvider>> {
    if let Some(view) = table.downcast_ref::<ViewTable>() {
        return Ok(Arc::new(views::at_instant(view, instants)?));
    }
    match table.downcast_ref::<NumPackTable>() {
        Some(ours) => match ours.instant_of(instants)? {
            Some(instant) => Ok(Arc::new(instant)),
            None => Ok(table),
        },
        None => Ok(table),
    }
}

#[async_trait]
impl SchemaProvider for Tables {
    fn table_names(&self) -> Vec<String> {
        let Self(catalog) = self;
        let mut names: Vec<String> = catalog.given.keys().cloned().collect();
        names.extend(catalog.session.names());
        names.extend(catalog.sources.names().unwrap_or_default());
        if let Some(store) = catalog.sources.arrays_beside() {
            names.extend(catalog.array_names(store));
        }
        names.sort();
        names.dedup();
        names
    }

    async fn table(&self, name: &str) -> DataFusionResult<Option<Arc<dyn TableProvider>>> {
        self.named(name).map_err(DataFusionError::from)
    }

    /// Without looking at the arrays: SHOW TABLES also works where a store is not a relation.
    async fn table_type(&self, name: &str) -> DataFusionResult<Option<TableType>> {
        let Self(catalog) = self;
        if let Some(table) = catalog.session.get(name) {
            return Ok(Some(table.table_type()));
        }
        Ok(self.table_exist(name).then_some(TableType::Base))
    }

    fn table_exist(&self, name: &str) -> bool {
        let Self(catalog) = self;
        let beside = catalog.sources.arrays_beside();
        catalog.given.contains_key(name)
            || catalog.session.get(name).is_some()
            || catalog.sources.has(name)
            || beside.is_some_and(|store| catalog.has_array(store, name))
    }
}

/// The arrays of one store, each a table `name(value, row_id)`.
#[derive(Debug)]
struct Arrays {
    catalog: QueryCatalog,
    table: String,
}

#[async_trait]
impl SchemaProvider for Arrays {
    fn table_names(&self) -> Vec<String> {
        self.catalog.array_names(&self.table)
    }

    async fn table(&self, name: &str) -> DataFusionResult<Option<Arc<dyn TableProvider>>> {
        Ok(self.catalog.array_table(&self.table, name)?)
    }

    async fn table_type(&self, name: &str) -> DataFusionResult<Option<TableType>> {
        Ok(self.table_exist(name).then_some(TableType::Base))
    }

    fn table_exist(&self, name: &str) -> bool {
        self.catalog.has_array(&self.table, name)
    }
}
