.DEFAULT_GOAL := help
SHELL := /bin/sh
PY := .venv/bin/python

.PHONY: help setup
help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

setup: ## Create .venv from the lock file (the others call it)
	@deploy/local/setup.sh
