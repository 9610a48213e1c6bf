//! Predicates in the scan: the same rows as DataFusion's own filter, and only the bytes that they need.

mod ahead;
mod spread;
mod zones;

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::util::pretty::pretty_format_batches;
use datafusion::datasource::MemTable;
use datafusion::physical_plan::{ExecutionPlan, collect, displayable};
use datafusion::prelude::SessionContext;
use numpack_datafusion::{NumPackTable, session};
use numpack_engine::{Options, Selection, Store};
use numpack_format::{ArrayMeta, DType};
use tempfile::TempDir;

const ROWS: u64 = 30_000;
const WIDTH: u64 = 8;

struct Fixture {
    _dir: TempDir,
    store: Store,
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("fixture.npk");
        let store = Store::open(&path, &Options::default()).expect("a new store");
        Self { _dir: dir, store }
    }

    /// `id` 0.., `score` of hundredths from 0 to 99.99, `emb` whose values are their flat positions.
    fn regular() -> Self {
        let fixture = Self::new();
        let ids: Vec<u8> = (0..ROWS).flat_map(u64::to_le_bytes).collect();
        fixture.put("id", DType::Int64, &[ROWS], &ids);
        let score = |i: u64| small(i * 7919 % 10_000) / 100.0;
        let scores: Vec<u8> = (0..ROWS).flat_map(|i| score(i).to_le_bytes()).collect();
        fixture.put("score", DType::Float32, &[ROWS], &scores);
        let emb = (0..ROWS * WIDTH).flat_map(|i| small(i % 60_000).to_le_bytes());
        let emb: Vec<u8> = emb.collect();
        fixture.put("emb", DType::Float32, &[ROWS, WIDTH], &emb);
        fixture
    }

    fn put(&self, name: &str, dtype: DType, dims: &[u64], bytes: &[u8]) {
        let meta = ArrayMeta::new(dtype, dims).expect("a shape");
        let mut change = self.store.begin().expect("a transaction");
        change.put(name, &meta, &mut &*bytes).expect("rows");
        change.commit().expect("a commit");
    }

    fn session(&self) -> SessionContext {
        let ctx = session();
        let table = Arc::new(NumPackTable::all(&self.store).expect("a table"));
        ctx.register_table("t", table).expect("a new name");
        ctx
    }
}

fn small(i: u64) -> f32 {
    f32::from(u16::try_from(i).expect("small"))
}

async fn plan(ctx: &SessionContext, sql: &str) -> Arc<dyn ExecutionPlan> {
    let frame = ctx.sql(sql).await.expect(sql);
    frame.create_physical_plan().await.expect(sql)
}

async fn rows(ctx: &SessionContext, sql: &str) -> Vec<RecordBatch> {
    let plan = plan(ctx, sql).await;
    collect(plan, ctx.task_ctx()).await.expect(sql)
}

/// Rows as a text, however they are cut into batches.
fn printed(batches: &[RecordBatch]) -> String {
    let full: Vec<_> = batches
        .iter()
        .filter(|b| b.num_rows() > 0)
        .cloned()
        .collect();
    pretty_format_batches(&full).expect("printable").to_string()
}

/// Sum of a counter over all nodes of a plan.
fn counter(plan: &Arc<dyn ExecutionPlan>, name: &str) -> usize {
    let own = plan.metrics().and_then(|all| all.sum_by_name(name));
    let below: usize = plan
        .children()
        .iter()
        .map(|child| counter(child, name))
        .sum();
    own.map_or(0, |value| value.as_usize()) + below
}

/// What a query costs, as bytes mapped and copied of `id`, `score` and `emb`, and its rows.
async fn cost(fixture: &Fixture, sql: &str) -> ([(usize, usize); 3], usize) {
    let ctx = fixture.session();
    let plan = plan(&ctx, sql).await;
    let text = displayable(plan.as_ref()).indent(false).to_string();
    assert!(!text.contains("FilterExec"), "{sql}: {text}");
    let batches = collect(Arc::clone(&plan), ctx.task_ctx()).await.expect(sql);
    let bytes = ["id", "score", "emb"].map(|name| {
        (
            counter(&plan, &format!("bytes_mapped({name})")),
            counter(&plan, &format!("bytes_copied({name})")),
        )
    });
    (bytes, batches.iter().map(RecordBatch::num_rows).sum())
}

