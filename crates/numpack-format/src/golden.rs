//! The worked example of `docs/format.md`, decoded and written again.

use std::fmt::Write as _;

use crate::journal::{
    Content, Decoded, EndReason, Frame, HEADER_LEN, HINT_OFFSETS, Header, Hint, Kept, PROBE_LEN,
    Put, Record, SLOT_OFFSETS,
};
use crate::{
    ArrayMeta, ArrayName, Attrs, BLOCK_LEN, BitmapFile, DType, Metadata, MetadataEntry, Storage,
    SumsFile, Trailer, TrailerEntry, block_sum, content_hash,
};

const DOCUMENT: &str = include_str!("../../../docs/format.md");
const STORE_ID: [u8; 16] = [
    0x5f, 0x1c, 0x9a, 0x3e, 0x70, 0xd2, 0x4b, 0x86, 0x91, 0xe4, 0x08, 0xbd, 0x2a, 0x67, 0xf3, 0x15,
];
const SAVED_US: u64 = 1_767_225_600_000_000;

/// The bytes of the block that the document names so.
fn documented(file: &str) -> Vec<u8> {
    let fence = format!("```hexdump {file}\n");
    let start = DOCUMENT.find(&fence).map(|at| at + fence.len());
    let block = &DOCUMENT[start.unwrap_or_else(|| panic!("the document shows no {file}"))..];
    let mut bytes: Vec<u8> = Vec::new();
    let mut repeat = false;
    for line in block.lines().take_while(|line| *line != "```") {
        if line == "*" {
            repeat = true;
            continue;
        }
        let (offset, rest) = line.split_at(8);
        let offset = usize::from_str_radix(offset, 16).unwrap();
        if repeat {
            let last = bytes[bytes.len() - 16..].to_vec();
            while bytes.len() < offset {
                bytes.extend_from_slice(&last);
            }
            repeat = false;
        }
        assert_eq!(bytes.len(), offset, "{file}: {line}");
        let digits = rest.split('|').next().unwrap_or_default();
        bytes.extend(
            digits
                .split_whitespace()
                .map(|byte| u8::from_str_radix(byte, 16).unwrap()),
        );
    }
    assert!(!bytes.is_empty(), "the block of {file} is empty");
    bytes
}

/// The block as the document should show it, in the manner of `hexdump -C`.
fn dump(bytes: &[u8]) -> String {
    let mut text = String::new();
    let mut last: Option<&[u8]> = None;
    let mut starred = false;
    for (row, line) in bytes.chunks(16).enumerate() {
        if last == Some(line) {
            if !starred {
                text.push_str("*\n");
            }
            starred = true;
            continue;
        }
        (last, starred) = (Some(line), false);
        let mut digits = String::new();
        for (i, byte) in line.iter().enumerate() {
            write!(digits, "{}{byte:02x}", if i == 8 { "  " } else { " " }).unwrap();
        }
        let shown: String = line
            .iter()
            .map(|&byte| {
                if (b' '..=b'~').contains(&byte) {
                    char::from(byte)
                } else {
                    '.'
                }
            })
            .collect();
        writeln!(text, "{:08x} {digits:<50} |{shown}|", row * 16).unwrap();
    }
    writeln!(text, "{:08x}", bytes.len()).unwrap();
    text
}

fn assert_documented(file: &str, bytes: &[u8]) {
    assert!(
        documented(file) == bytes,
        "docs/format.md should show\n```hexdump {file}\n{}```",
        dump(bytes)
    );
}

fn name() -> ArrayName {
    ArrayName::new("a").unwrap()
}

fn meta() -> ArrayMeta {
    ArrayMeta::new(DType::Float32, &[3, 2]).unwrap()
}

fn data() -> Vec<u8> {
    [1.0_f32, 2.0, 3.0, 4.0, 5.0, 6.0]
        .into_iter()
        .flat_map(f32::to_le_bytes)
        .collect()
}

fn metadata() -> Metadata {
    let entry = MetadataEntry {
        name: name(),
        meta: meta(),
        storage: Storage::Single,
        modified_us: SAVED_US,
    };
    let of_array = TrailerEntry {
        name_hash: name().hash64(),
        generation: 1,
        rows: 3,
        data_len: 24,
        data_ino: 1234,
        data_mtime_ns: 1_767_225_600_000_000_000,
        deleted: 0,
        saved_as: 1,
        replaced_lsn: 0,
        sums_hash: block_sum(&data()),
        attrs: Attrs::default(),
    };
    let trailer = Trailer {
        store_id: STORE_ID,
        checkpoint_lsn: 1,
        epoch: 1,
        attrs: Attrs::default(),
        entries: vec![of_array],
    };
    Metadata {
        arrays: vec![entry],
        trailer: Some(trailer),
    }
}

