//! `metadata.npkm`: the list of arrays, byte for byte as NumPack 0.4 writes it, and our trailer.

use std::collections::HashSet;

use crate::array_meta::ArrayMeta;
use crate::codec::{Reader, Write};
use crate::dtype::DType;
use crate::error::{FormatError, Result};
use crate::name::ArrayName;
use crate::shape::{MAX_NDIM, Shape};
use crate::trailer::{self, Trailer};

/// Largest `metadata.npkm` that is read.
pub const MAX_METADATA_LEN: usize = 256 * 1024 * 1024;

const FILE: &str = "metadata.npkm";
const MAGIC: [u8; 4] = *b"NPKB";
const VERSION: u32 = 1;

const U8: usize = size_of::<u8>();
const U32: usize = size_of::<u32>();
const U64: usize = size_of::<u64>();

/// The fields that 0.4 reserves for compression, always zero: algorithm, level, original size,
/// compressed size, and the flag that a block list would follow.
const COMPRESSION_LEN: usize = U8 + U32 + U64 + U64 + U8;
/// Lengths of name, shape and data file; modification time, size, dtype; compression.
const MIN_ENTRY_LEN: usize = 3 * U32 + 2 * U64 + U8 + COMPRESSION_LEN;

/// The contents of `metadata.npkm`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Metadata {
    /// The arrays, in member order.
    pub arrays: Vec<MetadataEntry>,
    /// What this release adds; `None` in a file that NumPack 0.4 to 0.7 wrote.
    pub trailer: Option<Trailer>,
}

/// One array as `metadata.npkm` lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetadataEntry {
    /// Its name.
    pub name: ArrayName,
    /// Its dtype and PHYSICAL shape, in which deleted rows count.
    pub meta: ArrayMeta,
    /// How its rows are stored.
    pub storage: Storage,
    /// Last modification, in microseconds since 1970.
    pub modified_us: u64,
}

/// How the rows of an array are spread over files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Storage {
    /// One data file.
    Single,
    /// The segment files that NumPack 0.7 makes of large arrays.
    Segmented,
}

impl MetadataEntry {
    /// The name of the data file or of the list of segments.
    pub fn data_file(&self) -> String {
        match self.storage {
            Storage::Single => self.name.data_file(),
            Storage::Segmented => self.name.segments_file(),
        }
    }
}

impl Metadata {
    /// Reads a whole file.
    ///
    /// # Errors
    /// [`FormatError::Corrupt`] for anything but a well-formed file, in particular for a trailer
    /// whose checksum fails; [`FormatError::NewerVersion`] for a file of a later release;
    /// [`FormatError::Unsupported`] for compressed arrays.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(bytes, FILE);
        if bytes.len() > MAX_METADATA_LEN {
            return Err(reader.corrupt(format!(
                "{} bytes, at most {MAX_METADATA_LEN} are read",
                bytes.len()
            )));
        }
        let magic: [u8; 4] = reader.array()?;
        if magic != MAGIC {
            return Err(reader.corrupt("it does not begin with \"NPKB\""));
        }
        let version = reader.u32()?;
        if version > VERSION {
            return Err(FormatError::NewerVersion {
                file: FILE,
                found: version,
                supported: VERSION,
            });
        }
        if version != VERSION {
            return Err(reader.corrupt(format!("version is {version}, expected {VERSION}")));
        }
        // The checksum comes first: a flipped bit is reported as such, wherever it is.
        let sealed = trailer::check_seal(bytes)?;
        let _total_size = reader.u64()?;
        let count = reader.count(MIN_ENTRY_LEN, "arrays")?;
        let mut arrays = Vec::with_capacity(count);
        let mut names = HashSet::with_capacity(count);
        let mut escaped = HashSet::new();
        for _ in 0..count {
            let entry = decode_entry(&mut reader)?;
            if !names.insert(entry.name.clone()) {
                return Err(reader.corrupt(format!("array \"{}\" is listed twice", entry.name)));
            }
            if entry.name.is_escaped() && !escaped.insert(entry.data_file()) {
                return Err(reader.corrupt(format!(
                    "array \"{}\" shares the file \"{}\" with another one",
                    entry.name,
                    entry.data_file()
                )));
            }
            arrays.push(entry);
        }
        let trailer = if sealed {
            Some(Trailer::decode(&mut reader, &arrays)?)
        } else {
            trailer::refuse_damaged(&mut reader)?;
            None
        };
        Ok(Self { arrays, trailer })
    }

    /// The bytes of the file.
    ///
    /// A trailer must have one entry an array, in the same order.
    pub fn encode(&self) -> Vec<u8> {
        let total_size = self.arrays.iter().fold(0_u64, |sum, entry| {
            sum.saturating_add(entry.meta.byte_len())
        });
        let mut out = Vec::new();
        out.put(&MAGIC);
        out.put_u32(VERSION);
        out.put_u64(total_size);
        out.put_len_u32(self.arrays.len());
        for entry in &self.arrays {
            encode_entry(entry, &mut out);
        }
        if let Some(trailer) = &self.trailer {
            debug_assert_eq!(
                trailer.entries.len(),
                self.arrays.len(),
                "one entry an array"
            );
            trailer.encode_into(&mut out);
        }
        out
    }
}

