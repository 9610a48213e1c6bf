//! Which numbers lie between two others, as bits.
#![expect(
    clippy::inline_always,
    reason = "what is not inlined is not compiled for the processor that was found"
)]

use std::ops::RangeInclusive;

use crate::bools::pack_bools;
use crate::processor::{Fused, Work, run};

/// Numbers by their rank: `a` comes before `b` where `a.rank() < b.rank()`.
///
/// Floats are in IEEE 754's total order, section 5.10: -NaN, -infinity, ..., -0.0, 0.0, ..., infinity,
/// NaN. Ranks are those of all values that the type has, from 0 to [`LAST`](Self::LAST), none left
/// out, so that the next rank is that of the next value.
pub trait Ranked: Copy {
    /// The rank of the value that comes last.
    const LAST: u64;

    /// The number of values that come before this one.
    fn rank(self) -> u64;

    /// What [`mark_ranks`] does, compiled for the processor that its caller is; `first` is not
    /// beyond `last`.
    fn mark(values: &[Self], first: u64, last: u64, out: &mut [u8]);
}

/// Values whose bits are made together: eight bytes.
const BLOCK: usize = 64;

#[inline(always)]
fn mark_by<T: Copy>(values: &[T], out: &mut [u8], is_in: impl Fn(T) -> bool) {
    let (blocks, rest) = values.as_chunks::<BLOCK>();
    let (whole, last) = out.split_at_mut(blocks.len() * (BLOCK / 8));
    for (block, bits) in blocks.iter().zip(whole.as_chunks_mut::<{ BLOCK / 8 }>().0) {
        let mut flags = [0; BLOCK];
        for (flag, &value) in flags.iter_mut().zip(block) {
            *flag = u8::from(is_in(value));
        }
        pack_bools(&flags, bits);
    }
    let mut flags = [0; BLOCK];
    for (flag, &value) in flags.iter_mut().zip(rest) {
        *flag = u8::from(is_in(value));
    }
    pack_bools(&flags[..rest.len()], last);
}

macro_rules! ranked {
    ($($type:ty as $rank:ty: |$value:ident| $in_order:expr;)*) => {$(
        impl Ranked for $type {
            const LAST: u64 = <$rank>::MAX as u64;

            #[inline(always)]
            fn rank(self) -> u64 {
                let $value = self;
                u64::from($in_order)
            }

            #[inline(always)]
            #[allow(clippy::cast_possible_truncation, reason = "ranks of this type fit")]
            fn mark(values: &[Self], first: u64, last: u64, out: &mut [u8]) {
                let (first, more) = (first as $rank, (last - first) as $rank);
                // One comparison instead of two: what is below `first` wraps around to the far end.
                mark_by(values, out, |$value| ($in_order).wrapping_sub(first) <= more);
            }
        }
    )*};
}

ranked! {
    u8 as u8: |value| value;
    u16 as u16: |value| value;
    u32 as u32: |value| value;
    u64 as u64: |value| value;
    i8 as u8: |value| value.cast_unsigned() ^ 1 << 7;
    i16 as u16: |value| value.cast_unsigned() ^ 1 << 15;
    i32 as u32: |value| value.cast_unsigned() ^ 1 << 31;
    i64 as u64: |value| value.cast_unsigned() ^ 1 << 63;
    // Negative numbers, whose magnitude grows downwards, are turned over; the others come after them.
    f32 as u32: |value| {
        let bits = value.to_bits();
        bits ^ ((bits.cast_signed() >> 31).cast_unsigned() | 1 << 31)
    };
    f64 as u64: |value| {
        let bits = value.to_bits();
        bits ^ ((bits.cast_signed() >> 63).cast_unsigned() | 1 << 63)
    };
}

struct Mark<'a, T> {
    values: &'a [T],
    first: u64,
    last: u64,
    out: &'a mut [u8],
}

impl<T: Ranked> Work for Mark<'_, T> {
    #[inline(always)]
    fn run<F: Fused>(self) {
        T::mark(self.values, self.first, self.last, self.out);
    }
}

