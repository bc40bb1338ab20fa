# Needs Python 3.11 or newer with venv, make and git; everything else is fetched into the checkout.

PYTHON ?= python3
PY := .venv/bin/python
STATIC_TESTS = $(wildcard tests/unit tests/contracts tests/architecture)

# Set by some containers; without compiled files seven houses take 15 s to start instead of 5.
unexport PYTHONDONTWRITEBYTECODE
# Whatever is installed elsewhere must not be found before this checkout's own.
unexport PYTHONPATH PYTHONHOME

.DEFAULT_GOAL := help
.PHONY: help setup demo up down check static test verify bench bench-quick bench-growth soak

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  make %-14s %s\n", $$1, $$2 }'

setup: .venv/.complete .local/.jars ## install everything into .venv and .local; once, then instant

demo: setup ## start all, play six months of a clinic, tell one patient's story; ONCE=1 ends afterwards
	.venv/bin/tandem demo $(if $(ONCE),--once)

up: setup ## start Kafka, PostgreSQL and all houses; they stay up
	.venv/bin/tandem up

down: ## end everything that `make up` started
	.venv/bin/tandem down

check: static ## format, lint, types, borders and unit tests; under a minute
	$(PY) -m pytest $(STATIC_TESTS)

static: setup
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m mypy
	.venv/bin/lint-imports --verbose

test: static ## everything at reduced counts, on real servers; what CI runs
	$(PY) -m tests.everything

verify: setup ## each promise kept, broken or not run; WHAT=spine for one group
	$(PY) -m tests.verify $(WHAT)

bench: setup ## every figure, with its bar
	$(PY) -m tests.bench

bench-quick: setup ## a daily glance, one minute
	$(PY) -m tests.bench --quick

bench-growth: setup ## how figures change as the log grows, half an hour
	$(PY) -m tests.bench --growth

soak: setup ## the full counts, for hours; goes on where it stopped
	$(PY) -m tests.soak

.venv/.complete: requirements-dev.lock deploy/setup.sh
	PYTHON="$(PYTHON)" sh deploy/setup.sh
	@touch $@

.local/.jars: .venv/.complete deploy/local/kafka-jars.sha256
	rm -rf .local/kafka-jars
	$(PY) -m deploy.local fetch
	@touch $@
