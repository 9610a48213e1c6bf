//! Every store of any bytes that fuzzing began with or found, given to the functions that fuzzing calls.

use std::fs;
use std::path::Path;

use crate::kit::OnPanic;

#[path = "../../../fuzz/src/files.rs"]
#[expect(dead_code, reason = "part of it is for making inputs")]
mod files;
#[path = "../../../fuzz/src/seal.rs"]
mod seal;
#[path = "../../../fuzz/src/store.rs"]
mod store;

#[test]
fn no_store_surprises() {
    for (target, body) in store::TARGETS {
        let corpus = Path::new("../../fuzz/corpus");
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
