//! Files that appear as a whole.
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use tempfile::{Builder, NamedTempFile};

use crate::error::{At, Result};

const PREFIX: &str = ".numpack-";

/// A file on its way: written beside its target, which it replaces when it is complete. Dropping it
/// leaves the target as it was, and so does the end of the process; where the file system has files
/// without a name, nothing else is left then either.
#[derive(Debug)]
pub struct Output {
    file: Written,
    dir: PathBuf,
    target: PathBuf,
}

#[derive(Debug)]
enum Written {
    /// Vanishes with the process.
    Nameless(File),
    Named(NamedTempFile),
}

impl Output {
    /// A file that is to become `target`.
    ///
    /// # Errors
    /// A directory that cannot be written.
    pub fn create(target: &Path) -> Result<Self> {
        let dir = match target.parent() {
            Some(dir) if !dir.as_os_str().is_empty() => dir,
            _ => Path::new("."),
        };
        // Failures below name the temporary file instead of the directory that is missing.
        std::fs::metadata(dir).at(target)?;
        let file = match nameless(dir) {
            Some(file) => Written::Nameless(file),
            None => Written::Named(named(dir).at(target)?),
        };
        Ok(Self {
            file,
            dir: dir.to_path_buf(),
            target: target.to_path_buf(),
        })
    }

    /// The file to write to.
    pub fn file(&mut self) -> &mut File {
        match &mut self.file {
            Written::Nameless(file) => file,
            Written::Named(file) => file.as_file_mut(),
        }
    }

    /// Puts the file, safe on disk, in the target's place.
    ///
    /// # Errors
    /// A failed write.
    pub fn finish(mut self) -> Result<()> {
        self.file().sync_all().at(&self.target)?;
        let persisted = match self.file {
            // A name can be taken from another file, but not given together with it.
            Written::Nameless(file) => link(&file, &self.dir)
                .at(&self.target)?
                .persist(&self.target)
                .map_err(|failed| failed.error),
            Written::Named(file) => file
                .persist(&self.target)
                .map(drop)
                .map_err(|failed| failed.error),
        };
        persisted.at(&self.target)
    }
}

/// A file in `dir` that has no name yet, where there is such a thing.
#[cfg(target_os = "linux")]
fn nameless(dir: &Path) -> Option<File> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    // Its name is given through /proc. The umask takes away what it does not grant to new files.
    let proc = Path::new("/proc/self/fd").exists();
    let file = proc.then(|| rustix::fs::open(dir, flags, Mode::from_raw_mode(0o666)));
    Some(File::from(file?.ok()?))
}

#[cfg(not(target_os = "linux"))]
fn nameless(_: &Path) -> Option<File> {
    None
}

/// Gives a nameless file a name in `dir` that no other has.
#[cfg(target_os = "linux")]
fn link(file: &File, dir: &Path) -> io::Result<tempfile::TempPath> {
    use std::os::fd::AsRawFd;

    use rustix::fs::{AtFlags, CWD};
    let here = format!("/proc/self/fd/{}", file.as_raw_fd());
    let linked = Builder::new().prefix(PREFIX).make_in(dir, |name| {
        let flags = AtFlags::SYMLINK_FOLLOW;
        Ok(rustix::fs::linkat(CWD, here.as_str(), CWD, name, flags)?)
    });
    Ok(linked?.into_temp_path())
}

#[cfg(not(target_os = "linux"))]
fn link(_: &File, _: &Path) -> io::Result<tempfile::TempPath> {
    Err(io::ErrorKind::Unsupported.into())
}

fn named(dir: &Path) -> io::Result<NamedTempFile> {
    let mut builder = Builder::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // As above.
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    builder.prefix(PREFIX).tempfile_in(dir)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn both_kinds_of_files_appear_as_a_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("a");
        std::fs::write(&target, "old").unwrap();
        let names = || std::fs::read_dir(dir.path()).unwrap().count();
        for kind in ["any", "named"] {
            for finish in [false, true] {
                let mut output = Output::create(&target).unwrap();
                if kind == "named" {
                    output.file = Written::Named(named(dir.path()).unwrap());
                }
                output.file().write_all(kind.as_bytes()).unwrap();
                let before = std::fs::read_to_string(&target).unwrap();
                assert_ne!(before, kind);
                if finish {
                    output.finish().unwrap();
                } else {
                    drop(output);
                }
                let expected = if finish { kind } else { before.as_str() };
                assert_eq!(std::fs::read_to_string(&target).unwrap(), expected);
                assert_eq!(names(), 1);
            }
        }
    }

    #[test]
    #[cfg(unix)]
    fn both_kinds_of_files_have_the_rights_of_new_files() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let mode = |name: &str| {
            let path = dir.path().join(name);
            std::fs::metadata(path).unwrap().permissions().mode()
        };
        std::fs::write(dir.path().join("plain"), "").unwrap();
        let any = Output::create(&dir.path().join("any")).unwrap();
        any.finish().unwrap();
        let mut other = Output::create(&dir.path().join("named")).unwrap();
        other.file = Written::Named(named(dir.path()).unwrap());
        other.finish().unwrap();
        assert_eq!((mode("any"), mode("named")), (mode("plain"), mode("plain")));
    }
}
