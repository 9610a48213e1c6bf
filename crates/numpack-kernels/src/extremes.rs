//! The smallest and the largest of some numbers.
#![expect(
    clippy::inline_always,
    reason = "what is not inlined is not compiled for the processor that was found"
)]

use crate::processor::{Fused, Work, run};

/// Numbers that [`extremes`] knows the order of.
pub trait Number: Copy {
    /// What [`extremes`] gives, compiled for the processor that its caller is.
    fn of(values: &[Self]) -> Option<(Self, Self)>;
}

macro_rules! integers {
    ($($type:ty),*) => {$(
        impl Number for $type {
            #[inline(always)]
            fn of(values: &[Self]) -> Option<(Self, Self)> {
                let first = *values.first()?;
                let wider = |(low, high): (Self, Self), &value: &Self| (value.min(low), value.max(high));
                Some(values.iter().fold((first, first), wider))
            }
        }
    )*};
}

/// Floats that are compared at once: LLVM does not reorder their comparisons by itself.
const LANES: usize = 16;

macro_rules! floats {
    ($($type:ty),*) => {$(
        impl Number for $type {
            #[inline(always)]
            fn of(values: &[Self]) -> Option<(Self, Self)> {
                let least = |a: Self, b: Self| if a < b { a } else { b };
                let most = |a: Self, b: Self| if a > b { a } else { b };
                let first = *values.first()?;
                if values.iter().fold(false, |nan, value| nan | value.is_nan()) {
                    return None;
                }
                let (mut low, mut high) = ([first; LANES], [first; LANES]);
                let (blocks, rest) = values.as_chunks::<LANES>();
                for block in blocks {
                    low = std::array::from_fn(|i| least(block[i], low[i]));
                    high = std::array::from_fn(|i| most(block[i], high[i]));
                }
                let ends = |lanes: [Self; LANES]| lanes.into_iter().chain(rest.iter().copied());
                Some((ends(low).fold(first, least), ends(high).fold(first, most)))
            }
        }
    )*};
}

integers!(u8, u16, u32, u64, i8, i16, i32, i64);
floats!(f32, f64);

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
        *self.found = T::of(self.values);
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
