//! The commands that change stores or write files: what they print, and with which exit code.
use std::fs;
use std::path::Path;

use numpack::{ArrayMeta, DType, Options, Selection, Store};
use numpack_cli::{EXIT_ERROR, EXIT_OK, Style};

/// Exit code, results and complaints of `numpack` with these arguments.
fn numpack(args: &[&str]) -> (u8, String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let args = std::iter::once("numpack").chain(args.iter().copied());
    let code = numpack_cli::run(args, &mut out, &mut err, Style::default());
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (code, text(out), text(err))
}

fn output(args: &[&str]) -> String {
    let (code, out, err) = numpack(args);
    assert_eq!((code, err.as_str()), (EXIT_OK, ""), "{args:?}");
    out
}

/// The text of a path below `dir`.
fn below(dir: &Path, name: &str) -> String {
    dir.join(name).to_str().unwrap().to_owned()
}

/// A store with four rows of `a`, the second of them deleted.
fn sample(dir: &Path) -> String {
    let path = below(dir, "s.npk");
    let store = Store::open(Path::new(&path), &Options::default()).unwrap();
    let mut save = store.begin().unwrap();
    let meta = ArrayMeta::new(DType::UInt8, &[4]).unwrap();
    save.put("a", &meta, &mut [1, 2, 3, 4].as_slice()).unwrap();
    save.delete_rows("a", Selection::Row(1)).unwrap();
    save.commit().unwrap();
    store.close().unwrap();
    path
}

#[test]
fn arrays_leave_a_store_and_enter_another() {
    let dir = tempfile::tempdir().unwrap();
    let (store, file, other) = (
        sample(dir.path()),
        below(dir.path(), "a.csv"),
        below(dir.path(), "t.npk"),
    );
    assert_eq!(
        output(&["export", &store, &file]),
        format!("exported a (3 B) to {file}\n")
    );
    assert_eq!(fs::read_to_string(&file).unwrap(), "a\n1\n3\n4\n");
    assert_eq!(
        output(&["import", &file, &other, "--name", "b"]),
        "imported b int64 [3]\n"
    );
    let text = output(&["import", "--json", "--overwrite", &file, &other]);
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        json["arrays"],
        serde_json::json!([{"name": "a", "dtype": "int64", "shape": [3]}])
    );
}

#[test]
fn a_name_that_is_taken_is_an_error_with_a_way_out() {
    let dir = tempfile::tempdir().unwrap();
    let (store, file) = (sample(dir.path()), below(dir.path(), "a.npy"));
    output(&["export", &store, &file, "--arrays", "a"]);
    let expected = "error: array \"a\" already exists \
                    (hint: --overwrite replaces arrays of the same name)\n";
    assert_eq!(
        numpack(&["import", &file, &store]),
        (EXIT_ERROR, String::new(), expected.to_owned())
    );
    assert_eq!(
        output(&["import", &file, &store, "--overwrite"]),
        "imported a uint8 [3]\n"
    );
}

#[test]
fn compact_and_checkpoint_say_what_they_did() {
    let dir = tempfile::tempdir().unwrap();
    let store = sample(dir.path());
    assert_eq!(output(&["compact", &store]), "compacted a\n");
    assert_eq!(output(&["compact", &store]), "");
    assert_eq!(
        output(&["checkpoint", &store]),
        format!("checkpoint of {store} done\n")
    );
    let opened = Store::open(Path::new(&store), &Options::default()).unwrap();
    let info = opened.info("a").unwrap();
    assert_eq!((info.physical_rows, info.deleted), (3, 0));
    let missing = below(dir.path(), "missing");
    for command in ["compact", "checkpoint"] {
        assert_eq!(numpack(&[command, &missing]).0, EXIT_ERROR);
    }
    assert!(!Path::new(&missing).exists());
}

#[test]
fn an_import_that_fails_leaves_what_was_there() {
    let dir = tempfile::tempdir().unwrap();
    let (good, junk, ragged, empty) = (
        below(dir.path(), "good.csv"),
        below(dir.path(), "junk.parquet"),
        below(dir.path(), "ragged.csv"),
        below(dir.path(), "empty.csv"),
    );
    fs::write(&good, "x\n1\n").unwrap();
    fs::write(&junk, "junk").unwrap();
    fs::write(&ragged, "a,b\n1,2\n3\n").unwrap();
    fs::write(&empty, "").unwrap();
    let store = sample(dir.path());
    let new = below(dir.path(), "new.npk");
    let names = || fs::read_dir(dir.path()).unwrap().count();
    let before = names();
    for bad in [&junk, &ragged, &empty] {
        for target in [&new, &store] {
            let (code, out, err) = numpack(&["import", &good, bad, target]);
            assert_eq!((code, out.as_str()), (EXIT_ERROR, ""), "{bad} {target}");
            assert!(err.contains(bad.as_str()), "{err}");
            assert_eq!(names(), before, "{bad} {target}");
        }
    }
    let kept = Store::open(Path::new(&store), &Options::default()).unwrap();
    assert_eq!(kept.names().unwrap().len(), 1);
    output(&["import", &good, &new]);
    assert_eq!(names(), before + 1);
    let empty = below(dir.path(), "a directory");
    fs::create_dir(&empty).unwrap();
    assert_eq!(output(&["import", &good, &empty]), "imported x int64 [1]\n");
}

#[test]
fn control_characters_never_reach_the_terminal() {
    const NAME: &str = "a\nb\u{1b}[31m";
    const SHOWN: &str = r"a\nb\u{1b}[31m";
    let dir = tempfile::tempdir().unwrap();
    let path = below(dir.path(), "s.npk");
    let store = Store::open(Path::new(&path), &Options::default()).unwrap();
    let mut save = store.begin().unwrap();
    let meta = ArrayMeta::new(DType::UInt8, &[2]).unwrap();
    save.put(NAME, &meta, &mut [1, 2].as_slice()).unwrap();
    save.delete_rows(NAME, Selection::Row(1)).unwrap();
    save.commit().unwrap();
    store.close().unwrap();
    let (file, other) = (below(dir.path(), "a.csv"), below(dir.path(), "t.npk"));
    let text = "SELECT 'x\n\u{9b}y' AS \"t\u{1b}\"";
    let shown: [(&[&str], &str); 13] = [
        (&["ls", &path], SHOWN),
        (&["info", &path, NAME], SHOWN),
        (&["head", &path], SHOWN),
        (&["journal", &path], ""),
        (&["sql", &path, "-c", text], r"x\n\u{9b}y"),
        (&["export", &path, &file], SHOWN),
        (&["import", &file, &other], SHOWN),
        (&["import", &file, &other], SHOWN),
        (&["info", &path, "\u{1b}"], r"\u{1b}"),
        (&["sql", &path, "-c", "SELECT \u{1b}"], ""),
        (&["compact", &path], SHOWN),
        (&["verify", &path, "--deep"], ""),
        (&["\u{1b}[31m"], ""),
    ];
    for (args, wanted) in shown {
        let (_, out, err) = numpack(args);
        let text = out + &err;
        assert!(!text.contains(['\u{1b}', '\u{9b}']), "{args:?}: {text:?}");
        assert!(text.contains(wanted), "{args:?}: {text:?}");
    }
    // What programs read is as it is.
    let (_, json, _) = numpack(&["ls", &path, "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["arrays"][0]["name"], NAME);
}
