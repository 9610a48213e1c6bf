//! Scans in order whose work several threads share: the same rows in the same order.

use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::physical_plan::collect;
use datafusion::prelude::SessionContext;
use futures::StreamExt;

use super::spread::{many, threads};
use super::{counter, plan, printed};

/// The rows of a query, and how many pieces of work other threads were given.
async fn rows_and_tasks(ctx: &SessionContext, sql: &str) -> (Vec<RecordBatch>, usize) {
    let plan = plan(ctx, sql).await;
    let batches = collect(Arc::clone(&plan), ctx.task_ctx()).await.expect(sql);
    (batches, counter(&plan, "tasks"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn threads_share_the_work_and_keep_the_order() {
    let fixture = many();
    let (one, many) = (fixture.session(), fixture.session());
    threads(&one, 1);
    for count in [2, 3, 8] {
        threads(&many, count);
        for sql in [
            // Rows are filtered ahead.
            "SELECT id FROM t WHERE l2_squared(emb, [0, 0]) > 3 AND id % 5 <> 0",
            "SELECT id, row_id FROM t WHERE emb[1] % 7 = 0 ORDER BY row_id DESC",
            "SELECT id, label FROM t WHERE emb[2] % 1000 > 5 LIMIT 250000",
            "SELECT id FROM t WHERE emb[2] % 100000 = 4 LIMIT 5",
            "SELECT id, emb FROM t WHERE l2_squared(emb, [0, 0]) < 0",
            "SELECT id FROM t WHERE 10 / (id - 290000) < 3 LIMIT 250000",
            // Rows that are only counted.
            "SELECT 1 AS one FROM t WHERE emb[2] % 3 = 0",
            // Values are copied ahead.
            "SELECT emb[2] FROM t",
            "SELECT emb[1] AS e, row_id FROM t WHERE row_id > 17 ORDER BY row_id DESC",
            "SELECT emb[2], emb[1] FROM t LIMIT 123456",
        ] {
            let (expected, alone) = rows_and_tasks(&one, sql).await;
            let (ours, tasks) = rows_and_tasks(&many, sql).await;
            assert!(tasks > 1, "{sql}: {tasks} tasks");
            assert_eq!(alone, 0, "{sql}");
            let lengths = |batches: &[RecordBatch]| -> Vec<usize> {
                batches.iter().map(RecordBatch::num_rows).collect()
            };
            assert_eq!(lengths(&ours), lengths(&expected), "{count} threads: {sql}");
            assert!(
                printed(&ours) == printed(&expected),
                "{count} threads: {sql}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn small_work_is_not_shared() {
    let fixture = many();
    let ctx = fixture.session();
    threads(&ctx, 4);
    for sql in [
        "SELECT id FROM t",
        "SELECT id, emb FROM t WHERE label = 3",
        "SELECT id FROM t WHERE emb[1] % 2 = 0 LIMIT 10",
        "SELECT emb[2] FROM t LIMIT 100",
    ] {
        assert_eq!(rows_and_tasks(&ctx, sql).await.1, 0, "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_sharpens_a_filter_comes_first() {
    let fixture = many();
    let ctx = fixture.session();
    threads(&ctx, 4);
    // From now on the bounds of blocks are known.
    rows_and_tasks(&ctx, "SELECT count(*) FROM t WHERE emb[1] > 5").await;
    let sql = "SELECT id, emb[1] AS e FROM t WHERE emb[2] % 3 = 0 ORDER BY e LIMIT 3";
    let plan = plan(&ctx, sql).await;
    let batches = collect(Arc::clone(&plan), ctx.task_ctx()).await.expect(sql);
    assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 3);
    assert_eq!(counter(&plan, "tasks"), 0);
    assert!(counter(&plan, "blocks_pruned") > 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_error_of_another_thread_ends_the_scan() {
    let fixture = many();
    let ctx = fixture.session();
    threads(&ctx, 4);
    let sql = "SELECT id FROM t WHERE 10 / (id - 290000) < 3";
    let plan = plan(&ctx, sql).await;
    let mut stream = plan.execute(0, ctx.task_ctx()).expect(sql);
    let mut rows = 0;
    let error = loop {
        match stream.next().await.expect("an error comes first") {
            Ok(batch) => rows += batch.num_rows(),
            Err(error) => break error,
        }
    };
    assert!(error.to_string().contains("Divide by zero"), "{error}");
    // What passed before is there, up to the block that fails.
    assert_eq!(rows, 286_720);
    assert!(stream.next().await.is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn memory_that_is_short_is_not_taken_for_batches_ahead() {
    let fixture = many();
    // A batch of `emb` takes 128 KiB.
    for (limit, shared) in [(1 << 20, false), (16 << 20, true)] {
        let environment = RuntimeEnvBuilder::new().with_memory_limit(limit, 1.0);
        let environment = environment.build_arc().expect("an environment");
        let state = fixture.session().state();
        let state = SessionStateBuilder::new_from_existing(state).with_runtime_env(environment);
        let ctx = SessionContext::new_with_state(state.build());
        threads(&ctx, 4);
        let pool = &ctx.runtime_env().memory_pool;
        let sql = "SELECT emb FROM t WHERE label <> 3";
        let plan = plan(&ctx, sql).await;
        let mut stream = plan.execute(0, ctx.task_ctx()).expect(sql);
        let mut rows = 0;
        while let Some(batch) = stream.next().await {
            assert_eq!(pool.reserved() > 0, shared, "{limit}");
            rows += batch.expect(sql).num_rows();
        }
        assert_eq!(rows, 257_140, "{limit}");
        drop(stream);
        assert_eq!(pool.reserved(), 0);
    }
}
