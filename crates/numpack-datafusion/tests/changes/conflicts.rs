//! Two writers at once: no change is lost, and none is made halfway.

use numpack_engine::Selection;
use numpack_format::{ArrayMeta, DType};

use super::fixture::{Fixture, count, xs};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn updates_of_two_sessions_add_up() {
    let fixture = Fixture::new();
    let tasks: Vec<_> = (0..2)
        .map(|_| {
            let ctx = fixture.session();
            tokio::spawn(async move {
                for _ in 0..25 {
                    count(&ctx, "UPDATE t SET x = x + 1").await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let ids: Vec<i64> = (0..10).collect();
    let expected: Vec<f64> = xs(&ids).into_iter().map(|x| x + 50.0).collect();
    assert_eq!(fixture.rows().1, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn rows_are_named_by_what_they_hold_however_positions_move() {
    let fixture = Fixture::new();
    let ctx = fixture.session();
    let store = fixture.t.clone();
    let writer = std::thread::spawn(move || {
        // Row 0 goes and comes back at the end, again and again.
        let one = |dtype, dims: &[u64]| ArrayMeta::new(dtype, dims).unwrap();
        for _ in 0..30 {
            let at = store.snapshot_all().unwrap();
            let mut change = store.begin_at(&at).unwrap();
            let first = |name: &str| {
                let array = at.get(name).unwrap();
                let mut bytes = vec![0; array.byte_len()];
                array.read_all(&mut bytes).unwrap();
                bytes[..array.row_bytes()].to_vec()
            };
            let (id, x, v) = (first("id"), first("x"), first("v"));
            for name in ["id", "x", "v"] {
                change.delete_rows(name, Selection::Row(0)).unwrap();
            }
            change.append("id", &one(DType::Int64, &[1]), &id).unwrap();
            change.append("x", &one(DType::Float64, &[1]), &x).unwrap();
            change
                .append("v", &one(DType::Float32, &[1, 2]), &v)
                .unwrap();
            // Somebody else may have come between: then this turn is left out.
            let _conflict = change.commit();
        }
    });
    for _ in 0..10 {
        count(&ctx, "UPDATE t SET x = id WHERE id = 3")
            .await
            .unwrap();
        count(&ctx, "UPDATE t SET x = 30 WHERE id = 3")
            .await
            .unwrap();
    }
    writer.join().unwrap();
    let (mut ids, x, _) = fixture.rows();
    assert_eq!(x, xs(&ids));
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 10);
}
