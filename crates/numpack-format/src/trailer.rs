//! The trailer of `metadata.npkm`: what 0.4 does not know, and a checksum over the whole file.
//!
//! NumPack 0.4 stops reading after the last array and never sees it; when it rewrites the file the
//! trailer is gone, which tells us that another program has been at work.

use crate::attrs::Attrs;
use crate::checksum::xxh3_128;
use crate::codec::{Reader, Write};
use crate::error::{FormatError, Result};
use crate::metadata::MetadataEntry;

const FILE: &str = "metadata.npkm";
const MAGIC: [u8; 8] = *b"NPKXTRL1";
const END_MAGIC: [u8; 4] = *b"NPKX";
const VERSION: u32 = 1;

const U32: usize = size_of::<u32>();
const U64: usize = size_of::<u64>();
const STORE_ID_LEN: usize = 16;

/// Magic, length, version, store, checkpoint, epoch, count and a reserved word.
const HEAD_LEN: usize = MAGIC.len() + U32 + U32 + STORE_ID_LEN + U64 + U64 + U32 + U32;
const ENTRY_LEN: usize = 10 * U64;
/// Checksum, the same length once more, and the magic by which a reader finds all this.
const FOOT_LEN: usize = size_of::<u128>() + U32 + END_MAGIC.len();

/// What this release adds to the metadata of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trailer {
    /// Random identity of the store, given when it was made.
    pub store_id: [u8; 16],
    /// The last commit that the files hold without the journal.
    pub checkpoint_lsn: u64,
    /// The epoch of the journal at that time.
    pub epoch: u64,
    /// The attributes of the store.
    pub attrs: Attrs,
    /// One entry an array, in the order of the arrays.
    pub entries: Vec<TrailerEntry>,
}

/// What the trailer says of one array, as of the checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrailerEntry {
    /// XXH3-64 of the name; a different name at this place makes the file corrupt.
    pub name_hash: u64,
    /// The generation of the data file.
    pub generation: u64,
    /// Physical rows.
    pub rows: u64,
    /// Length of the data file in bytes.
    pub data_len: u64,
    /// Its inode, to notice that another program replaced it; 0 if unknown.
    pub data_ino: u64,
    /// Its modification time in nanoseconds since 1970; 0 if unknown.
    pub data_mtime_ns: i64,
    /// Deleted rows.
    pub deleted: u64,
    /// The generation that the array was saved as. A checkpoint that finds the file mapped moves the same
    /// rows to another one.
    pub saved_as: u64,
    /// The last commit that replaced rows since the array was saved; 0 if none did. It tells two states
    /// apart that have as many rows.
    pub replaced_lsn: u64,
    /// What the data file hashed to: its block sum if it is of one block, else the hash of the file of its
    /// block sums; 0 where there are none.
    pub sums_hash: u64,
    /// The attributes of the array.
    pub attrs: Attrs,
}

/// Whether the file ends in a trailer, once its checksum has been found right.
pub(crate) fn check_seal(bytes: &[u8]) -> Result<bool> {
    let Some(rest) = bytes.strip_suffix(&END_MAGIC) else {
        return Ok(false);
    };
    let body_len = (rest.len() + END_MAGIC.len()).checked_sub(FOOT_LEN);
    let (body, foot) = rest.split_at(body_len.unwrap_or_default());
    let mut foot = Reader::new(foot, FILE);
    if body_len.is_none() {
        return Err(foot.corrupt(format!(
            "it ends in a trailer of less than {FOOT_LEN} bytes"
        )));
    }
    if foot.u128()? != xxh3_128(body) {
        return Err(foot.corrupt("its checksum does not fit its contents"));
    }
    Ok(true)
}

/// Refuses what follows the arrays of a file without seal: a trailer that was damaged, or arrays that a
/// damaged count does not count. NumPack 0.4 to 0.7 end the file there.
pub(crate) fn refuse_rest(reader: &mut Reader<'_>) -> Result<()> {
    let rest = reader.remaining();
    let begin = reader.bytes(rest.min(MAGIC.len()))?;
    match begin {
        [] => Ok(()),
        _ if MAGIC.starts_with(begin) => Err(reader.corrupt("its trailer is cut off or damaged")),
        _ => Err(reader.corrupt(format!("{rest} bytes follow its last array"))),
    }
}