const ID: usize = 8;
const SCORE: usize = 4;
const EMB: usize = 32;
const ALL: usize = 30_000;

#[tokio::test]
async fn wide_columns_are_read_for_survivors_only() {
    let fixture = Fixture::regular();
    // One score in a hundred is at least 99.
    let (bytes, rows) = cost(&fixture, "SELECT id, emb FROM t WHERE score >= 99").await;
    assert_eq!(rows, 300);
    let expected = [(0, rows * ID), (ALL * SCORE, 0), (0, rows * EMB)];
    assert_eq!(bytes, expected);

    // The second predicate looks at what the first one has left.
    let sql = "SELECT emb FROM t WHERE score >= 99 AND id < 10000";
    let (bytes, rows) = cost(&fixture, sql).await;
    assert_eq!(rows, 100);
    let expected = [(0, 300 * ID), (ALL * SCORE, 0), (0, rows * EMB)];
    assert_eq!(bytes, expected);

    // Where all rows survive nothing is copied.
    let (bytes, rows) = cost(&fixture, "SELECT emb FROM t WHERE score >= 0").await;
    assert_eq!((rows, bytes[2]), (ALL, (ALL * EMB, 0)));

    let (bytes, _) = cost(&fixture, "SELECT count(*) FROM t WHERE score > 50").await;
    assert_eq!(bytes, [(0, 0), (ALL * SCORE, 0), (0, 0)]);
}

#[tokio::test]
async fn a_limit_counts_survivors_and_stops_the_scan() {
    let fixture = Fixture::regular();
    let sql = "SELECT id FROM t WHERE score >= 0 AND id % 2 = 0 LIMIT 5";
    let (bytes, rows) = cost(&fixture, sql).await;
    assert_eq!(rows, 5);
    assert!(bytes[1].0 <= 8192 * SCORE, "{bytes:?}");
    let (_, rows) = cost(&fixture, "SELECT id FROM t WHERE score >= 99 LIMIT 1000").await;
    assert_eq!(rows, 300);
}

#[tokio::test]
async fn survivors_of_many_chunks_make_full_batches() {
    let fixture = Fixture::regular();
    let batches = rows(&fixture.session(), "SELECT id FROM t WHERE score < 50").await;
    let sizes: Vec<usize> = batches.iter().map(RecordBatch::num_rows).collect();
    assert_eq!(sizes, [8192, 15_000 - 8192]);
}

#[tokio::test]
async fn positions_choose_the_rows_that_are_read() {
    let fixture = Fixture::regular();
    for (sql, expected) in [
        (
            "SELECT emb FROM t WHERE row_id >= 100 AND row_id < 200",
            (100 * EMB, 0),
        ),
        (
            "SELECT emb FROM t WHERE row_id BETWEEN 29990 AND 40000",
            (10 * EMB, 0),
        ),
        ("SELECT emb FROM t WHERE row_id = 7", (EMB, 0)),
        (
            "SELECT emb FROM t WHERE row_id IN (5, 20000, 5, -1, 99999)",
            (0, 2 * EMB),
        ),
        ("SELECT emb FROM t WHERE row_id < 0", (0, 0)),
        (
            "SELECT emb FROM t WHERE row_id > 9223372036854775806",
            (0, 0),
        ),
        (
            "SELECT emb FROM t ORDER BY row_id DESC LIMIT 3",
            (0, 3 * EMB),
        ),
        ("SELECT emb FROM t LIMIT 3 OFFSET 20000", (20_003 * EMB, 0)),
    ] {
        let (bytes, _) = cost(&fixture, sql).await;
        assert_eq!(bytes[2], expected, "{sql}");
    }
}

