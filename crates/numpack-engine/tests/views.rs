//! Views: without a copy, and as they were whatever happens.

use numpack_engine::{Options, Selection, Store};

use crate::kit::{append, delete, replace, rows, save};

#[test]
fn views_share_one_mapping_of_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.npk");
    let store = Store::open(&path, &Options::default()).unwrap();
    save(&store, "a", &[1000, 8], &rows(1000, 8, 1)).unwrap();
    store.checkpoint().unwrap();
    let first = store.array("a").unwrap().contiguous().unwrap();
    let maps_before = std::fs::read_to_string("/proc/self/maps")
        .unwrap()
        .lines()
        .count();
    let views: Vec<_> = (0..100)
        .map(|_| store.array("a").unwrap().contiguous().unwrap())
        .collect();
    assert!(
        views.iter().all(|view| view.as_ptr() == first.as_ptr()),
        "one mapping"
    );
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    assert!(maps.lines().count() < maps_before + 20);
    let line = maps.lines().find(|line| {
        let (low, high) = line.split_once(' ').unwrap().0.split_once('-').unwrap();
        let range =
            usize::from_str_radix(low, 16).unwrap()..usize::from_str_radix(high, 16).unwrap();
        range.contains(&first.as_ptr().addr())
    });
    let line = line.unwrap();
    assert!(
        line.ends_with("data_a.npkd") && line.contains("r--p"),
        "{line}"
    );
    let row = store.array("a").unwrap().view(3..5).unwrap();
    assert_eq!(row.as_ptr().addr(), first.as_ptr().addr() + 24);
}

#[test]
fn views_do_not_change() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.npk");
    let store = Store::open(&path, &Options::default()).unwrap();
    let data = rows(50_000, 8, 1);
    save(&store, "a", &[50_000, 8], &data).unwrap();
    let mut views = vec![store.array("a").unwrap().contiguous().unwrap()];
    let one = [9_u8; 8];
    let steps: [&dyn Fn(&Store); 8] = [
        &|s| assert!(replace(s, "a", Selection::Row(0), &[1, 8], &one).unwrap() > 0),
        &|s| assert!(append(s, "a", &[1, 8], &one).unwrap() > 0),
        &|s| assert!(delete(s, "a", Selection::Rows(vec![3, 4])).unwrap() > 0),
        &|s| s.checkpoint().unwrap(),
        &|s| {
            let mut t = s.begin().unwrap();
            t.compact("a").unwrap();
            t.commit().unwrap();
        },
        &|s| assert!(save(s, "a", &[2, 8], &[1; 16]).unwrap() > 0),
        &|s| {
            let mut t = s.begin().unwrap();
            t.drop_all().unwrap();
            t.commit().unwrap();
        },
        &|s| s.close().unwrap(),
    ];
    for (number, step) in steps.iter().enumerate() {
        step(&store);
        assert!(
            views.iter().all(|view| **view == data),
            "after step {number}"
        );
        if number < 2 {
            let now = store.array("a").unwrap();
            assert_ne!(&*now.view(0..1).unwrap(), &data[..8]);
            views.push(views[0].clone());
        }
    }
    drop(store);
    std::fs::remove_dir_all(&path).unwrap();
    assert!(views.iter().all(|view| **view == data));
}

#[test]
fn private_maps_are_private() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("s.npk"), &Options::default()).unwrap();
    let data = rows(5000, 8, 1);
    save(&store, "a", &[5000, 8], &data).unwrap();
    let array = store.array("a").unwrap();
    let mut mine = array.private().unwrap();
    assert!(mine.is_mapped());
    assert_eq!(mine.as_ref(), data);
    mine.as_mut()[0] = !data[0];
    assert_eq!(&*array.contiguous().unwrap(), data, "nobody else sees it");
    replace(&store, "a", Selection::Row(1), &[1, 8], &[5; 8]).unwrap();
    assert_eq!(mine.as_ref()[1..], data[1..]);
    let mut late = array.private().unwrap();
    assert_eq!(
        late.as_ref(),
        data,
        "a snapshot whose file is replaced still has its bytes"
    );
    late.as_mut()[7] = 0;
    delete(&store, "a", Selection::Row(2)).unwrap();
    assert!(store.array("a").unwrap().private().is_err());
    delete(
        &store,
        "a",
        Selection::Slice {
            start: None,
            stop: Some(10),
            step: 1,
        },
    )
    .unwrap();
    assert_eq!(
        store.array("a").unwrap().private().unwrap().as_ref()[..8],
        data[12 * 8 - 8..12 * 8][..]
    );
}

