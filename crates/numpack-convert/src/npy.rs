//! One npy array as rows of a store: headers of versions 1 to 3, both orders, both byte orders.
use std::io::{self, Read};
use std::path::Path;

use npyz::{DType as NpyType, NpyHeader, Order};
use numpack::{ArrayMeta, DType, RowSource};

use crate::error::{At, Error, Result};
use crate::progress::Meter;

/// Bytes that are read at a time.
pub(crate) const PIECE: usize = 4 << 20;

/// What the header of an npy file says.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    pub(crate) meta: ArrayMeta,
    pub(crate) fortran: bool,
    swap: bool,
}

impl Head {
    /// Reads a header; `reader` stands at the first value then.
    pub(crate) fn read(reader: &mut dyn Read, path: &Path, name: &str) -> Result<Self> {
        let header = NpyHeader::from_reader(reader).at(path)?;
        let descr = header.dtype().descr();
        let unsupported = || Error::Unsupported {
            path: path.to_path_buf(),
            column: name.to_owned(),
            dtype: descr.trim_matches('\'').to_owned(),
            count: header.len(),
        };
        let NpyType::Plain(plain) = header.dtype() else {
            return Err(unsupported());
        };
        let plain = plain.to_string();
        let kind = plain.get(1..).unwrap_or_default();
        let dtype = DType::ALL
            .into_iter()
            .find(|dtype| &dtype.numpy_str()[1..] == kind);
        let dtype = dtype.ok_or_else(unsupported)?;
        let meta = ArrayMeta::new(dtype, header.shape()).map_err(numpack::Error::from)?;
        Ok(Self {
            // Along at most one axis both orders are the same.
            fortran: header.order() == Order::Fortran && header.shape().len() > 1,
            swap: plain.starts_with('>') && dtype.itemsize() > 1,
            meta,
        })
    }

    /// Puts values into the machine-independent order of a store.
    pub(crate) fn swap(&self, bytes: &mut [u8]) {
        if self.swap {
            let size = match self.meta.dtype {
                DType::Complex64 | DType::Complex128 => self.meta.dtype.itemsize() / 2,
                other => other.itemsize(),
            };
            for value in bytes.chunks_exact_mut(size) {
                value.reverse();
            }
        }
    }

    /// The header of an array, as version 1 or, where it is long, 2.
    pub(crate) fn bytes(dtype: DType, shape: &[u64]) -> Vec<u8> {
        let dims: Vec<String> = shape.iter().map(u64::to_string).collect();
        let comma = if dims.len() == 1 { "," } else { "" };
        let mut text = format!(
            "{{'descr': '{}', 'fortran_order': False, 'shape': ({}{comma}), }}",
            dtype.numpy_str(),
            dims.join(", ")
        );
        // Magic, version, length, text and a line end are a multiple of 64 bytes.
        let short = (10 + text.len() + 1).next_multiple_of(64) - 10;
        let (version, before, len) = match u16::try_from(short) {
            Ok(_) => (1, 10, short),
            Err(_) => (2, 12, (12 + text.len() + 1).next_multiple_of(64) - 12),
        };
        text.extend(std::iter::repeat_n(' ', len - 1 - text.len()));
        text.push('\n');
        let mut bytes = Vec::with_capacity(before + len);
        bytes.extend_from_slice(b"\x93NUMPY");
        bytes.extend_from_slice(&[version, 0]);
        bytes.extend_from_slice(&len.to_le_bytes()[..before - 8]);
        bytes.extend_from_slice(text.as_bytes());
        bytes
    }
}

/// The values of an npy file in C order.
pub(crate) struct Values<'a, 'm> {
    pub(crate) head: &'a Head,
    pub(crate) reader: &'a mut dyn Read,
    pub(crate) path: &'a Path,
    pub(crate) meter: &'a mut Meter<'m>,
}

impl RowSource for Values<'_, '_> {
    fn write_to(
        &mut self,
        sink: &mut dyn FnMut(&[u8]) -> numpack::Result<()>,
    ) -> numpack::Result<()> {
        let mut left = self.head.meta.byte_len();
        let mut piece = vec![0; usize::try_from(left).unwrap_or(PIECE).min(PIECE)];
        while left > 0 {
            let len = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
            let piece = &mut piece[..len];
            self.reader
                .read_exact(piece)
                .map_err(|error| short(self.path, &error, left))?;
            self.head.swap(piece);
            sink(piece)?;
            self.meter.add(len);
            left -= len as u64;
        }
        Ok(())
    }
}

/// The error of a file that ends too early, or cannot be read.
pub(crate) fn short(path: &Path, error: &io::Error, left: u64) -> numpack::Error {
    let path = path.display();
    numpack::Error::InvalidArgument(if error.kind() == io::ErrorKind::UnexpectedEof {
        format!(
            "\"{path}\" is cut off: it ends within the last {left} bytes that its header promises"
        )
    } else {
        format!("\"{path}\": {error}")
    })
}