impl Trailer {
    /// Reads the trailer that is all of the rest of a file whose seal is right.
    pub(crate) fn decode(reader: &mut Reader<'_>, arrays: &[MetadataEntry]) -> Result<Self> {
        let trailer_len = reader.remaining();
        if reader.array::<{ MAGIC.len() }>()? != MAGIC {
            return Err(reader.corrupt("no trailer begins after the last array"));
        }
        let head_len = reader.u32()?;
        let version = reader.u32()?;
        if version > VERSION {
            return Err(FormatError::NewerVersion {
                file: "the trailer of metadata.npkm",
                found: version,
                supported: VERSION,
            });
        }
        if version != VERSION {
            return Err(reader.corrupt(format!("trailer version is {version}, expected {VERSION}")));
        }
        let store_id = reader.array()?;
        let checkpoint_lsn = reader.counted("the last commit")?;
        let epoch = reader.counted("the epoch")?;
        let count = reader.count(ENTRY_LEN, "trailer entries")?;
        let _reserved = reader.u32()?;
        if count != arrays.len() {
            return Err(reader.corrupt(format!(
                "{count} trailer entries stand for {} arrays",
                arrays.len()
            )));
        }
        let mut entries = Vec::with_capacity(count);
        for array in arrays {
            let entry = TrailerEntry::decode(reader)?;
            if entry.name_hash != array.name.hash64() {
                return Err(reader.corrupt(format!(
                    "the trailer entry of array \"{}\" is that of another array",
                    array.name
                )));
            }
            entries.push(entry);
        }
        let attrs = Attrs::decode(reader)?;
        for entry in &mut entries {
            entry.attrs = Attrs::decode(reader)?;
        }
        let _checked_hash = reader.u128()?;
        let foot_len = reader.u32()?;
        let _checked_magic = reader.array::<{ END_MAGIC.len() }>()?;
        if reader.remaining() > 0 {
            return Err(reader.corrupt(format!("{count} trailer entries leave bytes unused")));
        }
        for len in [head_len, foot_len] {
            if usize::try_from(len) != Ok(trailer_len) {
                return Err(reader.corrupt(format!(
                    "trailer length is {len}, the trailer has {trailer_len}"
                )));
            }
        }
        Ok(Self {
            store_id,
            checkpoint_lsn,
            epoch,
            attrs,
            entries,
        })
    }

    /// Appends the trailer to the bytes of the arrays, over which its checksum goes.
    pub(crate) fn encode_into(&self, out: &mut Vec<u8>) {
        let all = || {
            self.entries
                .iter()
                .map(|entry| &entry.attrs)
                .chain([&self.attrs])
        };
        let attrs_len: usize = all().map(|attrs| U32 + attrs.byte_len()).sum();
        let trailer_len = HEAD_LEN + self.entries.len() * ENTRY_LEN + attrs_len + FOOT_LEN;
        out.put(&MAGIC);
        out.put_len_u32(trailer_len);
        out.put_u32(VERSION);
        out.put(&self.store_id);
        out.put_u64(self.checkpoint_lsn);
        out.put_u64(self.epoch);
        out.put_len_u32(self.entries.len());
        out.put_u32(0);
        for entry in &self.entries {
            entry.encode_into(out);
        }
        self.attrs.encode_into(out);
        for entry in &self.entries {
            entry.attrs.encode_into(out);
        }
        out.put_u128(xxh3_128(out));
        out.put_len_u32(trailer_len);
        out.put(&END_MAGIC);
    }
}

impl TrailerEntry {
    fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        Ok(Self {
            name_hash: reader.u64()?,
            generation: reader.u64()?,
            rows: reader.u64()?,
            data_len: reader.u64()?,
            data_ino: reader.u64()?,
            data_mtime_ns: reader.i64()?,
            deleted: reader.u64()?,
            saved_as: reader.u64()?,
            replaced_lsn: reader.u64()?,
            sums_hash: reader.u64()?,
            attrs: Attrs::default(),
        })
    }

    fn encode_into(&self, out: &mut Vec<u8>) {
        out.put_u64(self.name_hash);
        out.put_u64(self.generation);
        out.put_u64(self.rows);
        out.put_u64(self.data_len);
        out.put_u64(self.data_ino);
        out.put_i64(self.data_mtime_ns);
        out.put_u64(self.deleted);
        out.put_u64(self.saved_as);
        out.put_u64(self.replaced_lsn);
        out.put_u64(self.sums_hash);
    }
}
