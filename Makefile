# make demo    the main job, on this machine, from nothing: writes demo/report.html
# make test    the tests            make check   style, types, layers
# make test-slow  those that need the embedded weights, too
# make test-gpu   those for one GPU (CUDA); elsewhere they are skipped, and say so
# make test-vllm  mixtures inside vLLM, in a virtual environment of its own (3.5 GB)
# make test-clients  other packages as clients of the server, in a virtual environment of its own
# make docs    the documentation as a site, in site/        make package   the wheel and the source archive, checked

PYTHON ?= python3
OUT ?= demo
BIN := .venv/bin
export TOKENIZERS_PARALLELISM := false

.PHONY: demo test test-slow test-gpu test-vllm test-clients check types style layers docs package format setup clean

demo: .venv/.installed
	$(BIN)/pluralign demo --out $(OUT)

# Two workers of one thread each: the default of two threads in two workers fights over two cores. A file's tests
# stay on one worker, so that what they share is made once; in the order of names the last files are short ones.
# Modules are compiled once and kept, for the processes that tests start as well.
test: .venv/.installed-dev
	PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test-slow: .venv/.installed-dev
	$(BIN)/python -m pytest -m "not gpu and not network"

# Warnings are not errors here: those of compilers for GPUs are not known.
test-gpu: .venv/.installed-dev
	$(BIN)/python -m pytest -n 0 -m gpu -rs -W default

test-vllm:
	PYTHON=$(PYTHON) .ci/vllm

test-clients: .venv/.installed-dev
	$(PYTHON) -m venv .venv-clients
	echo "$(CURDIR)/$$(echo .venv/lib/python3*/site-packages)" > $$(echo .venv-clients/lib/python3*/site-packages)/project.pth
	.venv-clients/bin/python -m pip install --quiet --group clients
	PYTHONPATH=src HF_DATASETS_OFFLINE=1 .venv-clients/bin/python -m pytest -n 0 tests/serve/clients

# Types take longer than the rest together: with make -j 2 they have a core of their own.
check: types style layers

types: .venv/.installed-dev
	$(BIN)/pyright --project pyproject.toml

style: .venv/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

layers: .venv/.installed-dev
	$(BIN)/lint-imports

# The theme announces its successor at every build; that is no warning about these pages.
docs: .venv/.installed-dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet --site-dir site

package: .venv/.installed-dev
	rm -rf dist
	$(BIN)/python -m build --no-isolation
	$(BIN)/twine check --strict dist/*

format: .venv/.installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

setup: .venv/.installed-dev

.venv/.installed: pyproject.toml constraints.txt scripts/setup.sh
	sh scripts/setup.sh $(PYTHON) .venv .
	touch $@

.venv/.installed-dev: .venv/.installed
	sh scripts/setup.sh $(PYTHON) .venv '.[openai,ink,rl,serve]' dev
	touch $@

clean:
	rm -rf .venv demo site dist
