//! Checksums put right after bytes were changed: what lies behind them would never be reached otherwise.

use numpack_format::journal::{
    FRAME_ALIGN, FRAME_HEADER_LEN, HEADER_LEN, HINT_LEN, HINT_OFFSETS, Header, PROBE_LEN, SLOT_LEN,
    SLOT_OFFSETS,
};
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

/// Checksum, length, magic.
const FOOT_LEN: usize = 24;
const TRAILER_MAGIC: &[u8] = b"NPKXTRL1";
const BOOT_HASH_AT: usize = 64;

/// `metadata.npkm`: the checksum and both lengths of its trailer, if it ends as one.
pub fn metadata(bytes: &mut [u8]) {
    let Some(body) = bytes.len().checked_sub(FOOT_LEN) else {
        return;
    };
    if !bytes.ends_with(b"NPKX") {
        return;
    }
    let magics = bytes.windows(TRAILER_MAGIC.len());
    if let Some(at) = magics.clone().rposition(|bytes| bytes == TRAILER_MAGIC) {
        let len = ((bytes.len() - at) as u32).to_le_bytes();
        let end = bytes.len();
        put(bytes, at + TRAILER_MAGIC.len(), &len);
        put(bytes, end - 8, &len);
    }
    let sum = xxh3_128(&bytes[..body]).to_le_bytes();
    put(bytes, body, &sum);
}

/// Both header slots of a journal; they begin in the boot of this hash, if one is given.
pub fn headers(journal: &mut [u8], boot_hash: Option<u64>) {
    for offset in SLOT_OFFSETS {
        let Some(slot) = journal.get_mut(offset as usize..offset as usize + SLOT_LEN) else {
            continue;
        };
        if slot.iter().all(|&byte| byte == 0) {
            continue;
        }
        if let Some(hash) = boot_hash {
            put(slot, BOOT_HASH_AT, &hash.to_le_bytes());
        }
        let sum = xxh3_64(&slot[..SLOT_LEN - 8]).to_le_bytes();
        put(slot, SLOT_LEN - 8, &sum);
    }
}

/// Both hints of a journal.
pub fn hints(journal: &mut [u8]) {
    for offset in HINT_OFFSETS {
        let Some(hint) = journal.get_mut(offset as usize..offset as usize + HINT_LEN) else {
            continue;
        };
        if hint.iter().any(|&byte| byte != 0) {
            let sum = xxh3_64(&hint[..HINT_LEN - 8]).to_le_bytes();
            put(hint, HINT_LEN - 8, &sum);
        }
    }
}

/// The records of a journal, as they follow on its header.
pub fn records(journal: &mut [u8]) {
    let probe = &journal[..journal.len().min(PROBE_LEN)];
    let Some((_, header)) = Header::newest(probe) else {
        return;
    };
    if let Some(records) = journal.get_mut(HEADER_LEN as usize..) {
        let lsn = header.base_lsn.wrapping_add(1);
        frames(records, header.epoch, lsn, header.hash());
    }
}

/// Records one after the other, the first of them number `lsn` of `epoch` after `chain`.
pub fn frames(mut bytes: &mut [u8], epoch: u64, mut lsn: u64, mut chain: u128) {
    while bytes.len() >= FRAME_HEADER_LEN && bytes.starts_with(b"NPKR") {
        put(bytes, 8, &lsn.to_le_bytes());
        put(bytes, 16, &epoch.to_le_bytes());
        let mut body_len = [0; 4];
        body_len.copy_from_slice(&bytes[24..28]);
        let padded = (u32::from_le_bytes(body_len) as usize).next_multiple_of(FRAME_ALIGN);
        let Some(body) = bytes.get(FRAME_HEADER_LEN..FRAME_HEADER_LEN + padded) else {
            return;
        };
        let linked = [&chain.to_le_bytes(), &bytes[..FRAME_HEADER_LEN - 16], body].concat();
        chain = xxh3_128(&linked);
        put(bytes, FRAME_HEADER_LEN - 16, &chain.to_le_bytes());
        lsn = lsn.wrapping_add(1);
        bytes = &mut bytes[FRAME_HEADER_LEN + padded..];
    }
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at + value.len()) {
        place.copy_from_slice(value);
    }
}