fn bitmap() -> BitmapFile {
    BitmapFile {
        rows: 4,
        words: vec![0b1101],
    }
}

/// The header under which the array was saved, and the one that closing the store wrote.
fn headers() -> [Header; 2] {
    let first = Header {
        store_id: STORE_ID,
        nonce: 0x8899_aabb_ccdd_eeff,
        epoch: 1,
        base_lsn: 0,
        meta_lsn: 0,
        boot_hash: 0x0102_0304_0506_0708,
    };
    let second = Header {
        nonce: 0x0011_2233_4455_6677,
        epoch: 2,
        base_lsn: 1,
        meta_lsn: 1,
        ..first
    };
    [first, second]
}

fn frame() -> Frame {
    let put = Put {
        name: name(),
        meta: meta(),
        generation: 1,
        modified_us: SAVED_US,
        content: Content::Hashed(content_hash(&data())),
        kept: Kept::Nothing,
    };
    Frame {
        lsn: 1,
        epoch: 1,
        more: false,
        record: Record::Put(put),
    }
}

fn place(file: &mut [u8], offset: u64, bytes: &[u8]) {
    let at = usize::try_from(offset).unwrap();
    file[at..at + bytes.len()].copy_from_slice(bytes);
}

fn journal() -> Vec<u8> {
    let [first, second] = headers();
    let mut journal = vec![0; usize::try_from(HEADER_LEN).unwrap()];
    place(&mut journal, SLOT_OFFSETS[1], &first.encode());
    place(&mut journal, SLOT_OFFSETS[0], &second.encode());
    let chain = frame().encode_into(&mut journal, first.hash());
    let tail = journal.len() as u64;
    let hint = Hint {
        seq: 1,
        epoch: 1,
        tail,
        last_lsn: 1,
        synced_lsn: 0,
        chain,
    };
    place(&mut journal, HINT_OFFSETS[1], &hint.encode());
    journal
}

#[test]
fn metadata_is_as_documented() {
    assert_documented("metadata.npkm", &metadata().encode());
    let bytes = documented("metadata.npkm");
    assert_eq!(Metadata::decode(&bytes), Ok(metadata()));
}

/// Of an array of 65,537 zeros: two blocks, the second of one byte.
fn sums() -> SumsFile {
    SumsFile {
        generation: 3,
        data_len: BLOCK_LEN as u64 + 1,
        sums: vec![block_sum(&[0; BLOCK_LEN]), block_sum(&[0])],
    }
}

#[test]
fn the_sums_are_as_documented() {
    let file = format!(
        ".npk/{}",
        crate::store_files::sums_file(SumsFile::hash(&sums().encode()))
    );
    assert_documented(&file, &sums().encode());
    let bytes = documented(&file);
    assert_eq!(SumsFile::decode(&bytes, SumsFile::hash(&bytes)), Ok(sums()));
}

#[test]
fn data_is_as_documented() {
    assert_documented("data_a.npkd", &data());
}

#[test]
fn the_bitmap_is_as_documented() {
    assert_documented("deleted_b.npkb", &bitmap().encode());
    let bytes = documented("deleted_b.npkb");
    assert_eq!(BitmapFile::decode(&bytes, 4), Ok(bitmap()));
}

#[test]
fn the_journal_is_as_documented() {
    assert_documented(".npk/journal", &journal());
    let bytes = documented(".npk/journal");
    let [first, second] = headers();
    let (probe, records) = (&bytes[..PROBE_LEN], &bytes[4096..]);
    assert_eq!(Header::newest(probe), Some((0, second)));
    let hint = Hint::newest(probe).unwrap();
    assert_eq!(hint.tail, bytes.len() as u64);

    let Decoded::Frame {
        frame: found,
        len,
        chain,
    } = Frame::decode(records, 1, 1, first.hash())
    else {
        panic!("the record does not continue the first header");
    };
    assert_eq!((found, len, chain), (frame(), records.len(), hint.chain));
    // Closing the store began an epoch in which the record counts for nothing.
    let now = Frame::decode(records, second.epoch, second.base_lsn + 1, second.hash());
    assert!(matches!(now, Decoded::End(EndReason::Broken(_))));
}
