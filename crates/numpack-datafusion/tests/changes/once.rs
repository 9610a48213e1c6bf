//! A statement runs once, when its plan runs.

use std::sync::Arc;

use datafusion::physical_plan::collect;

use super::fixture::{Fixture, count, int64s, run};

#[tokio::test]
async fn planning_changes_nothing_and_a_plan_runs_once() {
    let fixture = Fixture::new();
    let ctx = fixture.session();
    let frame = ctx
        .sql("INSERT INTO t (id, x, v) VALUES (10, 1.5, [7, 8])")
        .await
        .unwrap();
    let plan = frame.create_physical_plan().await.unwrap();
    assert_eq!(fixture.ids().len(), 10);
    for _ in 0..3 {
        let batches = collect(Arc::clone(&plan), ctx.task_ctx()).await.unwrap();
        assert_eq!(batches[0].num_rows(), 1);
    }
    assert_eq!(fixture.ids().len(), 11);
    let _stream_that_nobody_reads = plan.execute(0, ctx.task_ctx()).unwrap();
    assert_eq!(fixture.ids().len(), 11);
}

#[tokio::test]
async fn an_error_is_there_for_everybody_who_asks() {
    let fixture = Fixture::new();
    let ctx = fixture.session();
    let frame = ctx
        .sql("INSERT INTO t (id, x, v) VALUES (10, NULL, [7, 8])")
        .await
        .unwrap();
    let plan = frame.create_physical_plan().await.unwrap();
    for _ in 0..2 {
        let error = collect(Arc::clone(&plan), ctx.task_ctx())
            .await
            .unwrap_err();
        assert!(
            error.to_string().contains("column \"x\" has 1 null"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_prepared_statement_sees_what_is_there_when_it_runs() {
    let fixture = Fixture::new();
    let ctx = fixture.session();
    run(&ctx, "PREPARE p AS DELETE FROM t WHERE row_id = 0")
        .await
        .unwrap();
    for left in [9, 8, 7] {
        assert_eq!(count(&ctx, "EXECUTE p").await.unwrap(), 1);
        assert_eq!(fixture.ids().len(), left);
    }
    assert_eq!(
        int64s(&ctx, "SELECT id FROM t ORDER BY row_id").await,
        [3, 4, 5, 6, 7, 8, 9]
    );
}

#[tokio::test]
async fn the_extra_column_has_no_name_and_is_no_star() {
    let fixture = Fixture::new();
    let ctx = fixture.session();
    let batches = run(&ctx, "SELECT * FROM t").await.unwrap();
    let schema = batches[0].schema();
    let names: Vec<&str> = schema
        .fields()
        .iter()
        .map(|field| field.name().as_str())
        .collect();
    assert_eq!(names, ["id", "x", "v", "row_id"]);
    for text in [
        "DELETE FROM t WHERE __numpack_position = 0",
        "UPDATE t SET x = __numpack_position",
        "UPDATE t SET __numpack_position = 1",
    ] {
        let error = super::fixture::error(&ctx, text).await;
        assert!(error.contains("__numpack_position"), "{error}");
    }
    assert_eq!(fixture.ids().len(), 10);
}
