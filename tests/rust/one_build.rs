//! DataFusion takes twenty minutes to build, so tests and wheel must share one build of it.
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

/// The directory that cargo puts compiled crates into: where this very test was run from.
fn deps() -> PathBuf {
    let mut path = std::env::current_exe().unwrap();
    path.pop();
    path
}

/// `datafusion` alone with its hash, none of the crates that it is made of.
fn is_datafusion(stem: &str) -> bool {
    stem.starts_with("libdatafusion-")
}

#[test]
fn the_target_directory_holds_one_datafusion() {
    let deps = deps();
    let builds: BTreeSet<String> = fs::read_dir(&deps)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|name| name.strip_suffix(".rlib").is_some_and(is_datafusion))
        .collect();
    assert!(
        !builds.is_empty(),
        "no libdatafusion-*.rlib in {}: the scan is broken",
        deps.display()
    );
    assert_eq!(
        builds.len(),
        1,
        "{} holds {builds:?}. After a change of version, features, profile or compiler the older \
         files are left over: delete them, run the tests and build the wheel. If two are there \
         again, the wheel and the tests select different features of a crate below DataFusion: \
         compare `cargo tree -e features --release -p numpack-python` with `-p numpack-tests`.",
        deps.display()
    );
}
