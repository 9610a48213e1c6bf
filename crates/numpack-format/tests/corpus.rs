//! Every input that fuzzing began with or found, given to the function that fuzzing calls.
#![allow(
    clippy::cast_possible_truncation,
    clippy::panic,
    unreachable_pub,
    reason = "tests fail by panicking, and nothing outside of them reads their items"
)]

use std::fs;
use std::path::Path;

#[path = "../../../fuzz/src/format.rs"]
mod format;
#[path = "../../../fuzz/src/seal.rs"]
#[expect(dead_code, reason = "part of it is for whole stores")]
mod seal;

#[test]
fn no_input_surprises() {
    for (target, body) in format::TARGETS {
        let corpus = Path::new("../../fuzz/corpus");
        let mut inputs = 0;
        for entry in fs::read_dir(corpus.join(target)).expect(target) {
            let path = entry.expect(target).path();
            let _named = OnPanic(&path);
            body(&fs::read(&path).expect("an input is a file"));
            inputs += 1;
        }
        assert!(inputs > 2, "{target} has {inputs} inputs");
    }
}

/// Names the input when its test panics.
struct OnPanic<'a>(&'a Path);

impl Drop for OnPanic<'_> {
    #[allow(clippy::print_stderr, reason = "the test has failed")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("with the input {}", self.0.display());
        }
    }
}