#[tokio::test]
async fn an_item_is_all_that_is_read_of_its_list() {
    let fixture = Fixture::regular();
    let ctx = fixture.session();
    for (sql, values) in [
        ("SELECT avg(emb[6]) FROM t", ALL),
        ("SELECT emb[-3] FROM t", ALL),
        ("SELECT id FROM t WHERE emb[6] = 13", ALL),
    ] {
        let plan = plan(&ctx, sql).await;
        collect(Arc::clone(&plan), ctx.task_ctx()).await.expect(sql);
        let text = displayable(plan.as_ref()).indent(false).to_string();
        assert_eq!(
            counter(&plan, "bytes_copied(emb[6])"),
            values * 4,
            "{sql}: {text}"
        );
        assert_eq!(counter(&plan, "bytes_mapped(emb)"), 0, "{sql}: {text}");
    }
}

/// A small generator, so that every run tests the same.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }

    fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[usize::try_from(self.below(of.len() as u64)).expect("small")]
    }

    fn float(&mut self) -> f32 {
        let special = [
            f32::NAN,
            -f32::NAN,
            -0.0,
            0.0,
            f32::INFINITY,
            f32::NEG_INFINITY,
            0.1,
            0.999,
        ];
        match self.below(12) {
            i @ 0..8 => special[usize::try_from(i).expect("small")],
            _ => small(self.below(40)) / 4.0 - 5.0,
        }
    }

    fn predicate(&mut self, depth: u64) -> String {
        if depth > 0 && self.below(3) == 0 {
            let (a, b) = (self.predicate(depth - 1), self.predicate(depth - 1));
            let joined = format!("({a} {} {b})", self.pick(&["AND", "AND", "OR"]));
            return match self.below(5) {
                0 => format!("NOT {joined}"),
                _ => joined,
            };
        }
        let op = self.pick(&["=", "<>", "<", "<=", ">", ">="]);
        let number = self.pick(&["0", "-0.0", "0.1", "0.999", "2.25", "-5", "1e300", "1e-300"]);
        match self.below(9) {
            0 => format!("row_id {op} {}", self.below(25_000)),
            1 => format!(
                "row_id IN ({}, {}, 3)",
                self.below(20_000),
                self.below(20_000)
            ),
            2 => format!(
                "row_id BETWEEN {} AND {}",
                self.below(9_000),
                self.below(25_000)
            ),
            3 => format!("id {op} {}", self.below(20)),
            4 => format!("id {} IN (1, 5, 7)", self.pick(&["", "NOT"])),
            5 => format!(
                "emb[{}] {op} {number}",
                self.pick(&["1", "3", "-1", "9", "0"])
            ),
            6 => self
                .pick(&[
                    "flag",
                    "NOT flag",
                    "score IS NULL",
                    "half > 1",
                    "abs(score) > 2",
                ])
                .to_owned(),
            _ => format!("score {op} {number}"),
        }
    }
}

/// A store of random rows, some of them deleted, and one to three chunks long.
fn random_store(random: &mut Random) -> Fixture {
    let fixture = Fixture::new();
    let rows = random.below(20_000);
    let ids: Vec<u8> = (0..rows)
        .flat_map(|_| random.below(20).to_le_bytes())
        .collect();
    fixture.put("id", DType::Int64, &[rows], &ids);
    let scores: Vec<u8> = (0..rows)
        .flat_map(|_| random.float().to_le_bytes())
        .collect();
    fixture.put("score", DType::Float32, &[rows], &scores);
    let emb: Vec<u8> = (0..rows * 3)
        .flat_map(|_| random.float().to_le_bytes())
        .collect();
    fixture.put("emb", DType::Float32, &[rows, 3], &emb);
    let flags: Vec<u8> = (0..rows).map(|_| u8::from(random.below(3) == 0)).collect();
    fixture.put("flag", DType::Bool, &[rows], &flags);
    // 0, 0.5, 1, 1.5 and NaN in half precision.
    let halves = [0_u16, 0x3800, 0x3c00, 0x3e00, 0x7e00];
    let half = |i: u64| halves[usize::try_from(i).expect("small")].to_le_bytes();
    let half: Vec<u8> = (0..rows).flat_map(|_| half(random.below(5))).collect();
    fixture.put("half", DType::Float16, &[rows], &half);
    let deleted = match random.below(3) {
        0 => 0,
        1 => random.below(5),
        _ => random.below(3_000),
    };
    let deleted = (0..deleted.min(rows)).map(|_| random.below(rows));
    let mut deleted: Vec<i64> = deleted
        .map(|row| i64::try_from(row).expect("small"))
        .collect();
    deleted.sort_unstable();
    deleted.dedup();
    for name in ["id", "score", "emb", "flag", "half"] {
        let mut change = fixture.store.begin().expect("a transaction");
        let rows = Selection::Rows(deleted.clone());
        change.delete_rows(name, rows).expect("rows that exist");
        change.commit().expect("a commit");
    }
    fixture
}

