use std::collections::HashSet;
use std::fmt;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use datafusion::execution::memory_pool::{FairSpillPool, TrackConsumersPool};
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use numpack_engine::{Interrupt, Mode, Options, Store};

use crate::directory::Directory;
use crate::errands::Errands;
use crate::error::{Result, SqlError};
use crate::instants::Instants;
use crate::params::{Params, in_memory};
use crate::query::Query;
use crate::query_catalog::QueryCatalog;
use crate::reach::Reach;
use crate::runtime::{Asking, Threads};
use crate::session;
use crate::session_tables::SessionTables;
use crate::sources::Sources;
use crate::statements;

/// Functions, rules and configuration, which take milliseconds to put together and are the same
/// for every query; each query brings its own catalogs.
static TEMPLATE: LazyLock<Arc<SessionState>> = LazyLock::new(|| Arc::new(session::state(false)));

/// How many consumers of memory an error names when there is none left.
const CONSUMERS_NAMED: NonZeroUsize = NonZeroUsize::new(3).unwrap();

/// How a [`Connection`] runs its queries. Start from [`ConnectionOptions::default`].
///
/// ```
/// use numpack_datafusion::ConnectionOptions;
/// let options = ConnectionOptions::default().with_memory_limit(1 << 30).with_external_access(false);
/// ```
#[derive(Clone)]
pub struct ConnectionOptions {
    memory_limit: Option<usize>,
    threads: Option<NonZeroUsize>,
    external_access: bool,
    read_only: bool,
    interrupt: Option<Interrupt>,
}

impl Default for ConnectionOptions {
    /// As much memory as there is, a thread for each processor, and access to files.
    fn default() -> Self {
        Self {
            memory_limit: None,
            threads: None,
            external_access: true,
            read_only: false,
            interrupt: None,
        }
    }
}

impl ConnectionOptions {
    /// Bytes that sorts, joins and group-bys may hold between them. Sorts and group-bys beyond it
    /// go on in temporary files; what cannot is an error. Mapped arrays do not count until they are
    /// kept.
    #[must_use]
    pub fn with_memory_limit(mut self, bytes: usize) -> Self {
        self.memory_limit = Some(bytes);
        self
    }

    /// The number of threads, and of the parts that joins and group-bys are split into.
    #[must_use]
    pub fn with_threads(mut self, threads: NonZeroUsize) -> Self {
        self.threads = Some(threads);
        self
    }

    /// Whether COPY, LOCATION and read_numpack may reach what lies outside of the stores.
    #[must_use]
    pub fn with_external_access(mut self, allowed: bool) -> Self {
        self.external_access = allowed;
        self
    }

    /// Whether statements that change a store are refused, and the stores of a directory opened
    /// for reading.
    #[must_use]
    pub fn with_read_only(mut self, read_only: bool) -> Self {
        self.read_only = read_only;
        self
    }

    /// What blocking calls ask now and then whether to stop, with [`SqlError::Interrupted`].
    #[must_use]
    pub fn with_interrupt(mut self, interrupt: Interrupt) -> Self {
        self.interrupt = Some(interrupt);
        self
    }

    fn state(&self) -> Result<Arc<SessionState>> {
        if self.memory_limit.is_none() && self.threads.is_none() {
            return Ok(Arc::clone(&TEMPLATE));
        }
        let mut config = TEMPLATE.config().clone();
        let mut environment = RuntimeEnvBuilder::new();
        if let Some(threads) = self.threads {
            config = config.with_target_partitions(threads.get());
        }
        if let Some(bytes) = self.memory_limit {
            // A sort holds this back for merging what it has spilled, in each partition; DataFusion's
            // 10 MB would not leave a small limit anything to sort with.
            let share = bytes / config.target_partitions().max(1) / 4;
            let held_back = &mut config.options_mut().execution.sort_spill_reservation_bytes;
            *held_back = (*held_back).min(share);
            let pool = FairSpillPool::new(bytes);
            let pool = TrackConsumersPool::new(pool, CONSUMERS_NAMED);
            environment = environment.with_memory_pool(Arc::new(pool));
        }
        let state = SessionStateBuilder::new_from_existing(SessionState::clone(&TEMPLATE))
            .with_config(config)
            .with_runtime_env(environment.build_arc()?)
            .build();
        Ok(Arc::new(state))
    }
}

