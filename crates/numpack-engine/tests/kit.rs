//! Small helpers: bytes in, bytes out.

use std::path::Path;
use std::sync::Arc;

use numpack_engine::fs::{Fs, MemoryFs};
use numpack_engine::{Mode, Options, Result, Selection, Store};
use numpack_format::{ArrayMeta, DType};

pub const PATH: &str = "s.npk";

pub fn bytes(dims: &[u64]) -> ArrayMeta {
    ArrayMeta::new(DType::UInt8, dims).unwrap()
}

pub fn rows(n: u64, width: u64, seed: u64) -> Vec<u8> {
    (0..n * width)
        .map(|i| ((i / width.max(1)) * 7 + i * 13 + seed * 31) as u8)
        .collect()
}

pub fn open(fs: &MemoryFs) -> Store {
    try_open(fs, &Options::default()).unwrap()
}

pub fn try_open(fs: &MemoryFs, options: &Options) -> Result<Store> {
    Store::open_on(
        Arc::new(fs.clone()) as Arc<dyn Fs>,
        Path::new(PATH),
        options,
    )
}

pub fn mode(mode: Mode) -> Options {
    Options::default().with_mode(mode)
}

pub fn save(store: &Store, name: &str, dims: &[u64], data: &[u8]) -> Result<u64> {
    let mut t = store.begin()?;
    t.put(name, &bytes(dims), &mut &*data)?;
    t.commit()
}

pub fn append(store: &Store, name: &str, dims: &[u64], data: &[u8]) -> Result<u64> {
    let mut t = store.begin()?;
    t.append(name, &bytes(dims), data)?;
    t.commit()
}

pub fn replace(
    store: &Store,
    name: &str,
    selection: Selection,
    dims: &[u64],
    data: &[u8],
) -> Result<u64> {
    let mut t = store.begin()?;
    t.replace(name, selection, &bytes(dims), data)?;
    t.commit()
}

pub fn delete(store: &Store, name: &str, selection: Selection) -> Result<u64> {
    let mut t = store.begin()?;
    t.delete_rows(name, selection)?;
    t.commit()
}

pub fn read(store: &Store, name: &str) -> Vec<u8> {
    let array = store.array(name).unwrap();
    let mut out = vec![0; array.byte_len()];
    array.read_all(&mut out).unwrap();
    out
}

pub fn names(store: &Store) -> Vec<String> {
    store
        .names()
        .unwrap()
        .iter()
        .map(ToString::to_string)
        .collect()
}

/// Says what a test was at when it panics: the panic's own message does not know.
pub struct OnPanic<F: Fn() -> String>(pub F);

impl<F: Fn() -> String> Drop for OnPanic<F> {
    #[allow(clippy::print_stderr, reason = "the test has failed")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("in {}", (self.0)());
        }
    }
}

/// Does something when it is dropped, a panic included: other threads must not wait for a test that failed.
pub struct OnDrop<F: Fn()>(pub F);

impl<F: Fn()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}
