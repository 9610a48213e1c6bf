"""Other file systems for the tests that want one: /dev/shm, overlayfs, a small tmpfs."""

import contextlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest


def type_of(directory):
    """The file system that a directory lies on, as the kernel calls it."""
    best = ("", "")
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, where, kind, *_ = line.split()
        if Path(directory).resolve().is_relative_to(where) and len(where) >= len(best[0]):
            best = (where, kind)
    return best[1]


@contextlib.contextmanager
def mounted(directory, kind, options):
    """Mounts a file system over a directory for the time of a block."""
    if os.geteuid():
        pytest.skip(f"mounting {kind} needs root")
    directory.mkdir(parents=True)
    command = ["/bin/mount", "-t", kind, "-o", options, "none", str(directory)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"{kind} cannot be mounted here: {done.stderr.strip()}")
    try:
        assert type_of(directory) == kind
        yield directory
    finally:
        # Lazily: a test that failed may still have maps and handles.
        subprocess.run(["/bin/umount", "-l", str(directory)], check=True)


@contextlib.contextmanager
def filesystem(kind, tmp_path):
    """A directory on the default file system, on /dev/shm, or on an overlayfs of its own."""
    if kind == "default":
        yield tmp_path
    elif kind == "shm":
        if not os.path.isdir("/dev/shm") or type_of("/dev/shm") != "tmpfs":  # noqa: S108
            pytest.skip("there is no tmpfs at /dev/shm")
        directory = Path(tempfile.mkdtemp(dir="/dev/shm"))
        try:
            yield directory
        finally:
            shutil.rmtree(directory)
    else:
        lower, upper, work = (tmp_path / name for name in ("lower", "upper", "work"))
        for directory in (lower, upper, work):
            directory.mkdir()
        options = f"lowerdir={lower},upperdir={upper},workdir={work}"
        with mounted(tmp_path / "merged", "overlay", options) as directory:
            yield directory
