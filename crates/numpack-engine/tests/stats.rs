//! What a store says of itself.

use numpack_engine::{Options, Selection, Store};

use crate::kit::{delete, replace, save};

#[test]
fn every_number_follows_what_is_done() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("s.npk"), &Options::default()).unwrap();
    let empty = store.stats().unwrap();
    assert_eq!(
        (empty.arrays, empty.rows, empty.bytes, empty.records),
        (0, 0, 0, 0)
    );
    assert_eq!((empty.mapped, empty.idle_maps), (0, 0));
    assert_eq!(empty.journal_limit, Options::default().limits.journal);

    save(&store, "a", &[100, 4096], &vec![1; 409_600]).unwrap();
    save(&store, "b", &[5], &[1; 5]).unwrap();
    store.sync().unwrap();
    let synced = store.stats().unwrap();
    assert_eq!(
        (synced.arrays, synced.rows, synced.bytes),
        (2, 105, 409_605)
    );
    assert_eq!((synced.records, synced.lsn), (3, empty.lsn + 3));
    assert_eq!(synced.synced_lsn, synced.lsn);
    assert!(synced.journal_bytes > empty.journal_bytes);

    delete(&store, "b", Selection::Row(0)).unwrap();
    replace(
        &store,
        "a",
        Selection::Rows(vec![1, 2, 50]),
        &[3, 4096],
        &[2; 3 * 4096],
    )
    .unwrap();
    let view = store.array("a").unwrap();
    let changed = store.stats().unwrap();
    assert_eq!(
        (changed.rows, changed.deleted, changed.bytes),
        (104, 1, 409_605)
    );
    assert_eq!(
        (changed.lsn, changed.synced_lsn),
        (synced.lsn + 2, synced.lsn)
    );
    assert_eq!((changed.mapped, changed.idle_maps), (1, 0));
    let [pending] = &changed.pending[..] else {
        panic!("{:?}", changed.pending);
    };
    assert_eq!(
        (pending.name.as_str(), pending.rows, pending.pages),
        ("a", 3, 3)
    );
    drop(view);
    let idle = store.stats().unwrap();
    assert_eq!((idle.mapped, idle.idle_maps), (0, 1));

    store.checkpoint().unwrap();
    let rest = store.stats().unwrap();
    assert_eq!((rest.records, rest.pending.len()), (0, 0));
    assert_eq!(
        (rest.synced_lsn, rest.journal_bytes),
        (rest.lsn, empty.journal_bytes)
    );
}
