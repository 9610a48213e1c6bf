//! Attributes of stores and arrays.

use numpack_engine::fs::MemoryFs;
use numpack_engine::{Error, Mode, Store};
use numpack_format::Attrs;

use crate::kit::{append, bytes, delete, mode, open, rows, save, try_open};
use numpack_engine::Selection;

const UNIT: &str = r#"{"unit":"m"}"#;

fn describe(store: &Store, name: Option<&str>, text: &str) -> numpack_engine::Result<u64> {
    let mut t = store.begin()?;
    t.set_attrs(name, text)?;
    t.commit()
}

fn unit(store: &Store, name: &str) -> String {
    store.array_attrs(name).unwrap().as_str().to_owned()
}

#[test]
fn attributes_follow_their_array() {
    let fs = MemoryFs::default();
    let store = open(&fs);
    for name in ["a", "b"] {
        save(&store, name, &[4, 2], &rows(4, 2, 1)).unwrap();
    }
    describe(&store, Some("a"), UNIT).unwrap();
    describe(&store, None, r#"{"of":"all"}"#).unwrap();
    append(&store, "a", &[1, 2], &[1, 2]).unwrap();
    save(&store, "a", &[3, 2], &rows(3, 2, 2)).unwrap();
    delete(&store, "a", Selection::Row(0)).unwrap();
    let before = store.snapshot_all().unwrap();

    let mut t = store.begin().unwrap();
    t.compact("a").unwrap();
    t.copy_array("a", "copy").unwrap();
    t.rename("a", "new").unwrap();
    t.clear_rows("new").unwrap();
    t.set_attrs(Some("b"), r#"{"k":[1]}"#).unwrap();
    t.commit().unwrap();
    let check = |store: &Store| {
        assert_eq!(unit(store, "new"), UNIT);
        assert_eq!(unit(store, "copy"), UNIT);
        assert_eq!(unit(store, "b"), r#"{"k":[1]}"#);
        assert_eq!(store.attrs().unwrap().as_str(), r#"{"of":"all"}"#);
    };
    check(&store);
    check(&open(&fs.image()));
    store.close().unwrap();
    let store = open(&fs.image());
    check(&store);
    assert_eq!(
        store.stats().unwrap().records,
        0,
        "it comes from the metadata"
    );

    assert_eq!(before.get("a").unwrap().attrs().as_str(), UNIT);
    assert!(before.get("b").unwrap().attrs().is_empty());
    assert_eq!(before.attrs().as_str(), r#"{"of":"all"}"#);

    let mut t = store.begin().unwrap();
    t.drop_array("new").unwrap();
    t.put("new", &bytes(&[1]), &mut &[1][..]).unwrap();
    t.commit().unwrap();
    assert!(store.array_attrs("new").unwrap().is_empty());
    delete(&store, "copy", Selection::All).unwrap();
    save(&store, "copy", &[1], &[1]).unwrap();
    assert!(store.array_attrs("copy").unwrap().is_empty());
}

#[test]
fn attributes_alone_make_a_checkpoint_due() {
    let fs = MemoryFs::default();
    let store = open(&fs);
    describe(&store, None, UNIT).unwrap();
    store.close().unwrap();
    let store = open(&fs);
    assert_eq!(store.stats().unwrap().records, 0);
    assert_eq!(store.attrs().unwrap().as_str(), UNIT);
    describe(&store, None, "{}").unwrap();
    store.checkpoint().unwrap();
    assert_eq!(store.stats().unwrap().records, 0);
    assert!(open(&fs.image()).attrs().unwrap().is_empty());
}

#[test]
fn a_store_that_starts_empty_has_none() {
    let fs = MemoryFs::default();
    let store = open(&fs);
    save(&store, "a", &[1], &[1]).unwrap();
    describe(&store, None, UNIT).unwrap();
    let mut t = store.begin().unwrap();
    t.drop_all().unwrap();
    t.commit().unwrap();
    assert_eq!(store.attrs().unwrap().as_str(), UNIT);
    let store = try_open(&fs, &mode(Mode::Write)).unwrap();
    assert!(store.attrs().unwrap().is_empty());
}

#[test]
fn what_changes_nothing_is_no_commit() {
    let store = open(&MemoryFs::default());
    let first = describe(&store, None, UNIT).unwrap();
    assert_eq!(describe(&store, None, UNIT).unwrap(), first);
    assert_eq!(
        describe(&store, None, r#"{"unit": "m"}"#).unwrap(),
        first + 1
    );
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    let fs = MemoryFs::default();
    let store = open(&fs);
    save(&store, "a", &[1], &[1]).unwrap();
    let refusal = |name, text: &str| describe(&store, name, text).unwrap_err().to_string();
    assert!(refusal(Some("a"), "[1]").starts_with("attributes of array \"a\": a JSON object"));
    assert!(refusal(None, "").starts_with("attributes of the store: a JSON object"));
    assert_eq!(refusal(Some("x"), UNIT), "array \"x\" not found");
    assert!(matches!(
        store.array_attrs("x"),
        Err(Error::NotFound { .. })
    ));
    let text =
        |fill: char, len: usize| format!("{{\"a\":\"{}\"}}", String::from(fill).repeat(len - 8));
    let error = refusal(Some("a"), &text('x', Attrs::MAX_LEN + 1));
    assert!(
        error.starts_with("attributes of array \"a\": 1048577 bytes"),
        "{error}"
    );
    let reader = try_open(&fs, &mode(Mode::Read)).unwrap();
    assert!(matches!(
        describe(&reader, None, UNIT),
        Err(Error::ReadOnly { .. })
    ));
    // All of them together have a limit, too; less is always possible.
    for i in 0..64 {
        let name = format!("n{i}");
        save(&store, &name, &[1], &[1]).unwrap();
        describe(&store, Some(&name), &text('y', Attrs::MAX_LEN)).unwrap();
    }
    let error = refusal(Some("a"), UNIT);
    assert!(
        error.contains("\"a\": with them all attributes of the store take 67108876 bytes"),
        "{error}"
    );
    describe(&store, Some("n0"), &text('z', Attrs::MAX_LEN)).unwrap();
    describe(&store, Some("n0"), "{}").unwrap();
    describe(&store, Some("a"), UNIT).unwrap();
    store.close().unwrap();
    assert_eq!(unit(&open(&fs), "a"), UNIT);
}