#[test]
fn empty_arrays_have_empty_views() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("s.npk"), &Options::default()).unwrap();
    for (name, dims) in [
        ("n", vec![0]),
        ("nk", vec![0, 5]),
        ("kn", vec![5, 0]),
        ("nkm", vec![0, 2, 0]),
    ] {
        save(&store, name, &dims, &[]).unwrap();
        let array = store.array(name).unwrap();
        assert_eq!(array.shape(), dims);
        assert!(array.contiguous().unwrap().is_empty());
        assert!(array.private().unwrap().as_ref().is_empty());
        array.read_all(&mut []).unwrap();
        let mut more = dims.clone();
        more[0] = 2;
        let count: u64 = more.iter().product();
        append(&store, name, &more, &vec![1; count as usize]).unwrap();
        assert_eq!(store.info(name).unwrap().shape[0], dims[0] + 2);
    }
    let mut gathered = [];
    store
        .array("kn")
        .unwrap()
        .gather_rows(&[6, 0], &mut gathered)
        .unwrap();
    assert!(
        store
            .array("kn")
            .unwrap()
            .gather_rows(&[7], &mut gathered)
            .is_err()
    );
    delete(&store, "kn", Selection::Row(0)).unwrap();
    replace(&store, "kn", Selection::Rows(vec![5, 0]), &[2, 0], &[]).unwrap();
    assert_eq!(store.info("kn").unwrap().shape, [6, 0]);
    save(&store, "scalar", &[], &[7]).unwrap();
    let scalar = store.array("scalar").unwrap();
    assert_eq!(
        (scalar.ndim(), scalar.rows(), &*scalar.contiguous().unwrap()),
        (0, 1, &[7][..])
    );
    assert!(delete(&store, "scalar", Selection::All).is_err());
    assert!(append(&store, "scalar", &[1], &[1]).is_err());
    let mut t = store.begin().unwrap();
    t.copy_array("scalar", "copy").unwrap();
    t.compact("scalar").unwrap();
    t.rename("scalar", "renamed").unwrap();
    t.commit().unwrap();
    assert_eq!(&*store.array("copy").unwrap().contiguous().unwrap(), [7]);
}

/// What was changed in a private map is found and committed, wherever it is in the array and whatever waited in
/// the journal before.
#[test]
fn changes_of_a_private_map_are_committed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.npk");
    let store = Store::open(&path, &Options::default()).unwrap();
    for width in [3_u64, 4096, 10_000] {
        let mut model = rows(2000, width, 1);
        save(&store, "a", &[2000, width], &model).unwrap();
        let width = usize::try_from(width).unwrap();
        for round in 0..4_usize {
            let base = store.snapshot(&["a"]).unwrap();
            let array = base.get("a").unwrap();
            let mut map = array.private().unwrap();
            let len = model.len();
            assert!(map.as_ref() == model);
            for at in [
                round,
                width * 7 + 1,
                5 * 4096 - 1,
                5 * 4096,
                len / 2,
                len - 1 - round,
            ] {
                let at = at.min(len - 1);
                map.as_mut()[at] ^= 0x55;
                model[at] ^= 0x55;
            }
            let mut change = store.begin_at(&base).unwrap();
            change.update(array, map.as_ref()).unwrap();
            change.commit().unwrap();
            let now = store.array("a").unwrap();
            assert!(
                *now.contiguous().unwrap() == model,
                "round {round} of rows of {width}"
            );
            if round == 1 {
                store.checkpoint().unwrap();
            }
        }
        // Another array's bytes, and memory that is no map at all.
        let base = store.snapshot(&["a"]).unwrap();
        let array = base.get("a").unwrap();
        let mut change = store.begin_at(&base).unwrap();
        model.fill(9);
        change.update(array, &model).unwrap();
        change.commit().unwrap();
        assert!(*store.array("a").unwrap().contiguous().unwrap() == model);
    }
}
