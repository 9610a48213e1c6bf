//! Two small stores as the tables `t` and `u` of a session.

use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Int64Type, UInt64Type};
use datafusion::physical_plan::common::collect;
use datafusion::prelude::SessionContext;
use numpack_datafusion::{
    Connection, ConnectionOptions, NumPackTable, Params, Result, register, session, sql,
};
use numpack_engine::{Options, Store};
use numpack_format::{ArrayMeta, DType};
use tempfile::TempDir;

/// `t` has ten rows: `id` int64 from 0, `x` float64 ten times that, `v` float32 of 2. `u` has the
/// ids 2, 4, 6 and 100.
pub struct Fixture {
    pub dir: TempDir,
    pub t: Store,
    pub u: Store,
}

impl Fixture {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let open = |name| Store::open(&dir.path().join(name), &Options::default()).unwrap();
        let (t, u) = (open("t.npk"), open("u.npk"));
        let ids: Vec<u8> = (0..10_i64).flat_map(i64::to_le_bytes).collect();
        let xs: Vec<u8> = (0..10)
            .map(|i| f64::from(i) * 10.0)
            .flat_map(f64::to_le_bytes)
            .collect();
        let vs: Vec<u8> = (0..20_u8)
            .map(f32::from)
            .flat_map(f32::to_le_bytes)
            .collect();
        put(&t, "id", DType::Int64, &[10], &ids);
        put(&t, "x", DType::Float64, &[10], &xs);
        put(&t, "v", DType::Float32, &[10, 2], &vs);
        let ids: Vec<u8> = [2_i64, 4, 6, 100]
            .into_iter()
            .flat_map(i64::to_le_bytes)
            .collect();
        put(&u, "id", DType::Int64, &[4], &ids);
        Self { dir, t, u }
    }

    /// A session of ours.
    pub fn session(&self) -> SessionContext {
        self.with_tables(session())
    }

    /// A session of the user's own that has been taught.
    pub fn taught(&self) -> SessionContext {
        let ctx = SessionContext::new();
        register(&ctx);
        self.with_tables(ctx)
    }

    /// A connection over both stores, in which `ids` is an array of one of them.
    pub fn connection(&self) -> Connection {
        self.connection_with(ConnectionOptions::default())
    }

    pub fn connection_with(&self, options: ConnectionOptions) -> Connection {
        let stores = [("t", &self.t), ("u", &self.u)];
        let stores = stores.map(|(name, store)| (name.to_owned(), store.clone()));
        let connection = Connection::over_stores(stores.to_vec(), options).unwrap();
        let ids = NumPackTable::of_array(&self.t, "id").unwrap();
        connection.register("ids", Arc::new(ids));
        connection
    }

    pub fn with_tables(&self, ctx: SessionContext) -> SessionContext {
        for (name, store) in [("t", &self.t), ("u", &self.u)] {
            let table = Arc::new(NumPackTable::all(store).unwrap());
            ctx.register_table(name, table).unwrap();
        }
        let ids = NumPackTable::of_array(&self.t, "id").unwrap();
        ctx.register_table("ids", Arc::new(ids)).unwrap();
        ctx
    }

    /// What `t` holds: ids, xs and the vectors.
    pub fn rows(&self) -> (Vec<i64>, Vec<f64>, Vec<f32>) {
        let bytes = |name| {
            let array = self.t.array(name).unwrap();
            let mut bytes = vec![0; array.byte_len()];
            array.read_all(&mut bytes).unwrap();
            bytes
        };
        let eight = |bytes: &[u8]| <[u8; 8]>::try_from(bytes).unwrap();
        let ids = bytes("id")
            .chunks(8)
            .map(|b| i64::from_le_bytes(eight(b)))
            .collect();
        let xs = bytes("x")
            .chunks(8)
            .map(|b| f64::from_le_bytes(eight(b)))
            .collect();
        let four = |bytes: &[u8]| <[u8; 4]>::try_from(bytes).unwrap();
        let vs = bytes("v")
            .chunks(4)
            .map(|b| f32::from_le_bytes(four(b)))
            .collect();
        (ids, xs, vs)
    }

    pub fn ids(&self) -> Vec<i64> {
        self.rows().0
    }
}

pub fn put(store: &Store, name: &str, dtype: DType, dims: &[u64], bytes: &[u8]) {
    let mut change = store.begin().unwrap();
    let meta = ArrayMeta::new(dtype, dims).unwrap();
    change.put(name, &meta, &mut &*bytes).unwrap();
    change.commit().unwrap();
}

/// What runs statements.
pub trait Runs {
    async fn run(&self, text: &str) -> Result<Vec<RecordBatch>>;
}

impl Runs for SessionContext {
    async fn run(&self, text: &str) -> Result<Vec<RecordBatch>> {
        Ok(sql(self, text).await?.collect().await?)
    }
}

impl Runs for Connection {
    async fn run(&self, text: &str) -> Result<Vec<RecordBatch>> {
        let stream = self.query(text, Params::default()).await?.stream().await?;
        Ok(collect(stream).await?)
    }
}

pub async fn run(ctx: &impl Runs, text: &str) -> Result<Vec<RecordBatch>> {
    ctx.run(text).await
}

/// The count that a change gives.
pub async fn count(ctx: &impl Runs, text: &str) -> Result<u64> {
    let batches = run(ctx, text).await?;
    assert_eq!(batches.len(), 1, "{text}");
    let batch = &batches[0];
    assert_eq!((batch.num_rows(), batch.num_columns()), (1, 1), "{text}");
    assert_eq!(batch.schema().field(0).name(), "count");
    Ok(batch.column(0).as_primitive::<UInt64Type>().value(0))
}

pub async fn error(ctx: &impl Runs, text: &str) -> String {
    match run(ctx, text).await {
        Ok(_) => panic!("{text} went through"),
        Err(error) => error.to_string(),
    }
}

/// A column of what a query gives.
pub async fn int64s(ctx: &impl Runs, text: &str) -> Vec<i64> {
    let batches = run(ctx, text).await.unwrap();
    let values = |batch: &RecordBatch| {
        batch
            .column(0)
            .as_primitive::<Int64Type>()
            .values()
            .to_vec()
    };
    batches.iter().flat_map(values).collect()
}

/// What `x` is in the rows of these ids.
pub fn xs(ids: &[i64]) -> Vec<f64> {
    let x = |&id: &i64| f64::from(i32::try_from(id).unwrap()) * 10.0;
    ids.iter().map(x).collect()
}
