//! `numpack head`, `sql`, `compact` and `checkpoint`: what they print to the letter, which files they
//! leave, and with which exit code.
use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::Path;

use numpack::{ArrayMeta, DType, Options, Selection, Store};
use numpack_cli::{EXIT_ERROR, EXIT_OK, EXIT_USAGE, Style};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::cli::{bytes, numpack, output, parsed};

const ROWS: u64 = 4;

/// A directory with the store `s.npk`: four rows of `x` (float32 x 2), `Label` (int32) and `wide`
/// (uint8 x 6).
struct Sample {
    dir: TempDir,
    path: String,
}

impl Sample {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.npk").to_str().unwrap().to_owned();
        let store = Store::open(Path::new(&path), &Options::default()).unwrap();
        let x: Vec<u8> = (0..8_u8)
            .flat_map(|value| (f32::from(value) / 2.0).to_le_bytes())
            .collect();
        let labels = [7_i32, -1, 7, 3].map(i32::to_le_bytes).concat();
        let wide: Vec<u8> = (0..24).collect();
        let mut save = store.begin().unwrap();
        for (name, dtype, dims, values) in [
            ("x", DType::Float32, [ROWS, 2].as_slice(), x),
            ("Label", DType::Int32, &[ROWS], labels),
            ("wide", DType::UInt8, &[ROWS, 6], wide),
        ] {
            let meta = ArrayMeta::new(dtype, dims).unwrap();
            save.put(name, &meta, &mut values.as_slice()).unwrap();
        }
        save.commit().unwrap();
        store.close().unwrap();
        Self { dir, path }
    }

    fn open(&self) -> Store {
        Store::open(Path::new(&self.path), &Options::default()).unwrap()
    }

    /// A file beside the store.
    fn file(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    /// What a query prints.
    fn sql(&self, query: &str, options: &[&str]) -> String {
        output(&[&["sql", &self.path, "-c", query], options].concat())
    }

    /// The files beside the store.
    fn beside(&self) -> Vec<String> {
        let entries = fs::read_dir(self.dir.path()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.filter(|name| name != "s.npk").collect();
        names.sort();
        names
    }
}

#[test]
fn head_shows_the_first_rows_with_long_vectors_shortened() {
    let sample = Sample::new();
    let expected = "\
x           Label  wide                    row_id
[0.0, 0.5]      7  [0, 1, ... 6 values]         0
[1.0, 1.5]     -1  [6, 7, ... 6 values]         1
[2.0, 2.5]      7  [12, 13, ... 6 values]       2
[3.0, 3.5]      3  [18, 19, ... 6 values]       3
";
    assert_eq!(output(&["head", &sample.path]), expected);
    assert_eq!(
        output(&["head", &sample.path, "Label", "-n", "2"]),
        "Label  row_id\n    7       0\n   -1       1\n"
    );
    assert_eq!(
        output(&["head", &sample.path, "Label", "--rows", "0"]),
        "Label  row_id\n"
    );
    assert_eq!(
        output(&["head", &sample.path, "-n", "1", "--json"]),
        "[{\"x\":[0.0,0.5],\"Label\":7,\"wide\":[0,1,2,3,4,5],\"row_id\":0}]\n"
    );
    assert_eq!(
        parsed(&["head", &sample.path, "-n", "0", "--json"]),
        json!([])
    );
}

#[test]
fn head_says_why_there_are_no_rows_to_show() {
    let sample = Sample::new();
    let store = sample.open();
    let mut change = store.begin().unwrap();
    let scalar = ArrayMeta::new(DType::Int8, &[]).unwrap();
    change.create("s", &scalar).unwrap();
    change.delete_rows("x", Selection::Row(0)).unwrap();
    change.commit().unwrap();
    let cases = [
        (
            Some("labels"),
            "array \"labels\" not found (hint: the store holds x, Label, wide, s)",
        ),
        (
            Some("s"),
            "array \"s\" is 0-d: it has no rows (hint: `numpack export DIR FILE.npy --arrays s` \
             writes its value)",
        ),
        (
            None,
            "arrays of unequal length are not one table: \"x\" 3, \"Label\" 4, \"wide\" 4 (hint: \
             name one of them)",
        ),
    ];
    for (array, expected) in cases {
        let args = ["head", &sample.path].into_iter().chain(array);
        let ran = numpack(&args.collect::<Vec<_>>());
        assert_eq!(
            (ran.code, ran.out, ran.err),
            (EXIT_ERROR, String::new(), format!("error: {expected}\n"))
        );
    }
}

#[test]
fn tables_stand_one_below_the_other() {
    let sample = Sample::new();
    let query = "SELECT x, Label, wide FROM self WHERE Label > 3; -- and, with ; here,\n\
                 SELECT Label, count(*) AS n FROM self GROUP BY Label ORDER BY Label;\n\
                 SELECT 'a;b' AS text, NULL AS nothing, CAST(NULL AS int) AS none, true AS yes;";
    let expected = "\
x           Label  wide
[0.0, 0.5]      7  [0, 1, ... 6 values]
[2.0, 2.5]      7  [12, 13, ... 6 values]

Label  n
   -1  1
    3  1
    7  2

text  nothing  none  yes
a;b   NULL     NULL  true
";
    assert_eq!(sample.sql(query, &[]), expected);
    assert_eq!(sample.sql(query, &["--format", "table"]), expected);
}

#[test]
fn long_tables_are_cut_and_say_so() {
    let sample = Sample::new();
    let text = sample.sql("SELECT value FROM generate_series(1, 5000)", &[]);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!((lines.len(), lines[1000]), (1002, " 1000"));
    assert_eq!(
        lines[1001],
        "(the first 1000 rows; --format csv writes all of them)"
    );
    let all = sample.sql(
        "SELECT value FROM generate_series(1, 5000)",
        &["--format", "csv"],
    );
    assert_eq!(all.lines().count(), 5001);
    let exactly = sample.sql("SELECT value FROM generate_series(1, 1000)", &[]);
    assert_eq!(exactly.lines().count(), 1001);
}

#[test]
fn csv_has_a_header_a_statement_and_vectors_whole() {
    let sample = Sample::new();
    let query = "SELECT x, Label, wide FROM self WHERE Label = -1; \
                 SELECT 'say \"hi\", twice' AS text, CAST(NULL AS int) AS none; \
                 SELECT Label FROM self WHERE false";
    let expected = "\
x,Label,wide
\"[1.0, 1.5]\",-1,\"[6, 7, 8, 9, 10, 11]\"

text,none
\"say \"\"hi\"\", twice\",

Label
";
    assert_eq!(sample.sql(query, &["--format", "csv"]), expected);
}

#[test]
fn json_is_a_document_a_statement_and_a_line_a_document() {
    let sample = Sample::new();
    let query = "SELECT wide, Label FROM self WHERE Label < 0; SELECT Label FROM self WHERE false; \
                 SELECT 'two\nlines' AS text, NULL AS nothing, CAST('nan' AS double) AS nan";
    let expected = "\
[{\"wide\":[6,7,8,9,10,11],\"Label\":-1}]
[]
[{\"text\":\"two\\nlines\",\"nothing\":null,\"nan\":null}]
";
    assert_eq!(sample.sql(query, &["--json"]), expected);
    assert_eq!(sample.sql(query, &["--format", "json"]), expected);
    for line in expected.lines() {
        assert!(serde_json::from_str::<Value>(line).unwrap().is_array());
    }
}

#[test]
fn rows_go_into_a_file_that_appears_as_a_whole() {
    let sample = Sample::new();
    let query = "SELECT Label, row_id FROM self WHERE Label = 7";
    let cases = [
        ("csv", "Label,row_id\n7,0\n7,2\n"),
        (
            "json",
            "[{\"Label\":7,\"row_id\":0},{\"Label\":7,\"row_id\":2}]\n",
        ),
        ("table", "Label  row_id\n    7       0\n    7       2\n"),
    ];
    for (format, expected) in cases {
        let file = sample.file("rows");
        let said = sample.sql(query, &["--format", format, "-o", &file]);
        assert_eq!(said, format!("wrote 2 rows to {file}\n"));
        assert_eq!(fs::read_to_string(&file).unwrap(), expected);
    }
    // A failure leaves what was there, and nothing else.
    let file = sample.file("rows");
    let before = fs::read(&file).unwrap();
    let broken = "SELECT 1 / (2000 - value) FROM generate_series(1, 3000)";
    for format in ["csv", "json", "parquet"] {
        let options = ["--format", format, "--output", &file];
        let ran = numpack(&[&["sql", &sample.path, "-c", broken], options.as_slice()].concat());
        assert_eq!(
            (ran.code, ran.err.as_str()),
            (EXIT_ERROR, "error: Arrow error: Divide by zero error\n")
        );
        assert_eq!(fs::read(&file).unwrap(), before);
    }
    assert_eq!(sample.beside(), ["rows"]);
}

#[test]
fn parquet_files_are_read_back() {
    let sample = Sample::new();
    let (file, other) = (sample.file("rows.parquet"), sample.file("t.npk"));
    let query = "SELECT x, Label FROM self WHERE Label = 3";
    let said = sample.sql(query, &["--format", "parquet", "-o", &file]);
    assert_eq!(said, format!("wrote 1 row to {file}\n"));
    assert_eq!(
        output(&["import", &file, &other]),
        "imported x float32 [1, 2]\nimported Label int32 [1]\n"
    );
    assert_eq!(
        output(&["head", &other, "--json"]),
        "[{\"x\":[3.0,3.5],\"Label\":3,\"row_id\":0}]\n"
    );
}

#[test]
fn a_script_stops_at_its_first_error() {
    let sample = Sample::new();
    let script = sample.file("script.sql");
    fs::write(
        &script,
        "-- two statements\nSELECT 1 AS a;\n/* ; */ SELECT 2 AS b;\n",
    )
    .unwrap();
    let ran = |format: &str| {
        let args = ["sql", &sample.path, "-f", &script, "--format", format];
        let ran = numpack(&args);
        (ran.code, ran.out, ran.err)
    };
    let expected = "a\n1\n\nb\n2\n";
    assert_eq!(ran("csv"), (EXIT_OK, expected.to_owned(), String::new()));
    fs::write(
        &script,
        "SELECT 1 AS a; SELECT none FROM self; SELECT 3 AS c;",
    )
    .unwrap();
    let error = "error: Schema error: No field named none. Valid fields are self.x, \
                 self.\"Label\", self.wide, self.row_id. (hint: names are taken as written: Label \
                 is not label)\n";
    for (format, first) in [
        ("table", "a\n1\n"),
        ("csv", "a\n1\n"),
        ("json", "[{\"a\":1}]\n"),
    ] {
        assert_eq!(
            ran(format),
            (EXIT_ERROR, first.to_owned(), error.to_owned())
        );
    }
}

#[test]
fn errors_are_one_line_with_a_hint() {
    let sample = Sample::new();
    let (missing, nowhere) = (sample.file("missing"), sample.file("no/where.csv"));
    let path = sample.path.as_str();
    let cases: [(&[&str], String); 7] = [
        (
            &[path, "-c", "SELECT * FROM emb"],
            "Error during planning: table 'numpack.public.emb' not found (hint: a store is the \
             table self, in a directory each store is one by its name)"
                .to_owned(),
        ),
        (
            &[path, "-c", "SELEC\n1"],
            "SQL error: ParserError(\"Expected: an SQL statement, found: SELEC at Line: 1, \
             Column: 1\")"
                .to_owned(),
        ),
        (
            &[&missing, "-c", "SELECT 1"],
            format!(
                "no store at \"{missing}\" (hint: a store is a directory that holds metadata.npkm \
                 or .npk/journal)"
            ),
        ),
        (
            &[path, "-f", &missing],
            format!("\"{missing}\": No such file or directory (os error 2)"),
        ),
        (
            &[path, "-c", "SELECT 1 AS a", "-o", &nowhere],
            format!("\"{nowhere}\": No such file or directory (os error 2)"),
        ),
        (
            &[path, "-c", "SELECT 1 / 0"],
            "Arrow error: Divide by zero error".to_owned(),
        ),
        (
            &[path, "-c", "SELECT 1 AS a, 2 AS a"],
            "Error during planning: Projections require unique expression names but the \
             expression \"Int64(1) AS a\" at position 0 and \"Int64(2) AS a\" at position 1 have \
             the same name. Consider aliasing (\"AS\") one of them."
                .to_owned(),
        ),
    ];
    for (args, expected) in cases {
        for json in [[].as_slice(), &["--json"]] {
            let ran = numpack(&[&["sql"], args, json].concat());
            let expected = format!("error: {expected}\n");
            assert_eq!(
                (ran.code, ran.err, ran.out.lines().count()),
                (EXIT_ERROR, expected, 0),
                "{args:?}"
            );
        }
    }
    assert_eq!(sample.beside(), [""; 0]);
}

#[test]
fn options_that_do_not_go_together_exit_with_2() {
    let sample = Sample::new();
    let file = sample.file("o");
    let cases: [(&[&str], &str); 8] = [
        (
            &["-c", "SELECT 1", "--format", "parquet"],
            "error: parquet is no text (hint: -o FILE names the file to write)\n",
        ),
        (
            &["-c", "SELECT 1; SELECT 2", "-o", &file],
            "error: -o writes the rows of one statement, and there are 2 (hint: run the others \
             first)\n",
        ),
        (
            &["-c", " ; -- nothing"],
            "error: there is no statement (hint: -c \"SELECT * FROM self\")\n",
        ),
        (&["-c", "SELECT 1", "-f", &file], "(hint: numpack sql"),
        (
            &["-c", "SELECT 1", "--json", "--format", "csv"],
            "(hint: numpack sql",
        ),
        (
            &["-c", "SELECT 1", "--format", "xml"],
            "[possible values: table, csv, json, parquet]",
        ),
        (
            &["-c", "SELECT 1", "--color", "blue"],
            "[possible values: auto, always, never]",
        ),
        (&["-c"], "a value is required for '--command <QUERY>'"),
    ];
    for (options, expected) in cases {
        let ran = numpack(&[&["sql", &sample.path], options].concat());
        assert_eq!(
            (ran.code, ran.out.as_str()),
            (EXIT_USAGE, ""),
            "{options:?}"
        );
        let fits = if expected.ends_with('\n') {
            ran.err == expected
        } else {
            ran.err.contains(expected)
        };
        assert!(fits, "{options:?}: {}", ran.err);
    }
    assert_eq!(sample.beside(), [""; 0]);
}

#[test]
fn statements_end_where_the_parser_sees_an_end() {
    let sample = Sample::new();
    assert_eq!(sample.sql("SELECT $$a;b$$ AS x", &[]), "x\na;b\n");
    assert_eq!(sample.sql(r"SELECT E'a\';b' AS x", &[]), "x\na';b\n");
    let script = sample.file("marked.sql");
    fs::write(&script, "\u{feff}SELECT 1 AS a;").unwrap();
    assert_eq!(output(&["sql", &sample.path, "-f", &script]), "a\n1\n");
}

#[test]
fn a_plan_is_shown_line_by_line() {
    let sample = Sample::new();
    let plan = sample.sql("EXPLAIN SELECT x FROM self ORDER BY row_id LIMIT 1", &[]);
    assert!(plan.lines().count() > 4 && !plan.contains(r"\n"), "{plan}");
    assert!(plan.contains("\nphysical_plan  "), "{plan}");
}

#[test]
fn copy_writes_the_file_that_it_names() {
    let sample = Sample::new();
    let file = sample.file("copy.csv");
    let query = format!("COPY (SELECT 1 AS a) TO '{file}'");
    output(&["sql", &sample.path, "-c", &query]);
    assert_eq!(fs::read_to_string(&file).unwrap(), "a\n1\n");
}

#[test]
fn stores_of_a_directory_are_tables() {
    let sample = Sample::new();
    let dir = sample.dir.path().to_str().unwrap();
    fs::create_dir(sample.file("t.npk")).unwrap();
    let (csv, other) = (sample.file("names.csv"), sample.file("t.npk"));
    fs::write(&csv, "Label,code\n7,70\n3,30\n").unwrap();
    output(&["import", &csv, &other]);
    let query = "SELECT s.Label, t.code FROM s JOIN t ON s.Label = t.Label ORDER BY s.row_id";
    assert_eq!(
        output(&["sql", dir, "-c", query, "--format", "csv"]),
        "Label,code\n7,70\n7,70\n3,30\n"
    );
}

#[test]
fn a_writer_at_work_is_no_obstacle() {
    let sample = Sample::new();
    let store = sample.open();
    let (more, nine) = (
        ArrayMeta::new(DType::Int32, &[1]).unwrap(),
        9_i32.to_le_bytes(),
    );
    let mut change = store.begin().unwrap();
    change.append("Label", &more, &nine).unwrap();
    let count = || {
        let query = "SELECT count(*) AS n, max(value) AS top FROM Label";
        sample.sql(query, &["--format", "csv"])
    };
    assert_eq!(count(), "n,top\n4,7\n");
    change.commit().unwrap();
    assert_eq!(count(), "n,top\n5,9\n");
}

#[test]
fn looking_changes_no_byte() {
    let sample = Sample::new();
    let before = bytes(Path::new(&sample.path));
    output(&["head", &sample.path]);
    sample.sql("SELECT sum(Label) FROM self", &[]);
    output(&["export", &sample.path, &sample.file("e.npz")]);
    assert!(bytes(Path::new(&sample.path)) == before);
}

#[test]
fn color_is_for_tables_and_complaints() {
    let sample = Sample::new();
    let path = sample.path.as_str();
    let colored = |options: &[&str], args: &[&str]| {
        let ran = numpack(&[args, options].concat());
        (ran.out + &ran.err).contains('\u{1b}')
    };
    let table = ["sql", path, "-c", "SELECT 1 AS a"];
    let wrong = ["sql", path, "-c", "SELECT a"];
    for args in [table, wrong] {
        assert!(!colored(&[], &args));
        assert!(!colored(&["--color", "auto"], &args));
        assert!(colored(&["--color", "always"], &args));
        assert!(!colored(&["--color", "never"], &args));
    }
    // It may stand before the command, too.
    assert!(colored(&table, &["--color", "always"]));
    for format in ["json", "csv"] {
        assert!(!colored(&["--color=always", "--format", format], &table));
    }
    let file = sample.file("o");
    output(&[table.as_slice(), &["--color", "always", "-o", &file]].concat());
    assert_eq!(fs::read_to_string(file).unwrap(), "a\n1\n");
}

#[test]
fn compact_takes_all_arrays_with_holes_or_those_named() {
    let sample = Sample::new();
    let store = sample.open();
    let mut change = store.begin().unwrap();
    for name in ["x", "Label"] {
        change.delete_rows(name, Selection::Row(1)).unwrap();
    }
    change.commit().unwrap();
    store.close().unwrap();
    assert_eq!(
        output(&["compact", &sample.path, "Label"]),
        "compacted Label\n"
    );
    assert_eq!(
        parsed(&["compact", &sample.path, "--json"]),
        json!({"path": sample.path, "compacted": ["x"]})
    );
    assert_eq!(output(&["compact", &sample.path]), "");
    let before = bytes(Path::new(&sample.path));
    let ran = numpack(&["compact", &sample.path, "x", "none"]);
    assert_eq!((ran.code, ran.out.as_str()), (EXIT_ERROR, ""));
    assert_eq!(
        ran.err,
        "error: array \"none\" not found (hint: `numpack ls DIR` lists the arrays)\n"
    );
    assert!(bytes(Path::new(&sample.path)) == before);
    let kept = "SELECT value FROM Label";
    assert_eq!(sample.sql(kept, &["--format", "csv"]), "value\n7\n7\n3\n");
}

#[test]
fn checkpoint_empties_the_journal() {
    let sample = Sample::new();
    let store = sample.open();
    let mut change = store.begin().unwrap();
    change.delete_rows("x", Selection::Row(1)).unwrap();
    change.commit().unwrap();
    let records = || parsed(&["info", &sample.path, "--json"])["journal_records"].clone();
    assert_eq!(records(), 1);
    assert_eq!(
        parsed(&["checkpoint", &sample.path, "--json"]),
        json!({"path": sample.path})
    );
    assert_eq!(records(), 0);
    assert_eq!(
        output(&["checkpoint", &sample.path]),
        format!("checkpoint of {} done\n", sample.path)
    );
    // The writer that has the store open goes on.
    let mut change = store.begin().unwrap();
    change.delete_rows("x", Selection::Row(0)).unwrap();
    change.commit().unwrap();
    assert_eq!(store.info("x").unwrap().deleted, 2);
}

#[test]
fn a_mistyped_file_makes_no_store_and_a_missing_array_no_file() {
    let sample = Sample::new();
    let (missing, odd, fresh) = (
        sample.file("missing.npy"),
        sample.file("odd.xyz"),
        sample.file("fresh"),
    );
    fs::write(&odd, "").unwrap();
    for file in [missing, odd] {
        let ran = numpack(&["import", &file, &fresh]);
        assert_eq!((ran.code, ran.out.as_str()), (EXIT_ERROR, ""));
        assert!(ran.err.starts_with(&format!("error: \"{file}\": ")));
        assert!(!Path::new(&fresh).exists());
    }
    let target = sample.file("a.npy");
    let ran = numpack(&["export", &sample.path, &target, "--arrays", "none"]);
    assert_eq!(ran.code, EXIT_ERROR);
    assert_eq!(
        ran.err,
        "error: array \"none\" not found (hint: `numpack ls DIR` lists the arrays)\n"
    );
    assert_eq!(sample.beside(), ["odd.xyz"]);
}

/// Takes so many bytes and fails then.
struct Short {
    room: usize,
    error: ErrorKind,
}

impl Write for Short {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.room == 0 {
            return Err(self.error.into());
        }
        let taken = bytes.len().min(self.room);
        self.room -= taken;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.room == 0 {
            return Err(self.error.into());
        }
        Ok(())
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error_and_a_full_disk_is_one() {
    let sample = Sample::new();
    let path = sample.path.as_str();
    let many = "SELECT value, 'text' AS t FROM generate_series(1, 100000)";
    let commands: [&[&str]; 8] = [
        &["sql", path, "-c", many],
        &["sql", path, "-c", many, "--format", "csv"],
        &["sql", path, "-c", many, "--json"],
        &["head", path],
        &["head", path, "--json"],
        &["ls", path],
        &["info", path, "--json"],
        &["--help"],
    ];
    for args in commands {
        for room in [0, 1, 40] {
            let run = |error| {
                let mut err = Vec::new();
                let args = std::iter::once("numpack").chain(args.iter().copied());
                let mut out = Short { room, error };
                let code = numpack_cli::run(args, &mut out, &mut err, Style::default());
                (code, String::from_utf8(err).unwrap())
            };
            assert_eq!(
                run(ErrorKind::BrokenPipe),
                (EXIT_OK, String::new()),
                "{args:?} {room}"
            );
            let (code, err) = run(ErrorKind::StorageFull);
            assert_eq!(code, EXIT_ERROR, "{args:?} {room}");
            assert!(
                args == ["--help"] || err.starts_with("error: cannot write the result: "),
                "{args:?} {room}: {err}"
            );
        }
    }
}
