//! Fortran-order files: the first axis varies fastest there, and slowest in a store.
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use numpack::RowSource;

use crate::npy::{Head, short};
use crate::progress::Meter;

/// Bytes of rows that are put in order at a time, though always one row.
const BLOCK: u64 = 32 << 20;

/// The values of a Fortran-order file in C order. A block of rows is gathered from one stretch of
/// the file for each value of a row.
pub(crate) struct Values<'a, 'm> {
    pub(crate) head: &'a Head,
    pub(crate) file: &'a mut File,
    /// Where the values begin in the file.
    pub(crate) start: u64,
    pub(crate) path: &'a Path,
    pub(crate) meter: &'a mut Meter<'m>,
}

impl RowSource for Values<'_, '_> {
    fn write_to(
        &mut self,
        sink: &mut dyn FnMut(&[u8]) -> numpack::Result<()>,
    ) -> numpack::Result<()> {
        let meta = &self.head.meta;
        let (rows, row_bytes) = (meta.shape.rows(), meta.row_bytes());
        if meta.byte_len() == 0 {
            return Ok(());
        }
        let size = meta.dtype.itemsize();
        let places = places(meta.shape.row_dims());
        let block_rows = (BLOCK / row_bytes).clamp(1, rows);
        let as_len = |bytes: u64| {
            usize::try_from(bytes).map_err(|_| {
                numpack::Error::InvalidArgument(format!("{bytes} bytes do not fit into memory"))
            })
        };
        let (row_len, block_len) = (as_len(row_bytes)?, as_len(block_rows * row_bytes)?);
        let mut block = vec![0; block_len];
        let mut column = vec![0; block_len / row_len * size];
        let mut first = 0;
        while first < rows {
            let count = block_rows.min(rows - first);
            let block = &mut block[..as_len(count * row_bytes)?];
            let column = &mut column[..block.len() / row_len * size];
            let mut from = self.start + first * size as u64;
            for place in &places {
                self.file
                    .seek(SeekFrom::Start(from))
                    .and_then(|_| self.file.read_exact(column))
                    .map_err(|error| short(self.path, &error, meta.byte_len()))?;
                self.head.swap(column);
                let at = place * size;
                for (row, value) in block
                    .chunks_exact_mut(row_len)
                    .zip(column.chunks_exact(size))
                {
                    row[at..at + size].copy_from_slice(value);
                }
                from += rows * size as u64;
            }
            sink(block)?;
            self.meter.add(block.len());
            first += count;
        }
        Ok(())
    }
}

/// For each value of a row in Fortran order, its place in C order.
fn places(dims: &[u64]) -> Vec<usize> {
    let mut places = vec![0];
    let mut stride: usize = dims
        .iter()
        .map(|dim| usize::try_from(*dim).unwrap_or(usize::MAX))
        .product();
    for dim in dims {
        let dim = usize::try_from(*dim).unwrap_or(usize::MAX);
        stride /= dim.max(1);
        places = (0..dim)
            .flat_map(|index| places.iter().map(move |place| place + index * stride))
            .collect();
    }
    places
}

#[cfg(test)]
mod tests {
    use super::places;

    #[test]
    fn the_first_axis_of_a_row_varies_fastest() {
        assert_eq!(places(&[]), [0]);
        assert_eq!(places(&[3]), [0, 1, 2]);
        assert_eq!(places(&[2, 3]), [0, 3, 1, 4, 2, 5]);
    }
}
