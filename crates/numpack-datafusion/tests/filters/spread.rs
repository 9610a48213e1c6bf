//! Scans in parts: where the order of rows is free they run at once, and nowhere else.

use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use arrow::util::pretty::pretty_format_batches;
use datafusion::physical_plan::{collect, displayable};
use datafusion::prelude::SessionContext;
use numpack_engine::Selection;
use numpack_format::DType;

use super::{Fixture, plan, rows};

const MANY: u64 = 300_000;

/// `id` 0.., `label` of 7 values, `emb` of two values, `id` and twice that; some rows deleted.
pub(super) fn many() -> Fixture {
    let fixture = Fixture::new();
    let ids: Vec<u8> = (0..MANY).flat_map(u64::to_le_bytes).collect();
    fixture.put("id", DType::Int64, &[MANY], &ids);
    let labels: Vec<u8> = (0..MANY)
        .map(|i| u8::try_from(i % 7).expect("small"))
        .collect();
    fixture.put("label", DType::UInt8, &[MANY], &labels);
    let emb = (0..MANY).flat_map(|i| [i, 2 * i]);
    let emb: Vec<u8> = emb
        .flat_map(|i| f64::from(u32::try_from(i).expect("few rows")).to_le_bytes())
        .collect();
    fixture.put("emb", DType::Float64, &[MANY, 2], &emb);
    for name in ["id", "label", "emb"] {
        let mut change = fixture.store.begin().expect("a transaction");
        let gone = Selection::Rows(vec![5, 150_000, 299_999]);
        change.delete_rows(name, gone).expect("rows that exist");
        change.commit().expect("a commit");
    }
    fixture
}

pub(super) fn threads(ctx: &SessionContext, threads: usize) {
    let state = ctx.state_ref();
    let mut state = state.write();
    state.config_mut().options_mut().execution.target_partitions = threads;
}

async fn text(ctx: &SessionContext, sql: &str) -> String {
    displayable(plan(ctx, sql).await.as_ref())
        .indent(false)
        .to_string()
}

fn printed(batches: &[RecordBatch]) -> String {
    pretty_format_batches(batches)
        .expect("printable")
        .to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn parts_give_what_one_scan_gives() {
    let fixture = many();
    let (one, many) = (fixture.session(), fixture.session());
    threads(&one, 1);
    for parts in [2, 3, 8] {
        threads(&many, parts);
        for sql in [
            "SELECT count(*), sum(id), min(id), max(label) FROM t WHERE id % 3 = 0",
            "SELECT label, count(*), avg(id) FROM t GROUP BY label ORDER BY label",
            "SELECT count(*), sum(id) FROM t WHERE row_id BETWEEN 1000 AND 250000 AND label = 2",
            "SELECT avg(emb[2]), count(*) FROM t",
            "SELECT max(l2_squared(emb, [0, 0])) FROM t",
            "SELECT count(*), sum(a.id) FROM t AS a JOIN t AS b ON a.id = b.id WHERE b.label = 3",
            "SELECT max(s) FROM (SELECT sum(id) AS s FROM t GROUP BY label)",
            "SELECT count(*), sum(x) FROM (SELECT id AS x FROM t UNION ALL SELECT label FROM t)",
            "SELECT count(DISTINCT label), sum(row_id) FROM t WHERE id > 200000",
        ] {
            let plan = text(&many, sql).await;
            assert!(
                plan.contains(&format!("partitions={parts}")),
                "{sql}: {plan}"
            );
            let (ours, expected) = (rows(&many, sql).await, rows(&one, sql).await);
            assert_eq!(printed(&ours), printed(&expected), "{parts} parts: {sql}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_shows_the_order_of_rows_is_one_part() {
    let fixture = many();
    let ctx = fixture.session();
    threads(&ctx, 4);
    for sql in [
        "SELECT id * 2 FROM t",
        "SELECT id FROM t WHERE label = 3",
        "SELECT id FROM t LIMIT 5",
        "SELECT id FROM t LIMIT 5 OFFSET 200000",
        "SELECT id FROM t ORDER BY row_id DESC LIMIT 5",
        "SELECT sum(id) FROM (SELECT id FROM t LIMIT 200000)",
        "SELECT sum(id) FROM (SELECT id FROM t WHERE label = 3 LIMIT 20000)",
        "SELECT array_agg(id) FROM t",
        "SELECT first_value(id), sum(id) FROM t",
        "SELECT sum(n) FROM (SELECT row_number() OVER () * id AS n FROM t)",
        "SELECT id FROM t ORDER BY l2_distance(emb, [9, 9]) LIMIT 3",
        "SELECT t.id FROM t JOIN (SELECT count(*) AS n FROM t WHERE id < 3) AS s ON t.label = s.n",
    ] {
        let plan = text(&ctx, sql).await;
        let joined = sql.contains("JOIN") && plan.contains("filters=[id@0 < 3]");
        assert!(joined || !plan.contains("partitions="), "{sql}: {plan}");
    }
    let ids = |batches: &[RecordBatch]| -> Vec<i64> {
        let columns = batches.iter().map(|batch| batch.column(0));
        columns
            .flat_map(|ids| ids.as_primitive::<Int64Type>().values().to_vec())
            .collect()
    };
    let all: Vec<i64> = (0..MANY)
        .filter(|i| ![5, 150_000, 299_999].contains(i))
        .map(|i| i64::try_from(i).expect("small"))
        .collect();
    let doubled: Vec<i64> = all.iter().map(|id| id * 2).collect();
    assert_eq!(ids(&rows(&ctx, "SELECT id * 2 FROM t").await), doubled);
    let sql = "SELECT sum(id) FROM (SELECT id FROM t LIMIT 200000)";
    assert_eq!(
        ids(&rows(&ctx, sql).await),
        [all[..200_000].iter().sum::<i64>()]
    );
}

#[tokio::test]
async fn small_tables_are_one_part() {
    let fixture = Fixture::regular();
    let ctx = fixture.session();
    threads(&ctx, 4);
    for sql in [
        "SELECT sum(id) FROM t",
        "SELECT count(*) FROM t WHERE score > 3",
    ] {
        let plan = text(&ctx, sql).await;
        assert!(!plan.contains("partitions="), "{sql}: {plan}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn each_part_counts_what_it_reads() {
    let fixture = many();
    let ctx = fixture.session();
    threads(&ctx, 2);
    let sql = "SELECT sum(id) FROM t WHERE label = 3";
    let plan = plan(&ctx, sql).await;
    collect(Arc::clone(&plan), ctx.task_ctx()).await.expect(sql);
    let bytes =
        ["mapped", "copied"].map(|how| super::counter(&plan, &format!("bytes_{how}(label)")));
    assert_eq!(
        bytes.iter().sum::<usize>(),
        usize::try_from(MANY).expect("small") - 3
    );
}
