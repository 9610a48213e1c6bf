//! Files that COPY writes are there whole or as they were; what COPY reads fits the table.

use std::fs;
use std::path::Path;

use super::fixture::{Fixture, count, error, int64s, put, run};
use numpack_format::DType;

const FORMATS: [&str; 4] = ["parquet", "csv", "json", "arrow"];

/// The names in a directory, stores and all.
fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let name = |entry: fs::DirEntry| entry.file_name().into_string().unwrap();
    let mut names: Vec<String> = entries.map(|entry| name(entry.unwrap())).collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_copy_that_fails_leaves_what_was_there() {
    let fixture = Fixture::new();
    let connection = fixture.connection();
    let dir = fixture.dir.path();
    for format in FORMATS {
        let file = dir.join(format!("ids.{format}"));
        let failing = format!(
            "COPY (SELECT 10 / (id - 9) AS id FROM t) TO '{}'",
            file.display()
        );
        let empty = names(dir);
        let text = error(&connection, &failing).await;
        assert!(text.contains("Divide by zero"), "{format}: {text}");
        assert_eq!(names(dir), empty, "{format}: nothing new");

        let good = format!("COPY ids TO '{}'", file.display());
        assert_eq!(count(&connection, &good).await.unwrap(), 10, "{format}");
        let (bytes, there) = (fs::read(&file).unwrap(), names(dir));
        for failing in [failing.clone(), format!("EXPLAIN ANALYZE {failing}")] {
            let text = error(&connection, &failing).await;
            assert!(text.contains("Divide by zero"), "{format}: {text}");
            assert_eq!(fs::read(&file).unwrap(), bytes, "{format}");
            assert_eq!(names(dir), there, "{format}: no other file");
        }
        run(&connection, &format!("EXPLAIN {good}")).await.unwrap();
        let half = good.replace("ids TO", "(SELECT value FROM ids WHERE value < 5) TO");
        assert_eq!(count(&connection, &half).await.unwrap(), 5, "{format}");
        assert_ne!(fs::read(&file).unwrap(), bytes, "{format}");
        assert_eq!(names(dir), there, "{format}: no other file");
    }
}

#[tokio::test]
async fn a_copy_that_is_refused_leaves_what_was_there() {
    let fixture = Fixture::new();
    let connection = fixture.connection();
    let file = fixture.dir.path().join("keep.csv");
    fs::write(&file, "kept").unwrap();
    let refused = format!("COPY t TO '{}'", file.display());
    let text = error(&connection, &refused).await;
    assert!(text.contains("not supported in CSV"), "{text}");
    assert_eq!(fs::read(&file).unwrap(), b"kept");
    for target in ["t.npk", "t.npk/x.parquet", "t.npk/a/b.parquet"] {
        let target = fixture.dir.path().join(target);
        let before = names(&fixture.dir.path().join("t.npk"));
        let copy = format!("COPY u TO '{}' STORED AS PARQUET", target.display());
        let text = error(&connection, &copy).await;
        assert!(text.contains("is a store"), "{text}");
        assert_eq!(names(&fixture.dir.path().join("t.npk")), before);
    }
}

#[tokio::test]
async fn many_files_in_a_directory() {
    let fixture = Fixture::new();
    let connection = fixture.connection();
    let dir = fixture.dir.path().join("new/parts");
    let copy = |what: &str| {
        let dir = dir.display();
        format!("COPY ({what}) TO '{dir}' STORED AS CSV PARTITIONED BY (odd)")
    };
    let failing = copy("SELECT 10 / (id - 9) AS a, id % 2 AS odd FROM t");
    error(&connection, &failing).await;
    assert!(!fixture.dir.path().join("new").exists());
    let good = copy("SELECT id, id % 2 AS odd FROM t");
    assert_eq!(count(&connection, &good).await.unwrap(), 10);
    assert_eq!(names(&dir), ["odd=0", "odd=1"]);
    error(&connection, &failing).await;
    assert_eq!(names(&dir.join("odd=1")).len(), 1);
    // What is there stays, as with every table of files.
    count(&connection, &good).await.unwrap();
    assert_eq!(names(&dir.join("odd=1")).len(), 2);

    let file = fixture.dir.path().join("plain");
    fs::write(&file, "kept").unwrap();
    let copy = format!("COPY ids TO '{}' STORED AS CSV", file.display());
    let text = error(&connection, &copy).await;
    assert!(text.contains("there is a file"), "{text}");
    assert_eq!(fs::read(&file).unwrap(), b"kept");
}

