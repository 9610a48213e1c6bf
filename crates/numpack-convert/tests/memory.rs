//! Files larger than the memory that the process may use at all.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use numpack::{Options, Store};
use numpack_convert::{ExportOptions, ImportOptions, export, import};

const DIR: &str = "NUMPACK_CONVERT_CHILD";
const TASK: &str = "NUMPACK_CONVERT_TASK";
const COLUMNS: u64 = 1024;

/// Rows of a file, and what the child may map, in kB: less than the file.
fn size() -> (u64, u64) {
    if std::env::var_os("NUMPACK_DEEP").is_some() {
        (786_432, 400_000)
    } else {
        (153_600, 140_000)
    }
}

fn sparse(path: &Path, rows: u64, fortran: &str) {
    let header =
        format!("{{'descr': '|u1', 'fortran_order': {fortran}, 'shape': ({rows}, {COLUMNS}), }}\n");
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(path)
        .unwrap();
    file.write_all(b"\x93NUMPY\x01\x00").unwrap();
    file.write_all(&u16::try_from(header.len()).unwrap().to_le_bytes())
        .unwrap();
    file.write_all(header.as_bytes()).unwrap();
    file.set_len(10 + header.len() as u64 + rows * COLUMNS)
        .unwrap();
}

/// Does its work only when the test below has started it.
#[test]
fn child() {
    let Some(dir) = std::env::var_os(DIR) else {
        return;
    };
    let dir = Path::new(&dir);
    let store = Store::open(&dir.join("s.npk"), &Options::default()).unwrap();
    let take = |file: &str, name: &str, columns: Option<&str>| {
        let options = ImportOptions {
            name: Some(name.to_owned()),
            columns: columns.map(|column| vec![column.to_owned()]),
            ..ImportOptions::default()
        };
        import(&store, &[dir.join(file)], &options, &mut |_| ()).unwrap();
    };
    let give = |file: &str| {
        let options = ExportOptions {
            arrays: Some(vec!["c".to_owned()]),
            ..ExportOptions::default()
        };
        export(&store, &dir.join(file), &options, &mut |_| ()).unwrap();
    };
    match std::env::var(TASK).unwrap().as_str() {
        "arrays in" => {
            take("c.npy", "c", None);
            take("f.npy", "f", None);
        }
        "out" => {
            for file in ["c.arrow", "c.parquet", "out.npy"] {
                give(file);
            }
        }
        "tables in" => {
            for file in ["c.arrow", "c.parquet"] {
                take(file, file, Some("c"));
            }
        }
        other => panic!("{other} is no task"),
    }
}

/// Runs a task in a process that `ulimit` limits.
fn limited(dir: &Path, task: &str, limit: &str) {
    let script = format!("ulimit {limit} && exec \"$0\" --exact memory::child");
    let ran = Command::new("sh")
        .args(["-c", &script])
        .arg(std::env::current_exe().unwrap())
        .env(DIR, dir)
        .env(TASK, task)
        .output()
        .unwrap();
    assert!(
        ran.status.success(),
        "{task}: {}{}",
        String::from_utf8_lossy(&ran.stdout),
        String::from_utf8_lossy(&ran.stderr)
    );
}

/// A store's own files are mapped, so on the way out the limit is one of what is no file.
#[test]
fn files_larger_than_the_memory_come_and_go() {
    let (rows, limit) = size();
    assert!(rows * COLUMNS > limit * 1024);
    let dir = tempfile::tempdir().unwrap();
    sparse(&dir.path().join("c.npy"), rows, "False");
    sparse(&dir.path().join("f.npy"), rows, "True");
    limited(dir.path(), "arrays in", &format!("-v {limit}"));
    limited(dir.path(), "out", &format!("-d {limit}"));
    limited(dir.path(), "tables in", &format!("-v {limit}"));
    let store = Store::open(&dir.path().join("s.npk"), &Options::default()).unwrap();
    for name in ["c", "f", "c.arrow", "c.parquet"] {
        assert_eq!(store.info(name).unwrap().size_bytes, rows * COLUMNS);
    }
    let written = std::fs::metadata(dir.path().join("out.npy")).unwrap().len();
    assert!(written > rows * COLUMNS);
}
