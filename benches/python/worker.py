"""Measures numpack 0.4.2: reads one JSON request a line, answers one JSON line each.

Started by ``peers/remote.py`` with the interpreter of 0.4.2's own virtual environment.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TextIO

from inputs import Inputs
from peers.numpack042 import NumPack042Peer
from timing import Style


def answer(peer: NumPack042Peer, call: str, arguments: dict) -> object:
    """Do what one request asks."""
    match call:
        case "versions":
            return peer.versions()
        case "setup":
            return peer.setup(**{**arguments, "style": Style(arguments["style"])})
        case "round":
            return peer.round()
        case "check":
            return peer.check()
        case "finish":
            return peer.finish()
    raise ValueError(f"unknown request {call}")


def serve(requests: TextIO, answers: TextIO, peer: NumPack042Peer) -> None:
    """Answer requests until the pipe closes; a failure is an answer too."""
    for line in requests:
        request = json.loads(line)
        try:
            reply = {"result": answer(peer, request["call"], request["arguments"])}
        except Exception as error:
            reply = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(reply) + "\n")
        answers.flush()


def main(data_file: str, root: str) -> None:
    """Serve on stdin and stdout; whatever the library prints goes to stderr."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    serve(sys.stdin, answers, NumPack042Peer(Inputs(Path(data_file)), Path(root)))


if __name__ == "__main__":
    main(*sys.argv[1:])
