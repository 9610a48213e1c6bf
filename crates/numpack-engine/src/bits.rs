//! Bits in 64-bit words.

use std::ops::Range;

/// Sets or clears the bits `range` and tells how many that changed.
pub(crate) fn set(words: &mut [u64], range: Range<u64>, on: bool) -> u64 {
    let mut changed = 0;
    let mut bit = range.start;
    while bit < range.end {
        let low = bit % 64;
        let n = (64 - low).min(range.end - bit);
        let mask = (u64::MAX >> (64 - n)) << low;
        let word = &mut words[usize::try_from(bit / 64).unwrap_or(usize::MAX)];
        let new = if on { *word | mask } else { *word & !mask };
        changed += u64::from((*word ^ new).count_ones());
        *word = new;
        bit += n;
    }
    changed
}

/// The position of the one bit of `word` that has `n` one bits below it. The counts of all bytes side by
/// side: S. Vigna, Broadword Implementation of Rank/Select Queries, WEA 2008.
pub(crate) fn nth_one(word: u64, n: u64) -> u64 {
    const EACH: u64 = 0x0101_0101_0101_0101;
    let twos = word - (word >> 1 & (0x55 * EACH));
    let fours = (twos & (0x33 * EACH)) + (twos >> 2 & (0x33 * EACH));
    // Byte `i` has the ones of the bytes up to the `i`th.
    let up_to = ((fours + (fours >> 4)) & (0x0f * EACH)).wrapping_mul(EACH);
    let byte = (0..7).filter(|i| up_to >> (8 * i) & 0xff <= n).count();
    let bits = 8 * byte as u64;
    let mut rest = word >> bits;
    for _ in up_to << 8 >> bits & 0xff..n {
        rest &= rest - 1;
    }
    bits + u64::from(rest.trailing_zeros())
}

#[cfg(test)]
mod tests {
    use super::nth_one;

    #[test]
    fn every_one_is_found() {
        for word in [
            1,
            u64::MAX,
            1 << 63,
            0x8000_0000_0000_0001,
            0x0123_4567_89ab_cdef,
            0xff00_ff00_00ff_00ff,
        ] {
            let ones = (0..64).filter(|bit| word >> bit & 1 == 1);
            for (n, bit) in (0..).zip(ones) {
                assert_eq!(nth_one(word, n), bit, "{word:x}");
            }
        }
    }
}
