"""Finds or makes the virtual environment that holds numpack 0.4.2, and prints its interpreter.

The published package has our name, so it can only be measured in an environment of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

VERSION = "0.4.2"


def environment() -> Path:
    """Where the environment is kept between runs."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "numpack" / f"venv-{VERSION}"


def interpreter() -> Path:
    """The environment's interpreter; the environment is made first if it is missing.

    Raises ``CalledProcessError`` or ``OSError`` if it cannot be made, for want of a network say.
    """
    directory = environment()
    python = directory / "bin" / "python"
    probe = f"import numpack; assert numpack.__version__ == '{VERSION}'"
    if python.exists():
        found = subprocess.run([str(python), "-c", probe], check=False, capture_output=True)
        if found.returncode == 0:
            return python
    print(f"installing numpack {VERSION} in {directory}", file=sys.stderr)
    venv.create(directory, with_pip=True, clear=True)
    install = [str(python), "-m", "pip", "install", "--quiet", f"numpack=={VERSION}"]
    subprocess.run(install, check=True, stdout=sys.stderr)
    return python


if __name__ == "__main__":
    print(interpreter())
