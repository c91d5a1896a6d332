# Each target makes what it needs: an environment in .venv, made again when pyproject.toml changes.
#
#   make demo     100,000 messages through the embedded broker, and the proof that none was lost
#                 ARGS: make demo ARGS="--asyncio --url amqp://guest:guest@localhost"
#   make test     every test, on the embedded broker and on RabbitMQ
#                 ARGS: make test ARGS="tests/wire -k table"
#   make check    ruff, mypy --strict, the direction of the imports, generated files
#   make bench    CPU and rate beside other clients; ARGS as `python -m bench --help` says
#   make bench-celery  Celery's tasks on py-amqp and on the drop-in; ARGS as its --help says
#   make bench-wire   the hot functions by themselves, pure and compiled; ARGS are pyperf's
#   make compat   the own tests of py-amqp, kombu, Celery and oslo.messaging, on py-amqp and Leveret
#   make pythons  every test on the other versions of Python, from this machine or from Debian
#                 ARGS: make pythons ARGS="3.13 3.14 -- tests/wire -k table"
#   make clean    remove the environment and what tools have cached

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
ARGS ?=

# what mypy reads; the package itself is named in pyproject.toml
TYPED := -p leveret -p bench -p examples -p tests.typing
TOOLS := $(addprefix tools/, async_to_sync.py compat_suites debian python_versions pythons rabbitmq_servers run_tests)
FRESH := $(BIN)/python pyproject.toml $(wildcard setup.py src/leveret/*/*.pyx src/leveret/*/*.pxi)

.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:
.PHONY: help demo test check bench bench-celery bench-wire compat pythons clean

help:
	@sed -n 's/^#   //p' Makefile

demo: $(VENV)/.made-demo
	@$(BIN)/python -m leveret demo $(ARGS)

test: $(VENV)/.made-dev
	@$(BIN)/python tools/run_tests $(ARGS)

check: $(VENV)/.made-dev
	$(BIN)/python -m ruff check .
	$(BIN)/python -m mypy --strict $(TYPED)
	$(BIN)/python -m mypy --strict --scripts-are-modules $(TOOLS)
	$(BIN)/python -m pytest -q tests/test_layers.py
	$(BIN)/python tools/async_to_sync.py --check

bench: $(VENV)/.made-bench
	@$(BIN)/python -m bench $(ARGS)

bench-celery: $(VENV)/.made-bench
	@$(BIN)/python -m bench.celery_tasks $(ARGS)

bench-wire: $(VENV)/.made-bench
	@$(BIN)/python -m bench.micro --fast $(ARGS)

pythons: $(BIN)/python
	@$(BIN)/python tools/pythons $(ARGS)

compat: $(BIN)/python
	@$(BIN)/python tools/compat $(ARGS)

clean:
	rm -f src/leveret/*/_*.so src/leveret/wire/_speedups.c src/leveret/sync/_exchange.c
	rm -rf $(VENV) build .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './.rabbitmq/*' -prune -exec rm -rf {} +

$(VENV)/.made-demo: EXTRAS := cli
$(VENV)/.made-dev: EXTRAS := bench,check,cli,test
$(VENV)/.made-bench: EXTRAS := bench,plot
$(VENV)/.made-%: $(FRESH)
	$(PIP) install --editable '.[$(EXTRAS)]'
	@rm -rf .mypy_cache  # it remembers which packages were missing
	@touch $@

# Some systems (Debian without python3-venv) make environments without pip: theirs installs it then.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'Python 3.11 or newer is needed: make PYTHON=/path/to/python'; exit 1; }
	@if $(PYTHON) -c 'import ensurepip' 2>/dev/null; then $(PYTHON) -m venv $(VENV); else \
	  $(PYTHON) -m venv --without-pip $(VENV) && \
	  $(PYTHON) -m pip --python $(BIN)/python install --quiet pip; fi
