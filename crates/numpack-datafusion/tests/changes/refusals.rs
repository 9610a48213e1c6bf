//! What is not possible says why and changes nothing.

use std::sync::Arc;

use datafusion::prelude::SessionContext;
use numpack_datafusion::NumPackTable;
use numpack_engine::{Mode, Options, Store};

use super::fixture::{Fixture, count, error, run};

#[tokio::test]
async fn statements_that_are_refused() {
    let fixture = Fixture::new();
    let ctx = fixture.session();
    let before = fixture.rows();
    run(&ctx, "CREATE VIEW w AS SELECT * FROM t").await.unwrap();
    for (text, expected) in [
        ("DELETE FROM w WHERE id = 1", "DELETE"),
        ("UPDATE w SET x = 1", "UPDATE"),
        ("UPDATE t SET row_id = 1", "UPDATE of row_id"),
        ("UPDATE t SET nope = 1", "nope"),
        (
            "INSERT INTO t (id, row_id) VALUES (1, 2)",
            "INSERT of row_id",
        ),
        (
            "INSERT INTO t (id) VALUES (1)",
            "2 columns are missing (x, v)",
        ),
        (
            "INSERT INTO t (id, x) VALUES (1, 2)",
            "1 column is missing (v)",
        ),
        (
            "INSERT INTO t VALUES (1, 2)",
            "row 1 of VALUES has 2 values, and there are values for 3 columns",
        ),
        (
            "INSERT INTO t VALUES (1, NULL, [1, 2]), (2, NULL, [1, 2])",
            "column \"x\" has 2 nulls",
        ),
        (
            "INSERT INTO t VALUES (1, 2, [1, NULL])",
            "column \"v\" has 1 null",
        ),
        (
            "INSERT INTO t VALUES (1, 2, NULL)",
            "column \"v\" has 1 null",
        ),
        (
            "UPDATE t SET x = NULL WHERE id > 6",
            "column \"x\" has 3 nulls",
        ),
        (
            "REPLACE INTO t VALUES (1, 2, [1, 2])",
            "a store has no keys",
        ),
        ("DELETE FROM nope", "nope"),
    ] {
        let error = error(&ctx, text).await;
        assert!(error.contains(expected), "{text}: {error}");
        assert_eq!(fixture.rows(), before, "{text}");
    }
}

#[tokio::test]
async fn a_session_that_was_not_taught_refuses_and_says_how() {
    let fixture = Fixture::new();
    let ctx = fixture.with_tables(SessionContext::new());
    let before = fixture.rows();
    for text in [
        "DELETE FROM t",
        "DELETE FROM t WHERE id IN (SELECT id - 1 FROM t WHERE x >= 80)",
        "UPDATE t SET x = 1 WHERE id = 1",
        "TRUNCATE TABLE t",
        "INSERT INTO t (id, x, v) SELECT id + 10, 1, v FROM t WHERE id < 2",
    ] {
        let error = error(&ctx, text).await;
        assert!(error.contains("register()"), "{text}: {error}");
        assert_eq!(fixture.rows(), before, "{text}");
    }
}

#[tokio::test]
async fn a_store_opened_for_reading_stays_as_it_is() {
    let fixture = Fixture::new();
    let options = Options::default().with_mode(Mode::Read);
    let reader = Store::open(&fixture.dir.path().join("t.npk"), &options).unwrap();
    let ctx = fixture.session();
    ctx.register_table("r", Arc::new(NumPackTable::all(&reader).unwrap()))
        .unwrap();
    let before = fixture.rows();
    for text in [
        "DELETE FROM r",
        "DELETE FROM r WHERE false",
        "UPDATE r SET x = 1",
        "INSERT INTO r VALUES (1, 2, [1, 2])",
        "TRUNCATE TABLE r",
    ] {
        let error = error(&ctx, text).await;
        assert!(
            error.contains("opened read-only (mode r)"),
            "{text}: {error}"
        );
    }
    run(&ctx, "EXPLAIN DELETE FROM r").await.unwrap();
    assert_eq!(fixture.rows(), before);
    assert_eq!(
        count(&ctx, "INSERT INTO t SELECT id, x, v FROM r")
            .await
            .unwrap(),
        10
    );
}
