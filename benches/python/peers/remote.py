"""A peer that lives in another process, because its package has the same name as ours."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import old_numpack
from inputs import Inputs
from timing import Style


class RemoteError(RuntimeError):
    """A call failed there, or ended its process: 0.4.2 aborts on some inputs."""


class RemotePeer:
    """numpack 0.4.2 behind a pipe, with the face of ``peers.base.Peer``."""

    key = "numpack042"
    title = "NumPack 0.4.2"

    def __init__(self, inputs: Inputs, root: Path) -> None:
        script = Path(__file__).resolve().parents[1] / "worker.py"
        self._command = [
            str(old_numpack.interpreter()),
            str(script),
            str(inputs.data_file),
            str(root),
        ]
        self._process: subprocess.Popen | None = None

    def _worker(self) -> subprocess.Popen:
        """The worker; started anew if an earlier one has aborted."""
        if self._process is None:
            environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=environment,
            )
        return self._process

    def _ask(self, call: str, **arguments) -> object:
        worker = self._worker()
        line = ""
        try:
            worker.stdin.write(json.dumps({"call": call, "arguments": arguments}) + "\n")
            worker.stdin.flush()
            line = worker.stdout.readline()
        except BrokenPipeError:
            pass
        if not line:
            self._process = None
            raise RemoteError(f"the process ended with status {worker.wait()}")
        reply = json.loads(line)
        if "error" in reply:
            raise RemoteError(reply["error"])
        return reply["result"]

    def versions(self) -> dict[str, str]:
        """Versions in the other environment."""
        return self._ask("versions")

    def setup(self, row: str, style: Style, rounds: int, cap: int, budget_ns: int) -> bool:
        """Prepare and calibrate a row there."""
        return self._ask(
            "setup", row=row, style=style.value, rounds=rounds, cap=cap, budget_ns=budget_ns
        )

    def round(self) -> list[int]:
        """Take one round of samples there."""
        return self._ask("round")

    def check(self) -> str | None:
        """What is wrong with the outcome there."""
        return self._ask("check")

    def finish(self) -> None:
        """Close what the row had open there."""
        self._ask("finish")

    def close(self) -> None:
        """End the worker."""
        if self._process is not None:
            self._process.stdin.close()
            self._process.wait(timeout=60)
            self._process.stdout.close()
            self._process = None
