//! Every store of any bytes that fuzzing began with or found, given to the functions that fuzzing calls.

use std::fs;
use std::path::Path;

use crate::kit::OnPanic;

#[path = "../../../fuzz/src/files.rs"]
#[allow(dead_code, reason = "part of it is for making inputs")]
mod files;
#[path = "../../../fuzz/src/seal.rs"]
#[allow(dead_code, reason = "part of it is for single files")]
mod seal;
#[path = "../../../fuzz/src/store.rs"]
#[allow(
    clippy::redundant_closure,
    clippy::redundant_closure_for_method_calls,
    clippy::redundant_clone,
    clippy::assigning_clones,
    reason = "each step stands alone, as a fuzzer's reader wants it"
)]
mod store;

#[test]
fn no_store_surprises() {
    for (target, body) in store::TARGETS {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
        let mut inputs = 0;
        for entry in fs::read_dir(corpus.join(target)).unwrap() {
            let path = entry.unwrap().path();
            let _named = OnPanic(|| path.display().to_string());
            body(&fs::read(&path).unwrap());
            inputs += 1;
        }
        assert!(inputs > 30, "{target} has {inputs} inputs");
    }
}
