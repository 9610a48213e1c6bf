//! INSERT, MERGE and what types do on the way in.

use numpack_datafusion::ConnectionOptions;
use numpack_format::DType;

use super::fixture::{Fixture, count, error, int64s, put, run};

#[tokio::test]
async fn values_with_and_without_a_list() {
    let fixture = Fixture::new();
    let ctx = fixture.session();
    assert_eq!(
        count(
            &ctx,
            "INSERT INTO t VALUES (10, 1.5, [1, 2]), (11, 2, [3, 4.5])"
        )
        .await
        .unwrap(),
        2
    );
    let text = "INSERT INTO t (v, id, x) VALUES ([5, 6], 12, 3)";
    assert_eq!(count(&ctx, text).await.unwrap(), 1);
    let (ids, x, v) = fixture.rows();
    assert_eq!(ids, (0..13).collect::<Vec<_>>());
    assert_eq!(x[10..], [1.5, 2.0, 3.0]);
    assert_eq!(v[20..], [1.0, 2.0, 3.0, 4.5, 5.0, 6.0]);
}

#[tokio::test]
async fn a_table_inserted_into_itself_reads_what_it_was() {
    let fixture = Fixture::new();
    let ctx = fixture.session();
    for rows in [20, 40, 80] {
        let text = "INSERT INTO t SELECT id, x, v FROM t";
        assert_eq!(count(&ctx, text).await.unwrap(), rows / 2);
        assert_eq!(fixture.ids().len() as u64, rows);
    }
    assert_eq!(fixture.ids(), (0..10).cycle().take(80).collect::<Vec<_>>());
}

#[tokio::test]
async fn rows_keep_the_order_of_the_query() {
    let fixture = Fixture::new();
    let ctx = fixture.session();
    count(
        &ctx,
        "INSERT INTO t SELECT id, x, v FROM t ORDER BY id DESC",
    )
    .await
    .unwrap();
    assert_eq!(fixture.ids()[10..], [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]);
}

#[tokio::test]
async fn many_rows_go_through_a_file_and_arrive() {
    let fixture = Fixture::new();
    let ctx = fixture.connection_with(ConnectionOptions::default().with_memory_limit(32 << 20));
    let text = "INSERT INTO t SELECT value, value * 2, [value, 0] FROM generate_series(1, 6000000)";
    assert_eq!(count(&ctx, text).await.unwrap(), 6_000_000);
    let text = "SELECT sum(id) FROM t WHERE row_id >= 10 AND x = id * 2 AND v[2] = 0";
    assert_eq!(int64s(&ctx, text).await, [6_000_000_i64 * 6_000_001 / 2]);
}

#[tokio::test]
async fn overwrite_is_one_step() {
    let fixture = Fixture::new();
    let ctx = fixture.session();
    let text = "INSERT OVERWRITE t SELECT id, x, v FROM t WHERE id > 7";
    assert_eq!(count(&ctx, text).await.unwrap(), 2);
    assert_eq!(fixture.ids(), [8, 9]);
    assert_eq!(fixture.rows().2, [16.0, 17.0, 18.0, 19.0]);
}

#[tokio::test]
async fn every_dtype_takes_what_sql_gives() {
    let fixture = Fixture::new();
    let store = &fixture.u;
    put(store, "u8", DType::UInt8, &[4], &[1, 2, 3, 4]);
    put(store, "flag", DType::Bool, &[4], &[1, 0, 1, 0]);
    put(store, "flags", DType::Bool, &[4, 2], &[1; 8]);
    put(store, "half", DType::Float16, &[4], &[0; 8]);
    put(store, "z", DType::Complex64, &[4], &[0; 32]);
    put(store, "image", DType::Int16, &[4, 2, 2], &[0; 32]);
    let ctx = fixture.session();
    let text = "INSERT INTO u VALUES (7, 255, true, [true, false], 1.5, [1, -2], [1, 2, 3, -4])";
    assert_eq!(count(&ctx, text).await.unwrap(), 1);
    let last = |name: &str| {
        let array = store.array(name).unwrap();
        let mut bytes = vec![0; array.byte_len()];
        array.read_all(&mut bytes).unwrap();
        bytes[bytes.len() / 5 * 4..].to_vec()
    };
    assert_eq!(last("u8"), [255]);
    assert_eq!(last("flag"), [1]);
    assert_eq!(last("flags"), [1, 0]);
    assert_eq!(last("half"), [0x00, 0x3e]);
    assert_eq!(
        last("z"),
        [1_f32.to_le_bytes(), (-2_f32).to_le_bytes()].concat()
    );
    assert_eq!(
        last("image"),
        [1_i16, 2, 3, -4].map(i16::to_le_bytes).concat()
    );
    // Values that do not fit are errors; they never wrap.
    for (value, texts) in [
        (
            "256, true, [true, false], 1.5, [1, -2], [1, 2, 3, -4]",
            ["256", "UInt8"],
        ),
        (
            "-1, true, [true, false], 1.5, [1, -2], [1, 2, 3, -4]",
            ["-1", "UInt8"],
        ),
        ("1, true, [true], 1.5, [1, -2], [1, 2, 3, -4]", ["1", "2"]),
        (
            "1, true, [true, false], 1.5, [1, -2], [1, 2, 3, 40000]",
            ["40000", "Int16"],
        ),
        (
            "1, true, [true, false], 1.5, [1, -2], [1, 2, 3]",
            ["3", "4"],
        ),
    ] {
        let error = error(&ctx, &format!("INSERT INTO u VALUES (8, {value})")).await;
        assert!(
            texts.iter().all(|text| error.contains(text)),
            "{value}: {error}"
        );
    }
    assert_eq!(store.array("id").unwrap().rows(), 5);
}

