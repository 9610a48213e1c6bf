//! The command line, called as a library and as the binary's `main` calls it: what it prints, where,
//! and with which exit code. What differs from run to run is masked.
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use numpack::{ArrayMeta, DType, Options, Selection, Store};
use numpack_cli::{EXIT_ERROR, EXIT_OK, EXIT_USAGE, Style};
use serde_json::{Value, json};
use tempfile::TempDir;

/// What one call left behind.
pub(crate) struct Ran {
    pub(crate) code: u8,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Runs `numpack` with these arguments, uncolored.
pub(crate) fn numpack(args: &[&str]) -> Ran {
    styled(args, Style::default())
}

fn styled(args: &[&str], style: Style) -> Ran {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let args = std::iter::once("numpack").chain(args.iter().copied());
    let code = numpack_cli::run(args, &mut out, &mut err, style);
    Ran {
        code,
        out: String::from_utf8(out).unwrap(),
        err: String::from_utf8(err).unwrap(),
    }
}

/// Runs a command that must succeed and complain about nothing.
pub(crate) fn output(args: &[&str]) -> String {
    let ran = numpack(args);
    assert_eq!((ran.code, ran.err.as_str()), (EXIT_OK, ""), "{args:?}");
    ran.out
}

pub(crate) fn parsed(args: &[&str]) -> Value {
    serde_json::from_str(&output(args)).unwrap()
}

pub(crate) fn meta(dtype: DType, dims: &[u64]) -> ArrayMeta {
    ArrayMeta::new(dtype, dims).unwrap()
}

/// A store with three arrays, one of them with a deleted row; it is still open in this process.
pub(crate) fn sample() -> (TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), &Options::default()).unwrap();
    let mut first = store.begin().unwrap();
    first
        .put(
            "emb",
            &meta(DType::Float32, &[3, 4]),
            &mut [7_u8; 48].as_slice(),
        )
        .unwrap();
    first
        .put(
            "label",
            &meta(DType::Int32, &[3]),
            &mut [1_u8; 12].as_slice(),
        )
        .unwrap();
    first.commit().unwrap();
    let mut second = store.begin().unwrap();
    second
        .append("label", &meta(DType::Int32, &[2]), &[2; 8])
        .unwrap();
    second.delete_rows("emb", Selection::Row(1)).unwrap();
    second
        .create("naïve name", &meta(DType::Bool, &[]))
        .unwrap();
    second.commit().unwrap();
    (dir, store)
}

/// `text` with times, hashes and generations masked.
fn masked(text: &str) -> String {
    let mut lines = Vec::new();
    for line in text.lines() {
        let mut line = line.to_owned();
        while let Some(at) = find_time(&line) {
            line.replace_range(at..at + 19, "TIME");
        }
        for (digits, name) in [(32, "HASH"), (16, "GEN")] {
            while let Some(at) = find_digits(&line, digits) {
                line.replace_range(at..at + digits, name);
            }
        }
        lines.push(line);
    }
    lines.join("\n")
}

/// Where `0000-00-00 00:00:00` stands.
fn find_time(line: &str) -> Option<usize> {
    let fits = |window: &[u8]| {
        window
            .iter()
            .zip(b"0000-00-00 00:00:00")
            .all(|(given, pattern)| match pattern {
                b'0' => given.is_ascii_digit(),
                _ => given == pattern,
            })
    };
    line.as_bytes().windows(19).position(fits)
}

/// Where so many hexadecimal digits stand.
fn find_digits(line: &str, count: usize) -> Option<usize> {
    line.as_bytes()
        .windows(count)
        .position(|window| window.iter().all(u8::is_ascii_hexdigit))
}

/// Every file of a store with its bytes.
pub(crate) fn bytes(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for directory in [dir.to_path_buf(), dir.join(".npk")] {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                all.insert(path.clone(), fs::read(path).unwrap());
            }
        }
    }
    all
}

#[test]
fn ls_shows_the_arrays_in_the_order_of_their_first_save() {
    let (dir, _writer) = sample();
    let expected = "\
NAME        DTYPE    SHAPE   DELETED  SIZE  MODIFIED (UTC)
emb         float32  [2, 4]        1  48 B  TIME
label       int32    [5]           0  20 B  TIME
naïve name  bool     []            0   1 B  TIME";
    assert_eq!(
        masked(&output(&["ls", dir.path().to_str().unwrap()])),
        expected
    );
}

