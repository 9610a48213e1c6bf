//! What the decoders of numpack-format owe to whoever gives them bytes: no panic, no memory but for
//! what is there, and of what they take, that it is written and read again as the same.

use numpack_format::journal::{
    Decoded, Frame, HINT_OFFSETS, Header, Hint, PROBE_LEN, Record, Replace, SLOT_LEN, SLOT_OFFSETS,
};
use numpack_format::{
    ArrayMeta, ArrayName, Attrs, BitmapFile, DType, Metadata, SegmentManifest, SumsFile,
};

use super::seal;

/// What is done with the bytes of one input.
pub type Body = fn(&[u8]);

/// Every target of this file, by the name of its corpus.
pub const TARGETS: &[(&str, Body)] = &[
    ("metadata", metadata),
    ("segments", segments),
    ("bitmap", bitmap),
    ("sums", sums),
    ("journal_head", journal_head),
    ("journal_records", journal_records),
    ("attrs", attrs),
];

/// `metadata.npkm`, as it is and with its checksum put right.
pub fn metadata(bytes: &[u8]) {
    one_metadata(bytes);
    let mut sealed = bytes.to_vec();
    seal::metadata(&mut sealed);
    one_metadata(&sealed);
}

fn one_metadata(bytes: &[u8]) {
    let Ok(metadata) = Metadata::decode(bytes) else {
        return;
    };
    if let Some(trailer) = &metadata.trailer {
        assert_eq!(trailer.entries.len(), metadata.arrays.len());
    }
    for entry in &metadata.arrays {
        let file = entry.data_file();
        assert!(file.len() < 256 && !file.contains(['/', '\0']), "{file}");
        assert!(isize::try_from(entry.meta.byte_len()).is_ok());
    }
    assert_eq!(Metadata::decode(&metadata.encode()), Ok(metadata));
}

/// Rows and bytes of a row, and a list of segments of the array "a".
pub fn segments(bytes: &[u8]) {
    let Some((rows, rest)) = first_u64(bytes) else {
        return;
    };
    let Some((&width, json)) = rest.split_first() else {
        return;
    };
    let Ok(meta) = ArrayMeta::new(DType::UInt8, &[rows, width.into()]) else {
        return;
    };
    let Ok(name) = ArrayName::new("a") else {
        return;
    };
    let Ok(list) = SegmentManifest::decode(json, &name, &meta) else {
        return;
    };
    let mut sum = 0_u64;
    for segment in &list.segments {
        let inside = segment.file.strip_prefix("data_a_segments/");
        let plain = inside.is_some_and(|name| !name.contains('/') && name.ends_with(".npkd"));
        assert!(plain, "{}", segment.file);
        assert_eq!(segment.bytes, segment.rows * u64::from(width));
        sum += segment.rows;
    }
    assert_eq!(sum, rows);
}

/// The rows of the metadata, and a bitmap.
pub fn bitmap(bytes: &[u8]) {
    /// More rows than that would take more time to look at than to decode.
    const MOST: u64 = 1 << 16;
    let Some((rows, file)) = first_u64(bytes) else {
        return;
    };
    // Rows that only the metadata knows are live, and need a word for 64 of them.
    if (MOST..1 << 40).contains(&rows) {
        return;
    }
    let Ok(bitmap) = BitmapFile::decode(file, rows) else {
        return;
    };
    assert_eq!(bitmap.rows, rows);
    assert_eq!(bitmap.words.len() as u64, rows.div_ceil(64));
    let bit = |words: &[u8], row: u64| {
        let byte = words.get((row / 8) as usize);
        byte.is_some_and(|byte| byte >> (row % 8) & 1 == 1)
    };
    let head = first_u64(file).filter(|(rows, rest)| {
        rows.div_ceil(64)
            .checked_mul(8)
            .and_then(|len| len.checked_add(8))
            == Some(rest.len() as u64)
    });
    let (covered, words) = match head {
        Some((covered, rest)) => (covered, &rest[8..]),
        None => (rows, file),
    };
    let ours: Vec<u8> = bitmap
        .words
        .iter()
        .flat_map(|word| word.to_le_bytes())
        .collect();
    for row in 0..bitmap.words.len() as u64 * 64 {
        let live = row < rows && (row >= covered || bit(words, row));
        assert_eq!(
            bit(&ours, row),
            live,
            "row {row} of {rows}, {covered} covered"
        );
    }
    assert_eq!(BitmapFile::decode(&bitmap.encode(), rows), Ok(bitmap));
}

