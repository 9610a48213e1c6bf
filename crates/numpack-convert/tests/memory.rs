//! A file larger than the memory that the process may use at all.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![cfg(target_os = "linux")]
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use numpack::{Options, Store};
use numpack_convert::{ImportOptions, import};

const DIR: &str = "NUMPACK_CONVERT_CHILD";
const BYTES: u64 = 786_432 * 1024;
/// What the child may map, in kB: half of one file.
const LIMIT: &str = "400000";

fn sparse(path: &Path, fortran: &str) {
    let header =
        format!("{{'descr': '|u1', 'fortran_order': {fortran}, 'shape': (786432, 1024), }}\n");
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(path)
        .unwrap();
    file.write_all(b"\x93NUMPY\x01\x00").unwrap();
    file.write_all(&u16::try_from(header.len()).unwrap().to_le_bytes())
        .unwrap();
    file.write_all(header.as_bytes()).unwrap();
    file.set_len(10 + header.len() as u64 + BYTES).unwrap();
}

/// Does its work only when the test below has started it.
#[test]
fn child() {
    let Some(dir) = std::env::var_os(DIR) else {
        return;
    };
    let dir = Path::new(&dir);
    let store = Store::open(&dir.join("s.npk"), &Options::default()).unwrap();
    let files = [dir.join("c.npy"), dir.join("f.npy")];
    import(&store, &files, &ImportOptions::default(), &mut |_| ()).unwrap();
}

/// Writes 1.6 GB, so only `make test-deep` runs it.
#[test]
fn files_larger_than_the_address_space_are_imported() {
    if std::env::var_os("NUMPACK_DEEP").is_none() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    sparse(&dir.path().join("c.npy"), "False");
    sparse(&dir.path().join("f.npy"), "True");
    let script = format!("ulimit -v {LIMIT} && exec \"$0\" --exact child");
    let ran = Command::new("sh")
        .args(["-c", &script])
        .arg(std::env::current_exe().unwrap())
        .env(DIR, dir.path())
        .output()
        .unwrap();
    assert!(
        ran.status.success(),
        "{}",
        String::from_utf8_lossy(&ran.stdout)
    );
    let store = Store::open(&dir.path().join("s.npk"), &Options::default()).unwrap();
    for name in ["c", "f"] {
        assert_eq!(store.info(name).unwrap().size_bytes, BYTES);
    }
}
