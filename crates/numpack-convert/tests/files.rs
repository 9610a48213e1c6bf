//! Files into stores and back; expected bytes are worked out by hand.

use std::fs;
use std::path::Path;

use numpack::{ArrayMeta, DType, Options, Store};
use numpack_convert::{ExportOptions, Format, ImportOptions, export, import};

/// An npy file with this header text and these values.
fn npy(path: &Path, version: u8, header: &str, values: &[u8]) {
    let mut bytes = b"\x93NUMPY".to_vec();
    bytes.extend([version, 0]);
    let len = u32::try_from(header.len() + 1).unwrap().to_le_bytes();
    bytes.extend(if version == 1 { &len[..2] } else { &len[..] });
    bytes.extend(header.as_bytes());
    bytes.push(b'\n');
    bytes.extend(values);
    fs::write(path, bytes).unwrap();
}

fn store(dir: &Path) -> Store {
    Store::open(&dir.join("s.npk"), &Options::default()).unwrap()
}

fn take(store: &Store, file: &Path) -> Result<(), String> {
    import(store, &[file], &ImportOptions::default(), &mut |_| ())
        .map(drop)
        .map_err(|error| error.to_string())
}

#[test]
fn npy_headers_orders_and_byte_orders_are_understood() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    for version in 1..=3 {
        let file = dir.path().join(format!("v{version}.npy"));
        let header = "{'descr': '>i2', 'fortran_order': True, 'shape': (2, 3), }";
        // Columns (1, 4), (2, 5) and (3, 6).
        npy(
            &file,
            version,
            header,
            &[0, 1, 0, 4, 0, 2, 0, 5, 0, 3, 0, 6],
        );
        take(&store, &file).unwrap();
        let array = store.array(&format!("v{version}")).unwrap();
        assert_eq!((array.dtype(), array.shape()), (DType::Int16, vec![2, 3]));
        assert_eq!(
            &*array.contiguous().unwrap(),
            [1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6, 0]
        );
    }
}

#[test]
fn big_endian_complex_numbers_are_swapped_by_part() {
    let dir = tempfile::tempdir().unwrap();
    let (store, file) = (store(dir.path()), dir.path().join("z.npy"));
    let header = "{'descr': '>c8', 'fortran_order': False, 'shape': (1,), }";
    npy(&file, 1, header, &[1, 2, 3, 4, 5, 6, 7, 8]);
    take(&store, &file).unwrap();
    let values = store.array("z").unwrap().contiguous().unwrap();
    assert_eq!(&*values, [4, 3, 2, 1, 8, 7, 6, 5]);
}

#[test]
fn what_no_dtype_stands_for_is_refused_by_name_and_count() {
    let dir = tempfile::tempdir().unwrap();
    let (store, file) = (store(dir.path()), dir.path().join("o.npy"));
    for descr in ["'|O'", "'<U5'", "'|S3'", "[('x', '<f4'), ('y', '<i2')]"] {
        let header = format!("{{'descr': {descr}, 'fortran_order': False, 'shape': (7,), }}");
        npy(&file, 1, &header, &[0; 200]);
        let error = take(&store, &file).unwrap_err();
        assert!(
            error.contains("column \"o\"") && error.contains("7 values"),
            "{error}"
        );
    }
    assert!(store.names().unwrap().is_empty());
}

#[test]
fn a_file_that_is_cut_off_takes_the_whole_import_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let (good, bad) = (dir.path().join("good.npy"), dir.path().join("bad.npy"));
    let header = "{'descr': '|u1', 'fortran_order': False, 'shape': (4,), }";
    npy(&good, 1, header, &[1, 2, 3, 4]);
    npy(&bad, 1, header, &[1, 2, 3]);
    let options = ImportOptions::default();
    let error = import(&store, &[&good, &bad], &options, &mut |_| ()).unwrap_err();
    assert!(error.to_string().contains("cut off"), "{error}");
    assert!(store.names().unwrap().is_empty());
}

#[test]
fn every_format_gives_back_what_it_was_given() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let mut save = store.begin().unwrap();
    let values: Vec<u8> = (0..12).flat_map(|i: u16| i.to_le_bytes()).collect();
    let meta = ArrayMeta::new(DType::UInt16, &[12]).unwrap();
    save.put("a", &meta, &mut values.as_slice()).unwrap();
    save.commit().unwrap();
    for format in Format::ALL {
        let file = dir.path().join(format!("a.{}", format.name()));
        let mut last = None;
        export(&store, &file, &ExportOptions::default(), &mut |p| {
            last = Some(p);
        })
        .unwrap();
        let last = last.unwrap();
        assert_eq!((last.done, last.total), (24, 24), "{format:?}");
        let back = Store::open(&dir.path().join(format.name()), &Options::default()).unwrap();
        take(&back, &file).unwrap();
        let array = back.array("a").unwrap();
        // Text does not say how wide its numbers are.
        if format == Format::Csv {
            assert_eq!((array.dtype(), array.shape()), (DType::Int64, vec![12]));
        } else {
            assert_eq!((array.dtype(), array.shape()), (DType::UInt16, vec![12]));
            assert_eq!(
                &*array.contiguous().unwrap(),
                values.as_slice(),
                "{format:?}"
            );
        }
        let taken = take(&back, &file).unwrap_err();
        assert!(taken.contains("already exists"), "{taken}");
    }
}

