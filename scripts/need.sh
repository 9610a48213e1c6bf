#!/usr/bin/env bash
# need.sh rust | need.sh python PYTHON: says in one line what is missing, before a build fails in fifty.
set -euo pipefail

fail() {
    echo "numpack: $1" >&2
    exit 1
}

# True if version $1 is at least version $2.
at_least() {
    [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]
}

case "$1" in
rust)
    want=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
    command -v cargo >/dev/null && command -v rustc >/dev/null ||
        fail "Rust is needed to build (cargo and rustc $want or newer on PATH); install it with rustup"
    have=$(rustc --version | cut -d ' ' -f 2)
    at_least "$have" "$want" || fail "rustc $have is too old: $want or newer is needed"
    command -v cc >/dev/null || fail "a C linker (cc) is needed; install gcc or clang"
    ;;
python)
    want=3.11
    command -v "$2" >/dev/null ||
        fail "Python is needed ($2 not found): $want or newer, or name one with make PYTHON=..."
    have=$("$2" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    at_least "$have" "$want" || fail "$2 is Python $have: $want or newer is needed"
    "$2" -c 'import venv, ensurepip' 2>/dev/null ||
        fail "$2 lacks venv or pip; on Debian and Ubuntu: apt-get install python3-venv"
    ;;
*)
    fail "need.sh: expected rust or python, got $1"
    ;;
esac
