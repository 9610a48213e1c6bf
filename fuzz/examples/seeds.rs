//! Writes the inputs in `corpus/` that were not found by fuzzing: `cargo run --example seeds`.
//!
//! They are the worked example of `docs/format.md`, stores that this engine wrote, those that older
//! releases write, and all of them cut and changed.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use numpack_engine::fs::{Fs, MemoryFs};
use numpack_engine::{Durability, Options, Result, Selection, Store};
use numpack_format::journal::{HEADER_LEN, PROBE_LEN};
use numpack_format::{ArrayMeta, ArrayName, BitmapFile, DType, Metadata, MetadataEntry, Storage};
use numpack_fuzz::files::{Files, PATH, Plan};

const DOCUMENT: &str = include_str!("../../docs/format.md");
const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/corpus");
const ALL: u8 = Plan::SUMS | Plan::RECORDS | Plan::HINTS | Plan::INODES;

fn main() {
    let stores = stores();
    for (i, (name, files)) in stores.iter().enumerate() {
        let mut files = files.clone();
        for seal in [0, ALL, ALL | Plan::BOOT] {
            files.plan = Plan {
                seal,
                change: (3 * i + usize::from(seal)) as u8 % 8,
            };
            seed(
                "store",
                &format!("{name}-{seal}"),
                &files.input(),
                seal == ALL,
            );
        }
        parts(name, &files);
    }
    for text in [
        "{}",
        r#"{"unit": "m"}"#,
        r#"{"a": [1, {"b": null}], "a": "\u00e9"}"#,
        "[1]",
    ] {
        seed(
            "attrs",
            &format!("text-{}", text.len()),
            text.as_bytes(),
            true,
        );
    }
    seed(
        "attrs",
        "deep",
        &[&b"{\"a\":"[..], &[b'['; 300]].concat(),
        false,
    );
}

/// Every file of a store, for the target that reads such files alone.
fn parts(store: &str, files: &Files) {
    let metadata = files.all.get("metadata.npkm");
    let rows = metadata.and_then(|bytes| Metadata::decode(bytes).ok());
    let rows = rows.and_then(|metadata| Some(metadata.arrays.last()?.meta.shape.rows()));
    let rows = rows.unwrap_or(4).to_le_bytes();
    for (name, bytes) in &files.all {
        if name == "metadata.npkm" {
            seed("metadata", store, bytes, true);
        } else if name == ".npk/journal" && bytes.len() >= PROBE_LEN {
            seed("journal_head", store, &bytes[..PROBE_LEN], false);
            let records = bytes.get(HEADER_LEN as usize..).unwrap_or_default();
            seed("journal_records", store, records, true);
        } else if name.ends_with(".npkb") {
            seed("bitmap", store, &[&rows[..], bytes].concat(), true);
        } else if name.starts_with(".npk/s") {
            seed("sums", store, bytes, true);
        } else if name.ends_with(".npkseg") {
            seed("segments", store, &[&rows[..], &[2], bytes].concat(), true);
        }
    }
}

/// Writes an input, and, where that is asked for, what became of it.
fn seed(target: &str, name: &str, bytes: &[u8], changed: bool) {
    let directory = Path::new(CORPUS).join(target);
    fs::create_dir_all(&directory).expect("the corpus can be written");
    let write = |name: &str, bytes: &[u8]| {
        fs::write(directory.join(name), bytes).expect("the corpus can be written");
    };
    write(name, bytes);
    if !changed || bytes.is_empty() {
        return;
    }
    // The same for the same name, whatever else there is.
    let mut random = name
        .bytes()
        .fold(1_u64, |sum, byte| sum.wrapping_mul(31) + u64::from(byte));
    let mut next = |below: usize| {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (random >> 33) as usize % below
    };
    write(&format!("{name}-cut"), &bytes[..next(bytes.len())]);
    let mut other = bytes.to_vec();
    for _ in 0..3 {
        let at = next(other.len());
        other[at] ^= 1 << next(8);
    }
    write(&format!("{name}-flipped"), &other);
}

