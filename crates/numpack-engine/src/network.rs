//! File systems of other machines, told by the number that the operating system gives each kind.
//!
//! Locks and maps of such a file system are not coherent between machines, and with some not even within
//! one. FUSE and 9P are not among them: local encrypted and layered directories, and the roots of sandboxes,
//! are such file systems, too.

use std::path::Path;

use crate::error::{Error, Result};
use crate::fs::{Dir, Fs};
use crate::options::Options;

const KINDS: [(u32, &str); 8] = [
    (0x0000_6969, "NFS"),
    (0x0000_517b, "SMB"),
    (0xff53_4d42, "CIFS"),
    (0xfe53_4d42, "SMB2"),
    (0x00c3_6400, "Ceph"),
    (0x0bd0_0bd0, "Lustre"),
    (0x5346_414f, "AFS"),
    (0x6b41_4653, "AFS"),
];

/// Refuses to write to a store on another machine, unless the options allow it.
pub(crate) fn check(dir: &dyn Dir, path: &Path, options: &Options) -> Result<()> {
    if options.network || !options.mode.is_writable() {
        return Ok(());
    }
    let kind = dir
        .kind()
        .map_err(|source| Error::io("stat", path, source))?;
    match KINDS.iter().find(|(number, _)| Some(*number) == kind) {
        Some((_, name)) => Err(Error::NetworkFileSystem {
            path: path.to_path_buf(),
            kind: name,
        }),
        None => Ok(()),
    }
}

/// As [`check`], of a directory that is not there yet: it will be on the file system of the nearest one above.
pub(crate) fn check_above(fs: &dyn Fs, path: &Path, options: &Options) -> Result<()> {
    let above = path.ancestors().skip(1).find_map(|above| {
        let here = above.as_os_str().is_empty();
        let above = if here { Path::new(".") } else { above };
        fs.open_dir(above, false).ok()
    });
    match above {
        Some(dir) => check(&*dir, path, options),
        None => Ok(()),
    }
}
