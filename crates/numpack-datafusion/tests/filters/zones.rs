//! Blocks that cannot have a row that passes are left out, and never a row that does.

use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::physical_plan::{collect, displayable};
use datafusion::prelude::SessionContext;
use numpack_engine::{Options, Selection, Store, Transaction};
use numpack_format::{ArrayMeta, DType};

use super::{Fixture, Random, counter, plan, printed, register_copy, rows};

/// Rows of a block.
const BLOCK: usize = 8192;

/// Twelve blocks and some rows.
const ROWS: u64 = 100_000;

/// `id` 0.., `x` as floats of the thousands of `id`, `emb` of two, `id` and the same the other way.
fn ascending() -> Fixture {
    let fixture = Fixture::new();
    fill(&fixture, 0);
    fixture
}

/// Stores rows whose `id` begins at `from`.
fn fill(fixture: &Fixture, from: i64) {
    let count = i64::try_from(ROWS).expect("small");
    let ids = from..from + count;
    fixture.put("id", DType::Int64, &[ROWS], &bytes(ids.clone()));
    let x = ids.clone().map(|id| float(id / 1000));
    let x: Vec<u8> = x.flat_map(f64::to_le_bytes).collect();
    fixture.put("x", DType::Float64, &[ROWS], &x);
    let emb = ids.flat_map(|id| [float(id), -float(id)]);
    let emb: Vec<u8> = emb.flat_map(f64::to_le_bytes).collect();
    fixture.put("emb", DType::Float64, &[ROWS, 2], &emb);
}

fn float(i: i64) -> f64 {
    f64::from(i32::try_from(i).expect("small"))
}

fn bytes(ids: impl Iterator<Item = i64>) -> Vec<u8> {
    ids.flat_map(i64::to_le_bytes).collect()
}

/// Bytes read of a column, blocks left out, and the rows.
async fn cost(ctx: &SessionContext, sql: &str, column: &str) -> (usize, usize, usize) {
    let plan = plan(ctx, sql).await;
    let batches = collect(Arc::clone(&plan), ctx.task_ctx()).await.expect(sql);
    let read = ["mapped", "copied"].map(|how| counter(&plan, &format!("bytes_{how}({column})")));
    (
        read.iter().sum(),
        counter(&plan, "blocks_pruned"),
        batches.iter().map(RecordBatch::num_rows).sum(),
    )
}

async fn number(ctx: &SessionContext, sql: &str) -> String {
    let batches = rows(ctx, sql).await;
    printed(&batches)
}

#[tokio::test]
async fn the_second_scan_reads_the_blocks_that_may_match() {
    let fixture = ascending();
    let ctx = fixture.session();
    let all = usize::try_from(ROWS).expect("small") * 8;
    // Both comparisons are made at once.
    let sql = "SELECT emb FROM t WHERE id BETWEEN 50000 AND 50099";
    assert_eq!(cost(&ctx, sql, "id").await, (all, 0, 100));
    // Another session of the same store knows it too.
    let ctx = fixture.session();
    assert_eq!(cost(&ctx, sql, "id").await, (BLOCK * 8, 12, 100));
    for (predicate, blocks, rows) in [
        ("id = 7", 1, 1),
        ("id IN (7, 99999)", 2, 2),
        ("id < 0", 0, 0),
        ("id < 8192 OR id >= 98304", 2, 8192 + 1696),
        ("NOT id > 8191", 1, 8192),
        ("id > 90000 AND x < 3", 3, 0),
        ("id <> 7", 13, 99_999),
        ("id % 2 = 0 AND id >= 98304", 1, 848),
    ] {
        let sql = format!("SELECT emb FROM t WHERE {predicate}");
        let (read, pruned, found) = cost(&ctx, &sql, "id").await;
        let expected = (13_usize - blocks, rows);
        assert_eq!((pruned, found), expected, "{predicate}");
        assert!(read <= 2 * blocks * BLOCK * 8, "{predicate}: {read}");
    }
}

