//! The engine, each operation beside the system calls that move the same bytes.
//!
//! The second series is the floor: what plain `std::fs` does on a file that stays open, with no
//! atomicity, no checksum and no other reader. The stores lie in the system's directory for
//! temporary files; `TMPDIR` puts them elsewhere.

use std::fs::{File, OpenOptions};
use std::hint::black_box;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use criterion::{
    BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group, criterion_main,
};
use numpack_benches::{Random, RowSets, bytes};
use numpack_engine::{Durability, Mode, Options, Selection, Store};
use numpack_format::{ArrayMeta, DType};
use tempfile::TempDir;

/// The array of all benches: a million rows of ten float32, 40 MB.
const ROWS: u64 = 1_000_000;
const ROW_BYTES: usize = 40;
const LEN: usize = 40_000_000;
/// Rows that an append, a replace or a delete touches.
const TOUCHED: usize = 100;

fn meta(rows: u64) -> ArrayMeta {
    ArrayMeta::new(DType::Float32, &[rows, 10]).expect("the shape is small")
}

fn open(directory: &Path, durability: Durability) -> Store {
    let options = Options::default()
        .with_mode(Mode::Append)
        .with_durability(durability);
    Store::open(&directory.join("store.npk"), &options).expect("a store opens")
}

fn put(store: &Store, name: &str, data: &[u8]) {
    let rows = (data.len() / ROW_BYTES) as u64;
    let mut transaction = store.begin().expect("a transaction begins");
    transaction
        .put(name, &meta(rows), &mut &data[..])
        .expect("the rows are written");
    transaction.commit().expect("a put commits");
}

fn drop_array(store: &Store, name: &str) {
    let mut transaction = store.begin().expect("a transaction begins");
    transaction.drop_array(name).expect("the array is there");
    transaction.commit().expect("a drop commits");
}

/// A file that holds `data` and stays open.
fn plain_file(directory: &Path, data: &[u8]) -> File {
    let mut options = OpenOptions::new();
    let path = directory.join("plain");
    let file = options
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(path);
    let file = file.expect("a file opens");
    file.write_all_at(data, 0).expect("a file takes the bytes");
    file
}

/// A directory, a store in it with the array "array", and its bytes.
fn stored() -> (TempDir, Store, Vec<u8>) {
    let directory = TempDir::new().expect("a temporary directory");
    let store = open(directory.path(), Durability::None);
    let data = bytes(1, LEN);
    put(&store, "array", &data);
    (directory, store, data)
}

/// Times `operation` alone, with `after` between its calls.
fn timed(turns: u64, mut operation: impl FnMut(), mut after: impl FnMut()) -> Duration {
    let mut total = Duration::ZERO;
    for _ in 0..turns {
        let start = Instant::now();
        operation();
        total += start.elapsed();
        after();
    }
    total
}

fn puts(c: &mut Criterion) {
    let (directory, store, data) = stored();
    let file = plain_file(directory.path(), &data);
    let fresh = directory.path().join("fresh");
    let mut group = c.benchmark_group("put 40 MB");
    group.sample_size(10).sampling_mode(SamplingMode::Flat);
    group.throughput(Throughput::Bytes(LEN as u64));
    group.bench_function("new", |b| {
        b.iter_custom(|turns| {
            timed(
                turns,
                || put(&store, "new", &data),
                || drop_array(&store, "new"),
            )
        });
    });
    group.bench_function("new, floor", |b| {
        let write = || std::fs::write(&fresh, &data).expect("a file takes the bytes");
        let remove = || std::fs::remove_file(&fresh).expect("the file is there");
        b.iter_custom(|turns| timed(turns, write, remove));
    });
    group.bench_function("over", |b| b.iter(|| put(&store, "array", &data)));
    group.bench_function("over, floor", |b| {
        b.iter(|| file.write_all_at(&data, 0).expect("a file takes the bytes"));
    });
}

fn appends(c: &mut Criterion) {
    let data = bytes(2, LEN);
    let rows = bytes(3, TOUCHED * ROW_BYTES);
    let added = meta(TOUCHED as u64);
    let mut group = c.benchmark_group("append 100 rows");
    for (name, durability) in [("none", Durability::None), ("commit", Durability::Commit)] {
        let directory = TempDir::new().expect("a temporary directory");
        let store = open(directory.path(), durability);
        put(&store, "array", &data);
        group.bench_function(BenchmarkId::new("engine", name), |b| {
            b.iter(|| {
                let mut transaction = store.begin().expect("a transaction begins");
                transaction
                    .append("array", &added, &rows)
                    .expect("the rows fit");
                transaction.commit().expect("an append commits")
            });
        });
        let file = plain_file(directory.path(), &data);
        let mut end = LEN as u64;
        group.bench_function(BenchmarkId::new("floor", name), |b| {
            b.iter(|| {
                file.write_all_at(&rows, end)
                    .expect("a file takes the bytes");
                end += rows.len() as u64;
                if durability != Durability::None {
                    file.sync_data().expect("a file syncs");
                }
            });
        });
    }
}

