//! A view handed out is a snapshot: what happens to the store afterwards, through this handle or
//! another, in Arrow or in SQL, changes neither its values nor its address.
use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::Int64Type;
use numpack::arrow::{ArrowOptions, array};
use numpack::datafusion::sql_collect;
use numpack::{ArrayMeta, DType, Options, Selection, Shape, Store, Transaction};

fn put(change: &mut Transaction<'_>, values: std::ops::Range<i64>) {
    let rows = u64::try_from(values.end - values.start).unwrap();
    let meta = ArrayMeta {
        dtype: DType::Int64,
        shape: Shape::new(&[rows], DType::Int64).unwrap(),
    };
    let bytes: Vec<u8> = values.flat_map(i64::to_le_bytes).collect();
    change.put("id", &meta, &mut bytes.as_slice()).unwrap();
}

fn values(array: &ArrayRef) -> Vec<i64> {
    array.as_primitive::<Int64Type>().values().to_vec()
}

fn address(array: &ArrayRef) -> *const u8 {
    array.to_data().buffers()[0].as_ptr()
}

/// What may happen to an array after a view of it was handed out.
type Change = fn(&mut Transaction<'_>);

#[test]
fn no_later_change_reaches_a_view() {
    let changes: [(&str, Change); 8] = [
        ("save", |change| put(change, 500..1500)),
        ("save of another length", |change| put(change, 0..3)),
        ("append", |change| {
            let shape = Shape::new(&[1], DType::Int64).unwrap();
            let meta = ArrayMeta {
                dtype: DType::Int64,
                shape,
            };
            change
                .append("id", &meta, &const { 7_i64.to_le_bytes() })
                .unwrap();
        }),
        ("replace", |change| {
            let shape = Shape::new(&[1], DType::Int64).unwrap();
            let meta = ArrayMeta {
                dtype: DType::Int64,
                shape,
            };
            change
                .replace(
                    "id",
                    Selection::Row(3),
                    &meta,
                    &const { (-1_i64).to_le_bytes() },
                )
                .unwrap();
        }),
        ("delete", |change| {
            change
                .delete_rows("id", Selection::Rows(vec![0, 5]))
                .unwrap();
        }),
        ("clear", |change| change.clear_rows("id").unwrap()),
        ("drop", |change| change.drop_array("id").unwrap()),
        ("rename", |change| change.rename("id", "other").unwrap()),
    ];
    for (what, apply) in changes {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("views.npk");
        let store = Store::open(&path, &Options::default()).unwrap();
        let mut change = store.begin().unwrap();
        put(&mut change, 0..1000);
        change.commit().unwrap();

        let options = ArrowOptions {
            zero_copy_only: true,
            ..ArrowOptions::default()
        };
        let exported = array(&store.array("id").unwrap(), &options).unwrap();
        let selected = sql_collect(&store, "SELECT id FROM self").unwrap();
        let selected = selected.batches[0].column(0);
        assert_eq!(
            address(&exported),
            address(selected),
            "both lie in one mapping"
        );

        let writer = Store::open(&path, &Options::default()).unwrap();
        let mut change = writer.begin().unwrap();
        apply(&mut change);
        change.commit().unwrap();
        writer.checkpoint().unwrap();
        writer.close().unwrap();
        store.close().unwrap();

        let expected: Vec<i64> = (0..1000).collect();
        assert_eq!(values(&exported), expected, "{what}, exported");
        assert_eq!(values(selected), expected, "{what}, selected");
    }
}