/// Sets a bit for each value whose rank is one of `ranks`, the first value's in the lowest bit, and
/// clears all others, unused ones of the last byte included.
///
/// ```
/// use numpack_kernels::{Ranked, mark_ranks};
/// let mut bits = [0xff];
/// let from_two = 2f32.rank()..=f32::INFINITY.rank();
/// mark_ranks(&[3.5, -1.0, 2.0, f32::NAN], from_two, &mut bits);
/// assert_eq!(bits, [0b0101]);
/// ```
///
/// # Panics
/// If `out` is not `values.len()` divided by eight, rounded up.
pub fn mark_ranks<T: Ranked>(values: &[T], ranks: RangeInclusive<u64>, out: &mut [u8]) {
    assert!(
        out.len() == values.len().div_ceil(8),
        "bits of {} values do not fit {} bytes",
        values.len(),
        out.len()
    );
    let (first, last) = ranks.into_inner();
    let last = last.min(T::LAST);
    if first > last {
        out.fill(0);
        return;
    }
    run(Mark {
        values,
        first,
        last,
        out,
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expected<T: Ranked>(values: &[T], ranks: &RangeInclusive<u64>) -> Vec<u8> {
        let mut bits = vec![0; values.len().div_ceil(8)];
        for (i, value) in values.iter().enumerate() {
            bits[i / 8] |= u8::from(ranks.contains(&value.rank())) << (i % 8);
        }
        bits
    }

    fn check<T: Ranked>(values: &[T]) {
        let ends = [0, 1, T::LAST / 2, T::LAST / 2 + 1, T::LAST - 1, T::LAST];
        let ranks = values.iter().take(9).map(|value| value.rank());
        let ends: Vec<u64> = ranks.chain(ends).chain([u64::MAX]).collect();
        // Lengths around whole blocks and whole bytes.
        for len in [0, 1, 7, 8, 9, 63, 64, 65, 128, values.len()] {
            let values = &values[..len.min(values.len())];
            for &first in &ends {
                for &last in &ends {
                    let mut bits = vec![0xa5; values.len().div_ceil(8)];
                    mark_ranks(values, first..=last, &mut bits);
                    assert_eq!(bits, expected(values, &(first..=last)), "{first} {last}");
                }
            }
        }
    }

    #[test]
    fn every_type() {
        let wide: Vec<u64> = (0..200_u64)
            .map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15))
            .collect();
        macro_rules! check_types {
            ($($type:ty),*) => {$(
                check(&wide.iter().map(|&bits| (bits >> 32) as $type).collect::<Vec<_>>());
            )*};
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_possible_wrap,
            reason = "random numbers"
        )]
        {
            check_types!(u8, u16, u32, i8, i16, i32);
            check(&wide.iter().map(|&bits| bits as i64).collect::<Vec<_>>());
            let floats = wide.iter().map(|&bits| f32::from_bits((bits >> 32) as u32));
            check(&floats.collect::<Vec<_>>());
        }
        check(&wide);
        check(
            &wide
                .iter()
                .map(|&bits| f64::from_bits(bits))
                .collect::<Vec<_>>(),
        );
    }

    #[test]
    fn ranks_are_in_order() {
        fn ascending<T: Ranked + std::fmt::Debug>(values: &[T]) {
            for pair in values.windows(2) {
                assert!(pair[0].rank() < pair[1].rank(), "{pair:?}");
            }
        }
        ascending(&[i8::MIN, -1, 0, 1, i8::MAX]);
        ascending(&[i64::MIN, -1, 0, 1, i64::MAX]);
        ascending(&[0, 1, u16::MAX]);
        let tiny = f32::from_bits(1);
        ascending(&[
            -f32::NAN,
            f32::NEG_INFINITY,
            f32::MIN,
            -1.0,
            -tiny,
            -0.0,
            0.0,
            tiny,
            1.0,
            f32::MAX,
            f32::INFINITY,
            f32::NAN,
        ]);
        ascending(&[-f64::NAN, f64::MIN, -0.0, 0.0, f64::MAX, f64::NAN]);
        assert_eq!((-0.0f32).rank() + 1, 0f32.rank());
        assert_eq!(i32::MIN.rank(), 0);
        assert_eq!(f64::from_bits(u64::MAX).rank(), 0);
        assert_eq!(f32::from_bits(u32::MAX >> 1).rank(), f32::LAST);
    }

    #[test]
    #[should_panic(expected = "bits of 9 values do not fit 1 bytes")]
    fn output_of_another_length() {
        mark_ranks(&[1; 9], 0..=1, &mut [0; 1]);
    }
}
