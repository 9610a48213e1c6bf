//! What every [`Fs`] must do, as a suite that an implementation's tests call.

use std::io::{self, IoSlice};
use std::path::Path;

use super::{Fs, Lock, Open, read_exact_at, read_up_to, write_all_at};

/// Runs the suite in the directory `path`, which is made.
///
/// # Errors
/// The first rule that does not hold, in words, or the error of a call that should have succeeded.
pub fn check(fs: &dyn Fs, path: &Path) -> io::Result<()> {
    names(fs, &path.join("names"))?;
    contents(fs, &path.join("contents"))?;
    locks(fs, &path.join("locks"))?;
    maps(fs, &path.join("maps"))
}

fn rule(holds: bool, what: &str) -> io::Result<()> {
    if holds {
        Ok(())
    } else {
        Err(io::Error::other(format!("rule broken: {what}")))
    }
}

fn fails<T>(result: io::Result<T>, kind: io::ErrorKind, what: &str) -> io::Result<()> {
    rule(matches!(result, Err(error) if error.kind() == kind), what)
}

fn names(fs: &dyn Fs, path: &Path) -> io::Result<()> {
    fails(
        fs.open_dir(path, false),
        io::ErrorKind::NotFound,
        "a missing directory is NotFound",
    )?;
    let dir = fs.open_dir(path, true)?;
    rule(
        fs.open_dir(path, false)?.id() == dir.id(),
        "one directory has one id",
    )?;
    fails(
        dir.open("a", Open::Read),
        io::ErrorKind::NotFound,
        "Read does not create",
    )?;
    fails(
        dir.open("a", Open::Write),
        io::ErrorKind::NotFound,
        "Write does not create",
    )?;
    let a = dir.open("a", Open::CreateNew)?;
    fails(
        dir.open("a", Open::CreateNew),
        io::ErrorKind::AlreadyExists,
        "CreateNew is exclusive",
    )?;
    rule(
        dir.open("a", Open::Create)?.stat()?.ino == a.stat()?.ino,
        "Create opens an existing file",
    )?;
    fails(
        dir.open("sub/b", Open::Create),
        io::ErrorKind::NotFound,
        "parents are not made",
    )?;
    dir.make_dir("sub")?;
    dir.make_dir("sub")?;
    dir.open("sub/b", Open::Create)?;
    let mut listed = dir.list("")?;
    listed.sort();
    rule(listed == ["a", "sub"], "list names files and directories")?;
    rule(dir.list("sub")? == ["b"], "list of a directory below")?;
    rule(dir.unlink("sub").is_err(), "a directory with files stays")?;
    fails(
        dir.rename_new("a", "sub"),
        io::ErrorKind::AlreadyExists,
        "rename_new never replaces",
    )?;
    dir.rename_new("a", "sub/e")?;
    dir.rename_new("sub/e", "a")?;
    dir.link("a", "sub/c")?;
    rule(a.stat()?.links == 2, "a link is a second name")?;
    fails(
        dir.link("a", "sub/b"),
        io::ErrorKind::AlreadyExists,
        "link never replaces",
    )?;
    dir.rename("a", "sub/c")?;
    rule(
        dir.stat("a").is_ok(),
        "renaming onto the same inode changes nothing",
    )?;
    dir.rename("a", "sub/b")?;
    fails(
        dir.stat("a"),
        io::ErrorKind::NotFound,
        "a renamed file is gone from its old name",
    )?;
    rule(dir.stat("sub/b")?.ino == a.stat()?.ino, "rename replaces")?;
    dir.unlink("sub/b")?;
    dir.unlink("sub/c")?;
    rule(a.stat()?.links == 0, "an unlinked file has no name")?;
    dir.unlink("sub")?;
    fails(
        dir.unlink("sub"),
        io::ErrorKind::NotFound,
        "unlink of nothing is NotFound",
    )?;
    dir.sync("")?;
    dir.sync_all()
}

