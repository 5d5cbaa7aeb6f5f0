# make demo and make test work on a fresh machine: everything is installed into .venv first.

PYTHON ?= python3
BIN := .venv/bin
# Its time says when the packages were installed: again only after pyproject.toml has changed.
INSTALLED := .venv/installed

.DEFAULT_GOAL := help
.PHONY: help install wordnet demo test docs format bench clean

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(INSTALLED) wordnet  ## install the package and its developers' tools into .venv

# torch and torchvision together, first: what else needs torch must find the build that fits
# torchvision.
$(INSTALLED): pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install torch torchvision
	$(BIN)/python -m pip install --editable '.[dev]'
	touch $@

# Synonyms and hypernyms are looked up in WordNet where there is one; all works without.
wordnet:
	@if [ -e /usr/share/wordnet/data.noun ]; then :; \
	elif command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
		export DEBIAN_FRONTEND=noninteractive; \
		apt-get install --yes --quiet wordnet-base || { apt-get update --quiet && \
		apt-get install --yes --quiet wordnet-base; } || \
		echo "notice: wordnet-base could not be installed: no synonyms from WordNet"; \
	else \
		echo "notice: no WordNet found: no synonyms from it (Debian: apt install wordnet-base)"; \
	fi

demo: install  ## the whole job on generated pictures, offline
	$(BIN)/weaksup demo

test: install  ## style, types and tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy -p weaksup -p trainer -p pipelines
	$(BIN)/pytest

docs: $(INSTALLED)  ## build the documentation, site/index.html
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "next: python3 -m http.server --directory site, and open the address that it names"

format: $(INSTALLED)  ## mend style where that can be done automatically
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(INSTALLED)  ## measure what docs/benchmarks.md states
	$(BIN)/python -m benchmarks.store_reading
	$(BIN)/python -m benchmarks.ranking
	$(BIN)/python -m benchmarks.search
	$(BIN)/python -m benchmarks.training
	$(BIN)/python -m benchmarks.memory
	$(BIN)/python -m benchmarks.detectors
	$(BIN)/python -m benchmarks.extraction ../shared/flickr8k/images ../shared/models/yolox_nano.onnx

clean:  ## remove .venv and all caches
	rm -rf .venv build dist site *.egg-info .mypy_cache .ruff_cache .pytest_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