fn decode_entry(reader: &mut Reader<'_>) -> Result<MetadataEntry> {
    let name = ArrayName::new(reader.str_u32("an array name")?)?;
    let ndim = reader.u32()?;
    let dims = match usize::try_from(ndim) {
        Ok(ndim) if ndim <= MAX_NDIM => (0..ndim)
            .map(|_| reader.u64())
            .collect::<Result<Vec<_>>>()?,
        _ => {
            return Err(reader.corrupt(format!(
                "array \"{name}\" has {ndim} dimensions, at most {MAX_NDIM} are possible"
            )));
        }
    };
    let data_file = reader.str_u32("a file name")?;
    let modified_us = reader.u64()?;
    let size_bytes = reader.u64()?;
    let code = reader.u8()?;
    let compression = reader.bytes(COMPRESSION_LEN)?;

    let in_array = |error: FormatError| reader.corrupt(format!("array \"{name}\": {error}"));
    let dtype = DType::from_code(code).map_err(in_array)?;
    let shape = Shape::from_vec(dims, dtype).map_err(in_array)?;
    let meta = ArrayMeta { dtype, shape };
    if size_bytes != meta.byte_len() {
        return Err(reader.corrupt(format!(
            "array \"{name}\" has size {size_bytes}, shape {} of {dtype} takes {}",
            meta.shape,
            meta.byte_len()
        )));
    }
    let storage = if data_file == name.data_file() {
        Storage::Single
    } else if data_file == name.segments_file() {
        Storage::Segmented
    } else {
        return Err(reader.corrupt(format!(
            "array \"{name}\" is stored in \"{data_file}\", expected \"{}\"",
            name.data_file()
        )));
    };
    if compression.iter().any(|&byte| byte != 0) {
        return Err(FormatError::Unsupported {
            file: FILE,
            reason: format!("array \"{name}\" is marked as compressed"),
        });
    }
    Ok(MetadataEntry {
        name,
        meta,
        storage,
        modified_us,
    })
}

fn encode_entry(entry: &MetadataEntry, out: &mut Vec<u8>) {
    let MetadataEntry {
        name,
        meta,
        storage: _,
        modified_us,
    } = entry;
    out.put_str_u32(name.as_str());
    out.put_len_u32(meta.shape.ndim());
    for &dim in meta.shape.dims() {
        out.put_u64(dim);
    }
    out.put_str_u32(&entry.data_file());
    out.put_u64(*modified_us);
    out.put_u64(meta.byte_len());
    out.put_u8(meta.dtype.code());
    out.put(&[0; COMPRESSION_LEN]);
}
