"""mutants.py TARGET [NAME...]: break a copy of the engine in every way that tests/mutants lists.

The test of the tests: for each patch, the copy of the checkout in TARGET is broken by it, and one
of the tests that tell of crashes, faults, corruption and replaced rows must fail. They must pass on
the copy as it is. A patch that no longer applies or does not compile is an error as well: it has to
follow the code.
"""

import functools
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from mirror import mirror

ROOT = Path(__file__).resolve().parent.parent
PATCHES = ROOT / "crates/numpack-engine/tests/mutants"
# Enough for every mutant that is known to be found, and for the copy itself in half a minute.
IMAGES = "100000"
# Those that take seconds come first; the first failure is enough.
TESTS = [["replacing", "crash::"], ["images", "faults", "corruption"]]
FAILED = re.compile(r"^test (\S+) \.\.\. FAILED$", re.MULTILINE)
# Seconds after which a run of the tests is taken for one that never ends.
LONGEST = 900


def cargo(target: Path, *arguments: str, whole: bool = False) -> tuple[bool, str]:
    """Run cargo test on the engine in `target`, up to the first test that fails if not `whole`.

    Gives whether all went well, and what was printed.
    """
    command = ["cargo", "test", "--locked", "-p", "numpack-engine", "--test", "main", *arguments]
    with tempfile.TemporaryDirectory(dir=target) as scratch:
        environment = {
            **os.environ,
            "CARGO_TARGET_DIR": str(target / "target"),
            "NUMPACK_IMAGES": os.environ.get("NUMPACK_IMAGES", IMAGES),
            "RUST_BACKTRACE": "0",
            # What a test that is ended leaves behind goes with it.
            "TMPDIR": scratch,
        }
        process = subprocess.Popen(
            command,
            cwd=target,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        # cargo's child does not go with cargo.
        end = functools.partial(os.killpg, process.pid, signal.SIGKILL)
        timer = threading.Timer(LONGEST, end)
        timer.start()
        output = ""
        for line in process.stdout:
            output += line
            if FAILED.match(line) and not whole:
                end()
                break
        timer.cancel()
        process.stdout.close()
        return process.wait() == 0, output


def verdict(target: Path, whole: bool = False) -> str:
    """Say how the tests of the copy end: "passed", "failed in ...", or what is wrong with it.

    With `whole` a failure comes with all that was printed.
    """
    built, output = cargo(target, "--no-run")
    if not built:
        return f"does not compile:\n{output}"
    for tests in TESTS:
        start = time.monotonic()
        passed, output = cargo(target, "--", *tests, whole=whole)
        if passed:
            continue
        if failed := FAILED.search(output):
            return f"failed in {failed[1]}" + (f":\n{output}" if whole else "")
        # A mutant that waits for ever is found, too.
        if time.monotonic() - start >= LONGEST:
            return f"failed: no end of {' '.join(tests)}"
        return f"ended without a result:\n{output}"
    return "passed"


def main() -> None:
    target = Path(sys.argv[1]).resolve()
    patches = sorted(PATCHES.glob("*.patch"))
    if len(sys.argv) > 2:
        patches = [patch for patch in patches if patch.stem in sys.argv[2:]]
    if not patches:
        sys.exit("mutants: no patches")
    mirror(ROOT, target)
    as_it_is = verdict(target, whole=True)
    if as_it_is != "passed":
        sys.exit(f"mutants: the tests do not pass on the code as it is: {as_it_is}")
    wrong = []
    for patch in patches:
        mirror(ROOT, target)
        start = time.monotonic()
        # Without the ceiling git would look for a repository around the copy and apply nothing.
        apply = ["git", "apply", "-C1", "--recount", str(patch)]
        environment = {**os.environ, "GIT_CEILING_DIRECTORIES": str(target.parent)}
        applied = subprocess.run(apply, cwd=target, env=environment, capture_output=True, text=True)
        how = verdict(target) if applied.returncode == 0 else f"does not apply: {applied.stderr}"
        print(f"{patch.stem}: {how} ({time.monotonic() - start:.0f} s)", flush=True)
        if not how.startswith("failed"):
            wrong.append(patch.stem)
    mirror(ROOT, target)
    if wrong:
        sys.exit(f"mutants: {len(wrong)} of {len(patches)} not found: {', '.join(wrong)}")
    print(f"all {len(patches)} mutants found")


if __name__ == "__main__":
    main()
