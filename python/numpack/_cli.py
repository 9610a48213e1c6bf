"""The `numpack` command of the wheel: the same Rust code as the stand-alone binary."""

import signal
import sys

from numpack import _internal


def main() -> None:
    """Run the command line and exit with its code."""
    # Python only notes Ctrl-C until Rust returns; the command is to end at once.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.exit(_internal.cli_main(sys.argv))
