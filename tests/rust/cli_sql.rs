//! `numpack head` and `numpack sql`: what they print, and with which exit code.
use numpack_cli::{EXIT_ERROR, EXIT_OK};

use crate::cli::{numpack, output, parsed, sample};
use serde_json::json;

#[test]
fn head_shows_the_first_rows_of_an_array() {
    let (dir, _store) = sample();
    let path = dir.path().to_str().unwrap();
    let text = output(&["head", path, "label", "-n", "2"]);
    assert_eq!(text.lines().count(), 3, "{text}");
    assert!(text.lines().next().unwrap().contains("value"), "{text}");
    let ran = numpack(&["head", path, "nothing"]);
    assert_eq!(ran.code, EXIT_ERROR);
    assert!(
        ran.err.starts_with("error: ") && ran.err.contains("nothing"),
        "{}",
        ran.err
    );
    assert_eq!(ran.err.lines().count(), 1, "{}", ran.err);
}

#[test]
fn sql_prints_tables_csv_and_json() {
    let (dir, _store) = sample();
    let path = dir.path().to_str().unwrap();
    let query =
        "SELECT row_id, value > 16843009 AS big FROM label WHERE row_id >= 2 ORDER BY row_id";
    let csv = output(&["sql", path, "-c", query, "--format", "csv"]);
    assert_eq!(csv, "row_id,big\n2,false\n3,true\n4,true\n");
    let rows = parsed(&["sql", path, "-c", query, "--json"]);
    let wanted = json!([
        {"row_id": 2, "big": false},
        {"row_id": 3, "big": true},
        {"row_id": 4, "big": true},
    ]);
    assert_eq!(rows, wanted);
    let two = output(&["sql", path, "-c", "SELECT 1 AS a; SELECT ';' AS b"]);
    assert!(two.contains('a') && two.contains(';'), "{two}");
}

#[test]
fn sql_that_makes_no_sense_or_changes_something_fails_in_one_line() {
    let (dir, store) = sample();
    let path = dir.path().to_str().unwrap();
    for query in ["SELEC 1", "SELECT nothing FROM label", "DELETE FROM label"] {
        let ran = numpack(&["sql", path, "-c", query]);
        assert_eq!((ran.code, ran.out.as_str()), (EXIT_ERROR, ""), "{query}");
        assert!(ran.err.starts_with("error: "), "{}", ran.err);
        assert_eq!(ran.err.trim_end().lines().count(), 1, "{}", ran.err);
    }
    assert_eq!(store.array("label").unwrap().rows(), 5);
    let file = dir.path().with_extension("csv");
    let name = file.to_str().unwrap();
    let ran = numpack(&[
        "sql",
        path,
        "-c",
        "SELECT 7 AS n",
        "--format",
        "csv",
        "-o",
        name,
    ]);
    assert_eq!(ran.code, EXIT_OK, "{}", ran.err);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "n\n7\n");
    std::fs::remove_file(file).unwrap();
}