#[tokio::test]
async fn merge_does_what_its_first_clause_that_applies_says() {
    let fixture = Fixture::new();
    let ctx = fixture.session();
    let text = "MERGE INTO t USING u ON t.id = u.id \
        WHEN MATCHED AND u.id = 4 THEN DELETE \
        WHEN MATCHED THEN UPDATE SET x = u.id \
        WHEN NOT MATCHED THEN INSERT (id, x, v) VALUES (u.id, -1, [0, 0])";
    run(&ctx, &format!("EXPLAIN {text}")).await.unwrap();
    assert_eq!(fixture.ids().len(), 10);
    assert_eq!(count(&ctx, text).await.unwrap(), 4);
    let (ids, x, v) = fixture.rows();
    assert_eq!(ids, [0, 1, 2, 3, 5, 6, 7, 8, 9, 100]);
    assert_eq!(x, [0.0, 10.0, 2.0, 30.0, 50.0, 6.0, 70.0, 80.0, 90.0, -1.0]);
    assert_eq!(v[18..], [0.0, 0.0]);
    let text = "MERGE INTO t USING u ON t.id = u.id WHEN NOT MATCHED BY SOURCE THEN DELETE";
    assert_eq!(count(&ctx, text).await.unwrap(), 7);
    assert_eq!(fixture.ids(), [2, 6, 100]);
}

#[tokio::test]
async fn a_merge_that_changes_a_row_twice_is_refused() {
    let fixture = Fixture::new();
    let ctx = fixture.session();
    let before = fixture.rows();
    let text = "MERGE INTO t USING u ON t.id < u.id WHEN MATCHED THEN UPDATE SET x = u.id";
    let error = error(&ctx, text).await;
    assert!(error.contains("changed twice by one statement"), "{error}");
    assert_eq!(fixture.rows(), before);
}

#[tokio::test]
async fn files_come_in_and_go_out() {
    let fixture = Fixture::new();
    let ctx = fixture.session();
    for format in ["parquet", "arrow", "json"] {
        let file = fixture.dir.path().join(format!("t.{format}"));
        let file = file.display();
        run(&ctx, &format!("COPY t TO '{file}'")).await.unwrap();
        let before = fixture.ids().len();
        assert_eq!(
            count(&ctx, &format!("COPY t FROM '{file}'")).await.unwrap(),
            before as u64
        );
        assert_eq!(fixture.ids().len(), 2 * before);
    }
    let file = fixture.dir.path().join("u.csv");
    let file = file.display();
    run(
        &ctx,
        &format!("COPY (SELECT id + 1 AS id FROM u) TO '{file}'"),
    )
    .await
    .unwrap();
    assert_eq!(
        count(&ctx, &format!("COPY u FROM '{file}'")).await.unwrap(),
        4
    );
    let ids = int64s(&ctx, "SELECT id FROM u ORDER BY row_id").await;
    assert_eq!(ids, [2, 4, 6, 100, 3, 5, 7, 101]);
    let error = error(&ctx, &format!("COPY t FROM '{file}'")).await;
    assert!(error.contains("has no column \"x\""), "{error}");
}