fn replaces(c: &mut Criterion) {
    let (directory, store, data) = stored();
    let file = plain_file(directory.path(), &data);
    let values = bytes(4, TOUCHED * ROW_BYTES);
    let given = meta(TOUCHED as u64);
    let replace = |selection: Selection| {
        let mut transaction = store.begin().expect("a transaction begins");
        transaction
            .replace("array", selection, &given, &values)
            .expect("the rows fit");
        transaction.commit().expect("a replace commits")
    };
    let mut group = c.benchmark_group("replace 100 rows");
    group.sample_size(20);
    let start = ROWS / 2;
    group.bench_function("contiguous", |b| {
        let [start, stop] = [start, start + TOUCHED as u64].map(|row| row.try_into().ok());
        b.iter(|| {
            replace(Selection::Slice {
                start,
                stop,
                step: 1,
            })
        });
    });
    group.bench_function("contiguous, floor", |b| {
        let at = start * ROW_BYTES as u64;
        b.iter(|| {
            file.write_all_at(&values, at)
                .expect("a file takes the bytes");
        });
    });
    let mut sets = RowSets::new(5, TOUCHED, ROWS, ROW_BYTES);
    group.bench_function("random", |b| {
        b.iter(|| {
            replace(Selection::Rows(
                sets.turn().iter().map(|row| row.cast_signed()).collect(),
            ))
        });
    });
    group.bench_function("random, floor", |b| {
        b.iter(|| {
            for (row, value) in sets.turn().iter().zip(values.chunks_exact(ROW_BYTES)) {
                file.write_all_at(value, row * ROW_BYTES as u64)
                    .expect("a file takes the bytes");
            }
        });
    });
}

fn deletes(c: &mut Criterion) {
    let (directory, store, data) = stored();
    let mut group = c.benchmark_group("delete 100 rows");
    let mut random = Random::new(6);
    let mut left = ROWS;
    group.bench_function("random", |b| {
        b.iter_custom(|turns| {
            let mut total = Duration::ZERO;
            for _ in 0..turns {
                // The array runs out of rows before criterion runs out of turns.
                if left < ROWS / 2 {
                    put(&store, "array", &data);
                    left = ROWS;
                }
                let mut rows: Vec<i64> = (0..TOUCHED)
                    .map(|_| random.below(left).cast_signed())
                    .collect();
                rows.sort_unstable();
                rows.dedup();
                left -= rows.len() as u64;
                let start = Instant::now();
                let mut transaction = store.begin().expect("a transaction begins");
                transaction
                    .delete_rows("array", Selection::Rows(rows))
                    .expect("rows are there");
                transaction.commit().expect("a deletion commits");
                total += start.elapsed();
            }
            total
        });
    });
    // No file operation deletes rows; a record must at least say which ones, in 16 bytes a run.
    let file = plain_file(directory.path(), &[]);
    let record = bytes(7, TOUCHED * 16);
    let mut end = 0;
    group.bench_function("random, floor", |b| {
        b.iter(|| {
            file.write_all_at(&record, end)
                .expect("a file takes the bytes");
            end += record.len() as u64;
        });
    });
}

fn reads(c: &mut Criterion) {
    let (directory, store, data) = stored();
    let file = plain_file(directory.path(), &data);
    let array = store.array("array").expect("the array is there");
    let mut out = vec![0; LEN];

    c.bench_function("snapshot", |b| {
        b.iter(|| black_box(store.snapshot(&["array"]).expect("the array is there")));
    });
    c.bench_function("snapshot, floor", |b| {
        let mut head = [0; 1152];
        b.iter(|| {
            file.read_exact_at(black_box(&mut head), 0)
                .expect("the file is longer");
        });
    });

    for count in [1000, 10_000] {
        let mut group = c.benchmark_group(format!("gather {count} rows"));
        let mut sets = RowSets::new(8, count, ROWS, ROW_BYTES);
        let out = &mut out[..count * ROW_BYTES];
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function("engine", |b| {
            b.iter(|| {
                array
                    .gather_rows(sets.turn(), out)
                    .expect("the rows are there");
            });
        });
        group.bench_function("floor", |b| {
            b.iter(|| {
                for (row, to) in sets.turn().iter().zip(out.chunks_exact_mut(ROW_BYTES)) {
                    file.read_exact_at(to, row * ROW_BYTES as u64)
                        .expect("the rows are there");
                }
            });
        });
    }

    let mut group = c.benchmark_group("read_all 40 MB");
    group
        .sample_size(30)
        .throughput(Throughput::Bytes(LEN as u64));
    group.bench_function("engine", |b| {
        b.iter(|| array.read_all(&mut out).expect("the array is read"));
    });
    group.bench_function("floor", |b| {
        b.iter(|| {
            file.read_exact_at(&mut out, 0)
                .expect("the file is as long");
        });
    });
}

criterion_group! {
    name = engine;
    // A minute rather than three: the ratio to the second series matters, not the third digit.
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = puts, appends, replaces, deletes, reads
}
criterion_main!(engine);
