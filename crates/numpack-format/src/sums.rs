//! Block sums: what each 64 KiB of a data file hashed to when it was written.
//!
//! An array of one block has no file of sums: the trailer of the metadata holds its only one. For
//! longer ones it holds the hash of this file, which is also its name.

use crate::checksum::{BLOCK_LEN, xxh3_64};
use crate::codec::{Reader, Write, words};
use crate::error::{FormatError, Result};

const FILE: &str = "the file of block sums";
const MAGIC: [u8; 8] = *b"NPKXSUM1";
const VERSION: u32 = 1;

const U32: usize = size_of::<u32>();
const U64: usize = size_of::<u64>();
/// Magic, version, block length, generation, data length, count.
const HEAD_LEN: usize = MAGIC.len() + U32 + U32 + U64 + U64 + U64;

/// The block sums of one data file, as they lie on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SumsFile {
    /// The generation of the data file.
    pub generation: u64,
    /// Bytes of the data file that the blocks are of.
    pub data_len: u64,
    /// [`block_sum`](crate::block_sum) of every block begun; 0 for one that is not known.
    pub sums: Vec<u64>,
}

impl SumsFile {
    /// Blocks begun in so many bytes.
    pub fn blocks(data_len: u64) -> u64 {
        data_len.div_ceil(BLOCK_LEN as u64)
    }

    /// Reads the file whose [`hash`](Self::hash) is `hash`.
    ///
    /// # Errors
    /// [`FormatError::Corrupt`] for other bytes than those, [`FormatError::NewerVersion`].
    pub fn decode(bytes: &[u8], hash: u64) -> Result<Self> {
        let mut reader = Reader::new(bytes, FILE);
        if Self::hash(bytes) != hash {
            return Err(reader.corrupt("its checksum does not fit its contents"));
        }
        if reader.array::<{ MAGIC.len() }>()? != MAGIC {
            return Err(reader.corrupt("it does not begin as such a file does"));
        }
        let version = reader.u32()?;
        if version > VERSION {
            return Err(FormatError::NewerVersion {
                file: FILE,
                found: version,
                supported: VERSION,
            });
        }
        let block_len = reader.u32()?;
        if usize::try_from(block_len) != Ok(BLOCK_LEN) {
            return Err(reader.corrupt(format!(
                "blocks are of {block_len} bytes, expected {BLOCK_LEN}"
            )));
        }
        let generation = reader.u64()?;
        let data_len = reader.u64()?;
        let count = reader.u64()?;
        let rest = reader.remaining();
        if count != Self::blocks(data_len) || count.checked_mul(U64 as u64) != Some(rest as u64) {
            return Err(reader.corrupt(format!(
                "{count} sums in {rest} bytes stand for {data_len} bytes of data"
            )));
        }
        let sums = words(reader.bytes(rest)?).collect();
        Ok(Self {
            generation,
            data_len,
            sums,
        })
    }

    /// The bytes of the file.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEAD_LEN + self.sums.len() * U64);
        out.put(&MAGIC);
        out.put_u32(VERSION);
        out.put_len_u32(BLOCK_LEN);
        out.put_u64(self.generation);
        out.put_u64(self.data_len);
        out.put_u64(self.sums.len() as u64);
        for &sum in &self.sums {
            out.put_u64(sum);
        }
        out
    }

    /// What binds encoded sums to the trailer: their XXH3-64, or 1 where that is 0.
    pub fn hash(bytes: &[u8]) -> u64 {
        xxh3_64(bytes).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sums() -> SumsFile {
        SumsFile {
            generation: 7,
            data_len: 2 * BLOCK_LEN as u64 + 1,
            sums: vec![11, 0, 13],
        }
    }

    #[test]
    fn what_was_written_reads_back() {
        let bytes = sums().encode();
        assert_eq!(bytes.len(), HEAD_LEN + 24);
        assert_eq!(SumsFile::decode(&bytes, SumsFile::hash(&bytes)), Ok(sums()));
    }

    #[test]
    fn no_flipped_or_missing_byte_passes() {
        let bytes = sums().encode();
        let hash = SumsFile::hash(&bytes);
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 1;
            assert!(SumsFile::decode(&bad, hash).is_err(), "byte {at}");
            assert!(SumsFile::decode(&bytes[..at], hash).is_err(), "cut at {at}");
        }
    }

    /// A file that is whole and contradicts itself, as nothing but a crafted one does.
    #[test]
    fn counts_must_fit() {
        let crafted = |change: fn(&mut SumsFile)| {
            let mut file = sums();
            change(&mut file);
            let bytes = file.encode();
            SumsFile::decode(&bytes, SumsFile::hash(&bytes)).unwrap_err()
        };
        let error = crafted(|file| file.data_len = BLOCK_LEN as u64);
        assert_eq!(
            error.to_string(),
            "the file of block sums is corrupt: 3 sums in 24 bytes stand for 65536 bytes of data"
        );
        crafted(|file| file.data_len = u64::MAX);
        crafted(|file| file.sums.push(1));
    }
}