#[tokio::test]
async fn rows_chosen_by_position_keep_their_blocks() {
    let fixture = ascending();
    let ctx = fixture.session();
    cost(&ctx, "SELECT count(*) FROM t WHERE id > 5", "id").await;
    let sql = "SELECT id FROM t WHERE row_id BETWEEN 8000 AND 9000 AND id >= 8192";
    assert_eq!(cost(&ctx, sql, "id").await.1, 1);
    let sql = "SELECT id FROM t WHERE id < 10 ORDER BY row_id DESC LIMIT 3";
    let (read, pruned, found) = cost(&ctx, sql, "id").await;
    assert_eq!((pruned, found), (12, 3));
    assert!(read <= BLOCK * 8 + 3 * 8, "{read}");
}

#[tokio::test]
async fn values_of_lists_have_bounds_too() {
    let fixture = ascending();
    let ctx = fixture.session();
    let all = usize::try_from(ROWS).expect("small") * 8;
    let sql = "SELECT id FROM t WHERE emb[2] < -99990";
    assert_eq!(cost(&ctx, sql, "emb[2]").await, (all, 0, 9));
    let last = usize::try_from(ROWS).expect("small") % BLOCK;
    assert_eq!(cost(&ctx, sql, "emb[2]").await, (last * 8, 12, 9));
    // The other value of each row is another column.
    let sql = "SELECT id FROM t WHERE emb[1] < -99990";
    assert_eq!(cost(&ctx, sql, "emb[1]").await, (all, 0, 0));
}

#[tokio::test]
async fn a_filter_that_sharpens_leaves_blocks_out() {
    let fixture = ascending();
    let ctx = fixture.session();
    cost(&ctx, "SELECT count(*) FROM t WHERE id > 5 AND x >= 0", "id").await;
    let sql = "SELECT x, id FROM t WHERE emb[1] >= 0 ORDER BY id LIMIT 3";
    let (_, pruned, found) = cost(&ctx, sql, "id").await;
    assert_eq!(found, 3);
    assert!(pruned >= 10, "{pruned}");
    let joined = "SELECT count(*) FROM t JOIN (SELECT id FROM t WHERE id < 3) AS s ON t.id = s.id";
    assert!(number(&ctx, joined).await.contains("| 3 "));
}

#[tokio::test]
async fn bounds_of_all_rows_need_no_reading() {
    let fixture = ascending();
    let ctx = fixture.session();
    cost(&ctx, "SELECT count(*) FROM t WHERE id > 5 AND x >= 0", "id").await;
    cost(&ctx, "SELECT count(*) FROM t WHERE x >= 0", "x").await;
    let sql = "SELECT min(id), max(id), max(x), count(*) FROM t";
    let text = displayable(plan(&ctx, sql).await.as_ref())
        .indent(false)
        .to_string();
    assert!(text.contains("PlaceholderRowExec"), "{text}");
    let found = number(&ctx, sql).await;
    assert!(
        found.contains("| 0         | 99999     | 99.0     | 100000 "),
        "{found}"
    );
    // The smallest `x` is a zero of some sign; part of the rows is not all of them.
    for (sql, expected) in [
        ("SELECT min(x) FROM t", "| 0.0 "),
        ("SELECT max(id) FROM t WHERE row_id < 9", "| 8 "),
        ("SELECT max(id) FROM t WHERE id < 9", "| 8 "),
        ("SELECT max(id) FROM (SELECT id FROM t LIMIT 9)", "| 8 "),
        (
            "SELECT max(id) + max(value) FROM t, (SELECT 1 AS value)",
            "| 100000 ",
        ),
    ] {
        let found = number(&ctx, sql).await;
        assert!(found.contains(expected), "{sql}: {found}");
    }
    let nan: Vec<u8> = (0..ROWS)
        .flat_map(|i| if i == 70_000 { f64::NAN } else { 1.5 }.to_le_bytes())
        .collect();
    fixture.put("x", DType::Float64, &[ROWS], &nan);
    for _ in 0..2 {
        cost(&ctx, "SELECT count(*) FROM t WHERE x >= 0", "x").await;
        assert!(number(&ctx, "SELECT max(x) FROM t").await.contains("NaN"));
        let (_, pruned, found) = cost(&ctx, "SELECT id FROM t WHERE x > 5", "x").await;
        assert_eq!((pruned, found), (12, 1));
    }
}

