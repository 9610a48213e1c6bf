//! The smallest and the largest of some numbers.
#![expect(
    clippy::inline_always,
    reason = "what is not inlined is not compiled for the processor that was found"
)]

use crate::processor::{Fused, Work, run};

/// Numbers that [`extremes`] knows the order of.
pub trait Number: Copy {
    /// As wide as the number: says of it whether it has no place among the others.
    type Mask: Copy + PartialEq;
    /// Below every number, and above.
    const BOUNDS: (Self, Self);
    /// A mask that says nothing.
    const PLACED: Self::Mask;

    /// Whether `self` is below `other`, both having a place.
    fn below(self, other: Self) -> bool;
    /// The mask, with what this number adds.
    fn unplaced(self, mask: Self::Mask) -> Self::Mask;
}

macro_rules! integers {
    ($($type:ty),*) => {$(
        impl Number for $type {
            type Mask = $type;
            const BOUNDS: (Self, Self) = (<$type>::MIN, <$type>::MAX);
            const PLACED: $type = 0;

            #[inline(always)]
            fn below(self, other: Self) -> bool {
                self < other
            }

            #[inline(always)]
            fn unplaced(self, mask: $type) -> $type {
                mask
            }
        }
    )*};
}

macro_rules! floats {
    ($(($type:ty, $mask:ty)),*) => {$(
        impl Number for $type {
            type Mask = $mask;
            const BOUNDS: (Self, Self) = (<$type>::NEG_INFINITY, <$type>::INFINITY);
            const PLACED: $mask = 0;

            #[inline(always)]
            fn below(self, other: Self) -> bool {
                self < other
            }

            #[inline(always)]
            fn unplaced(self, mask: $mask) -> $mask {
                mask | if self.is_nan() { <$mask>::MAX } else { 0 }
            }
        }
    )*};
}

integers!(u8, u16, u32, u64, i8, i16, i32, i64);
floats!((f32, u32), (f64, u64));

/// Numbers that are looked at together: enough for four vectors of 256 bits of any width.
const LANES: usize = 32;

struct Extremes<'a, T> {
    values: &'a [T],
    found: &'a mut Option<(T, T)>,
}

/// The smallest and the largest of `values`; None where there is none, and where one is NaN.
///
/// Zeros are equal, so that a bound that is zero may have either sign.
///
/// ```
/// use numpack_kernels::extremes;
/// assert_eq!(extremes(&[3.5, -1.0, 2.0]), Some((-1.0, 3.5)));
/// assert_eq!(extremes(&[3.5, f64::NAN]), None);
/// assert_eq!(extremes::<u8>(&[]), None);
/// ```
pub fn extremes<T: Number>(values: &[T]) -> Option<(T, T)> {
    let mut found = None;
    run(Extremes {
        values,
        found: &mut found,
    });
    found
}

impl<T: Number> Work for Extremes<'_, T> {
    #[inline(always)]
    fn run<F: Fused>(self) {
        if self.values.is_empty() {
            return;
        }
        let (bottom, top) = T::BOUNDS;
        let (mut low, mut high, mut mask) = ([top; LANES], [bottom; LANES], [T::PLACED; LANES]);
        let (blocks, rest) = self.values.as_chunks::<LANES>();
        for block in blocks {
            for i in 0..LANES {
                let value = block[i];
                low[i] = if value.below(low[i]) { value } else { low[i] };
                high[i] = if high[i].below(value) { value } else { high[i] };
                mask[i] = value.unplaced(mask[i]);
            }
        }
        for (i, &value) in rest.iter().enumerate() {
            low[i] = if value.below(low[i]) { value } else { low[i] };
            high[i] = if high[i].below(value) { value } else { high[i] };
            mask[i] = value.unplaced(mask[i]);
        }
        if mask.iter().any(|&lane| lane != T::PLACED) {
            return;
        }
        let least = low[1..]
            .iter()
            .fold(low[0], |a, &b| if b.below(a) { b } else { a });
        let most = high[1..]
            .iter()
            .fold(high[0], |a, &b| if a.below(b) { b } else { a });
        *self.found = Some((least, most));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn random(state: &mut u64) -> u64 {
        *state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        *state >> 33
    }

    #[test]
    fn integers_of_every_width_and_number() {
        let mut state = 3;
        for len in 0..200 {
            let wide: Vec<u64> = (0..len)
                .map(|_| random(&mut state) << 33 | random(&mut state))
                .collect();
            macro_rules! check {
                ($($type:ty),*) => {$({
                    #[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap, reason = "any bits do")]
                    let values: Vec<$type> = wide.iter().map(|&v| v as $type).collect();
                    let both = values.iter().min().copied().zip(values.iter().max().copied());
                    assert_eq!(extremes(&values), both, "{} of {len}", stringify!($type));
                })*};
            }
            check!(u8, u16, u32, u64, i8, i16, i32, i64);
        }
        assert_eq!(extremes(&[u64::MAX; 3]), Some((u64::MAX, u64::MAX)));
        assert_eq!(extremes(&[i64::MIN; 70]), Some((i64::MIN, i64::MIN)));
    }

    #[test]
    fn a_nan_anywhere_leaves_no_bounds() {
        for len in [1, 31, 32, 33, 100] {
            let values = vec![f32::INFINITY; len];
            assert_eq!(extremes(&values), Some((f32::INFINITY, f32::INFINITY)));
            for place in 0..len {
                for nan in [f32::NAN, -f32::NAN] {
                    let mut values = values.clone();
                    values[place] = nan;
                    assert_eq!(extremes(&values), None, "{place} of {len}");
                }
            }
        }
        let mut values: Vec<f64> = (0..77).map(f64::from).collect();
        values[50] = f64::NEG_INFINITY;
        assert_eq!(extremes(&values), Some((f64::NEG_INFINITY, 76.0)));
        values[76] = -0.0;
        assert_eq!(extremes(&values[51..]), Some((-0.0, 75.0)));
    }
}
