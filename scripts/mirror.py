"""mirror.py SOURCE TARGET: make TARGET hold the files of the git checkout SOURCE.

Only files whose contents differ are written, so that the others keep their modification times and
cargo sees a fresh clone as the tree it built last time. A file that an earlier call wrote and that
SOURCE has no more is removed; what TARGET made itself (.venv, dist) stays.
"""

import filecmp
import os
import shutil
import subprocess
import sys
from pathlib import Path


def listed(source: Path) -> set[str]:
    """Paths, relative to source, of the files that git tracks or would track."""
    command = ["git", "-C", str(source), "ls-files", "-z"]
    command += ["--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, check=True, capture_output=True).stdout.decode().split("\0")
    return {name for name in names if name and os.path.lexists(source / name)}


def link(path: Path, to: str) -> bool:
    """Make path a symbolic link to to; whether it was not one yet."""
    if path.is_symlink() and os.readlink(path) == to:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.symlink_to(to)
    return True


def mirror(source: Path, target: Path) -> tuple[int, int]:
    """Copy what differs and remove what is gone; return both counts."""
    wanted = listed(source)
    if not wanted:
        sys.exit(f"mirror: no files listed in {source}")
    target.mkdir(parents=True, exist_ok=True)
    record = target / ".mirrored"
    previous = set(record.read_text().split("\0")) if record.exists() else set()

    written = 0
    for name in sorted(wanted):
        old, new = target / name, source / name
        if new.is_symlink():
            written += link(old, os.readlink(new))
            continue
        if old.is_file() and filecmp.cmp(new, old, shallow=False):
            shutil.copymode(new, old)
            continue
        old.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(new, old)
        shutil.copymode(new, old)
        written += 1

    gone = {name for name in previous - wanted if name and os.path.lexists(target / name)}
    for name in gone:
        os.unlink(target / name)
    record.write_text("\0".join(sorted(wanted)))
    return written, len(gone)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    counts = mirror(Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve())
    print("mirror: {} files written, {} removed".format(*counts))
