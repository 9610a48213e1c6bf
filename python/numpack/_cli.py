"""The `numpack` command of the wheel: the same Rust code as the stand-alone binary."""

import sys

from numpack import _internal


def main() -> None:
    """Run the command line and exit with its code."""
    sys.exit(_internal.cli_main(sys.argv))
