//! Values as integers in the same order, so that bounds of all types are kept in one way.
//!
//! Floats go in IEEE 754's total order: a NaN lies beyond the infinity of its sign, as Arrow compares.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, PrimitiveArray, new_null_array,
};
use arrow::datatypes::{
    DataType, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use numpack_kernels::{Number, Ranked, extremes};

type Half = <Float16Type as ArrowPrimitiveType>::Native;

/// The bit that makes the order of unsigned integers the one of signed ones.
const TOP: i64 = i64::MIN;

/// Whether values of this type have keys.
pub(super) fn is_ordered(data_type: &DataType) -> bool {
    data_type.is_integer() || data_type.is_floating() || *data_type == DataType::Boolean
}

/// What the value of a key says as a bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The smallest or the largest value.
    Exact,
    /// A zero, whose sign is not known.
    Zero,
    /// That there is a NaN.
    Nan,
}

pub(super) fn kind(data_type: &DataType, key: i64) -> Kind {
    let value = match data_type {
        DataType::Float64 => f64_of(key),
        DataType::Float32 => f64::from(f32_of(key)),
        DataType::Float16 => half_of(key).map_or(f64::NAN, f64::from),
        _ => return Kind::Exact,
    };
    if value.is_nan() {
        Kind::Nan
    } else if value == 0.0 {
        Kind::Zero
    } else {
        Kind::Exact
    }
}

/// The keys of the smallest and the largest of `values`; None where there are none, or NULL.
pub(super) fn bounds(values: &dyn Array) -> Option<(i64, i64)> {
    if values.is_empty() || values.null_count() > 0 {
        return None;
    }
    match values.data_type() {
        DataType::Boolean => {
            let values: &BooleanArray = values.as_boolean();
            let set = values.values().count_set_bits();
            Some((i64::from(set == values.len()), i64::from(set > 0)))
        }
        DataType::Int8 => integers::<Int8Type>(values),
        DataType::Int16 => integers::<Int16Type>(values),
        DataType::Int32 => integers::<Int32Type>(values),
        DataType::Int64 => integers::<Int64Type>(values),
        DataType::UInt8 => integers::<UInt8Type>(values),
        DataType::UInt16 => integers::<UInt16Type>(values),
        DataType::UInt32 => integers::<UInt32Type>(values),
        DataType::UInt64 => {
            let (low, high) = extremes(values.as_primitive::<UInt64Type>().values())?;
            Some((low.cast_signed() ^ TOP, high.cast_signed() ^ TOP))
        }
        DataType::Float16 => {
            let values = values.as_primitive::<Float16Type>().values().iter();
            let keys: Vec<i16> = values.map(|&value| half_key(value)).collect();
            let (low, high) = extremes(&keys)?;
            Some((low.into(), high.into()))
        }
        DataType::Float32 => {
            let values = values.as_primitive::<Float32Type>().values();
            floats(values, f32_key, f32_key(-0.0))
        }
        DataType::Float64 => {
            let values = values.as_primitive::<Float64Type>().values();
            floats(values, f64_key, f64_key(-0.0))
        }
        _ => None,
    }
}

/// Values of keys; NULL for those that are None.
pub(super) fn column(
    data_type: &DataType,
    keys: impl ExactSizeIterator<Item = Option<i64>>,
) -> ArrayRef {
    fn collected<T: ArrowPrimitiveType>(
        keys: impl Iterator<Item = Option<i64>>,
        value: impl Fn(i64) -> Option<T::Native>,
    ) -> ArrayRef {
        let values = keys.map(|key| key.and_then(&value));
        Arc::new(values.collect::<PrimitiveArray<T>>())
    }
    fn converted<T: ArrowPrimitiveType<Native: TryFrom<i64>>>(
        keys: impl Iterator<Item = Option<i64>>,
    ) -> ArrayRef {
        collected::<T>(keys, |key| key.try_into().ok())
    }
    match data_type {
        DataType::Boolean => {
            let values = keys.map(|key| key.map(|key| key != 0));
            Arc::new(values.collect::<BooleanArray>())
        }
        DataType::Int8 => converted::<Int8Type>(keys),
        DataType::Int16 => converted::<Int16Type>(keys),
        DataType::Int32 => converted::<Int32Type>(keys),
        DataType::Int64 => converted::<Int64Type>(keys),
        DataType::UInt8 => converted::<UInt8Type>(keys),
        DataType::UInt16 => converted::<UInt16Type>(keys),
        DataType::UInt32 => converted::<UInt32Type>(keys),
        DataType::UInt64 => collected::<UInt64Type>(keys, |key| Some((key ^ TOP).cast_unsigned())),
        DataType::Float16 => collected::<Float16Type>(keys, half_of),
        DataType::Float32 => collected::<Float32Type>(keys, |key| Some(f32_of(key))),
        DataType::Float64 => collected::<Float64Type>(keys, |key| Some(f64_of(key))),
        other => new_null_array(other, keys.len()),
    }
}