fn stores() -> Vec<(&'static str, Files)> {
    let engine = |work: fn(&Store) -> Result<()>| written(work).expect("the store can be written");
    vec![
        ("documented", documented()),
        ("nothing", Files::default()),
        ("empty", engine(|store| store.close())),
        (
            "rest",
            engine(|store| saved(store).and_then(|()| store.close())),
        ),
        (
            "pending",
            engine(|store| saved(store).and_then(|()| pending(store))),
        ),
        ("unfinished", engine(pending_alone)),
        (
            "long",
            engine(|store| long(store).and_then(|()| store.close())),
        ),
        (
            "long-pending",
            engine(|store| {
                long(store)?;
                store.checkpoint()?;
                let mut more = store.begin()?;
                let meta = ArrayMeta::new(DType::UInt8, &[1, 100])?;
                more.append("long", &meta, &[5; 100])?;
                more.replace("long", Selection::Row(655), &meta, &[6; 100])?;
                more.commit().map(|_| ())
            }),
        ),
        ("foreign", foreign()),
        ("older", older(Storage::Single)),
        ("segmented", older(Storage::Segmented)),
    ]
}

/// What a session leaves behind that nobody closes.
fn written(work: fn(&Store) -> Result<()>) -> Result<Files> {
    let fs = MemoryFs::default();
    let shared: Arc<dyn Fs> = Arc::new(fs.clone());
    let store = Store::open_on(shared, Path::new(PATH), &Options::default())?;
    work(&store)?;
    let dir = fs
        .open_dir(Path::new(PATH), false)
        .expect("the store is there");
    Ok(Files::read(&*dir).expect("its files can be read"))
}

