//! The journal as a file: probing its head, walking its records, adding to its end.

use std::io;

use numpack_format::FormatError;
use numpack_format::journal::{
    Decoded, EndReason, FRAME_HEADER_LEN, Frame, HEADER_LEN, Header, Hint, PROBE_LEN, Record,
};

use parking_lot::RwLock;

use crate::fs::{File, read_up_to};

/// What one read of the journal's head tells.
#[derive(Clone, Debug, Default)]
pub(crate) struct Probe {
    pub(crate) header: Option<Header>,
    pub(crate) hint: Option<Hint>,
}

/// Why a journal cannot be used.
#[derive(Debug)]
pub(crate) enum ProbeError {
    Io(io::Error),
    Format(FormatError),
    /// Bytes are there, and neither slot holds a header.
    Damaged,
}

/// The head of a journal as it was read last. Most looks at it find it as it was, and comparing its bytes
/// costs a small part of decoding them.
#[derive(Debug, Default)]
pub(crate) struct Head(RwLock<Option<([u8; PROBE_LEN], Probe)>>);

impl Head {
    /// As [`Probe::read`].
    pub(crate) fn read(&self, file: &dyn File) -> Result<Probe, ProbeError> {
        let bytes = Probe::bytes(file)?;
        if let Some((known, probe)) = &*self.0.read()
            && *known == bytes
        {
            return Ok(probe.clone());
        }
        let probe = Probe::decode(&bytes, file)?;
        *self.0.write() = Some((bytes, probe.clone()));
        Ok(probe)
    }

    /// This process has just written `hint`, the newest, as `bytes`: it need not decode it.
    pub(crate) fn wrote(&self, hint: &Hint, bytes: &[u8]) {
        if let Some((known, probe)) = &mut *self.0.write() {
            let at = usize::try_from(Hint::offset(hint.seq)).unwrap_or(PROBE_LEN);
            if let Some(slot) = known.get_mut(at..at + bytes.len()) {
                slot.copy_from_slice(bytes);
                probe.hint = Some(*hint);
            }
        }
    }
}

impl Probe {
    /// Reads the head of `file`. A file without any byte set has no header: its making was cut short.
    pub(crate) fn read(file: &dyn File) -> Result<Self, ProbeError> {
        Self::decode(&Self::bytes(file)?, file)
    }

    fn bytes(file: &dyn File) -> Result<[u8; PROBE_LEN], ProbeError> {
        let mut bytes = [0; PROBE_LEN];
        read_up_to(file, &mut bytes, 0).map_err(ProbeError::Io)?;
        Ok(bytes)
    }

    /// `file` is where the bytes are from.
    fn decode(bytes: &[u8; PROBE_LEN], file: &dyn File) -> Result<Self, ProbeError> {
        let header = Header::newest(bytes).map(|(_, header)| header);
        if header.is_none() && bytes.iter().any(|&byte| byte != 0) {
            Header::check_version(bytes).map_err(ProbeError::Format)?;
            // A head without anything behind it that did not arrive as it was written. One that was cut off
            // later ends within its head, or has a header.
            let unfinished = file.stat().is_ok_and(|stat| stat.len == PROBE_LEN as u64);
            return if unfinished {
                Ok(Self::default())
            } else {
                Err(ProbeError::Damaged)
            };
        }
        Ok(Self {
            header,
            hint: Hint::newest(bytes),
        })
    }
}

/// A place in the journal: everything before it has been read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cursor {
    pub(crate) epoch: u64,
    /// Where the next record goes.
    pub(crate) tail: u64,
    /// The record before it.
    pub(crate) lsn: u64,
    pub(crate) chain: u128,
    /// Everything up to here is on disk.
    pub(crate) synced: u64,
}

impl Cursor {
    /// Before the first record of the epoch.
    pub(crate) fn start(header: &Header) -> Self {
        Self {
            epoch: header.epoch,
            tail: HEADER_LEN,
            lsn: header.base_lsn,
            chain: header.hash(),
            synced: header.base_lsn,
        }
    }

    /// A SYNCED record that is on disk is itself proof that everything before it is, and it is read
    /// as such only from disk or by the process that flushed it.
    fn note_synced(&mut self, frame: &Frame) {
        if let Record::Synced { upto } = frame.record {
            let covered = if upto.checked_add(1) == Some(frame.lsn) {
                frame.lsn
            } else {
                upto
            };
            self.synced = self.synced.max(covered);
        }
    }

    /// Encodes `frames` as they follow here; gives the bytes and the place after them.
    pub(crate) fn encode(&self, frames: &[Frame]) -> (Vec<u8>, Self) {
        let mut after = self.clone();
        let mut bytes = Vec::with_capacity(frames.len() * 256);
        for frame in frames {
            after.chain = frame.encode_into(&mut bytes, after.chain);
            after.lsn = frame.lsn;
            after.note_synced(frame);
        }
        after.tail += bytes.len() as u64;
        (bytes, after)
    }
}

