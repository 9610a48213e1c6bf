//! After a power cut: how much of the journal has its payload on disk.
//!
//! Records are flushed together with what they describe only at `full` or by `sync`; otherwise the
//! disk may hold a record without the rows it speaks of. Each PUT and APPEND carries a hash of its
//! payload, and the state falls back to the longest prefix of commits whose payloads all verify.

use std::collections::HashMap;
use std::sync::OnceLock;

use numpack_format::journal::{Append, Content, Frame, Put, Record};
use numpack_format::{ArrayName, BlockHasher};

use crate::fs::{Dir, File, Open, read_up_to};
use crate::paths;
use crate::state::State;

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
) -> usize {
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
                valid.insert(put.name.clone(), on_disk || put_verifies(dir, put));
            }
            Record::Append(append) => {
                let good = on_disk
                    || row_bytes
                        .get(&append.name)
                        .is_some_and(|&n| append_verifies(dir, append, n));
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
                let there = on_disk || dir.stat(&paths::generation(*generation)).is_ok();
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
    keep
}

fn open(dir: &dyn Dir, name: &ArrayName, generation: u64) -> Option<std::sync::Arc<dyn File>> {
    dir.open(&paths::generation(generation), Open::Read)
        .or_else(|_| dir.open(&name.data_file(), Open::Read))
        .ok()
}

fn put_verifies(dir: &dyn Dir, put: &Put) -> bool {
    let len = put.meta.byte_len();
    let Some(file) = open(dir, &put.name, put.generation) else {
        return false;
    };
    match put.content {
        Content::Hashed(hash) => hash_of(&*file, 0, len) == Some(hash),
        // The array's own name does not do: without a hash, nothing tells whose rows are there.
        Content::Zeros => dir
            .open(&paths::generation(put.generation), Open::Read)
            .is_ok_and(|file| ends_in_zeros(&*file, len).unwrap_or(false)),
    }
}

/// Whether `file` has `len` bytes, of which the last are zeros. A hole that was cut short reads as
/// zeros once the file has its length; but rows appended to it share its last block, and where their
/// write was lost, anything may lie in all of that block.
fn ends_in_zeros(file: &dyn File, len: u64) -> std::io::Result<bool> {
    /// The largest block of a file system or page of a cache.
    const BLOCK: u64 = 64 << 10;
    let start = len.saturating_sub(1) / BLOCK * BLOCK;
    let mut last = vec![0; usize::try_from(len - start).unwrap_or(0)];
    let there = read_up_to(file, &mut last, start)?;
    Ok(there == last.len() && last.iter().all(|&byte| byte == 0))
}

fn append_verifies(dir: &dyn Dir, append: &Append, row_bytes: u64) -> bool {
    let Some(file) = open(dir, &append.name, append.generation) else {
        return false;
    };
    let span = append
        .start_row
        .checked_mul(row_bytes)
        .zip(append.rows.checked_mul(row_bytes));
    span.is_some_and(|(start, len)| hash_of(&*file, start, len) == Some(append.hash))
}

fn hash_of(file: &dyn File, start: u64, len: u64) -> Option<u128> {
    let mut hasher = BlockHasher::new();
    let mut buf = vec![0; 1 << 20];
    let mut done = 0;
    while done < len {
        let n = usize::try_from(len - done)
            .unwrap_or(usize::MAX)
            .min(buf.len());
        let got = read_up_to(file, &mut buf[..n], start + done).ok()?;
        if got < n {
            return None;
        }
        hasher.update(&buf[..n]);
        done += n as u64;
    }
    Some(hasher.finish())
}