#[test]
fn ls_speaks_json() {
    let (dir, _writer) = sample();
    let mut listing = parsed(&["ls", "--json", dir.path().to_str().unwrap()]);
    for array in listing["arrays"].as_array_mut().unwrap() {
        let modified = array
            .as_object_mut()
            .unwrap()
            .remove("modified_us")
            .unwrap();
        assert!(modified.as_u64().unwrap() > 1_600_000_000_000_000);
    }
    assert_eq!(
        listing["arrays"][0],
        json!({
            "name": "emb", "dtype": "float32", "shape": [2, 4], "physical_rows": 3, "deleted": 1,
            "size_bytes": 48, "data_file": "data_emb.npkd",
        })
    );
    assert_eq!(listing["arrays"][2]["shape"], json!([]));
    assert_eq!(listing["path"], dir.path().to_str().unwrap());
}

#[test]
fn info_describes_the_store() {
    let (dir, _writer) = sample();
    let path = dir.path().to_str().unwrap();
    let facts = parsed(&["info", path, "--json"]);
    assert_eq!(
        (&facts["arrays"], &facts["rows"]),
        (&json!(3), &Value::Null)
    );
    assert_eq!(
        (&facts["deleted"], &facts["size_bytes"]),
        (&json!(1), &json!(69))
    );
    assert_eq!(facts["journal_records"], 5);
    let text = output(&["info", path]);
    assert!(text.contains("\nrows             differ\n"), "{text}");
}

#[test]
fn info_names_the_rows_that_all_arrays_share() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), &Options::default()).unwrap();
    let path = dir.path().to_str().unwrap();
    assert!(output(&["info", path]).contains("\nrows             none\n"));
    let mut one = store.begin().unwrap();
    one.create("a", &meta(DType::Int8, &[3])).unwrap();
    one.create("b", &meta(DType::Int8, &[3, 2])).unwrap();
    one.create("scalar", &meta(DType::Int8, &[])).unwrap();
    one.commit().unwrap();
    assert_eq!(parsed(&["info", path, "--json"])["rows"], 3);
}

#[test]
fn a_store_that_only_0_4_has_written_is_described_too() {
    let (dir, store) = sample();
    store.close().unwrap();
    fs::remove_dir_all(dir.path().join(".npk")).unwrap();
    let path = dir.path().to_str().unwrap();
    let facts = parsed(&["info", path, "--json"]);
    assert_eq!(
        (&facts["arrays"], &facts["journal_records"]),
        (&json!(3), &json!(0))
    );
    let refused = numpack(&["journal", path]);
    assert_eq!(refused.code, EXIT_ERROR);
    assert!(
        refused
            .err
            .ends_with("(hint: a store that only NumPack 0.4 has written has no journal)\n")
    );
    assert!(!dir.path().join(".npk").exists());
}

#[test]
fn info_describes_one_array() {
    let (dir, _writer) = sample();
    let expected = "\
name            emb
dtype           float32
shape           [2, 4]
physical rows   3
deleted rows    1
size            48 bytes
modified (UTC)  TIME
data file       data_emb.npkd";
    assert_eq!(
        masked(&output(&["info", dir.path().to_str().unwrap(), "emb"])),
        expected
    );
}

#[test]
fn a_missing_array_is_named_with_those_that_exist() {
    let (dir, _writer) = sample();
    let ran = numpack(&["info", dir.path().to_str().unwrap(), "embs"]);
    assert_eq!((ran.code, ran.out.as_str()), (EXIT_ERROR, ""));
    assert_eq!(
        ran.err,
        "error: array \"embs\" not found (hint: the store holds emb, label, naïve name)\n"
    );
}

#[test]
fn journal_shows_every_record_and_why_it_ends() {
    let (dir, _writer) = sample();
    let path = dir.path().to_str().unwrap();
    let text = masked(&output(&["journal", path]));
    let records: Vec<&str> = text
        .lines()
        .skip_while(|line| !line.contains("RECORD"))
        .collect();
    let shown: Vec<String> = records
        .iter()
        .take_while(|line| !line.is_empty())
        .map(|line| {
            line.split_whitespace()
                .skip(1)
                .collect::<Vec<_>>()
                .join(" ")
        })
        .collect();
    assert_eq!(
        shown,
        [
            "LSN RECORD ARRAY DETAIL",
            "1+ put emb float32 [3, 4] generation GEN hash HASH",
            "2 put label int32 [3] generation GEN hash HASH",
            "3+ append label rows 3..5 generation GEN hash HASH",
            "4+ delete rows emb 1 rows in 1 runs: 1..2 generation GEN",
            "5 put naïve name bool [] generation GEN zeros",
        ]
    );
    assert!(
        records.last().unwrap().starts_with("ends at offset "),
        "{text}"
    );

    let dump = parsed(&["journal", "--json", path]);
    assert_eq!(dump["records"].as_array().unwrap().len(), 5);
    assert_eq!(dump["records"][0]["offset"], 4096);
    assert_eq!(dump["records"][0]["more"], true);
}