/// Walks the commits from `cursor` on, giving each record with its offset to `each`, and moves
/// `cursor` behind the last complete commit: records that wait for the end of theirs are not given.
pub(crate) fn walk(
    file: &dyn File,
    cursor: &mut Cursor,
    each: &mut dyn FnMut(u64, &Frame),
) -> io::Result<EndReason> {
    let mut window = Window {
        file,
        start: cursor.tail,
        bytes: Vec::new(),
        reach: FIRST_READ,
    };
    let mut waiting: Vec<(u64, Frame)> = Vec::new();
    let mut at = cursor.clone();
    let mut needed = FRAME_HEADER_LEN;
    loop {
        let buf = window.at(at.tail, needed)?;
        if buf.len() < needed {
            return Ok(match buf {
                [] => EndReason::Blank,
                _ => EndReason::Broken("the file ends inside of it".to_owned()),
            });
        }
        match Frame::decode(buf, at.epoch, at.lsn + 1, at.chain) {
            Decoded::NeedMore(len) => needed = len,
            Decoded::End(reason) => return Ok(reason),
            Decoded::Frame { frame, len, chain } => {
                at.note_synced(&frame);
                let offset = at.tail;
                at.tail += len as u64;
                at.lsn = frame.lsn;
                at.chain = chain;
                needed = FRAME_HEADER_LEN;
                let commits = !frame.more;
                waiting.push((offset, frame));
                if commits {
                    for (offset, frame) in waiting.drain(..) {
                        each(offset, &frame);
                    }
                    *cursor = at.clone();
                }
            }
        }
    }
}

/// Most walks find nothing, so the first read is small.
const FIRST_READ: usize = 1024;
const FURTHER_READS: usize = 256 * 1024;

/// A piece of the file that moves forward.
struct Window<'a> {
    file: &'a dyn File,
    start: u64,
    bytes: Vec<u8>,
    /// How much the next read asks for at least.
    reach: usize,
}

impl Window<'_> {
    /// At least `len` bytes at `offset`, or what there is before the end of the file. `offset` never
    /// goes back.
    fn at(&mut self, offset: u64, len: usize) -> io::Result<&[u8]> {
        let skip = usize::try_from(offset - self.start).unwrap_or(usize::MAX);
        let held = self.bytes.len().saturating_sub(skip);
        if held < len {
            self.start = offset;
            self.bytes.resize(len.max(self.reach), 0);
            let n = read_up_to(self.file, &mut self.bytes, offset)?;
            self.bytes.truncate(n);
            self.reach = FURTHER_READS;
            return Ok(&self.bytes);
        }
        Ok(&self.bytes[skip..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::{Fs as _, MemoryFs, Open, write_all_at};
    use numpack_format::ArrayName;
    use numpack_format::journal::DeleteRows;

    fn header() -> Header {
        Header {
            store_id: [1; 16],
            nonce: 9,
            epoch: 3,
            base_lsn: 40,
            meta_lsn: 40,
            boot_hash: 7,
        }
    }

    fn frames(lengths: &[usize]) -> Vec<Frame> {
        let name = ArrayName::new("a").unwrap();
        let last = lengths.len();
        (0..)
            .zip(lengths)
            .map(|(i, &runs)| Frame {
                lsn: 41 + i as u64,
                epoch: 3,
                more: i % 3 != 2 && i + 1 != last,
                record: Record::DeleteRows(DeleteRows {
                    name: name.clone(),
                    generation: 1,
                    runs: (0..runs as u64).map(|r| (3 * r, 1)).collect(),
                }),
            })
            .collect()
    }

    fn file_of(bytes: &[u8]) -> std::sync::Arc<dyn File> {
        let dir = MemoryFs::default()
            .open_dir(std::path::Path::new("d"), true)
            .unwrap();
        let file = dir.open("journal", Open::Create).unwrap();
        write_all_at(&*file, bytes, HEADER_LEN).unwrap();
        file
    }

    /// Every cut of the file gives the commits that are whole, in order, whatever the sizes of the records.
    #[test]
    fn a_cut_journal_gives_whole_commits() {
        let frames = frames(&[1, 0, 200, 3, 40_000, 5, 1, 1]);
        let (bytes, end) = Cursor::start(&header()).encode(&frames);
        let mut seen_lengths = std::collections::BTreeSet::new();
        let cuts = (0..bytes.len())
            .step_by(4001)
            .chain([bytes.len() - 1, bytes.len()]);
        for cut in cuts {
            let file = file_of(&bytes[..cut]);
            let mut cursor = Cursor::start(&header());
            let mut got = Vec::new();
            walk(&*file, &mut cursor, &mut |_, frame| got.push(frame.clone())).unwrap();
            assert_eq!(got, frames[..got.len()], "cut at {cut}");
            assert_eq!(cursor.lsn, 40 + got.len() as u64);
            seen_lengths.insert(got.len());
            if cut == bytes.len() {
                assert_eq!(cursor, end);
            }
        }
        assert_eq!(seen_lengths.into_iter().collect::<Vec<_>>(), [0, 3, 6, 8]);
    }

    #[test]
    fn walking_on_from_a_cursor_equals_one_walk() {
        let frames = frames(&[1, 1, 1, 70_000, 1, 1]);
        let (bytes, end) = Cursor::start(&header()).encode(&frames);
        let file = file_of(&bytes);
        let mut cursor = Cursor::start(&header());
        let mut count = 0;
        walk(&*file, &mut cursor, &mut |_, _| count += 1).unwrap();
        walk(&*file, &mut cursor, &mut |_, _| count += 100).unwrap();
        assert_eq!((count, &cursor), (6, &end));
    }

    #[test]
    fn a_journal_without_header_is_blank_or_damaged() {
        let dir = MemoryFs::default()
            .open_dir(std::path::Path::new("d"), true)
            .unwrap();
        let file = dir.open("journal", Open::Create).unwrap();
        assert!(Probe::read(&*file).unwrap().header.is_none());
        write_all_at(&*file, &header().encode(), Header::slot_offset(3)).unwrap();
        assert_eq!(Probe::read(&*file).unwrap().header, Some(header()));
        write_all_at(&*file, b"?", Header::slot_offset(3) + 20).unwrap();
        assert!(matches!(Probe::read(&*file), Err(ProbeError::Damaged)));
    }
}
