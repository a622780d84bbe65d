# What a person, CI and a fresh machine run. `make help` lists it.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
RUST   := rust_core/Cargo.toml
NODE_TARGET := x86_64-unknown-linux-gnu
# What a checkout builds for its own tests and demo carries planted bugs and fault points; a released node
# has neither (docs/node.md).
NODE_FEATURES ?= plants,faults

.PHONY: help setup deps extension node toxiproxy demo test test-rust test-python lint lint-rust lint-python format bench wheel soak brute-force fuzz detection clean-run containers nightly clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

setup: deps extension  ## virtual environment, Python packages, the Rust extension

deps: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml ci/constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "mcp-chaos needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version). Set PYTHON=…" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python ci/requirements.py | $(BIN)/python -m pip install --quiet --constraint ci/constraints.txt --requirement /dev/stdin
	@touch $@

extension: deps  ## the Rust extension chaos._core, in release mode, into the virtual environment
	@$(BIN)/python ci/build_extension.py

node:  ## the static node binary for containers (with planted bugs and fault points)
	RUSTFLAGS="-C target-feature=+crt-static" cargo build --quiet --release --locked --manifest-path $(RUST) \
		--target $(NODE_TARGET) --package mcp-manager-node --features $(NODE_FEATURES)

toxiproxy:  ## Toxiproxy at its pinned version, into the user's cache
	@ci/build-toxiproxy.sh

demo: setup  ## the main job: break a cluster in simulation, and on Docker where an engine answers
	@ci/demo.sh

test: test-rust test-python  ## all tests, Rust and Python

test-rust:
	cargo test --locked --manifest-path $(RUST) --workspace --features mcp-manager-node/plants,mcp-manager-node/faults

test-python: setup
	@if $(BIN)/python ci/engine_answers.py; then $(MAKE) --no-print-directory node toxiproxy; fi
	$(BIN)/python -m pytest tests

lint: lint-rust lint-python  ## formatting, lints, types, import contracts

lint-rust:
	cargo fmt --manifest-path $(RUST) --all --check
	cargo clippy --locked --manifest-path $(RUST) --workspace --all-targets \
		--features mcp-manager-node/plants,mcp-manager-node/faults -- -D warnings

lint-python: setup
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports

format:  ## apply the formatters
	cargo fmt --manifest-path $(RUST) --all
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

bench: setup  ## the speed of the simulator, of hunt and of the checkers (beside Porcupine), and the micro-benchmarks
	cargo run --quiet --release --locked --manifest-path $(RUST) --package mcp-chaos-sim --example speed
	$(BIN)/python ci/bench_hunt.py
	$(BIN)/python ci/bench_checkers.py
	cargo bench --locked --manifest-path $(RUST) --workspace

wheel: setup  ## build the wheel, assert what is in it, use it outside the checkout
	$(BIN)/python ci/check_wheel.py

soak: setup  ## 1,000 seeds of each scenario in simulation, each run again in another process
	$(BIN)/python ci/soak.py

brute-force:  ## 2,000,000 random histories of each model: every engine of the checker against a brute force
	MCP_CHAOS_HISTORIES=$${MCP_CHAOS_HISTORIES:-2000000} cargo test --release --quiet --locked --manifest-path $(RUST) \
		--package mcp-chaos-linearizability --test random_histories -- --nocapture brute_force
	MCP_CHAOS_HISTORIES=$${MCP_CHAOS_HISTORIES:-2000000} cargo test --release --quiet --locked --manifest-path $(RUST) \
		--package mcp-chaos-linearizability --lib -- --nocapture register::tight

fuzz: setup  ## 20,000 mutated scenario files, overrides, plans and manifests: each read whole, or refused with its place
	$(BIN)/python ci/fuzz_scenarios.py

detection: setup  ## how soon each planted bug is found over the general families: rewrites docs/detection.md (hours)
	$(BIN)/python ci/detection.py --seeds $(or $(SEEDS),20) --way $(or $(WAY),both) --results detection.jsonl

clean-run: setup  ## 500,000 random plans of the clean build over all families: rewrites docs/clean-run.md (hours)
	$(BIN)/python ci/clean_run.py --plans $(or $(PLANS),500000) --results clean-run.jsonl

containers: setup node toxiproxy  ## how often shrunk planted bugs show on Docker: rewrites docs/on-containers.md (an hour)
	$(BIN)/python ci/on_containers.py --results containers.jsonl

nightly: setup  ## what runs every night: see ci/nightly.sh
	ci/nightly.sh

clean:  ## build products and the virtual environment (bundles stay)
	cargo clean --manifest-path $(RUST)
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis chaos/_core*.so
