use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{DFSchemaRef, Result as DataFusionResult, Statistics, not_impl_err};
use datafusion::datasource::source::{DataSource, DataSourceExec};
use datafusion::logical_expr::dml::{InsertOp, MergeIntoClause};
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use numpack_engine::{Mode, Options, Snapshot, Store};

use crate::error::Result;
use crate::instants::Instants;
use crate::relation::Relation;
use crate::source::NumPackSource;

/// A store, or some of its arrays, as a DataFusion table.
///
/// Columns are the arrays in member order, then `row_id`; 0-d arrays are not part of it. A table
/// over a store is live: each scan takes one snapshot of all its columns. A table over a snapshot
/// shows that instant for ever.
///
/// ```
/// use datafusion::prelude::SessionContext;
/// use numpack_datafusion::NumPackTable;
/// # use numpack_engine::{Options, Store};
/// # use numpack_format::{ArrayMeta, DType, Shape};
/// # let dir = std::env::temp_dir().join(format!("numpack-table-doc-{}", std::process::id()));
/// # let store = Store::open(&dir, &Options::default())?;
/// # let meta = ArrayMeta { dtype: DType::UInt8, shape: Shape::new(&[4], DType::UInt8)? };
/// # let mut change = store.begin()?;
/// # change.put("label", &meta, &mut [3u8, 1, 3, 2].as_slice())?;
/// # change.commit()?;
/// # store.close()?;
/// # let runtime = tokio::runtime::Builder::new_current_thread().build()?;
/// # runtime.block_on(async {
/// let ctx = SessionContext::new();
/// ctx.register_table("train", NumPackTable::open(&dir)?)?;
/// let rows = ctx.sql("SELECT label, count(*) FROM train GROUP BY label").await?.count().await?;
/// assert_eq!(rows, 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # std::fs::remove_dir_all(&dir)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct NumPackTable {
    origin: Origin,
    schema: SchemaRef,
}

/// Where a scan gets its arrays from.
#[derive(Debug)]
enum Origin {
    /// From a snapshot of these arrays, taken anew by each scan.
    Store { store: Store, names: Vec<String> },
    /// From one instant, of a store where the table knows it.
    Instant {
        relation: Arc<Relation>,
        store: Option<Store>,
    },
}

impl NumPackTable {
    /// All arrays of the store at `path`, opened for reading.
    ///
    /// # Errors
    /// What [`Store::open`] and [`NumPackTable::all`] report.
    pub fn open(path: impl AsRef<Path>) -> Result<Arc<Self>> {
        Self::open_arrays(path, &[])
    }

    /// These arrays of the store at `path`, in this order, or all of them where none is named.
    pub(crate) fn open_arrays(path: impl AsRef<Path>, names: &[String]) -> Result<Arc<Self>> {
        let store = Store::open(path.as_ref(), &Options::default().with_mode(Mode::Read))?;
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        Ok(Arc::new(if names.is_empty() {
            Self::all(&store)?
        } else {
            Self::new(&store, &names)?
        }))
    }

    /// All arrays that a store has now, in member order. Arrays added later are not in the table.
    ///
    /// # Errors
    /// [`SqlError::UnequalRows`](crate::SqlError::UnequalRows), and what the engine reports.
    pub fn all(store: &Store) -> Result<Self> {
        let relation = Relation::all(&store.snapshot_all()?)?;
        Ok(Self::live(store, &relation))
    }

    /// Some arrays of a store, in the order named.
    ///
    /// # Errors
    /// As for [`NumPackTable::all`]; also
    /// [`SqlError::NamedTwice`](crate::SqlError::NamedTwice) and
    /// [`SqlError::NoRows`](crate::SqlError::NoRows).
    pub fn new(store: &Store, names: &[&str]) -> Result<Self> {
        let relation = Relation::new(store.snapshot(names)?.arrays())?;
        Ok(Self::live(store, &relation))
    }

