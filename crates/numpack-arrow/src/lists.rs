//! Lists of one length, taken apart into their values.

use std::ops::Range;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, OffsetSizeTrait};
use arrow_schema::{DataType, Field};

use crate::error::{Error, Result};
use crate::origin::list_child;

/// The values below all lists of a field's chunks, and the width of each level of lists, the
/// outermost first.
pub(crate) fn flatten(field: &Field, chunks: &[ArrayRef]) -> Result<(Vec<u64>, Vec<ArrayRef>)> {
    let name = field.name();
    let mut widths = Vec::new();
    let mut arrays = chunks.to_vec();
    let mut of = field.data_type();
    loop {
        // Level by level, so that what is counted is what is missing: a list, or a value in one.
        let nulls = arrays.iter().map(Array::logical_null_count).sum();
        if nulls > 0 {
            return Err(Error::Nulls {
                name: name.clone(),
                nulls,
            });
        }
        let Some(child) = list_child(of) else {
            return Ok((widths, arrays));
        };
        let (width, below) = match of {
            DataType::FixedSizeList(_, width) => {
                let values =
                    |array: &ArrayRef| ArrayRef::clone(array.as_fixed_size_list().values());
                // Arrow allows no negative width.
                let width = u64::try_from(*width).unwrap_or(0);
                (width, arrays.iter().map(values).collect())
            }
            DataType::List(_) => level(name, &widths, &arrays, offsets::<i32>)?,
            DataType::LargeList(_) => level(name, &widths, &arrays, offsets::<i64>)?,
            DataType::ListView(_) => level(name, &widths, &arrays, views::<i32>)?,
            _ => level(name, &widths, &arrays, views::<i64>)?,
        };
        widths.push(width);
        arrays = below;
        of = child.data_type();
    }
}

/// The values of an array of lists, and where in them each list lies.
type Parts = (ArrayRef, Vec<Range<usize>>);

fn offsets<O: OffsetSizeTrait>(array: &ArrayRef) -> Parts {
    let lists = array.as_list::<O>();
    let each = lists.value_offsets().windows(2);
    let each = each.map(|ends| ends[0].as_usize()..ends[1].as_usize());
    (ArrayRef::clone(lists.values()), each.collect())
}

fn views<O: OffsetSizeTrait>(array: &ArrayRef) -> Parts {
    let lists = array.as_list_view::<O>();
    let each = lists.value_offsets().iter().zip(lists.value_sizes());
    let each = each.map(|(at, size)| at.as_usize()..at.as_usize() + size.as_usize());
    (ArrayRef::clone(lists.values()), each.collect())
}

/// One level of lists of varying length: the length that all of them have, and their values in as
/// few pieces as they lie in. `above` are the widths of the lists around these.
fn level(
    name: &str,
    above: &[u64],
    arrays: &[ArrayRef],
    parts: fn(&ArrayRef) -> Parts,
) -> Result<(u64, Vec<ArrayRef>)> {
    let mut width = None;
    let mut lists = 0_u64;
    let mut pieces = Vec::new();
    for array in arrays {
        let (values, each) = parts(array);
        let mut piece: Option<Range<usize>> = None;
        for list in each {
            let width = *width.get_or_insert(list.len());
            if list.len() != width {
                return Err(Error::UnequalLists {
                    name: name.to_owned(),
                    row: lists / above.iter().product::<u64>().max(1),
                    expected: width,
                    given: list.len(),
                });
            }
            lists += 1;
            piece = match piece {
                Some(before) if before.end == list.start => Some(before.start..list.end),
                Some(before) => {
                    pieces.push(values.slice(before.start, before.len()));
                    Some(list)
                }
                None => Some(list),
            };
        }
        if let Some(last) = piece {
            pieces.push(values.slice(last.start, last.len()));
        }
    }
    Ok((width.unwrap_or(0) as u64, pieces))
}