fn contents(fs: &dyn Fs, path: &Path) -> io::Result<()> {
    let dir = fs.open_dir(path, true)?;
    let file = dir.open("f", Open::Create)?;
    write_all_at(&*file, b"abc", 4)?;
    rule(file.stat()?.len == 7, "a write past the end extends")?;
    let mut buf = [9; 8];
    rule(
        read_up_to(&*file, &mut buf, 0)? == 7,
        "a read stops at the end",
    )?;
    rule(&buf == b"\0\0\0\0abc\x09", "a hole reads as zeros")?;
    let mut written = file.write_at(&[IoSlice::new(b"xy"), IoSlice::new(b"z")], 0)?;
    rule(written > 0, "a write makes progress")?;
    while written < 3 {
        written += file.write_at(&[IoSlice::new(&b"xyz"[written..])], written as u64)?;
    }
    file.set_len(3)?;
    read_exact_at(&*file, &mut buf[..3], 0)?;
    rule(&buf[..3] == b"xyz", "what was written is read")?;
    fails(
        read_exact_at(&*file, &mut buf, 0),
        io::ErrorKind::UnexpectedEof,
        "a short read is EOF",
    )?;
    file.set_len(5)?;
    read_exact_at(&*file, &mut buf[..5], 0)?;
    rule(
        &buf[..5] == b"xyz\0\0",
        "a longer length is filled with zeros",
    )?;
    file.sync_data()?;
    let read_only = dir.open("f", Open::Read)?;
    rule(
        read_only.write_at(&[IoSlice::new(b"!")], 0).is_err(),
        "Read does not write",
    )?;
    let copy = dir.open("g", Open::CreateNew)?;
    copy.copy_from(&*file, 1, 3)?;
    read_exact_at(&*copy, &mut buf[..4], 0)?;
    rule(&buf[..4] == b"\0yz\0", "copy_from keeps the offset")?;
    fails(
        copy.copy_from(&*file, 0, 6),
        io::ErrorKind::UnexpectedEof,
        "copy_from stops at the end",
    )
}

fn locks(fs: &dyn Fs, path: &Path) -> io::Result<()> {
    let dir = fs.open_dir(path, true)?;
    let first = dir.open("f", Open::Create)?;
    let second = dir.open("f", Open::Write)?;
    rule(first.try_lock(Lock::Shared)?, "a free file locks")?;
    rule(second.try_lock(Lock::Shared)?, "shared locks share")?;
    second.unlock()?;
    rule(
        !second.try_lock(Lock::Exclusive)?,
        "shared keeps exclusive out",
    )?;
    first.unlock()?;
    rule(second.try_lock(Lock::Exclusive)?, "an unlocked file locks")?;
    rule(!first.try_lock(Lock::Shared)?, "exclusive keeps shared out")?;
    drop(second);
    rule(first.try_lock(Lock::Exclusive)?, "closing unlocks")?;
    let other = dir.open("g", Open::Create)?;
    rule(other.try_lock(Lock::Exclusive)?, "locks belong to inodes")
}

fn maps(fs: &dyn Fs, path: &Path) -> io::Result<()> {
    let dir = fs.open_dir(path, true)?;
    let file = dir.open("f", Open::Create)?;
    write_all_at(&*file, b"0123456789", 0)?;
    fails(
        file.map(11),
        io::ErrorKind::UnexpectedEof,
        "a map past the end is refused",
    )?;
    let map = file.map(4)?;
    rule(map.as_ref() == b"0123", "a map shows the bytes")?;
    let mut private = file.map_private(10)?;
    private.as_mut()[0] = b'x';
    rule(
        private.as_ref() == b"x123456789",
        "a private map takes writes",
    )?;
    rule(
        file.map(10)?.as_ref() == b"0123456789",
        "and keeps them to itself",
    )?;
    dir.unlink("f")?;
    drop(file);
    rule(
        map.as_ref() == b"0123" && private.as_ref()[9] == b'9',
        "maps outlive name and file",
    )?;
    let empty = dir.open("e", Open::Create)?;
    rule(empty.map(0)?.as_ref().is_empty(), "an empty map is fine")
}
