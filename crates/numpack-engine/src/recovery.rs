//! After a power cut: how much of the journal has its payload on disk.
//!
//! Records are flushed together with what they describe only at `full` or by `sync`; otherwise the
//! disk may hold a record without the rows it speaks of. Each PUT and APPEND carries a hash of its
//! payload, and the state falls back to the longest prefix of commits whose payloads all verify.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, OnceLock};

use numpack_format::journal::{Append, Content, Frame, Put, Record};
use numpack_format::{ArrayName, BlockHasher};

use crate::acquire::open_generation;
use crate::fs::{Dir, File, Open, read_up_to};
use crate::paths;
use crate::state::State;

/// What a journal has in the place of [`boot_hash`] after a flush failed.
pub(crate) const FLUSH_FAILED: u64 = 0;

/// A number that changes when the machine restarts.
pub(crate) fn boot_hash() -> u64 {
    static HASH: OnceLock<u64> = OnceLock::new();
    *HASH.get_or_init(|| {
        // Without a boot id every journal is verified when it is opened.
        let id = std::fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        if id.is_empty() {
            u64::from(std::process::id())
        } else {
            xxhash_rust::xxh3::xxh3_64(&id)
        }
    })
}

/// How many of `frames`, which follow on `base`, to keep: the longest prefix of whole commits that
/// reaches at least record `synced` and whose live payloads verify.
pub(crate) fn longest_prefix(
    dir: &dyn Dir,
    base: &State,
    frames: &[(u64, Frame)],
    synced: u64,
) -> io::Result<usize> {
    let known = base
        .arrays
        .values()
        .map(|array| (array.name.clone(), array.meta.row_bytes()));
    let mut row_bytes: HashMap<ArrayName, u64> = known.collect();
    let mut valid: HashMap<ArrayName, bool> = HashMap::new();
    let mut keep = 0;
    for (count, (_, frame)) in (1..).zip(frames) {
        let on_disk = frame.lsn <= synced;
        match &frame.record {
            Record::Put(put) => {
                row_bytes.insert(put.name.clone(), put.meta.row_bytes());
                valid.insert(put.name.clone(), on_disk || put_verifies(dir, base, put)?);
            }
            Record::Append(append) => {
                let good = on_disk
                    || match row_bytes.get(&append.name) {
                        Some(&n) => append_verifies(dir, base, append, n)?,
                        None => false,
                    };
                valid
                    .entry(append.name.clone())
                    .and_modify(|v| *v &= good)
                    .or_insert(good);
            }
            Record::Drop { name } => {
                valid.remove(name);
            }
            // The bytes were flushed before the record was written; only the name may be missing, and
            // then the array that had the name before may have left its file.
            Record::Rename {
                from,
                to,
                generation,
            } => {
                let before = valid.remove(from).unwrap_or(true);
                let there =
                    on_disk || optional(dir.stat(&paths::generation(*generation)))?.is_some();
                valid.insert(to.clone(), before && there);
                if let Some(n) = row_bytes.remove(from) {
                    row_bytes.insert(to.clone(), n);
                }
            }
            _ => {}
        }
        if !frame.more && (on_disk || valid.values().all(|&good| good)) {
            keep = count;
        }
    }
    Ok(keep)
}

/// What is missing did not arrive; what cannot be told must not take commits back.
fn optional<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The file of a generation. One that has its array's own name is another's, if it is still the file that the
/// metadata speaks of: rows that are the same there do not make it the one that is missing.
fn open(
    dir: &dyn Dir,
    base: &State,
    name: &ArrayName,
    generation: u64,
) -> io::Result<Option<Arc<dyn File>>> {
    let opened = optional(open_generation(dir, name, generation, Open::Read))?;
    let Some((file, own_name)) = opened else {
        return Ok(None);
    };
    let before = base.get(name.as_str());
    if own_name
        && let Some(before) = before.filter(|array| array.generation != generation)
        && let Some(rest) = &before.at_rest
        && file.stat()?.ino == rest.ino
    {
        return Ok(None);
    }
    Ok(Some(file))
}

fn put_verifies(dir: &dyn Dir, base: &State, put: &Put) -> io::Result<bool> {
    let len = put.meta.byte_len();
    match put.content {
        Content::Hashed(hash) => match open(dir, base, &put.name, put.generation)? {
            Some(file) => Ok(hash_of(&*file, 0, len)? == Some(hash)),
            None => Ok(false),
        },
        // The array's own name does not do: without a hash, nothing tells whose rows are there.
        Content::Zeros => {
            match optional(dir.open(&paths::generation(put.generation), Open::Read))? {
                Some(file) => ends_in_zeros(&*file, len),
                None => Ok(false),
            }
        }
    }
}

/// Whether `file` has `len` bytes, of which the last are zeros. A hole that was cut short reads as
/// zeros once the file has its length; but rows appended to it share its last block, and where their
/// write was lost, anything may lie in all of that block.
fn ends_in_zeros(file: &dyn File, len: u64) -> io::Result<bool> {
    /// The largest block of a file system or page of a cache.
    const BLOCK: u64 = 64 << 10;
    let start = len.saturating_sub(1) / BLOCK * BLOCK;
    let mut last = vec![0; usize::try_from(len - start).unwrap_or(0)];
    let there = read_up_to(file, &mut last, start)?;
    Ok(there == last.len() && last.iter().all(|&byte| byte == 0))
}

fn append_verifies(
    dir: &dyn Dir,
    base: &State,
    append: &Append,
    row_bytes: u64,
) -> io::Result<bool> {
    let span = append
        .start_row
        .checked_mul(row_bytes)
        .zip(append.rows.checked_mul(row_bytes));
    match (open(dir, base, &append.name, append.generation)?, span) {
        (Some(file), Some((start, len))) => Ok(hash_of(&*file, start, len)? == Some(append.hash)),
        _ => Ok(false),
    }
}

/// The hash of some bytes; `None` when the file is too short.
fn hash_of(file: &dyn File, start: u64, len: u64) -> io::Result<Option<u128>> {
    let mut hasher = BlockHasher::at(start);
    let mut buf = vec![0; 1 << 20];
    let mut done = 0;
    while done < len {
        let n = usize::try_from(len - done)
            .unwrap_or(usize::MAX)
            .min(buf.len());
        let got = read_up_to(file, &mut buf[..n], start + done)?;
        if got < n {
            return Ok(None);
        }
        hasher.update(&buf[..n]);
        done += n as u64;
    }
    Ok(Some(hasher.finish()))
}
