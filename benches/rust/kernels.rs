//! The kernels, each beside the plain loop that it replaces.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use numpack_benches::{RowSets, bytes};
use numpack_kernels::{
    Metric, Query, Ranked, Vectors, diff_rows, gather_rows, gather_strided, mark_ranks, pack_bools,
    scatter_rows,
};

/// Larger than any processor's cache, so that random rows come from memory.
const SOURCE: usize = 256 << 20;

/// A row number as an index; the row numbers here are all below the rows of `SOURCE`.
fn index(row: u64) -> usize {
    usize::try_from(row).expect("row numbers of the workload are small")
}

/// The loop one would write.
fn plain_gather(src: &[u8], row_bytes: usize, rows: &[u64], out: &mut [u8]) {
    for (to, &row) in out.chunks_exact_mut(row_bytes).zip(rows) {
        to.copy_from_slice(&src[index(row) * row_bytes..][..row_bytes]);
    }
}

fn gather(c: &mut Criterion) {
    let src = bytes(1, SOURCE);
    let mut group = c.benchmark_group("gather");
    for row_bytes in [4, 16, 40, 128, 512, 3072] {
        for count in [1000, 10_000] {
            let total = row_bytes * count;
            let mut sets = RowSets::new(2, count, (SOURCE / row_bytes) as u64, row_bytes);
            let mut out = vec![0; total];
            let shape = format!("{count} rows of {row_bytes} B");
            group.throughput(Throughput::Bytes(total as u64));
            group.bench_function(BenchmarkId::new("kernel", &shape), |b| {
                b.iter(|| gather_rows(&src, row_bytes, sets.turn(), &mut out));
            });
            group.bench_function(BenchmarkId::new("plain loop", &shape), |b| {
                b.iter(|| plain_gather(&src, row_bytes, sets.turn(), &mut out));
            });
        }
    }
}

fn scatter(c: &mut Criterion) {
    let mut dst = bytes(1, SOURCE);
    let mut group = c.benchmark_group("scatter");
    for row_bytes in [40, 512] {
        for count in [100, 10_000] {
            let values = bytes(3, row_bytes * count);
            let mut sets = RowSets::new(4, count, (SOURCE / row_bytes) as u64, row_bytes);
            let shape = format!("{count} rows of {row_bytes} B");
            group.throughput(Throughput::Bytes(values.len() as u64));
            group.bench_function(BenchmarkId::new("kernel", &shape), |b| {
                b.iter(|| scatter_rows(&mut dst, row_bytes, sets.turn(), &values));
            });
            group.bench_function(BenchmarkId::new("plain loop", &shape), |b| {
                b.iter(|| {
                    for (from, &row) in values.chunks_exact(row_bytes).zip(sets.turn()) {
                        dst[index(row) * row_bytes..][..row_bytes].copy_from_slice(from);
                    }
                });
            });
        }
    }
}

fn strided(c: &mut Criterion) {
    let src = bytes(1, SOURCE);
    let mut group = c.benchmark_group("strided");
    group.sample_size(20);
    for stride in [40, 512, 3072] {
        let count = SOURCE / stride;
        let mut out = vec![0; count * 4];
        let shape = format!("4 of each {stride} B");
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(BenchmarkId::new("kernel", &shape), |b| {
            b.iter(|| gather_strided(&src, 24, stride, 4, &mut out));
        });
        group.bench_function(BenchmarkId::new("plain loop", &shape), |b| {
            b.iter(|| {
                for (to, row) in out.chunks_exact_mut(4).zip(src.chunks_exact(stride)) {
                    to.copy_from_slice(&row[24..28]);
                }
            });
        });
    }
}

fn bools(c: &mut Criterion) {
    let src: Vec<u8> = bytes(5, 1 << 20).into_iter().map(|byte| byte & 1).collect();
    let mut out = vec![0; src.len() / 8];
    let mut group = c.benchmark_group("pack_bools");
    group.throughput(Throughput::Bytes(src.len() as u64));
    group.bench_function("kernel", |b| b.iter(|| pack_bools(&src, &mut out)));
    group.bench_function("plain loop", |b| {
        b.iter(|| {
            for (to, block) in out.iter_mut().zip(src.chunks_exact(8)) {
                *to = block
                    .iter()
                    .rfold(0, |bits, &byte| bits << 1 | u8::from(byte != 0));
            }
        });
    });
}

