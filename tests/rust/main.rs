//! Integration tests; a new file needs a line here.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "helpers of tests fail by panicking, as tests do"
)]

mod arrow_views;
mod cli;
mod cli_convert;
mod cli_sql;
mod cli_verify;
mod file_size;
mod layering;
mod one_build;
mod slt;
mod unsafe_files;

#[test]
fn every_file_is_compiled() {
    let listed = include_str!("main.rs");
    let mut seen = 0;
    for path in numpack_tests::files("tests/rust", "rs") {
        let path = numpack_tests::relative(&path);
        let name = path
            .trim_start_matches("tests/rust/")
            .trim_end_matches(".rs");
        // A directory belongs to the file of its name, which lists what is in it.
        if name != "main" && !name.contains('/') {
            seen += 1;
            assert!(
                listed.contains(&format!("\nmod {name};\n")),
                "main.rs lacks `mod {name};`"
            );
        }
    }
    assert!(seen >= 7, "only {seen} files were seen");
}
