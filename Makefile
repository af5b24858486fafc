.DEFAULT_GOAL := help
SHELL := /bin/sh
PY := .venv/bin/python
ARGS ?=

.PHONY: help setup demo test check forensics attacks bench bench-city build firmware firmware-test models lock clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1|\2/' | column -t -s '|'

setup: ## Create .venv from the lock file (demo, test and bench do it themselves)
	@deploy/local/setup.sh

demo: setup ## Run the whole system on this machine; ARGS="--help" lists what it takes
	@exec $(PY) -m deploy.local.demo $(ARGS)

test: setup ## Install what the tests need and run all of them
	@deploy/local/test.sh $(ARGS)

check: setup ## Only the quick part of `make test`: format, lint, types, walls
	@deploy/local/test.sh --check

forensics: setup ## Scan the agent's memory for a frame, 100 ms after its capture (needs root)
	@deploy/local/forensics.sh $(ARGS)

attacks: setup ## Attack what is released; print what each attacker gains, naively and here
	@.venv/bin/pytest -q -s -m attacks tests/attacks $(ARGS)

bench: setup ## Compare with peers: counts, time per frame, latency
	@deploy/local/bench.sh $(ARGS)

bench-city: setup ## Signed records stored a second, and pages over a year of 200 cameras
	@$(PY) -m deploy.local.bench_city $(ARGS)

build: ## What a device installs, with its bill of materials and measurement, in out/build
	@deploy/build/build.sh $(ARGS)

firmware: ## The device's image and update for ARCH=amd64|arm64, in out/image
	@firmware/image/build.sh $(or $(ARCH),amd64)

firmware-test: setup ## The life of a device in qemu: enrol, count, update, power cuts, tampering (root)
	@ARCH=$(or $(ARCH),amd64) deploy/local/firmware_test.sh $(ARGS)

models: setup ## Convert and train the models again from their sources (2 GB, 20 minutes)
	@models/convert/run.sh $(ARGS)

lock: ## Pin all dependencies again (needs uv)
	@requirements/lock.sh $(ARGS)

clean: ## Remove what the targets made here
	rm -rf .venv .venv-* .cache out .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