#[test]
fn csv_errors_name_line_and_column_and_nulls_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let (store, file) = (store(dir.path()), dir.path().join("t.csv"));
    fs::write(&file, "a,b\n1,2\n3,x\n").unwrap();
    let error = take(&store, &file).unwrap_err();
    assert!(error.contains("line 3, column \"b\": \"x\""), "{error}");
    fs::write(&file, "a,b\n1,2\n3,\n,\n").unwrap();
    let error = take(&store, &file).unwrap_err();
    assert!(
        error.contains("column \"a\" (Int64) has 1 nulls"),
        "{error}"
    );
    assert!(store.names().unwrap().is_empty());
}

#[test]
fn csv_columns_have_the_narrowest_type_that_holds_their_values() {
    let dir = tempfile::tempdir().unwrap();
    let (store, file) = (store(dir.path()), dir.path().join("t.csv"));
    let max = u64::MAX;
    let text = format!("i,u,f\n-1,1,1\n2,{max},-0.5\n9223372036854775807,0,{max}\n");
    fs::write(&file, text).unwrap();
    take(&store, &file).unwrap();
    let array = |name| store.array(name).unwrap();
    assert_eq!(array("i").dtype(), DType::Int64);
    assert_eq!(array("u").dtype(), DType::UInt64);
    assert_eq!(
        &*array("u").contiguous().unwrap(),
        [1, max, 0].map(u64::to_le_bytes).concat()
    );
    assert_eq!(array("f").dtype(), DType::Float64);
    for (text, reason) in [
        (
            format!("a\n1\n{max}\n-1\n"),
            format!("line 3, column \"a\": {max} does not fit int64"),
        ),
        (
            format!("a\n{max}0\n"),
            format!("line 2, column \"a\": {max}0 does not fit int64"),
        ),
        (
            format!("a\n{max}\nx\n"),
            "line 3, column \"a\": \"x\" is not a number".to_owned(),
        ),
        (
            format!("a,b\n1,{max}\n2,\n"),
            "column \"b\" (UInt64) has 1 nulls".to_owned(),
        ),
        (
            "a,b\n1,\n2,\n".to_owned(),
            "column \"b\" (Float64) has 2 nulls".to_owned(),
        ),
    ] {
        fs::write(&file, &text).unwrap();
        let error = take(&store, &file).unwrap_err();
        assert!(error.contains(&reason), "{text}: {error}");
    }
}

#[test]
fn a_table_without_rows_comes_back_without_rows() {
    let dir = tempfile::tempdir().unwrap();
    let (store, file) = (store(dir.path()), dir.path().join("t.csv"));
    let mut save = store.begin().unwrap();
    save.create("a", &ArrayMeta::new(DType::Float64, &[0]).unwrap())
        .unwrap();
    save.commit().unwrap();
    export(&store, &file, &ExportOptions::default(), &mut |_| ()).unwrap();
    let back = Store::open(&dir.path().join("back.npk"), &Options::default()).unwrap();
    take(&back, &file).unwrap();
    let array = back.array("a").unwrap();
    assert_eq!((array.dtype(), array.shape()), (DType::Float64, vec![0]));
}

#[test]
fn files_without_arrays_are_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let end_of_archive = [&b"PK\x05\x06"[..], &[0; 18]].concat();
    for (name, bytes, reason) in [
        ("a.csv", &[][..], "the file is empty"),
        ("a.npz", &end_of_archive, "there are no arrays in it"),
    ] {
        let file = dir.path().join(name);
        fs::write(&file, bytes).unwrap();
        let error = take(&store, &file).unwrap_err();
        assert!(error.contains(name) && error.contains(reason), "{error}");
    }
}

#[test]
fn a_failed_export_leaves_the_target_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let mut save = store.begin().unwrap();
    save.create("a", &ArrayMeta::new(DType::UInt8, &[3, 2]).unwrap())
        .unwrap();
    save.commit().unwrap();
    let file = dir.path().join("a.csv");
    fs::write(&file, "before").unwrap();
    let options = ExportOptions::default();
    assert!(export(&store, &file, &options, &mut |_| ()).is_err());
    assert_eq!(fs::read(&file).unwrap(), b"before");
    let left = fs::read_dir(dir.path()).unwrap().count();
    assert_eq!(left, 2, "a.csv and the store");
}