/// A file of block sums, whose name is right.
pub fn sums(bytes: &[u8]) {
    let hash = SumsFile::hash(bytes);
    assert!(SumsFile::decode(bytes, hash ^ 1).is_err());
    if let Ok(sums) = SumsFile::decode(bytes, hash) {
        assert_eq!(sums.sums.len() as u64, SumsFile::blocks(sums.data_len));
        assert_eq!(
            SumsFile::decode(&sums.encode(), SumsFile::hash(&sums.encode())),
            Ok(sums)
        );
    }
}

/// The head of a journal, as it is and with its checksums put right.
pub fn journal_head(bytes: &[u8]) {
    one_head(bytes);
    let mut sealed = bytes.to_vec();
    seal::headers(&mut sealed, None);
    seal::hints(&mut sealed);
    one_head(&sealed);
}

fn one_head(bytes: &[u8]) {
    let probe = &bytes[..bytes.len().min(PROBE_LEN)];
    let newest = Header::newest(probe);
    let _too_new = Header::check_version(probe);
    if let Some((slot, header)) = newest {
        let at = SLOT_OFFSETS[slot] as usize;
        assert_eq!(Header::slot_offset(header.epoch), SLOT_OFFSETS[slot]);
        assert_eq!(header.encode(), probe[at..at + SLOT_LEN]);
    }
    if let Some(hint) = Hint::newest(probe) {
        assert_eq!(Hint::decode(&hint.encode()), Some(hint));
        let there = |offset: &u64| probe[*offset as usize..].starts_with(&hint.encode());
        assert!(HINT_OFFSETS.iter().any(there));
    }
}

/// The records of a journal, as they are and with their hashes put right.
pub fn journal_records(bytes: &[u8]) {
    all_records(bytes);
    let mut sealed = bytes.to_vec();
    seal::frames(&mut sealed, EPOCH, LSN, CHAIN);
    all_records(&sealed);
}

const EPOCH: u64 = 1;
const LSN: u64 = 1;
const CHAIN: u128 = 0;

fn all_records(mut bytes: &[u8]) {
    let (mut lsn, mut before) = (LSN, CHAIN);
    loop {
        match Frame::decode(bytes, EPOCH, lsn, before) {
            Decoded::Frame { frame, len, chain } => {
                assert_eq!((frame.lsn, frame.epoch), (lsn, EPOCH));
                assert!(len <= bytes.len());
                split(&frame.record);
                let mut again = Vec::new();
                let next = frame.encode_into(&mut again, before);
                let expected = Decoded::Frame {
                    frame,
                    len: again.len(),
                    chain: next,
                };
                assert_eq!(Frame::decode(&again, EPOCH, lsn, before), expected);
                (bytes, lsn, before) = (&bytes[len..], lsn + 1, chain);
            }
            Decoded::End(reason) => {
                assert!(!reason.to_string().is_empty());
                return;
            }
            Decoded::NeedMore(len) => {
                assert!(len > bytes.len());
                return;
            }
        }
    }
}

/// Records in parts say the same as in one.
fn split(record: &Record) {
    match record {
        Record::Replace(replace) => {
            let parts = replace.clone().split();
            let rows: Vec<u8> = parts.iter().flat_map(|part| part.rows.to_vec()).collect();
            assert!(*rows == *replace.rows);
            assert_eq!(
                parts.iter().map(Replace::count).sum::<u64>(),
                replace.count()
            );
        }
        Record::DeleteRows(delete) => {
            let parts = delete.clone().split();
            let runs: Vec<_> = parts.flat_map(|part| part.runs).collect();
            assert_eq!(runs, delete.runs);
        }
        _ => {}
    }
}

/// The text of attributes.
pub fn attrs(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let Ok(attrs) = Attrs::new(text) else {
        return;
    };
    assert!(attrs.is_empty() || attrs.as_str() == text);
    assert_eq!(Attrs::new(attrs.as_str()), Ok(attrs));
}

fn first_u64(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (first, rest) = bytes.split_first_chunk()?;
    Some((u64::from_le_bytes(*first), rest))
}