fn changed<'a>(fixture: &'a Fixture, what: impl FnOnce(&mut Transaction<'a>)) {
    let mut change = fixture.store.begin().expect("a transaction");
    what(&mut change);
    change.commit().expect("a commit");
}

/// Every change between two queries shows in the second one.
#[tokio::test]
async fn no_change_is_missed() {
    let fixture = ascending();
    let ctx = fixture.session();
    let one = "SELECT id FROM t WHERE id = -77";
    let warm = async || {
        for sql in [
            one,
            "SELECT count(*) FROM t WHERE id >= 0",
            "SELECT min(id) FROM t",
        ] {
            rows(&ctx, sql).await;
        }
    };
    let found = async || cost(&ctx, one, "id").await.2;
    warm().await;
    assert_eq!(found().await, 0);

    let row = bytes(std::iter::once(-77));
    let id = |rows| ArrayMeta::new(DType::Int64, &[rows]).expect("a shape");
    changed(&fixture, |change| {
        let at = Selection::Row(60_000);
        change.replace("id", at, &id(1), &row).expect("a row");
    });
    assert_eq!(found().await, 1);
    warm().await;
    assert_eq!(found().await, 1);
    assert!(number(&ctx, "SELECT min(id) FROM t").await.contains("-77"));

    // Deleting a row moves the others into other blocks.
    for name in ["id", "x", "emb"] {
        changed(&fixture, |change| {
            let gone = Selection::Slice {
                start: Some(0),
                stop: Some(3000),
                step: 1,
            };
            change.delete_rows(name, gone).expect("rows");
        });
    }
    assert_eq!(found().await, 1);
    warm().await;
    for name in ["id", "x", "emb"] {
        changed(&fixture, |change| {
            change
                .delete_rows(name, Selection::Row(57_000))
                .expect("a row");
        });
    }
    assert_eq!(found().await, 0);
    assert!(number(&ctx, "SELECT min(id) FROM t").await.contains("3000"));
    warm().await;

    let rows_more = bytes([-77, -77, 5].into_iter());
    let (floats, lists) = (vec![0; 3 * 8], vec![0; 6 * 8]);
    changed(&fixture, |change| {
        let float = |dims: &[u64]| ArrayMeta::new(DType::Float64, dims).expect("a shape");
        change.append("id", &id(3), &rows_more).expect("rows");
        change.append("x", &float(&[3]), &floats).expect("rows");
        change.append("emb", &float(&[3, 2]), &lists).expect("rows");
    });
    assert_eq!(found().await, 2);
    warm().await;

    // The same name and length, other rows.
    fill(&fixture, 0);
    assert_eq!(found().await, 0);
    warm().await;
    fill(&fixture, -100);
    assert_eq!(found().await, 1);
    warm().await;
    assert_eq!(found().await, 1);
}

#[tokio::test]
async fn a_store_made_anew_in_the_same_place_is_another_one() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("again.npk");
    for round in 0..3 {
        let store = Store::open(&path, &Options::default()).expect("a store");
        let fixture = Fixture {
            _dir: tempfile::tempdir().expect("a directory"),
            store,
        };
        fill(&fixture, round * 500_000);
        let ctx = fixture.session();
        let sql = format!("SELECT id FROM t WHERE id = {}", round * 500_000 + 9);
        for _ in 0..2 {
            assert_eq!(cost(&ctx, &sql, "id").await.2, 1, "round {round}");
            let sql = "SELECT min(id) FROM t WHERE id > -1";
            rows(&ctx, sql).await;
        }
        drop(ctx);
        fixture.store.close().expect("closed");
        std::fs::remove_dir_all(&path).expect("removed");
    }
}