impl fmt::Debug for ConnectionOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionOptions")
            .field("memory_limit", &self.memory_limit)
            .field("threads", &self.threads)
            .field("external_access", &self.external_access)
            .field("read_only", &self.read_only)
            .finish_non_exhaustive()
    }
}

/// SQL over one store, several, or a directory of them.
///
/// - Over one store, the store is the table `self`, each array is a table `name(value, row_id)`, and
///   `arrays.name` where the name means something else.
/// - Over several stores, each is a table by its name, and `name.array` is an array of it.
/// - Over a directory, the same goes for each store right below it, named like its directory without
///   `.npk`.
///
/// Whatever a query reads of a store, it reads of one snapshot.
///
/// ```
/// use numpack_datafusion::{Connection, ConnectionOptions, Params};
/// # use numpack_engine::{Options, Store};
/// # use numpack_format::{ArrayMeta, DType};
/// # let dir = std::env::temp_dir().join(format!("numpack-connection-doc-{}", std::process::id()));
/// # let store = Store::open(&dir.join("train.npk"), &Options::default())?;
/// # let mut change = store.begin()?;
/// # change.put("label", &ArrayMeta::new(DType::UInt8, &[3])?, &mut [3u8, 1, 3].as_slice())?;
/// # change.commit()?;
/// let connection = Connection::over_directory(&dir, ConnectionOptions::default())?; // train.npk
/// let query = connection.sql("SELECT row_id FROM train WHERE label = ?", vec![3_i64.into()])?;
/// let mut rows = 0;
/// for batch in query.rows()? {
///     rows += batch?.num_rows();
/// }
/// assert_eq!(rows, 2);
/// # drop((query, connection, store));
/// # std::fs::remove_dir_all(&dir)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Connection {
    pub(crate) sources: Arc<Sources>,
    pub(crate) session: Arc<SessionTables>,
    state: Arc<SessionState>,
    threads: Arc<Threads>,
    asking: Asking,
    external_access: bool,
    pub(crate) read_only: bool,
}

impl Connection {
    /// A connection over one store, which queries call `self`.
    ///
    /// # Errors
    /// What DataFusion says to the options.
    pub fn over(store: &Store, options: ConnectionOptions) -> Result<Self> {
        let store = store.clone();
        Self::new(Sources::Store { store, only: None }, options)
    }

    /// A connection over the arrays `names` of one store, in that order: `self` is them, and there
    /// are no others.
    ///
    /// # Errors
    /// As for [`Connection::over`].
    pub fn over_arrays(
        store: &Store,
        names: Vec<String>,
        options: ConnectionOptions,
    ) -> Result<Self> {
        let store = store.clone();
        let only = Some(names);
        Self::new(Sources::Store { store, only }, options)
    }

    /// A connection over several stores by name.
    ///
    /// # Errors
    /// [`SqlError::Usage`] for a name given twice; as for [`Connection::over`].
    pub fn over_stores(stores: Vec<(String, Store)>, options: ConnectionOptions) -> Result<Self> {
        let mut names = HashSet::new();
        if let Some((name, _)) = stores.iter().find(|(name, _)| !names.insert(name)) {
            return Err(SqlError::Usage(format!("two stores are called \"{name}\"")));
        }
        Self::new(Sources::Stores(stores), options)
    }

    /// A connection over the stores in a directory, which are opened when they are first named.
    ///
    /// # Errors
    /// A directory that cannot be read; as for [`Connection::over`].
    pub fn over_directory(path: impl AsRef<Path>, options: ConnectionOptions) -> Result<Self> {
        let mode = if options.read_only {
            Mode::Read
        } else {
            Mode::ReadWrite
        };
        let mut open = Options::default().with_mode(mode);
        if let Some(interrupt) = &options.interrupt {
            open = open.with_interrupt(Interrupt::clone(interrupt));
        }
        Self::new(
            Sources::Directory(Directory::open(path.as_ref(), open)?),
            options,
        )
    }

