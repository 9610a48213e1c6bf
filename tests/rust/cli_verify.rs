//! `numpack verify`: findings, exit codes, and what it repairs.
use std::fs;

use numpack::DType;
use numpack_cli::{EXIT_ERROR, EXIT_USAGE};
use serde_json::{Value, json};

use crate::cli::{meta, numpack, output, parsed, sample};

#[test]
fn verify_finds_nothing_wrong_with_a_closed_store() {
    let (dir, store) = sample();
    store.close().unwrap();
    let path = dir.path().to_str().unwrap();
    assert_eq!(
        output(&["verify", path]),
        format!("{path}: 3 arrays, 0 problems\n")
    );
    let report = parsed(&["verify", path, "--deep", "--json"]);
    assert_eq!(
        report,
        json!({
            "path": path, "ok": true, "deep": true, "repaired": [], "arrays": 3,
            "checked_bytes": 48 + 20 + 1, "journal_records": 0, "problems": [], "unchecked": [],
            "leftovers": [],
        })
    );
}

#[test]
fn verify_names_the_damage_and_exits_with_1() {
    let (dir, store) = sample();
    store.close().unwrap();
    let path = dir.path().to_str().unwrap();
    let file = dir.path().join("data_label.npkd");
    let mut rows = fs::read(&file).unwrap();
    rows[9] ^= 1;
    fs::write(&file, rows).unwrap();
    let ran = numpack(&["verify", path, "--deep"]);
    assert_eq!((ran.code, ran.err.as_str()), (EXIT_ERROR, ""));
    assert_eq!(
        ran.out,
        format!(
            "problem: array \"label\": bytes 0..20 of data_label.npkd (blocks 0..1, rows 0..5) are changed since \
             written: something else has written to the file, replaced or copied it\n\
             {path}: 3 arrays, 1 problem, 49 bytes of rows verified\n"
        )
    );
    let ran = numpack(&["verify", path, "--deep", "--json"]);
    assert_eq!(ran.code, EXIT_ERROR);
    let report: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(report["ok"], json!(false));
    assert_eq!(report["problems"][0]["array"], json!("label"));
    assert_eq!(
        report["problems"][0]["damage"],
        json!({"blocks": [0, 1], "bytes": [0, 20], "rows": [0, 5]})
    );
}

#[test]
fn verify_of_what_cannot_be_opened_is_a_finding() {
    let (dir, store) = sample();
    store.close().unwrap();
    let path = dir.path().to_str().unwrap();
    fs::write(dir.path().join("metadata.npkm"), b"NPKB").unwrap();
    let ran = numpack(&["verify", path, "--json"]);
    assert_eq!(ran.code, EXIT_ERROR);
    let report: Value = serde_json::from_str(&ran.out).unwrap();
    let text = report["problems"][0]["text"].as_str().unwrap();
    assert!(text.contains("metadata.npkm"), "{text}");
    let ran = numpack(&["verify", path]);
    assert_eq!(ran.code, EXIT_ERROR);
    assert!(ran.err.starts_with("error: store "), "{}", ran.err);
    assert_eq!(
        numpack(&["verify", path, "--discard-journal"]).code,
        EXIT_USAGE
    );
}

/// Another program rewrites the metadata under a session that was killed.
#[test]
fn verify_repairs_rewritten_metadata() {
    let (dir, store) = sample();
    store.checkpoint().unwrap();
    let mut more = store.begin().unwrap();
    more.append("label", &meta(DType::Int32, &[1]), &[3; 4])
        .unwrap();
    more.commit().unwrap();
    let killed = tempfile::tempdir().unwrap();
    let path = killed.path().join("s.npk");
    // A rename keeps inodes and times, which a copy would not.
    fs::rename(dir.path(), &path).unwrap();
    let metadata = path.join("metadata.npkm");
    let bytes = fs::read(&metadata).unwrap();
    let trailer = bytes.windows(8).position(|window| window == b"NPKXTRL1");
    fs::write(&metadata, &bytes[..trailer.unwrap()]).unwrap();
    fs::write(path.join(".npk/g00000000000000aa"), b"?").unwrap();
    let shown = path.to_str().unwrap();
    let ran = numpack(&["verify", shown]);
    assert_eq!(ran.code, EXIT_ERROR);
    assert!(ran.out.contains("another program rewrote"), "{}", ran.out);
    let repaired = output(&["verify", shown, "--repair", "--deep"]);
    assert!(
        repaired.starts_with(
            "repaired: put metadata.npkm back as the last checkpoint wrote it\n\
             repaired: removed .npk/g00000000000000aa\n"
        ),
        "{repaired}"
    );
    assert!(
        repaired.ends_with("3 arrays, 0 problems, 73 bytes of rows verified\n"),
        "{repaired}"
    );
    let label = parsed(&["info", shown, "label", "--json"]);
    assert_eq!(label["shape"], json!([6]));
    drop(store);
}

#[test]
fn verify_refuses_to_choose() {
    let (dir, store) = sample();
    store.checkpoint().unwrap();
    let mut more = store.begin().unwrap();
    more.append("label", &meta(DType::Int32, &[1]), &[3; 4])
        .unwrap();
    more.commit().unwrap();
    let killed = tempfile::tempdir().unwrap();
    let path = killed.path().join("s.npk");
    fs::rename(dir.path(), &path).unwrap();
    let metadata = path.join("metadata.npkm");
    let bytes = fs::read(&metadata).unwrap();
    let trailer = bytes.windows(8).position(|window| window == b"NPKXTRL1");
    fs::write(&metadata, &bytes[..trailer.unwrap()]).unwrap();
    // That program has also changed rows of another array.
    fs::write(path.join("data_emb.npkd"), [8_u8; 48]).unwrap();
    let shown = path.to_str().unwrap();
    let ran = numpack(&["verify", shown, "--repair"]);
    assert_eq!(ran.code, EXIT_ERROR);
    assert!(
        ran.err.contains("the rows of array \"emb\" have changed"),
        "{}",
        ran.err
    );
    assert!(ran.err.contains("--discard-journal"), "{}", ran.err);
    let given_up = output(&["verify", shown, "--repair", "--discard-journal"]);
    assert!(
        given_up.starts_with("repaired: gave up the commits in .npk/journal\n"),
        "{given_up}"
    );
    let label = parsed(&["info", shown, "label", "--json"]);
    assert_eq!(label["shape"], json!([5]));
    drop(store);
}