/// Columns whose values lie together in blocks, with values at both ends of their types.
fn clustered(random: &mut Random) -> Fixture {
    let fixture = Fixture::new();
    let count = 66_000 + random.below(20_000);
    let special = [
        f64::NAN,
        -f64::NAN,
        0.0,
        -0.0,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::MAX,
        f64::MIN,
    ];
    let often = [0, 3, 40_000][usize::try_from(random.below(3)).expect("small")];
    let odd = |random: &mut Random| often > 0 && random.below(often) == 0;
    let floats = |random: &mut Random| -> Vec<f64> {
        let mut base = 0.0;
        (0..count)
            .map(|row| {
                if row % 8192 == 0 {
                    base = f64::from(i32::try_from(random.below(8)).expect("small")) - 4.0;
                }
                if odd(random) {
                    return special[usize::try_from(random.below(8)).expect("small")];
                }
                base + f64::from(u8::try_from(random.below(4)).expect("small")) / 4.0
            })
            .collect()
    };
    let doubles = floats(random);
    let wide: Vec<u8> = doubles.iter().copied().flat_map(f64::to_le_bytes).collect();
    fixture.put("x", DType::Float64, &[count], &wide);
    #[allow(clippy::cast_possible_truncation, reason = "other numbers do as well")]
    let single: Vec<f32> = floats(random).into_iter().map(|x| x as f32).collect();
    let narrow: Vec<u8> = single.iter().copied().flat_map(f32::to_le_bytes).collect();
    fixture.put("score", DType::Float32, &[count], &narrow);
    let pairs = floats(random).into_iter().zip(&doubles);
    let pairs: Vec<u8> = pairs
        .flat_map(|(a, &b)| [a, b])
        .flat_map(f64::to_le_bytes)
        .collect();
    fixture.put("emb", DType::Float64, &[count, 2], &pairs);
    // 0, 0.5, 1, -1, -0, NaN and infinity in half precision.
    let halves = [0_u16, 0x3800, 0x3c00, 0xbc00, 0x8000, 0x7e00, 0x7c00];
    let half: Vec<u8> = (0..count)
        .flat_map(|row| {
            let kind = row / 8192 % 3 * 2 + random.below(2);
            halves[usize::try_from(kind).expect("small")].to_le_bytes()
        })
        .collect();
    fixture.put("half", DType::Float16, &[count], &half);
    let ends = [i64::MIN, i64::MAX, 0];
    let ids = (0..count).map(|row| match random.below(30_000) {
        end @ 0..3 => ends[usize::try_from(end).expect("small")],
        _ => i64::try_from(row / 500).expect("small"),
    });
    let ids = bytes(ids);
    fixture.put("id", DType::Int64, &[count], &ids);
    let large = (0..count).map(|row| u64::MAX - row / 8192 * random.below(2));
    let large: Vec<u8> = large.flat_map(u64::to_le_bytes).collect();
    fixture.put("large", DType::UInt64, &[count], &large);
    let small: Vec<u8> = (0..count)
        .flat_map(|row| {
            i8::try_from(row / 8192 * 9 + random.below(50))
                .map_or(-128, |v| v - 60)
                .to_le_bytes()
        })
        .collect();
    fixture.put("small", DType::Int8, &[count], &small);
    let flags: Vec<u8> = (0..count)
        .map(|row| {
            u8::from(match row / 8192 % 3 {
                0 => false,
                1 => true,
                _ => random.below(2) == 0,
            })
        })
        .collect();
    fixture.put("flag", DType::Bool, &[count], &flags);
    if random.below(2) == 0 {
        let gone = (0..random.below(2_000)).map(|_| random.below(count));
        let mut gone: Vec<i64> = gone.map(|row| i64::try_from(row).expect("small")).collect();
        gone.sort_unstable();
        gone.dedup();
        for name in ["x", "score", "emb", "half", "id", "large", "small", "flag"] {
            let mut change = fixture.store.begin().expect("a transaction");
            let rows = Selection::Rows(gone.clone());
            change.delete_rows(name, rows).expect("rows that exist");
            change.commit().expect("a commit");
        }
    }
    fixture
}