#[tokio::test]
async fn names_of_files_are_taken_as_they_are() {
    let fixture = Fixture::new();
    let connection = fixture.connection();
    let dir = fixture.dir.path().join("a[1] %20");
    for name in ["plain.csv", "b*.csv", "c d?%41.csv", "\u{fc}.csv"] {
        let file = dir.join(name);
        let copy = format!("COPY u TO '{}'", file.display());
        assert_eq!(count(&connection, &copy).await.unwrap(), 4, "{name}");
        assert!(file.is_file(), "{name}");
    }
    assert_eq!(names(&dir).len(), 4);
    let none = dir.join("none.parquet");
    let copy = format!(
        "COPY (SELECT id FROM u WHERE id > 100) TO '{}'",
        none.display()
    );
    assert_eq!(count(&connection, &copy).await.unwrap(), 0);
    assert!(none.is_file());
}

#[cfg(unix)]
#[tokio::test]
async fn a_link_stays_one() {
    let fixture = Fixture::new();
    let [link, file] = ["link.csv", "file.csv"].map(|name| fixture.dir.path().join(name));
    fs::write(&file, "old").unwrap();
    std::os::unix::fs::symlink(&file, &link).unwrap();
    let copy = format!("COPY u TO '{}'", link.display());
    count(&fixture.connection(), &copy).await.unwrap();
    assert!(link.is_symlink());
    let text = fs::read_to_string(&file).unwrap();
    assert_eq!(text, "id,row_id\n2,0\n4,1\n6,2\n100,3\n");
}

#[tokio::test]
async fn what_is_no_file_of_this_machine_is_refused() {
    let fixture = Fixture::new();
    for text in [
        "COPY u TO 's3://bucket/u.parquet'",
        "COPY u TO 'https://host/u.csv'",
        "COPY u FROM 'http://host/u.csv'",
        "CREATE EXTERNAL TABLE w STORED AS CSV LOCATION 'gs://bucket/u.csv'",
    ] {
        let error = error(&fixture.connection(), text).await;
        assert!(error.contains("only files of this machine"), "{error}");
        assert!(error.contains("://"), "{error}");
    }
}

#[tokio::test]
async fn a_file_of_text_is_read_in_the_types_of_the_table() {
    let fixture = Fixture::new();
    put(&fixture.u, "x", DType::Float64, &[4], &[0; 32]);
    put(&fixture.u, "ok", DType::Bool, &[4], &[0; 4]);
    let connection = fixture.connection();
    let dir = fixture.dir.path();
    let rows = |row: fn(i32) -> String| (0..1005).map(row).collect::<Vec<_>>().concat();
    let csv = rows(|row| format!("{row},{row},1\n"));
    let csv = format!("x,id,ok\n{csv}2.5,7,0\n");
    let json = rows(|row| format!("{{\"id\": {row}, \"x\": {row}, \"ok\": true}}\n"));
    let json = format!("{json}{{\"id\": 7, \"x\": 2.5, \"ok\": false}}\n");
    for (name, text) in [("u.csv", csv), ("u.json", json)] {
        let file = dir.join(name);
        fs::write(&file, text).unwrap();
        let copy = format!("COPY u FROM '{}'", file.display());
        assert_eq!(count(&connection, &copy).await.unwrap(), 1006, "{name}");
        let found =
            "SELECT id FROM u WHERE x = 2.5 AND NOT ok AND row_id = (SELECT max(row_id) FROM u)";
        assert_eq!(int64s(&connection, found).await, [7], "{name}");
    }
    // Without names, in the order of the columns.
    let file = dir.join("bare.csv");
    let ones = "1,1,true\n".repeat(1005);
    fs::write(&file, format!("{ones}1,1.25,true\n")).unwrap();
    let copy = format!(
        "COPY u FROM '{}' OPTIONS (format.has_header false)",
        file.display()
    );
    assert_eq!(count(&connection, &copy).await.unwrap(), 1006);
    // A vector's values as well, where the file has lists.
    let file = dir.join("t.json");
    let whole = "{\"id\": 1, \"x\": 1, \"v\": [1, 2]}\n".repeat(1005);
    let last = "{\"id\": 77, \"x\": 1, \"v\": [1.5, 2]}\n";
    fs::write(&file, whole + last).unwrap();
    let copy = format!("COPY t FROM '{}'", file.display());
    assert_eq!(count(&connection, &copy).await.unwrap(), 1006);
    let found = int64s(&connection, "SELECT id FROM t WHERE v[1] = 1.5").await;
    assert_eq!(found, [77]);
}