/// The rows of `t` in memory, as the table `m`.
async fn register_copy(ctx: &SessionContext) {
    let all = rows(ctx, "SELECT * FROM t").await;
    let schema = ctx.table_provider("t").await.expect("a table").schema();
    let memory = MemTable::try_new(schema, vec![all]).expect("a table");
    ctx.register_table("m", Arc::new(memory))
        .expect("a new name");
}

#[tokio::test]
async fn random_predicates_keep_the_rows_that_datafusion_keeps() {
    let mut random = Random(20_261_126);
    for store in 0..25 {
        let fixture = random_store(&mut random);
        let ctx = fixture.session();
        register_copy(&ctx).await;
        for _ in 0..20 {
            let predicate = random.predicate(2);
            let columns = random.pick(&[
                "*",
                "emb, id",
                "row_id",
                "count(*), max(row_id)",
                "emb[2], flag",
            ]);
            let tail = match columns {
                "count(*), max(row_id)" => "",
                _ => random.pick(&[
                    "",
                    "ORDER BY row_id",
                    "ORDER BY row_id DESC",
                    "ORDER BY row_id LIMIT 7",
                    "ORDER BY row_id DESC LIMIT 3 OFFSET 2",
                    "ORDER BY score DESC, row_id LIMIT 5",
                    "ORDER BY emb[1], row_id LIMIT 4",
                ]),
            };
            let query = |table: &str| {
                format!("SELECT {columns} FROM {table} AS x WHERE {predicate} {tail}")
            };
            let (ours, theirs) = (query("t"), query("m"));
            let ours = rows(&ctx, &ours).await;
            let theirs = rows(&ctx, &theirs).await;
            let (ours, theirs) = (printed(&ours), printed(&theirs));
            assert_eq!(ours, theirs, "store {store}: {}", query("t"));
        }
    }
}

#[tokio::test]
async fn a_join_and_a_top_k_sharpen_the_scan() {
    let fixture = Fixture::regular();
    let ctx = fixture.session();
    let sql = "SELECT id, score FROM t WHERE id >= 0 ORDER BY score DESC, id LIMIT 3";
    let top = plan(&ctx, sql).await;
    let text = displayable(top.as_ref()).indent(false).to_string();
    assert!(text.contains("DynamicFilter"), "{text}");
    let found = collect(top, ctx.task_ctx()).await.expect(sql);
    let found = pretty_format_batches(&found)
        .expect("printable")
        .to_string();
    // 7919 * i = 9999 mod 10000 has one solution below 10000.
    let first = (0..10_000_u64)
        .find(|i| i * 7919 % 10_000 == 9_999)
        .expect("coprime");
    for id in [first, first + 10_000, first + 20_000] {
        assert!(found.contains(&id.to_string()), "{id} in {found}");
    }
    let sql = "SELECT count(*), sum(b.id) FROM (SELECT id FROM t WHERE id IN (3, 9, 27000)) AS a \
               JOIN t AS b ON a.id = b.id";
    let joined = rows(&ctx, sql).await;
    let joined = pretty_format_batches(&joined)
        .expect("printable")
        .to_string();
    assert!(joined.contains("27012"), "{joined}");
}

#[tokio::test]
async fn a_filter_above_a_limit_stays_above() {
    let fixture = Fixture::regular();
    let sql = "SELECT count(*) FROM (SELECT id FROM t LIMIT 10) AS a JOIN \
               (SELECT id FROM t WHERE id IN (5, 50)) AS b ON a.id = b.id";
    let joined = rows(&fixture.session(), sql).await;
    let joined = pretty_format_batches(&joined)
        .expect("printable")
        .to_string();
    assert!(joined.contains("| 1 "), "{joined}");
}
