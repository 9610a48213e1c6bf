"""A command in a terminal of its own, driven as a person drives it."""

import codecs
import contextlib
import os
import re
import select
import subprocess
import sys
import termios
import time

# The child takes the terminal as its controlling one, so that Ctrl-C reaches it as a signal.
TAKE = """
import fcntl, os, sys, termios
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""
# Also one of which only the start has come.
ESCAPE = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]|\x1b(\[[0-9;?]*)?\Z")
UP, TAB, ENTER, CTRL_C, CTRL_D = "\x1b[A", "\t", "\r", "\x03", "\x04"


class Terminal:
    """`raw` is everything that was shown, escapes included."""

    def __init__(self, *command, **environment):
        self.raw = ""
        self.decoder = codecs.getincrementaldecoder("utf-8")()
        self.seen = 0
        self.master, slave = os.openpty()
        termios.tcsetwinsize(slave, (40, 120))
        self.process = subprocess.Popen(
            [sys.executable, "-c", TAKE, *map(str, command)],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={**os.environ, "TERM": "xterm", **environment},
        )
        os.close(slave)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.master)

    @property
    def text(self):
        """What was shown, without escapes."""
        return ESCAPE.sub("", self.raw)

    def read(self, timeout):
        """Whether something came."""
        if not select.select([self.master], [], [], timeout)[0]:
            return False
        # The terminal of a process that has ended cannot be read.
        with contextlib.suppress(OSError):
            data = os.read(self.master, 65536)
            self.raw += self.decoder.decode(data)
            return bool(data)
        return False

    def send(self, text):
        os.write(self.master, text.encode())

    def expect(self, pattern, timeout=60):
        """Waits until the pattern is shown behind what the last call found; returns the match."""
        end = time.monotonic() + timeout
        while True:
            found = re.compile(pattern, re.M).search(self.text, self.seen)
            if found:
                self.seen = found.end()
                return found
            assert time.monotonic() < end, f"{pattern!r} is not in {self.text[self.seen :]!r}"
            if not self.read(0.1):
                assert self.process.poll() is None, f"ended without {pattern!r}: {self.text!r}"

    def signals(self):
        """Waits until Ctrl-C is a signal again, as it is while no line is being typed."""
        end = time.monotonic() + 60
        while not termios.tcgetattr(self.master)[3] & termios.ISIG:
            assert time.monotonic() < end
            time.sleep(0.01)

    def wait(self, timeout=60):
        """The exit code."""
        end = time.monotonic() + timeout
        while self.process.poll() is None:
            assert time.monotonic() < end, self.text
            self.read(0.1)
        while self.read(0):
            pass
        return self.process.returncode