/// Floats with a NaN among them are compared by their keys.
fn floats<T: Number>(values: &[T], key: fn(T) -> i64, negative_zero: i64) -> Option<(i64, i64)> {
    let keys = || values.iter().map(|&value| key(value));
    let bounds = match extremes(values) {
        Some((low, high)) => Some((key(low), key(high))),
        None => keys().min().zip(keys().max()),
    };
    bounds.map(|(low, high)| widest_zeros(low, high, negative_zero))
}

fn integers<T: ArrowPrimitiveType<Native: Number + Into<i64>>>(
    values: &dyn Array,
) -> Option<(i64, i64)> {
    let (low, high) = extremes(values.as_primitive::<T>().values())?;
    Some((low.into(), high.into()))
}

/// Bounds that hold whichever signs the zeros among the values have; their keys are `zero` and the
/// next one.
fn widest_zeros(low: i64, high: i64, zero: i64) -> (i64, i64) {
    let low = if low == zero + 1 { zero } else { low };
    let high = if high == zero { zero + 1 } else { high };
    (low, high)
}

fn f64_key(value: f64) -> i64 {
    value.rank().cast_signed() ^ TOP
}

fn f64_of(key: i64) -> f64 {
    let bits = key ^ ((key >> 63).cast_unsigned() >> 1).cast_signed();
    f64::from_bits(bits.cast_unsigned())
}

fn f32_key(value: f32) -> i64 {
    value.rank().cast_signed() + i64::from(i32::MIN)
}

/// NaN for a number that is no key.
fn f32_of(key: i64) -> f32 {
    i32::try_from(key).map_or(f32::NAN, |key| {
        let bits = key ^ ((key >> 31).cast_unsigned() >> 1).cast_signed();
        f32::from_bits(bits.cast_unsigned())
    })
}

fn half_key(value: Half) -> i16 {
    let bits = value.to_bits().cast_signed();
    bits ^ ((bits >> 15).cast_unsigned() >> 1).cast_signed()
}

fn half_of(key: i64) -> Option<Half> {
    let key = i16::try_from(key).ok()?;
    let bits = key ^ ((key >> 15).cast_unsigned() >> 1).cast_signed();
    Some(Half::from_bits(bits.cast_unsigned()))
}

#[cfg(test)]
mod tests {
    use arrow::array::{Float16Array, Float32Array, Float64Array, Int8Array, UInt64Array};

    use super::*;

    fn round_trip(values: &dyn Array) -> (ArrayRef, ArrayRef) {
        let (low, high) = bounds(values).expect("values");
        let one = |key| column(values.data_type(), [Some(key)].into_iter());
        (one(low), one(high))
    }

    #[test]
    fn bounds_of_every_kind() {
        let both = |low: ArrayRef, high: ArrayRef| (low, high);
        assert_eq!(
            round_trip(&UInt64Array::from(vec![u64::MAX, 3])),
            both(
                Arc::new(UInt64Array::from(vec![3])),
                Arc::new(UInt64Array::from(vec![u64::MAX]))
            )
        );
        assert_eq!(
            round_trip(&Int8Array::from(vec![-128, 127, 0])),
            both(
                Arc::new(Int8Array::from(vec![-128])),
                Arc::new(Int8Array::from(vec![127]))
            )
        );
        assert_eq!(
            round_trip(&BooleanArray::from(vec![true, false])),
            both(
                Arc::new(BooleanArray::from(vec![false])),
                Arc::new(BooleanArray::from(vec![true]))
            )
        );
        let half = |values: &[f32]| -> Float16Array {
            values.iter().map(|&v| Some(Half::from_f32(v))).collect()
        };
        assert_eq!(
            round_trip(&half(&[1.5, -2.0, f32::INFINITY])),
            both(Arc::new(half(&[-2.0])), Arc::new(half(&[f32::INFINITY])))
        );
        assert_eq!(
            round_trip(&Float32Array::from(vec![1.5, -2.0, 7.0])),
            both(
                Arc::new(Float32Array::from(vec![-2.0])),
                Arc::new(Float32Array::from(vec![7.0]))
            )
        );
        assert_eq!(bounds(&Float64Array::from(vec![None, Some(1.0)])), None);
        assert_eq!(bounds(&Float64Array::from(Vec::<f64>::new())), None);
    }

    #[test]
    fn nan_is_beyond_infinity_and_zeros_have_both_signs() {
        let bits = |values: &[f64]| {
            let (low, high) = bounds(&Float64Array::from(values.to_vec())).expect("values");
            (f64_of(low).to_bits(), f64_of(high).to_bits())
        };
        let of = |low: f64, high: f64| (low.to_bits(), high.to_bits());
        assert_eq!(bits(&[1.0, f64::NAN, f64::INFINITY]), of(1.0, f64::NAN));
        assert_eq!(
            bits(&[1.0, -f64::NAN, f64::NEG_INFINITY]),
            of(-f64::NAN, 1.0)
        );
        assert_eq!(bits(&[0.0]), of(-0.0, 0.0));
        assert_eq!(bits(&[-0.0, -1.0]), of(-1.0, 0.0));
        assert_eq!(bits(&[0.0, f64::NAN]), of(-0.0, f64::NAN));
        let single = bounds(&Float32Array::from(vec![0.0, 2.0])).expect("values");
        assert!(f32_of(single.0).is_sign_negative());
    }
}
