//! Every kernel against the three lines of plain Rust it stands for.

use numpack_kernels::{diff_rows, gather_rows, gather_strided, pack_bools, scatter_rows};
use proptest::collection::vec;
use proptest::prelude::*;

/// Every class of row width the kernels treat apart, its borders, and rows of several lines.
fn row_bytes() -> impl Strategy<Value = usize> {
    prop_oneof![
        0..=20_usize,
        28..=36_usize,
        60..=68_usize,
        120..=132_usize,
        Just(500_usize)
    ]
}

/// A buffer of rows and row numbers in and (in the second case) out of its bounds.
fn rows_and_numbers() -> impl Strategy<Value = (Vec<u8>, usize, Vec<u64>)> {
    (row_bytes(), 0..40_usize).prop_flat_map(|(width, count)| {
        let inside = vec(0..count.max(1) as u64, 0..60);
        let around = vec(prop_oneof![0..=count as u64 + 1, any::<u64>()], 0..20);
        (
            vec(any::<u8>(), width * count),
            Just(width),
            prop_oneof![4 => inside, 1 => around],
        )
    })
}

/// Bytes that do not repeat soon: the low byte of each place's hash.
fn pattern(len: usize, seed: u8) -> Vec<u8> {
    let hash = |i: usize| i.wrapping_mul(0x9e37_79b9) >> 8;
    (0..len).map(|i| hash(i).to_le_bytes()[0] ^ seed).collect()
}

/// The first number that is no row of `bytes`; rows of no bytes are not counted.
fn first_bad(bytes: &[u8], width: usize, numbers: &[u64]) -> Option<u64> {
    let count = bytes.len().checked_div(width)? as u64;
    numbers.iter().copied().find(|&number| number >= count)
}

fn naive_gather(bytes: &[u8], width: usize, numbers: &[u64]) -> Vec<u8> {
    let mut out = Vec::new();
    for &number in numbers {
        if width > 0 {
            let start = usize::try_from(number).expect("checked") * width;
            out.extend_from_slice(&bytes[start..start + width]);
        }
    }
    out
}

proptest! {
    #[test]
    fn gather_is_the_rows_one_after_another((src, width, rows) in rows_and_numbers()) {
        let mut out = vec![0xaa; rows.len() * width];
        let result = gather_rows(&src, width, &rows, &mut out);
        match first_bad(&src, width, &rows) {
            None => {
                prop_assert_eq!(result, Ok(()));
                prop_assert_eq!(out, naive_gather(&src, width, &rows));
            }
            Some(bad) => {
                let error = result.expect_err("a row is out of bounds");
                prop_assert_eq!((error.row, error.rows), (bad, (src.len() / width) as u64));
                prop_assert!(out.iter().all(|&byte| byte == 0xaa), "written before checked");
            }
        }
    }

    #[test]
    fn scatter_writes_in_order((dst, width, rows) in rows_and_numbers(), seed in any::<u8>()) {
        let src = pattern(rows.len() * width, seed);
        let mut out = dst.clone();
        let result = scatter_rows(&mut out, width, &rows, &src);
        let mut expected = dst.clone();
        if let Some(bad) = first_bad(&dst, width, &rows) {
            let error = result.expect_err("a row is out of bounds");
            prop_assert_eq!((error.row, error.rows), (bad, (dst.len() / width) as u64));
        } else {
            prop_assert_eq!(result, Ok(()));
            for (i, &row) in rows.iter().enumerate().filter(|_| width > 0) {
                let start = usize::try_from(row).expect("checked") * width;
                expected[start..start + width].copy_from_slice(&src[i * width..(i + 1) * width]);
            }
        }
        prop_assert_eq!(out, expected);
    }

    #[test]
    fn strided_is_a_column(
        width in 0..=20_usize,
        offset in 0..=20_usize,
        stride in 0..=40_usize,
        count in 0..=50_usize,
        slack in 0..=3_usize,
    ) {
        let end = if count == 0 { 0 } else { offset + (count - 1) * stride + width };
        let src = pattern(end + slack, 0);
        let mut out = vec![0; count * width];
        gather_strided(&src, offset, stride, width, &mut out);
        let expected: Vec<u8> =
            (0..count).flat_map(|i| src[offset + i * stride..][..width].to_vec()).collect();
        prop_assert_eq!(out, expected);
    }

    #[test]
    fn packed_bits_are_the_bools(src in vec(prop_oneof![Just(0), Just(1), any::<u8>()], 0..200)) {
        let mut out = vec![0xff; src.len().div_ceil(8)];
        pack_bools(&src, &mut out);
        let bits: Vec<bool> = (0..out.len() * 8).map(|i| out[i / 8] >> (i % 8) & 1 == 1).collect();
        for (i, bit) in bits.into_iter().enumerate() {
            prop_assert_eq!(bit, src.get(i).is_some_and(|&byte| byte != 0), "bit {}", i);
        }
    }

    #[test]
    fn differing_rows_are_found(
        width in row_bytes(),
        count in 0..300_usize,
        changes in vec((any::<prop::sample::Index>(), 1..=255_u8), 0..30),
    ) {
        let before = pattern(width * count, 0);
        let mut after = before.clone();
        for (index, change) in changes.iter().filter(|_| !before.is_empty()) {
            after[index.index(before.len())] ^= change;
        }
        let mut expected: Vec<(u64, u64)> = Vec::new();
        for row in (0..count).filter(|row| {
            before[row * width..(row + 1) * width] != after[row * width..(row + 1) * width]
        }) {
            match expected.last_mut() {
                Some((start, len)) if *start + *len == row as u64 => *len += 1,
                _ => expected.push((row as u64, 1)),
            }
        }
        prop_assert_eq!(diff_rows(&before, &after, width), expected);
    }
}
