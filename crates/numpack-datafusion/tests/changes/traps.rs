//! Every statement for which DataFusion hands a table too little, or something else: on relations, in
//! a session of ours and in one of the user's, straight and prepared.

use super::fixture::{Fixture, Runs, count, run, xs};

/// The statement, and the ids that go.
const DELETES: &[(&str, &[i64])] = &[
    ("DELETE FROM t", &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
    ("TRUNCATE TABLE t", &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
    ("DELETE FROM t WHERE true", &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
    ("DELETE FROM t WHERE id = 3", &[3]),
    ("DELETE FROM t WHERE t.id = 3", &[3]),
    ("DELETE FROM t WHERE id IN (1, 2, 11)", &[1, 2]),
    (
        "DELETE FROM t WHERE id NOT IN (1, 2)",
        &[0, 3, 4, 5, 6, 7, 8, 9],
    ),
    ("DELETE FROM t WHERE id BETWEEN 3 AND 5", &[3, 4, 5]),
    ("DELETE FROM t WHERE id IN (SELECT id FROM u)", &[2, 4, 6]),
    (
        "DELETE FROM t WHERE id NOT IN (SELECT id FROM u)",
        &[0, 1, 3, 5, 7, 8, 9],
    ),
    ("DELETE FROM t WHERE id NOT IN (SELECT NULL)", &[]),
    (
        "DELETE FROM t WHERE id IN (SELECT id FROM u WHERE false)",
        &[],
    ),
    (
        "DELETE FROM t WHERE id NOT IN (SELECT id FROM u WHERE false)",
        &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
    ),
    (
        "DELETE FROM t WHERE EXISTS (SELECT 1 FROM u WHERE u.id = t.id)",
        &[2, 4, 6],
    ),
    (
        "DELETE FROM t WHERE NOT EXISTS (SELECT 1 FROM u WHERE u.id = t.id)",
        &[0, 1, 3, 5, 7, 8, 9],
    ),
    (
        "DELETE FROM t WHERE EXISTS (SELECT 1 FROM u)",
        &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
    ),
    ("DELETE FROM t WHERE NOT EXISTS (SELECT 1 FROM u)", &[]),
    (
        "DELETE FROM t WHERE id = 1 OR id IN (SELECT id FROM u)",
        &[1, 2, 4, 6],
    ),
    (
        "DELETE FROM t WHERE id = 1 AND id IN (SELECT id FROM u)",
        &[],
    ),
    (
        "DELETE FROM t WHERE x > (SELECT avg(x) FROM t)",
        &[5, 6, 7, 8, 9],
    ),
    (
        "DELETE FROM t WHERE x > (SELECT avg(id) FROM u)",
        &[3, 4, 5, 6, 7, 8, 9],
    ),
    (
        "DELETE FROM t WHERE x > (SELECT max(u.id) FROM u WHERE u.id = t.id)",
        &[2, 4, 6],
    ),
    (
        "DELETE FROM t WHERE id IN (SELECT id - 1 FROM t WHERE x >= 80)",
        &[7, 8],
    ),
    (
        "DELETE FROM t WHERE id NOT IN (SELECT id FROM t WHERE x >= 80)",
        &[0, 1, 2, 3, 4, 5, 6, 7],
    ),
    ("DELETE FROM t WHERE false", &[]),
    ("DELETE FROM t WHERE 1 = 0", &[]),
    ("DELETE FROM t WHERE NULL", &[]),
    ("DELETE FROM t WHERE x > NULL", &[]),
    ("DELETE FROM t LIMIT 3", &[0, 1, 2]),
    ("DELETE FROM t LIMIT 0", &[]),
    ("DELETE FROM t WHERE id > 2 LIMIT 2", &[3, 4]),
    (
        "DELETE FROM t WHERE random() < 2.0",
        &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
    ),
    ("DELETE FROM t WHERE random() > 2.0", &[]),
    ("DELETE FROM t WHERE row_id = 0", &[0]),
    (
        "DELETE FROM t WHERE row_id IN (1, 3) OR row_id > 8",
        &[1, 3, 9],
    ),
    ("DELETE FROM t WHERE v[1] = 4", &[2]),
    ("DELETE FROM t WHERE row_id % 4 = 1", &[1, 5, 9]),
    ("DELETE FROM t WHERE row_id * 2 > 15", &[8, 9]),
    (
        "DELETE FROM t WHERE row_id IN (SELECT row_id FROM u)",
        &[0, 1, 2, 3],
    ),
    (
        "DELETE FROM t WHERE row_id NOT IN (SELECT row_id + 2 FROM u WHERE row_id < 3)",
        &[0, 1, 5, 6, 7, 8, 9],
    ),
    (
        "DELETE FROM t WHERE row_id IN (SELECT row_id FROM t WHERE x >= 80)",
        &[8, 9],
    ),
    (
        "DELETE FROM t WHERE row_id = 9 OR row_id IN (SELECT id FROM u)",
        &[2, 4, 6, 9],
    ),
    (
        "DELETE FROM t WHERE EXISTS (SELECT 1 FROM u WHERE u.row_id = t.row_id)",
        &[0, 1, 2, 3],
    ),
    (
        "DELETE FROM t WHERE NOT EXISTS (SELECT 1 FROM u WHERE u.id = t.row_id)",
        &[0, 1, 3, 5, 7, 8, 9],
    ),
    (
        "DELETE FROM t WHERE x < (SELECT max(u.id) FROM u WHERE u.row_id = t.row_id)",
        &[0, 3],
    ),
    (
        "DELETE FROM t WHERE row_id > (SELECT avg(row_id) FROM t)",
        &[5, 6, 7, 8, 9],
    ),
    ("DELETE FROM t WHERE row_id > 2 LIMIT 2", &[3, 4]),
];

/// The statement, the ids whose row it counts, and what it makes of `id` and `x` in them.
type Update = (&'static str, &'static [i64], fn(i64, f64) -> (i64, f64));

const UPDATES: &[Update] = &[
    (
        "UPDATE t SET x = 1",
        &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
        |id, _| (id, 1.0),
    ),
    ("UPDATE t SET x = x + 1 WHERE id = 3", &[3], |id, x| {
        (id, x + 1.0)
    }),
    (
        "UPDATE t SET x = -1 WHERE id IN (SELECT id FROM u)",
        &[2, 4, 6],
        |id, _| (id, -1.0),
    ),
    (
        "UPDATE t SET x = -1 WHERE id NOT IN (SELECT id FROM u)",
        &[0, 1, 3, 5, 7, 8, 9],
        |id, _| (id, -1.0),
    ),
    (
        "UPDATE t SET x = -1 WHERE NOT EXISTS (SELECT 1 FROM u WHERE u.id = t.id)",
        &[0, 1, 3, 5, 7, 8, 9],
        |id, _| (id, -1.0),
    ),
    (
        "UPDATE t SET x = -1 WHERE id = 0 OR id IN (SELECT id FROM u)",
        &[0, 2, 4, 6],
        |id, _| (id, -1.0),
    ),
    (
        "UPDATE t SET x = -1 WHERE id IN (SELECT id - 1 FROM t WHERE x >= 80)",
        &[7, 8],
        |id, _| (id, -1.0),
    ),
    (
        "UPDATE t SET x = (SELECT max(id) FROM u) WHERE id = 1",
        &[1],
        |id, _| (id, 100.0),
    ),
    (
        "UPDATE t SET x = (SELECT max(x) FROM t)",
        &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
        |id, _| (id, 90.0),
    ),
    (
        "UPDATE t SET x = id, id = CAST(x AS BIGINT) WHERE id = 2",
        &[2],
        |id, x| (20 * i64::from(x.to_bits() == 20.0_f64.to_bits()), float(id)),
    ),
    ("UPDATE t SET x = -1 WHERE false", &[], |id, x| (id, x)),
    ("UPDATE t SET x = -1 WHERE NULL", &[], |id, x| (id, x)),
    ("UPDATE t SET x = x WHERE id < 2", &[0, 1], |id, x| (id, x)),
    (
        "UPDATE t AS a SET x = a.id WHERE a.id > 7",
        &[8, 9],
        |id, _| (id, float(id)),
    ),
    ("UPDATE t SET x = -1 WHERE row_id = 9", &[9], |id, _| {
        (id, -1.0)
    }),
    ("UPDATE t SET x = -1 WHERE random() > 2.0", &[], |id, x| {
        (id, x)
    }),
    ("UPDATE t SET x = '12.5' WHERE id = 1", &[1], |id, _| {
        (id, 12.5)
    }),
    (
        "UPDATE t SET x = row_id",
        &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
        |id, _| (id, float(id)),
    ),
    (
        "UPDATE t SET x = x + row_id, id = row_id * 2 WHERE row_id > 6",
        &[7, 8, 9],
        |id, x| (id * 2, x + float(id)),
    ),
    (
        "UPDATE t AS a SET x = a.row_id WHERE a.row_id % 5 = 0",
        &[0, 5],
        |id, _| (id, float(id)),
    ),
    (
        "UPDATE t SET x = row_id WHERE row_id IN (SELECT id FROM u)",
        &[2, 4, 6],
        |id, _| (id, float(id)),
    ),
    (
        "UPDATE t SET x = -1 WHERE row_id NOT IN (SELECT id FROM u)",
        &[0, 1, 3, 5, 7, 8, 9],
        |id, _| (id, -1.0),
    ),
    (
        "UPDATE t SET x = -1 WHERE EXISTS (SELECT 1 FROM u WHERE u.row_id = t.row_id)",
        &[0, 1, 2, 3],
        |id, _| (id, -1.0),
    ),
    (
        "UPDATE t SET x = (SELECT max(u.id) FROM u WHERE u.row_id = t.row_id) WHERE row_id = 3",
        &[3],
        |id, _| (id, 100.0),
    ),
    (
        "MERGE INTO t USING (SELECT id AS r FROM u) AS s ON t.row_id = s.r \
         WHEN MATCHED THEN UPDATE SET x = t.row_id - s.r",
        &[2, 4, 6],
        |id, _| (id, 0.0),
    ),
];

fn float(id: i64) -> f64 {
    f64::from(i32::try_from(id).unwrap())
}

/// How a statement gets to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Straight,
    Prepared,
    Explained,
    Analyzed,
}

const WAYS: [Way; 4] = [Way::Straight, Way::Prepared, Way::Explained, Way::Analyzed];

/// Runs a statement, and gives the count where the way gives one.
async fn statement(ctx: &impl Runs, text: &str, way: Way) -> Option<u64> {
    match way {
        Way::Straight => Some(count(ctx, text).await.unwrap()),
        Way::Prepared => {
            run(ctx, &format!("PREPARE p AS {text}")).await.unwrap();
            Some(count(ctx, "EXECUTE p").await.unwrap())
        }
        Way::Explained => {
            run(ctx, &format!("EXPLAIN {text}")).await.unwrap();
            run(ctx, &format!("EXPLAIN VERBOSE {text}")).await.unwrap();
            None
        }
        Way::Analyzed => {
            run(ctx, &format!("EXPLAIN ANALYZE {text}")).await.unwrap();
            None
        }
    }
}

/// What a statement runs in.
const DOORS: [&str; 3] = [
    "a session of ours",
    "a session of the user's",
    "a connection",
];

async fn through(door: &str, fixture: &Fixture, text: &str, way: Way) -> Option<u64> {
    match door {
        "a session of ours" => statement(&fixture.session(), text, way).await,
        "a session of the user's" => statement(&fixture.taught(), text, way).await,
        _ => statement(&fixture.connection(), text, way).await,
    }
}

#[tokio::test]
async fn a_delete_takes_the_rows_that_it_names() {
    for (text, gone) in DELETES {
        for way in WAYS {
            for door in DOORS {
                let fixture = Fixture::new();
                let counted = through(door, &fixture, text, way).await;
                let gone = if way == Way::Explained { &[] } else { *gone };
                let stay: Vec<i64> = (0..10).filter(|id| !gone.contains(id)).collect();
                let (ids, x, v) = fixture.rows();
                assert_eq!(ids, stay, "{text}, {way:?}, {door}");
                assert_eq!(x, xs(&stay), "{text}, {way:?}, {door}");
                assert_eq!(v.len(), 2 * stay.len(), "{text}, {way:?}, {door}");
                if let Some(counted) = counted {
                    assert_eq!(counted, gone.len() as u64, "{text}, {way:?}, {door}");
                }
                assert_eq!(fixture.t.names().unwrap().len(), 3, "{text}: arrays stay");
            }
        }
    }
}

#[tokio::test]
async fn an_update_changes_the_rows_that_it_names() {
    for (text, rows, new) in UPDATES {
        for way in WAYS {
            for door in DOORS {
                let fixture = Fixture::new();
                let counted = through(door, &fixture, text, way).await;
                let rows = if way == Way::Explained { &[] } else { *rows };
                let ids: Vec<i64> = (0..10).collect();
                let expected = ids.iter().zip(xs(&ids)).map(|(&id, x)| {
                    if rows.contains(&id) {
                        new(id, x)
                    } else {
                        (id, x)
                    }
                });
                let (ids, x, v) = fixture.rows();
                let found: Vec<(i64, f64)> = ids.into_iter().zip(x).collect();
                assert_eq!(
                    found,
                    expected.collect::<Vec<_>>(),
                    "{text}, {way:?}, {door}"
                );
                assert_eq!(v, (0..20_u8).map(f32::from).collect::<Vec<_>>(), "{text}");
                if let Some(counted) = counted {
                    assert_eq!(counted, rows.len() as u64, "{text}, {way:?}, {door}");
                }
            }
        }
    }
}

#[tokio::test]
async fn the_traps_on_an_array_alone() {
    for (text, gone) in DELETES {
        if text.contains('x') || text.contains("v[") || text.contains("t.") {
            continue;
        }
        let text = text
            .replace("FROM t", "FROM ids")
            .replace("TABLE t", "TABLE ids");
        let text = text
            .replace("WHERE id", "WHERE value")
            .replace("OR id", "OR value");
        let text = text.replace("AND id", "AND value");
        for door in DOORS {
            let fixture = Fixture::new();
            let counted = through(door, &fixture, &text, Way::Straight).await.unwrap();
            let stay: Vec<i64> = (0..10).filter(|id| !gone.contains(id)).collect();
            let (ids, x, v) = fixture.rows();
            assert_eq!(ids, stay, "{text}");
            assert_eq!((x.len(), v.len()), (10, 20), "{text}: no other array");
            assert_eq!(counted, gone.len() as u64, "{text}");
        }
    }
}

#[tokio::test]
async fn the_position_of_a_row_of_an_array_alone() {
    for (text, expected) in [
        ("UPDATE ids SET value = row_id * 2", [0, 2, 4, 6]),
        (
            "UPDATE ids SET value = row_id - value - 1 WHERE row_id IN (SELECT row_id FROM t WHERE x > 10)",
            [0, 1, -1, -1],
        ),
    ] {
        for way in [Way::Straight, Way::Prepared, Way::Analyzed] {
            for door in DOORS {
                let fixture = Fixture::new();
                through(door, &fixture, text, way).await;
                assert_eq!(fixture.ids()[..4], expected, "{text}, {way:?}, {door}");
            }
        }
    }
}

#[tokio::test]
async fn a_vector_is_updated_as_a_whole() {
    let fixture = Fixture::new();
    let ctx = fixture.session();
    assert_eq!(
        count(&ctx, "UPDATE t SET v = [1.5, -2] WHERE id IN (0, 9)")
            .await
            .unwrap(),
        2
    );
    let (_, _, v) = fixture.rows();
    assert_eq!((v[0], v[1], v[18], v[19]), (1.5, -2.0, 1.5, -2.0));
    assert_eq!(v[2..18], (2..18_u8).map(f32::from).collect::<Vec<_>>());
    let text = "UPDATE t SET v = [1.5, -2, 3] WHERE id = 0";
    let error = super::fixture::error(&ctx, text).await;
    assert!(error.contains('2') && error.contains('3'), "{error}");
}

#[tokio::test]
async fn parameters() {
    let fixture = Fixture::new();
    let ctx = fixture.session();
    let frame = ctx
        .sql("DELETE FROM t WHERE id = $1 OR x > $2")
        .await
        .unwrap();
    let values = vec![("1", 3_i64.into()), ("2", 75.0_f64.into())];
    frame
        .with_param_values(values)
        .unwrap()
        .collect()
        .await
        .unwrap();
    assert_eq!(fixture.ids(), [0, 1, 2, 4, 5, 6, 7]);
    run(
        &ctx,
        "PREPARE p (BIGINT) AS UPDATE t SET x = 0 WHERE id = $1",
    )
    .await
    .unwrap();
    for id in [1, 5] {
        assert_eq!(count(&ctx, &format!("EXECUTE p({id})")).await.unwrap(), 1);
    }
    assert_eq!(fixture.rows().1, [0.0, 0.0, 20.0, 40.0, 0.0, 60.0, 70.0]);
}
