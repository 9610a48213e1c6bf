//! Rows written to places picked by number.

use crate::processor::prefetch;
use crate::rows::{AHEAD, GatherError, PREFETCHED, check, start, with_copy};

/// Copies row `i` of `src` to row `rows[i]` of `dst`; of a row named twice the last copy stays.
///
/// With `row_bytes` of 0 there is nothing to copy, and any row number passes.
///
/// ```
/// let mut dst = [0; 4];
/// numpack_kernels::scatter_rows(&mut dst, 1, &[3, 0, 3], &[7, 8, 9])?;
/// assert_eq!(dst, [8, 0, 0, 9]);
/// # Ok::<(), numpack_kernels::GatherError>(())
/// ```
///
/// # Errors
/// [`GatherError`] if a row is not in `dst`; `dst` is then untouched.
///
/// # Panics
/// If `src` does not hold exactly `rows.len()` rows.
pub fn scatter_rows(
    dst: &mut [u8],
    row_bytes: usize,
    rows: &[u64],
    src: &[u8],
) -> Result<(), GatherError> {
    let expected = rows.len().checked_mul(row_bytes);
    assert!(
        expected == Some(src.len()),
        "{} rows of {row_bytes} bytes are not {} bytes",
        rows.len(),
        src.len()
    );
    if let Some(count) = dst.len().checked_div(row_bytes) {
        check(rows, count)?;
    }
    with_copy!(row_bytes, scatter_with(dst, row_bytes, rows, src));
    Ok(())
}

fn scatter_with(
    dst: &mut [u8],
    row_bytes: usize,
    rows: &[u64],
    src: &[u8],
    copy: impl Fn(&mut [u8], &[u8]),
) {
    let ahead = rows.get(AHEAD..).unwrap_or_default();
    let (rows, last_rows) = rows.split_at(ahead.len());
    let (src, last_src) = src.split_at(ahead.len() * row_bytes);
    for ((from, &row), &next) in src.chunks_exact(row_bytes).zip(rows).zip(ahead) {
        prefetch(dst, start(next, row_bytes), row_bytes.min(PREFETCHED));
        copy(&mut dst[start(row, row_bytes)..][..row_bytes], from);
    }
    for (from, &row) in last_src.chunks_exact(row_bytes).zip(last_rows) {
        copy(&mut dst[start(row, row_bytes)..][..row_bytes], from);
    }
}

#[cfg(test)]
mod tests {
    use super::scatter_rows;

    #[test]
    fn nothing_to_nothing() {
        assert_eq!(scatter_rows(&mut [], 0, &[], &[]), Ok(()));
        assert_eq!(scatter_rows(&mut [], 8, &[], &[]), Ok(()));
        assert_eq!(scatter_rows(&mut [1], 0, &[u64::MAX], &[]), Ok(()));
    }

    #[test]
    fn the_last_of_a_repeated_row_stays_even_far_apart() {
        let mut dst = [0; 3];
        let src: Vec<u8> = (1..=100).collect();
        let rows: Vec<u64> = (0..100).map(|i| i % 3).collect();
        assert_eq!(scatter_rows(&mut dst, 1, &rows, &src), Ok(()));
        assert_eq!(dst, [100, 98, 99]);
    }

    #[test]
    #[should_panic(expected = "2 rows of 3 bytes are not 5 bytes")]
    fn source_of_another_length() {
        let _ = scatter_rows(&mut [0; 9], 3, &[0, 1], &[0; 5]);
    }
}
