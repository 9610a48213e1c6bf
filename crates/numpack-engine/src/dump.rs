//! The journal of a store as it stands on disk, for people.

use std::path::Path;

use numpack_format::journal::{Frame, Header, Hint};

use crate::error::{Error, Result};
use crate::fs::{Fs as _, Open, RealFs};
use crate::journal::{Cursor, walk};
use crate::load::probe;
use crate::paths;

/// Everything in a journal.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct JournalDump {
    /// The newest header; none in a journal that was never begun.
    pub header: Option<Header>,
    /// The newest hint.
    pub hint: Option<Hint>,
    /// The committed records, each with its offset in bytes.
    pub frames: Vec<(u64, Frame)>,
    /// Where the committed records end, and why the journal does not go on there.
    pub end: (u64, String),
}

/// Reads the journal of the store at `path`, changing nothing.
///
/// # Errors
/// [`Error::NoStore`] when there is no directory, [`Error::Io`] when there is no journal in it,
/// [`Error::Corrupt`] when its header is damaged.
pub fn dump_journal(path: &Path) -> Result<JournalDump> {
    let dir = RealFs.open_dir(path, false).map_err(|_| Error::NoStore {
        path: path.to_path_buf(),
    })?;
    let file = dir
        .open(paths::JOURNAL, Open::Read)
        .map_err(|source| Error::io("open", path.join(paths::JOURNAL), source))?;
    let head = probe(&*file, path)?;
    let mut frames = Vec::new();
    let end = match &head.header {
        None => (0, "the journal was never begun".to_owned()),
        Some(header) => {
            let mut cursor = Cursor::start(header);
            let reason = walk(&*file, &mut cursor, &mut |offset, frame| {
                frames.push((offset, frame.clone()));
            })
            .map_err(|source| Error::io("read", path.join(paths::JOURNAL), source))?;
            (cursor.tail, reason.to_string())
        }
    };
    Ok(JournalDump {
        header: head.header,
        hint: head.hint,
        frames,
        end,
    })
}
