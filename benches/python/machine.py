"""What the figures were measured on: machine, commit, versions, date."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
import sys
from pathlib import Path

#: They make a current NumPy slow where a host sets them for another program's sake.
UNWANTED = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")


def start_clean() -> None:
    """Start this program anew without the variables that would make a peer slow."""
    if any(name in os.environ for name in UNWANTED):
        kept = {name: value for name, value in os.environ.items() if name not in UNWANTED}
        os.execve(sys.executable, [sys.executable, *sys.argv], kept)  # noqa: S606


def describe(work: Path) -> dict[str, str]:
    """Everything that a reader needs to place the figures; ``work`` is where the files lie."""
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": commit(),
        "processor": processor(),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "filesystem": filesystem(work),
        "huge pages": _chosen(Path("/sys/kernel/mm/transparent_hugepage/enabled")),
        "load at start": f"{os.getloadavg()[0]:.2f}",
        "python": platform.python_version(),
    }


def commit() -> str:
    """The commit of the checkout that holds this file, and whether files differ from it."""
    here = Path(__file__).resolve().parent

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(here), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    try:
        dirty = " (with local changes)" if git("status", "--porcelain") else ""
        return git("rev-parse", "--short=12", "HEAD") + dirty
    except (OSError, subprocess.CalledProcessError):
        return "not in a git checkout"


def processor() -> str:
    """The processor's name; family and model, since virtual machines shorten the name."""
    fields: dict[str, str] = {}
    for line in _read(Path("/proc/cpuinfo")).splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    name = fields.get("model name", platform.processor() or "unknown")
    return f"{name} (family {fields.get('cpu family', '?')}, model {fields.get('model', '?')})"


def filesystem(path: Path) -> str:
    """The type of the filesystem that holds ``path``."""
    best = ("", "unknown")
    resolved = path.resolve()
    for line in _read(Path("/proc/mounts")).splitlines():
        _, mount, kind, *_ = line.split()
        mount = mount.replace("\\040", " ")
        if resolved.is_relative_to(mount) and len(mount) > len(best[0]):
            best = (mount, kind)
    return best[1]


def _chosen(path: Path) -> str:
    """The bracketed word of a kernel setting."""
    text = _read(path)
    return text[text.find("[") + 1 : text.find("]")] if "[" in text else "unknown"


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