fn saved(store: &Store) -> Result<()> {
    let mut save = store.begin()?;
    save.put(
        "a",
        &ArrayMeta::new(DType::Float32, &[3, 2])?,
        &mut &[1; 24][..],
    )?;
    save.put(
        "x/y",
        &ArrayMeta::new(DType::UInt8, &[9])?,
        &mut &[1, 2, 3, 4, 5, 6, 7, 8, 9][..],
    )?;
    save.put(
        "0d",
        &ArrayMeta::new(DType::Complex64, &[])?,
        &mut &[3; 8][..],
    )?;
    save.put(
        "thin",
        &ArrayMeta::new(DType::Int16, &[5, 0])?,
        &mut &[][..],
    )?;
    save.put(
        "b",
        &ArrayMeta::new(DType::UInt8, &[4])?,
        &mut &[1, 2, 3, 4][..],
    )?;
    save.set_attrs(Some("a"), r#"{"unit": "m"}"#)?;
    save.set_attrs(None, r#"{"of": "all"}"#)?;
    save.delete_rows("x/y", Selection::Row(1))?;
    save.delete_rows("b", Selection::Row(1))?;
    save.commit()?;
    store.checkpoint()
}

/// A record of every kind, on top of what is saved.
fn pending(store: &Store) -> Result<()> {
    let row = ArrayMeta::new(DType::Float32, &[1, 2])?;
    let mut change = store.begin()?;
    change.append("a", &row, &[4; 8])?;
    change.replace("a", Selection::Row(0), &row, &[5; 8])?;
    change.delete_rows("a", Selection::Row(1))?;
    change.commit()?;
    let mut change = store.begin()?;
    change.rename("b", "c")?;
    change.drop_array("0d")?;
    change.create("zeros", &ArrayMeta::new(DType::Int64, &[6])?)?;
    change.copy_array("a", "copy")?;
    change.compact("x/y")?;
    change.set_attrs(None, r#"{"of": "it"}"#)?;
    change.commit_with(Durability::Full)?;
    let mut change = store.begin()?;
    change.replace("a", Selection::Row(-1), &row, &[6; 8])?;
    change.commit()?;
    store.sync()
}

fn pending_alone(store: &Store) -> Result<()> {
    let mut save = store.begin()?;
    save.put(
        "a",
        &ArrayMeta::new(DType::UInt8, &[3])?,
        &mut &[1, 2, 3][..],
    )?;
    save.put(
        "b",
        &ArrayMeta::new(DType::UInt8, &[2, 2])?,
        &mut &[1, 2, 3, 4][..],
    )?;
    save.commit()?;
    let mut change = store.begin()?;
    change.delete_rows("a", Selection::Row(0))?;
    change.append("b", &ArrayMeta::new(DType::UInt8, &[1, 2])?, &[5, 6])?;
    change.commit().map(|_| ())
}

/// More than one block, so that it has a file of sums.
fn long(store: &Store) -> Result<()> {
    let mut save = store.begin()?;
    let mut rows = vec![0; 70_000];
    rows[69_999] = 1;
    save.put(
        "long",
        &ArrayMeta::new(DType::UInt8, &[700, 100])?,
        &mut &rows[..],
    )?;
    save.commit().map(|_| ())
}

/// Metadata that another program wrote under an unfinished session.
fn foreign() -> Files {
    let mut files = written(|store| saved(store).and_then(|()| pending(store)))
        .expect("the store can be written");
    let bytes = files.all.get_mut("metadata.npkm").expect("it has metadata");
    let mut metadata = Metadata::decode(bytes).expect("which can be read");
    metadata.trailer = None;
    *bytes = metadata.encode();
    files
}

/// What NumPack 0.4 writes, and with segments, 0.7.
fn older(storage: Storage) -> Files {
    let name = ArrayName::new("a").expect("a name");
    let meta = ArrayMeta::new(DType::UInt8, &[5, 2]).expect("a shape");
    let bitmap = BitmapFile {
        rows: 5,
        words: vec![0b1_0111],
    };
    let entry = MetadataEntry {
        name: name.clone(),
        meta,
        storage,
        modified_us: 7,
    };
    let metadata = Metadata {
        arrays: vec![entry],
        trailer: None,
    };
    let mut files = Files::default();
    files
        .all
        .insert("metadata.npkm".to_owned(), metadata.encode());
    files.all.insert(name.bitmap_file(), bitmap.encode());
    if storage == Storage::Single {
        files.all.insert(name.data_file(), (1..11).collect());
        return files;
    }
    let list = r#"{"version":1,"segments":[{"file":"data_a_segments/0.npkd","rows":3,"bytes":6},{"file":"data_a_segments/1.npkd","rows":2,"bytes":4}]}"#;
    files.all.insert(name.segments_file(), list.into());
    files
        .all
        .insert(format!("{}/0.npkd", name.segments_dir()), (1..7).collect());
    files
        .all
        .insert(format!("{}/1.npkd", name.segments_dir()), (7..11).collect());
    files
}

/// The files that `docs/format.md` shows byte for byte.
fn documented() -> Files {
    let mut files = Files::default();
    for block in DOCUMENT.split("```hexdump ").skip(1) {
        let (name, dump) = block.split_once('\n').expect("a block begins with a name");
        let mut bytes: Vec<u8> = Vec::new();
        let mut repeat = false;
        for line in dump.lines().take_while(|line| *line != "```") {
            if line == "*" {
                repeat = true;
                continue;
            }
            let (offset, rest) = line.split_at(8);
            let offset = usize::from_str_radix(offset, 16).expect("an offset");
            while repeat && bytes.len() < offset {
                let last = bytes[bytes.len() - 16..].to_vec();
                bytes.extend(last);
            }
            repeat = false;
            let digits = rest
                .split('|')
                .next()
                .unwrap_or_default()
                .split_whitespace();
            bytes.extend(digits.map(|byte| u8::from_str_radix(byte, 16).expect("a byte")));
        }
        files.all.insert(name.to_owned(), bytes);
    }
    files
}