    fn new(sources: Sources, options: ConnectionOptions) -> Result<Self> {
        let threads = match options.threads {
            None => Threads::shared(),
            workers => Arc::new(Threads::new(workers)),
        };
        Ok(Self {
            state: options.state()?,
            sources: Arc::new(sources),
            session: Arc::default(),
            threads,
            asking: Asking::new(options.interrupt),
            external_access: options.external_access,
            read_only: options.read_only,
        })
    }

    /// Adds a table that queries can name, which hides a store or an array of that name.
    pub fn register(&self, name: &str, table: Arc<dyn TableProvider>) {
        self.session.set(name, table);
    }

    /// Adds a table of batches in memory.
    ///
    /// # Errors
    /// Batches of another schema than `schema`.
    pub fn register_batches(
        &self,
        name: &str,
        schema: SchemaRef,
        batches: Vec<RecordBatch>,
    ) -> Result<()> {
        self.register(name, in_memory(schema, batches)?);
        Ok(())
    }

    /// Closes the stores that this connection has opened itself. Queries that run keep what they
    /// read.
    ///
    /// # Errors
    /// What closing a store reports.
    pub fn close(&self) -> Result<()> {
        match &*self.sources {
            Sources::Directory(directory) => directory.close(),
            Sources::Store { .. } | Sources::Stores(_) => Ok(()),
        }
    }

    /// Plans a query, which fixes the instant that it reads; nothing of it has run yet. A statement
    /// that changes something, as a transaction of its own, has done so when this returns, and
    /// gives the number of rows that it changed as the column `count`.
    ///
    /// # Errors
    /// [`SqlError::UnequalRows`] where such arrays are named as a table, [`SqlError::NotPossible`],
    /// [`SqlError::Usage`] for parameters that do not fit, [`SqlError::NoAccess`], and what
    /// DataFusion and the engine report.
    pub async fn query(&self, sql: &str, params: impl Into<Params>) -> Result<Query> {
        self.planned(sql, params.into(), None).await
    }

    async fn planned(
        &self,
        sql: &str,
        params: Params,
        errands: Option<Arc<Errands>>,
    ) -> Result<Query> {
        let instants = Arc::new(Instants::default());
        let reach = Arc::new(Reach {
            external_access: self.external_access,
            instants: Arc::clone(&instants),
        });
        let mut state = SessionState::clone(&self.state);
        state.mark_start_execution();
        state.config_mut().set_extension(Arc::clone(&reach));
        if let Some(errands) = errands {
            state.config_mut().set_extension(errands);
        }
        let catalog = QueryCatalog {
            sources: Arc::clone(&self.sources),
            session: Arc::clone(&self.session),
            given: params.tables.clone(),
            instants,
            lenient: false,
        };
        state.register_catalog_list(catalog.alone());
        statements::run(self, state, &reach, sql, &params).await
    }

    /// As [`query`](Self::query), for a caller that may block. The thread that calls this plans
    /// queries, and commits what a statement changes.
    ///
    /// # Errors
    /// As for [`query`](Self::query); also [`SqlError::Interrupted`] and
    /// [`SqlError::InsideRuntime`].
    pub fn sql(&self, sql: &str, params: impl Into<Params>) -> Result<Query> {
        let errands = Errands::of_this_thread();
        let query = self.planned(sql, params.into(), Some(Arc::clone(&errands)));
        let planned = self.threads.run_here(query, self.asking(), Some(&errands));
        errands.end();
        planned
    }

    pub(crate) fn block_on<T: Send + 'static>(
        &self,
        future: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        self.threads.block_on(future, self.asking())
    }

    pub(crate) fn run_here<T>(&self, future: impl Future<Output = Result<T>>) -> Result<T> {
        self.threads.run_here(future, self.asking(), None)
    }

    pub(crate) fn threads(&self) -> &Arc<Threads> {
        &self.threads
    }

    pub(crate) fn asking(&self) -> Asking {
        self.asking.clone()
    }
}
