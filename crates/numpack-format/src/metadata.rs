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
            trailer::refuse_rest(&mut reader)?;
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

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::attrs::Attrs;
    use crate::trailer::TrailerEntry;

    fn entry(name: &str, dtype: DType, dims: &[u64]) -> MetadataEntry {
        MetadataEntry {
            name: ArrayName::new(name).unwrap(),
            meta: ArrayMeta::new(dtype, dims).unwrap(),
            storage: Storage::Single,
            modified_us: 0x0006_60e3_35b3_93a6,
        }
    }

    /// Gives `arrays` a trailer with numbers that differ everywhere.
    pub(crate) fn sealed(arrays: Vec<MetadataEntry>) -> Metadata {
        let entry = |(i, entry): (u64, &MetadataEntry)| TrailerEntry {
            name_hash: entry.name.hash64(),
            generation: 10 + i,
            rows: entry.meta.shape.rows(),
            data_len: entry.meta.byte_len(),
            data_ino: 30 + i,
            data_mtime_ns: -40,
            deleted: 50 + i,
            saved_as: 50 + i,
            replaced_lsn: 55 + i,
            sums_hash: 60 + i,
            attrs: Attrs::new(&format!("{{\"i\":{i}}}")).unwrap(),
        };
        let trailer = Trailer {
            store_id: *b"0123456789abcdef",
            checkpoint_lsn: 7,
            epoch: 8,
            attrs: Attrs::new(r#"{"of":"all"}"#).unwrap(),
            entries: (0..).zip(&arrays).map(entry).collect(),
        };
        Metadata {
            arrays,
            trailer: Some(trailer),
        }
    }

    fn samples() -> Vec<MetadataEntry> {
        let mut segmented = entry("seg", DType::Int16, &[7, 0]);
        segmented.storage = Storage::Segmented;
        vec![
            entry("a", DType::Float32, &[5, 2]),
            entry("", DType::Complex128, &[]),
            segmented,
            entry("x/y", DType::Bool, &[0]),
        ]
    }

    fn hex(text: &str) -> Vec<u8> {
        let digits: String = text.split_whitespace().collect();
        (0..digits.len())
            .step_by(2)
            .map(|i| u8::from_str_radix(&digits[i..i + 2], 16).unwrap())
            .collect()
    }

    fn refusal(bytes: &[u8]) -> String {
        Metadata::decode(bytes).unwrap_err().to_string()
    }

    #[test]
    fn an_empty_store_is_the_20_bytes_of_older_releases() {
        let bytes = hex("4e504b42 01000000 0000000000000000 00000000");
        assert_eq!(Metadata::default().encode(), bytes);
        assert_eq!(Metadata::decode(&bytes), Ok(Metadata::default()));
    }

    #[test]
    fn one_array_is_the_99_bytes_of_older_releases() {
        let bytes = hex("4e504b42 01000000 2800000000000000 01000000
             01000000 61 02000000 0500000000000000 0200000000000000
             0b000000 646174615f612e6e706b64 a693b335e3600600 2800000000000000 0a
             00 00000000 0000000000000000 0000000000000000 00");
        assert_eq!(bytes.len(), 99);
        let arrays = vec![entry("a", DType::Float32, &[5, 2])];
        let metadata = Metadata {
            arrays,
            trailer: None,
        };
        assert_eq!(metadata.encode(), bytes);
        assert_eq!(Metadata::decode(&bytes), Ok(metadata));
    }

    #[test]
    fn the_trailer_follows_what_older_releases_read() {
        let with = sealed(samples());
        let without = Metadata {
            trailer: None,
            ..with.clone()
        };
        let (with_bytes, bytes) = (with.encode(), without.encode());
        assert_eq!(with_bytes[..bytes.len()], bytes);
        assert_eq!(
            with_bytes.len(),
            bytes.len() + 56 + 4 * 80 + 5 * 4 + 12 + 4 * 7 + 24
        );
        assert_eq!(Metadata::decode(&with_bytes), Ok(with));
        assert_eq!(Metadata::decode(&bytes), Ok(without));
    }

    #[test]
    fn every_flipped_bit_is_found_under_a_trailer() {
        let bytes = sealed(samples()).encode();
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << bit;
                assert!(
                    Metadata::decode(&flipped).is_err(),
                    "bit {bit} of byte {at}"
                );
            }
        }
    }

    #[test]
    fn every_truncation_is_found_but_the_one_that_older_releases_make() {
        let whole = sealed(samples());
        let bytes = whole.encode();
        let plain = Metadata {
            trailer: None,
            ..whole
        };
        let plain_len = plain.encode().len();
        for len in 0..bytes.len() {
            let decoded = Metadata::decode(&bytes[..len]);
            if len == plain_len {
                assert_eq!(decoded.as_ref(), Ok(&plain));
            } else {
                assert!(decoded.is_err(), "{len} bytes");
            }
        }
    }

    #[test]
    fn arrays_that_are_not_counted_are_not_lost() {
        let plain = Metadata {
            arrays: samples(),
            trailer: None,
        };
        let mut bytes = plain.encode();
        for fewer in 0..plain.arrays.len() {
            bytes[16] = u8::try_from(fewer).unwrap();
            let text = refusal(&bytes);
            assert!(text.contains("bytes follow its last array"), "{text}");
        }
    }

    #[test]
    fn a_later_version_asks_for_an_upgrade() {
        let mut bytes = Metadata::default().encode();
        bytes[4] = 2;
        let text = refusal(&bytes);
        for part in ["version 2", "up to 1", "upgrade"] {
            assert!(text.contains(part), "{text}");
        }
        bytes[4] = 0;
        assert!(refusal(&bytes).contains("version is 0, expected 1"));
        bytes[0] = b'M';
        assert!(refusal(&bytes).contains("does not begin with"));
    }

    /// The 99-byte file with some bytes replaced.
    fn patched(at: usize, patch: &[u8]) -> Vec<u8> {
        let arrays = vec![entry("a", DType::Float32, &[5, 2])];
        let mut bytes = Metadata {
            arrays,
            trailer: None,
        }
        .encode();
        bytes[at..at + patch.len()].copy_from_slice(patch);
        bytes
    }

    #[test]
    fn hostile_counts_are_refused_before_memory_is_taken() {
        const MANY: [u8; 4] = [0xff; 4];
        assert!(refusal(&patched(16, &MANY)).contains("4294967295 arrays announced"));
        assert!(refusal(&patched(20, &MANY)).contains("4294967295 bytes of text announced"));
        assert!(refusal(&patched(25, &MANY)).contains("4294967295 dimensions"));
        assert!(refusal(&patched(25, &[65, 0, 0, 0])).contains("65 dimensions"));
        assert!(refusal(&patched(45, &MANY)).contains("4294967295 bytes of text announced"));
    }

    #[test]
    fn every_field_of_an_array_is_checked() {
        assert!(refusal(&patched(24, &[0])).contains("NUL"));
        assert!(refusal(&patched(24, &[0xff])).contains("not UTF-8"));
        assert!(refusal(&patched(29, &[0xff; 16])).contains("takes more than"));
        assert!(
            refusal(&patched(29, &[6])).contains("has size 40, shape [6, 2] of float32 takes 48")
        );
        assert!(refusal(&patched(54, b"b")).contains("stored in \"data_b.npkd\""));
        assert!(refusal(&patched(49, b"../../a.npk")).contains("stored in \"../../a.npk\""));
        assert!(refusal(&patched(76, &[14])).contains("unknown dtype code 14"));
        for at in 77..99 {
            let error = Metadata::decode(&patched(at, &[1])).unwrap_err();
            assert!(
                matches!(error, FormatError::Unsupported { .. }),
                "{at}: {error}"
            );
        }
        // The total is a courtesy to people with a hex editor: no reader relies on it.
        assert!(Metadata::decode(&patched(8, &[9])).is_ok());
    }

    #[test]
    fn an_array_is_listed_once() {
        let arrays = vec![entry("a", DType::Int8, &[1]), entry("a", DType::Int8, &[2])];
        let text = refusal(
            &Metadata {
                arrays,
                trailer: None,
            }
            .encode(),
        );
        assert!(text.contains("array \"a\" is listed twice"), "{text}");
    }

    #[test]
    fn a_huge_file_is_refused() {
        let text = refusal(&vec![0; MAX_METADATA_LEN + 1]);
        assert!(text.contains("268435457 bytes"), "{text}");
    }

    /// Well-sealed bytes after a change of the trailer's fields.
    fn resealed(change: impl FnOnce(&mut Vec<u8>, usize)) -> String {
        let metadata = sealed(samples());
        let at = Metadata {
            trailer: None,
            ..metadata.clone()
        }
        .encode()
        .len();
        let mut bytes = metadata.encode();
        bytes.truncate(bytes.len() - 24);
        change(&mut bytes, at);
        let len = bytes.len() - at + 24;
        bytes.put_u128(crate::checksum::xxh3_128(&bytes));
        bytes.put_len_u32(len);
        bytes.put(b"NPKX");
        refusal(&bytes)
    }

    #[test]
    fn a_sealed_trailer_is_checked_too() {
        let version = |bytes: &mut Vec<u8>, at: usize| bytes[at + 12] = 2;
        assert!(resealed(version).contains("version 2, this release reads versions up to 1"));
        assert!(resealed(|bytes, at| bytes[at + 48] = 3).contains("3 trailer entries stand for 4"));
        assert!(
            resealed(|bytes, at| bytes[at + 48] = 0xff).contains("255 trailer entries announced")
        );
        assert!(resealed(|bytes, at| bytes[at + 56] ^= 1).contains("that of another array"));
        assert!(resealed(|bytes, at| bytes[at + 8] ^= 1).contains("trailer length is"));
        assert!(resealed(|bytes, at| bytes[at] ^= 1).contains("no trailer begins"));
        assert!(resealed(|bytes, _| bytes.extend([0; 8])).contains("bytes unused"));
        assert!(resealed(Vec::truncate).contains("no trailer begins"));
        assert!(refusal(b"NPKB\x01\0\0\0NPKX").contains("less than 24 bytes"));
    }

    fn any_entry() -> impl Strategy<Value = MetadataEntry> {
        let dims = prop::collection::vec(0..1000_u64, 0..5);
        ("[^\0]{0,12}", 0..14_u8, dims, any::<bool>(), any::<u64>()).prop_map(
            |(name, code, dims, segmented, modified_us)| MetadataEntry {
                storage: if segmented {
                    Storage::Segmented
                } else {
                    Storage::Single
                },
                modified_us,
                ..entry(&name, DType::from_code(code).unwrap(), &dims)
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            arrays in prop::collection::vec(any_entry(), 0..8),
            with_trailer: bool,
        ) {
            let mut names = HashSet::new();
            let arrays: Vec<_> =
                arrays.into_iter().filter(|entry| names.insert(entry.name.clone())).collect();
            let metadata =
                if with_trailer { sealed(arrays) } else { Metadata { arrays, trailer: None } };
            prop_assert_eq!(Metadata::decode(&metadata.encode()), Ok(metadata));
        }

        #[test]
        fn no_bytes_panic(tail in prop::collection::vec(any::<u8>(), 0..300), count in 0..4_u8) {
            let mut bytes = Metadata::default().encode();
            bytes[16] = count;
            bytes.extend_from_slice(&tail);
            let _ = Metadata::decode(&bytes);
            let _ = Metadata::decode(&tail);
        }

        #[test]
        fn what_is_read_is_written_back(at in prop_oneof![0..99_usize, 16..20_usize], byte: u8) {
            let bytes = patched(at, &[byte]);
            if let Ok(metadata) = Metadata::decode(&bytes) {
                // All but the total, which is computed.
                prop_assert_eq!(&metadata.encode()[16..], &bytes[16..]);
            }
        }
    }
}
