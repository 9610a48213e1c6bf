use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{DFSchemaRef, Result as DataFusionResult, Statistics};
use datafusion::datasource::source::{DataSource, DataSourceExec};
use datafusion::logical_expr::dml::{InsertOp, MergeIntoClause};
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use numpack_engine::{Mode, Options, Snapshot, Store};

use crate::error::{Result, SqlError};
use crate::instants::Instants;
use crate::relation::{Relation, schema_with_position};
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
    /// From a snapshot taken anew by each scan.
    Store(Live),
    /// From one instant; of which store, if changes are to be possible.
    Instant {
        relation: Arc<Relation>,
        live: Option<Live>,
    },
}

/// What a table is, apart from any instant: arrays of a store.
#[derive(Clone, Debug)]
pub(crate) struct Live {
    store: Store,
    names: Vec<String>,
    /// One array alone, whose column is called `value`.
    alone: bool,
    /// A column with the position of each row behind the others, for statements that change rows.
    position: Option<String>,
}

impl Live {
    /// The arrays of a relation over `store`.
    pub(crate) fn new(store: &Store, relation: &Relation, alone: bool) -> Self {
        let names = relation
            .arrays()
            .iter()
            .map(|array| array.name().to_string());
        Self {
            store: store.clone(),
            names: names.collect(),
            alone,
            position: None,
        }
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// The arrays, which are the first columns of the table.
    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    fn snapshot(&self) -> Result<Snapshot> {
        let names: Vec<&str> = self.names.iter().map(String::as_str).collect();
        Ok(self.store.snapshot(&names)?)
    }

    /// The table at the instant of a snapshot with all its arrays.
    fn at(&self, snapshot: &Snapshot) -> Result<Relation> {
        let arrays = self.names.iter().map(|name| {
            let found = snapshot.get(name).cloned();
            found.ok_or_else(|| numpack_engine::Error::NotFound { name: name.clone() })
        });
        let arrays = arrays.collect::<std::result::Result<Vec<_>, _>>()?;
        let relation = match arrays.as_slice() {
            [array] if self.alone => Relation::of_array(array)?,
            arrays => Relation::new(arrays)?,
        };
        Ok(match &self.position {
            Some(name) => relation.with_position(name),
            None => relation,
        })
    }
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
        Ok(Self::live_of(store, &relation, false))
    }

    /// Some arrays of a store, in the order named.
    ///
    /// # Errors
    /// As for [`NumPackTable::all`]; also
    /// [`SqlError::NamedTwice`](crate::SqlError::NamedTwice) and
    /// [`SqlError::NoRows`](crate::SqlError::NoRows).
    pub fn new(store: &Store, names: &[&str]) -> Result<Self> {
        let relation = Relation::new(store.snapshot(names)?.arrays())?;
        Ok(Self::live_of(store, &relation, false))
    }

    /// All arrays of one instant.
    ///
    /// # Errors
    /// As for [`NumPackTable::all`].
    pub fn at(snapshot: &Snapshot) -> Result<Self> {
        Ok(Self::fixed(Relation::all(snapshot)?, None))
    }

    /// One array of a store alone, as the table `(value, row_id)`. Statements that change it touch
    /// no other array.
    ///
    /// # Errors
    /// As for [`NumPackTable::new`].
    pub fn of_array(store: &Store, name: &str) -> Result<Self> {
        let relation = Relation::of_array(&store.array(name)?)?;
        Ok(Self::live_of(store, &relation, true))
    }

    /// A table of one instant.
    pub(crate) fn instant(relation: Relation, live: Live) -> Self {
        Self::fixed(relation, Some(live))
    }

    fn fixed(relation: Relation, live: Option<Live>) -> Self {
        Self {
            schema: Arc::clone(relation.schema()),
            origin: Origin::Instant {
                relation: Arc::new(relation),
                live,
            },
        }
    }

    /// The store that the table is of; None where it was made of a snapshot alone.
    pub fn store(&self) -> Option<&Store> {
        self.live().map(Live::store)
    }

    fn live_of(store: &Store, relation: &Relation, alone: bool) -> Self {
        Self {
            schema: Arc::clone(relation.schema()),
            origin: Origin::Store(Live::new(store, relation, alone)),
        }
    }

    /// What the table is apart from any instant, if it knows its store.
    pub(crate) fn live(&self) -> Option<&Live> {
        match &self.origin {
            Origin::Store(live) => Some(live),
            Origin::Instant { live, .. } => live.as_ref(),
        }
    }

    /// The columns that are arrays; what is left is `row_id`.
    pub(crate) fn array_columns(&self) -> impl Iterator<Item = &str> {
        let arrays = self.live().map_or(usize::MAX, |live| live.names().len());
        let fields = self.schema.fields().iter().take(arrays);
        fields.map(|field| field.name().as_str())
    }

    /// What the next scan takes a snapshot of; None for a table of one instant.
    pub(crate) fn moving(&self) -> Option<&Live> {
        match &self.origin {
            Origin::Store(live) => Some(live),
            Origin::Instant { .. } => None,
        }
    }

    /// A live table as it is at the instant of a query; None for one that is fixed already.
    pub(crate) fn instant_of(&self, instants: &Instants) -> Result<Option<Self>> {
        match self.moving() {
            Some(live) => self.at_snapshot(&instants.of(live.store(), None)?),
            None => Ok(None),
        }
    }

    /// A live table at the instant of a snapshot; None for one that is fixed already.
    pub(crate) fn at_snapshot(&self, snapshot: &Snapshot) -> Result<Option<Self>> {
        let Some(live) = self.moving() else {
            return Ok(None);
        };
        let relation = live.at(snapshot)?;
        relation.expect_schema(&self.schema)?;
        Ok(Some(Self::instant(relation, live.clone())))
    }

    /// The table as its store has it, if it is fixed to an instant and knows its store.
    pub(crate) fn moved_on(&self) -> Option<Self> {
        match &self.origin {
            Origin::Instant {
                live: Some(live), ..
            } => Some(Self {
                schema: Arc::clone(&self.schema),
                origin: Origin::Store(live.clone()),
            }),
            _ => None,
        }
    }

    /// The same table with the position of each row as one more column.
    pub(crate) fn with_position(&self, name: &str) -> Option<Self> {
        let live = Live {
            position: Some(name.to_owned()),
            ..self.live()?.clone()
        };
        let schema = schema_with_position(&self.schema, name);
        let origin = match &self.origin {
            Origin::Store(_) => Origin::Store(live),
            Origin::Instant { relation, .. } => Origin::Instant {
                relation: Arc::new(relation.with_position(name)),
                live: Some(live),
            },
        };
        Some(Self { origin, schema })
    }

    /// The instant of a table with positions, once it is fixed.
    pub(crate) fn instant_with_position(&self) -> Option<&Arc<Relation>> {
        match &self.origin {
            Origin::Instant {
                relation,
                live: Some(live),
            } if live.position.is_some() => Some(relation),
            _ => None,
        }
    }

    /// What the next scan sees.
    fn relation(&self) -> Result<Arc<Relation>> {
        match &self.origin {
            Origin::Instant { relation, .. } => Ok(Arc::clone(relation)),
            Origin::Store(live) => {
                let relation = live.at(&live.snapshot()?)?;
                relation.expect_schema(&self.schema)?;
                Ok(Arc::new(relation))
            }
        }
    }
}

/// Changes come another way: what DataFusion hands these hooks is not enough to know which rows a
/// statement meant (a filter can arrive empty, or as that of a subquery), or which columns it named.
fn refuse(verb: &'static str) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
    Err(SqlError::NotRegistered { verb }.into())
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