fn predicate(random: &mut Random, depth: u64) -> String {
    if depth > 0 && random.below(3) == 0 {
        let (a, b) = (predicate(random, depth - 1), predicate(random, depth - 1));
        let joined = format!("({a} {} {b})", random.pick(&["AND", "AND", "OR"]));
        return match random.below(4) {
            0 => format!("NOT {joined}"),
            _ => joined,
        };
    }
    let op = random.pick(&["=", "<>", "<", "<=", ">", ">="]);
    let float = random.pick(&[
        "0",
        "-0.0",
        "0.25",
        "-3.5",
        "2.75",
        "1e300",
        "-1e300",
        "CAST('NaN' AS DOUBLE)",
        "CAST('Infinity' AS DOUBLE)",
        "3",
    ]);
    match random.below(13) {
        0 => format!("id {op} {}", random.below(170)),
        1 => format!("id BETWEEN {} AND {}", random.below(170), random.below(170)),
        2 => format!(
            "id {} IN ({}, 3, 90)",
            random.pick(&["", "NOT"]),
            random.below(170)
        ),
        3 => format!("large {op} 18446744073709551610"),
        4 => format!(
            "small {op} {}",
            random.pick(&["-128", "-60", "0", "127", "40"])
        ),
        5 => random
            .pick(&[
                "flag",
                "NOT flag",
                "flag = true",
                "flag <> true",
                "flag IS NULL",
            ])
            .to_owned(),
        6 => format!(
            "half {op} {}",
            random.pick(&["0", "-0.0", "0.5", "1", "-1"])
        ),
        7 => format!("emb[{}] {op} {float}", random.pick(&["1", "2", "-1", "3"])),
        8 => format!("score {op} {float}"),
        9 => format!("row_id < {}", random.below(90_000)),
        10 => random
            .pick(&[
                "isnan(x)",
                "x <> x",
                "x IS NOT NULL",
                "-x > 2",
                "CAST(id AS BOOLEAN) = (id < 0)",
                "CAST(id AS DOUBLE) > 100",
                "TRY_CAST(id AS INT) < 4",
                "CAST(small AS BOOLEAN) <= false",
                "abs(score) > 3",
                "x + 1 > 3",
                "id > small",
            ])
            .to_owned(),
        _ => format!("x {op} {float}"),
    }
}

#[tokio::test]
async fn what_is_left_out_never_matters() {
    let mut random = Random(77);
    let mut pruned = 0;
    for store in 0..6 {
        let fixture = clustered(&mut random);
        let ctx = fixture.session();
        register_copy(&ctx).await;
        for _ in 0..40 {
            let predicate = predicate(&mut random, 2);
            let query = |table: &str| {
                format!(
                    "SELECT count(*), sum(row_id), max(row_id) FROM {table} AS t WHERE {predicate}"
                )
            };
            let expected = number(&ctx, &query("m")).await;
            for _ in 0..2 {
                let ours = query("t");
                assert_eq!(number(&ctx, &ours).await, expected, "store {store}: {ours}");
            }
            pruned += cost(&ctx, &query("t"), "x").await.1;
        }
        for column in ["x", "score", "id", "large", "small", "flag", "half"] {
            let query = |table: &str| {
                format!("SELECT min({column}) AS low, max({column}) AS high FROM {table}")
            };
            assert_eq!(
                number(&ctx, &query("t")).await,
                number(&ctx, &query("m")).await,
                "store {store}: {column}"
            );
        }
    }
    assert!(pruned > 100, "only {pruned} blocks");
}