#[test]
fn journal_stops_at_the_first_bad_record() {
    let (dir, _writer) = sample();
    let path = dir.path().to_str().unwrap();
    let before = parsed(&["journal", "--json", path]);
    let third = before["records"][2]["offset"].as_u64().unwrap();

    // A copy, so that the writer that has the store open never sees the damage.
    let copy = tempfile::tempdir().unwrap();
    fs::create_dir(copy.path().join(".npk")).unwrap();
    let mut journal = fs::read(dir.path().join(".npk/journal")).unwrap();
    journal[usize::try_from(third).unwrap() + 40] ^= 1;
    fs::write(copy.path().join(".npk/journal"), journal).unwrap();

    let after = parsed(&["journal", "--json", copy.path().to_str().unwrap()]);
    assert_eq!(after["records"].as_array().unwrap().len(), 2);
    assert_eq!(after["end_offset"], third);
    assert_ne!(after["end_reason"], before["end_reason"]);
}

#[test]
fn no_command_changes_a_byte() {
    let (dir, store) = sample();
    store.close().unwrap();
    let path = dir.path().to_str().unwrap();
    let before = bytes(dir.path());
    assert!(before.len() >= 4, "{:?}", before.keys());
    for args in [
        ["ls", path].as_slice(),
        &["info", path],
        &["info", path, "emb"],
        &["journal", path],
    ] {
        output(args);
    }
    assert!(bytes(dir.path()) == before, "a command changed the store");
}

#[test]
fn a_directory_without_a_store_is_an_error_in_one_line_and_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let empty = dir.path().to_str().unwrap();
    let missing = dir.path().join("missing");
    for path in [empty, missing.to_str().unwrap()] {
        for command in ["ls", "info", "journal"] {
            let ran = numpack(&[command, path]);
            assert_eq!(
                (ran.code, ran.out.as_str()),
                (EXIT_ERROR, ""),
                "{command} {path}"
            );
            assert!(
                ran.err.starts_with("error: ") && ran.err.contains(path),
                "{}",
                ran.err
            );
            assert_eq!(ran.err.lines().count(), 1, "{}", ran.err);
        }
    }
    assert!(!missing.exists());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn mistakes_on_the_command_line_exit_with_2_and_help_with_0() {
    for args in [
        ["lss"].as_slice(),
        &["ls"],
        &["ls", "a", "b"],
        &["info", "--what", "x"],
        &["head", "a", "-n", "no\nnumber"],
        &["sql", "a", "--format", "xml"],
        &["verify", "a", "--discard-journal"],
    ] {
        let ran = numpack(args);
        assert_eq!((ran.code, ran.out.as_str()), (EXIT_USAGE, ""), "{args:?}");
        let (err, lines) = (&ran.err, ran.err.lines().count());
        assert!(
            err.starts_with("error: ") && err.contains(" (hint: ") && lines == 1,
            "{args:?}: {err}"
        );
    }
    assert_eq!(
        numpack(&["ls"]).err,
        "error: the following required arguments were not provided: <DIR> (hint: numpack ls <DIR>)\n"
    );
    assert_eq!(
        numpack(&["lss"]).err,
        "error: unrecognized subcommand 'lss' (hint: a similar subcommand exists: 'ls')\n"
    );
    let ran = numpack(&[]);
    assert_eq!((ran.code, ran.out.as_str()), (EXIT_USAGE, ""));
    assert!(ran.err.contains("Usage: numpack"), "{}", ran.err);
    let help = output(&["--help"]);
    for word in [
        "ls",
        "info",
        "journal",
        "Exit codes: 0 success, 1 error, 2 usage",
    ] {
        assert!(help.contains(word), "{help}");
    }
    assert_eq!(
        output(&["--version"]),
        format!("numpack {}\n", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn colors_come_only_where_they_are_asked_for() {
    let (dir, _writer) = sample();
    let path = dir.path().to_str().unwrap();
    let colored = Style {
        color_out: true,
        color_err: true,
    };
    assert!(styled(&["ls", path], colored).out.contains('\u{1b}'));
    assert!(
        styled(&["info", path, "zz"], colored)
            .err
            .contains('\u{1b}')
    );
    assert!(!output(&["ls", path]).contains('\u{1b}'));
    assert!(
        !styled(&["ls", path, "--json"], colored)
            .out
            .contains('\u{1b}')
    );
}