    /// All arrays of one instant.
    ///
    /// # Errors
    /// As for [`NumPackTable::all`].
    pub fn at(snapshot: &Snapshot) -> Result<Self> {
        Ok(Self::fixed(Relation::all(snapshot)?, None))
    }

    /// Arrays of one instant of `store`.
    pub(crate) fn instant(relation: Relation, store: &Store) -> Self {
        Self::fixed(relation, Some(store.clone()))
    }

    fn fixed(relation: Relation, store: Option<Store>) -> Self {
        Self {
            schema: Arc::clone(relation.schema()),
            origin: Origin::Instant {
                relation: Arc::new(relation),
                store,
            },
        }
    }

    /// The store that the table is of; None where it was made of a snapshot alone.
    pub fn store(&self) -> Option<&Store> {
        match &self.origin {
            Origin::Store { store, .. } => Some(store),
            Origin::Instant { store, .. } => store.as_ref(),
        }
    }

    /// A live table as it is at an instant; None for one that is of an instant already.
    pub(crate) fn instant_of(&self, instants: &Instants) -> Result<Option<Self>> {
        let Origin::Store { store, names } = &self.origin else {
            return Ok(None);
        };
        let snapshot = instants.of(store, None)?;
        let array = |name: &String| match snapshot.get(name) {
            Some(array) => Ok(array.clone()),
            None => Err(numpack_engine::Error::NotFound { name: name.clone() }),
        };
        let arrays = names
            .iter()
            .map(array)
            .collect::<numpack_engine::Result<Vec<_>>>()?;
        let relation = Relation::new(&arrays)?;
        relation.expect_schema(&self.schema)?;
        Ok(Some(Self::instant(relation, store)))
    }

    fn live(store: &Store, relation: &Relation) -> Self {
        let arrays = (0..).map_while(|column| relation.array(column));
        Self {
            schema: Arc::clone(relation.schema()),
            origin: Origin::Store {
                store: store.clone(),
                names: arrays.map(|array| array.name().to_string()).collect(),
            },
        }
    }

    /// What the next scan sees.
    fn relation(&self) -> Result<Arc<Relation>> {
        match &self.origin {
            Origin::Instant { relation, .. } => Ok(Arc::clone(relation)),
            Origin::Store { store, names } => {
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                let relation = Relation::new(store.snapshot(&names)?.arrays())?;
                relation.expect_schema(&self.schema)?;
                Ok(Arc::new(relation))
            }
        }
    }
}

/// Changes are refused whatever they are: what DataFusion hands these hooks is not enough to know
/// which rows a statement meant (a filter can arrive empty, or as that of a subquery).
fn refuse(verb: &str) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
    not_impl_err!("{verb} on a NumPack table: tables only read so far; change the store instead")
}

#[async_trait]
impl TableProvider for NumPackTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn statistics(&self) -> Option<Statistics> {
        let source = NumPackSource::new(self.relation().ok()?, None, None);
        source
            .partition_statistics(None)
            .ok()
            .map(Arc::unwrap_or_clone)
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        limit: Option<usize>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let source = NumPackSource::new(self.relation()?, projection, limit);
        Ok(DataSourceExec::from_data_source(source))
    }

    async fn insert_into(
        &self,
        _state: &dyn Session,
        _input: Arc<dyn ExecutionPlan>,
        _insert_op: InsertOp,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        refuse("INSERT")
    }

    async fn delete_from(
        &self,
        _state: &dyn Session,
        _filters: Vec<Expr>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        refuse("DELETE")
    }

    async fn update(
        &self,
        _state: &dyn Session,
        _assignments: Vec<(String, Expr)>,
        _filters: Vec<Expr>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        refuse("UPDATE")
    }

    async fn truncate(&self, _state: &dyn Session) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        refuse("TRUNCATE")
    }

    async fn merge_into(
        &self,
        _state: &dyn Session,
        _source: Arc<dyn ExecutionPlan>,
        _merge_schema: DFSchemaRef,
        _on: Expr,
        _clauses: Vec<MergeIntoClause>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        refuse("MERGE")
    }
}