fn diff(c: &mut Criterion) {
    let before = bytes(6, 40_000_000);
    let mut group = c.benchmark_group("diff");
    group.sample_size(20);
    group.throughput(Throughput::Bytes(before.len() as u64));
    for row_bytes in [4, 40, 512] {
        let before = &before[..before.len() / row_bytes * row_bytes];
        let rows = before.len() / row_bytes;
        for (what, every) in [("none", rows), ("every 1000th", 1000), ("every", 1)] {
            let mut after = before.to_vec();
            for row in (every - 1..rows - 1).step_by(every) {
                after[row * row_bytes] ^= 1;
            }
            let shape = format!("{what} of rows of {row_bytes} B");
            group.bench_function(BenchmarkId::new("kernel", &shape), |b| {
                b.iter(|| diff_rows(before, &after, row_bytes));
            });
            group.bench_function(BenchmarkId::new("plain loop", &shape), |b| {
                b.iter(|| {
                    let pairs = before
                        .chunks_exact(row_bytes)
                        .zip(after.chunks_exact(row_bytes));
                    pairs.filter(|(a, b)| a != b).count()
                });
            });
        }
    }
    let same = before.clone();
    group.bench_function("memcmp", |b| {
        b.iter(|| black_box(&before) == black_box(&same));
    });
}

/// Values of a vector.
const WIDTH: usize = 128;

fn distances(c: &mut Criterion) {
    let vectors: Vec<f32> = bytes(7, 4 << 20).into_iter().map(f32::from).collect();
    let query: Vec<f32> = bytes(8, WIDTH).into_iter().map(f32::from).collect();
    let mut out = vec![0.0; vectors.len() / WIDTH];
    let halves: Vec<u16> = bytes(9, vectors.len())
        .into_iter()
        .map(|byte| u16::from(byte) << 6)
        .collect();
    let doubles: Vec<f64> = vectors.iter().copied().map(f64::from).collect();
    let unsigned = bytes(7, vectors.len());
    let signed: Vec<i8> = unsigned.iter().map(|byte| byte.cast_signed()).collect();
    let mut group = c.benchmark_group("distances");
    group.sample_size(20);
    group.throughput(Throughput::Elements(vectors.len() as u64));
    for (name, metric) in [
        ("l2_squared", Metric::L2Squared),
        ("inner_product", Metric::InnerProduct),
        ("cosine", Metric::Cosine),
    ] {
        let query = Query::new(metric, Vectors::F32(&query));
        for (dtype, vectors) in [
            ("f32", Vectors::F32(&vectors)),
            ("f64", Vectors::F64(&doubles)),
            ("f16", Vectors::F16(&halves)),
            ("i8", Vectors::I8(&signed)),
            ("u8", Vectors::U8(&unsigned)),
        ] {
            group.bench_function(BenchmarkId::new(name, dtype), |b| {
                b.iter(|| query.distances(vectors, &mut out));
            });
        }
    }
    group.bench_function(BenchmarkId::new("l2_squared, plain loop", "f32"), |b| {
        b.iter(|| {
            for (out, vector) in out.iter_mut().zip(vectors.chunks_exact(WIDTH)) {
                let squares = vector.iter().zip(&query).map(|(a, b)| (a - b) * (a - b));
                *out = squares.sum::<f32>().into();
            }
        });
    });
}

/// A block of a scan's.
const VALUES: usize = 8192;

fn ranks(c: &mut Criterion) {
    let singles: Vec<f32> = bytes(10, VALUES).into_iter().map(f32::from).collect();
    let doubles: Vec<f64> = singles.iter().copied().map(f64::from).collect();
    let integers: Vec<i64> = bytes(10, VALUES).into_iter().map(i64::from).collect();
    let mut bits = vec![0; VALUES / 8];
    let mut group = c.benchmark_group("mark_ranks");
    group.throughput(Throughput::Elements(VALUES as u64));
    group.bench_function(BenchmarkId::new("kernel", "f32"), |b| {
        b.iter(|| mark_ranks(&singles, 200f32.rank()..=f32::LAST, &mut bits));
    });
    group.bench_function(BenchmarkId::new("kernel", "f64"), |b| {
        b.iter(|| mark_ranks(&doubles, 200f64.rank()..=f64::LAST, &mut bits));
    });
    group.bench_function(BenchmarkId::new("kernel", "i64"), |b| {
        b.iter(|| mark_ranks(&integers, 200i64.rank()..=i64::LAST, &mut bits));
    });
    group.bench_function(BenchmarkId::new("plain loop", "f32"), |b| {
        b.iter(|| {
            for (bits, block) in bits.iter_mut().zip(singles.chunks_exact(8)) {
                *bits = block
                    .iter()
                    .rfold(0, |bits, &value| bits << 1 | u8::from(value >= 200.0));
            }
        });
    });
}

criterion_group! {
    name = kernels;
    // Two minutes rather than eight: the ratio to the second series matters, not the third digit.
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = gather, scatter, strided, bools, diff, distances, ranks
}
criterion_main!(kernels);
