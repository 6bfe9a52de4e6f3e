# Two commands after cloning: `make demo` and `make test`. Both make .venv and install what they need into it.

PORT ?= 8000
DEMO := demo$(if $(REDIS_URL),-redis)
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
REQUIREMENTS := setup.cfg pyproject.toml
# `make lint` fails if the package has more modules: merge small ones that serve one purpose.
MAX_MODULES ?= 215

.DEFAULT_GOAL := help
.PHONY: help demo test lint types docs links bench matrix build client clean
.NOTPARALLEL:

help:
	@echo 'make demo    the example project on http://127.0.0.1:$(PORT) (PORT=... for another)'
	@echo '             REDIS_URL=redis://... for several processes; see example_project/README.rst'
	@echo 'make test    everything that a CI checks: lint, types, docs, build, client, tests'
	@echo 'make lint | types | docs | build | client | links | bench | matrix | clean'

# One process and no reloader: it is up sooner, and Ctrl-C or a kill ends all of it.
demo: .venv/$(DEMO).stamp
	cd example_project && ../$(BIN)/python manage.py migrate --verbosity 0
	cd example_project && ../$(BIN)/python manage.py seed_demo
	@echo 'Pages: http://127.0.0.1:$(PORT)/, /tour/ and /ws-docs/ (as alice: all routes, to read and to call)'
	@echo 'Types: cd example_project && ../$(BIN)/python manage.py routesock_client typescript -o frontend/ws.ts'
	cd example_project && exec ../$(BIN)/python manage.py runserver --noreload 127.0.0.1:$(PORT)

# Two checks at a time, and pytest last, since its closing line is what a CI reads.
test: system-packages .venv/dev.stamp
	+@$(MAKE) --no-print-directory types docs & others=$$!; status=0; \
	$(MAKE) --no-print-directory lint build client || status=1; \
	wait $$others || status=1; \
	exit $$status
	.ci/test

lint: .venv/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell . .ci .github
	$(BIN)/lint-imports --no-logo
	.ci/size routesock $(MAX_MODULES)

types: .venv/dev.stamp
	$(BIN)/mypy --strict
	$(BIN)/pyright
	# Of the public names; anything under 100 % fails. It looks for the package where that Python does.
	PATH="$(CURDIR)/$(BIN):$$PATH" PYTHONPATH="$(CURDIR)" $(BIN)/pyright --verifytypes routesock --ignoreexternal

docs: .venv/dev.stamp
	.ci/docs

# Links to other sites. Not a part of `make test`: they need the network, and break without a change here.
links: .venv/dev.stamp
	$(BIN)/python -m sphinx -q -E -b linkcheck docs docs/_build/links

build: .venv/dev.stamp
	.ci/wheel
	.ci/sdist

# The TypeScript client. `npm run build` in clients/typescript writes what is in routesock/static/routesock/.
client:
	.ci/typescript

bench: .venv/dev.stamp
	$(BIN)/python -m benchmarks

# All environments of tox.ini, or those of TOXENV: `make matrix TOXENV=py311-lowest,py312-dj42`.
# uv finds Python 3.11 to 3.13 on PATH or downloads them; it runs pyenv's shims, which reach the versions named here.
# 8 GiB of addresses each: a runaway test fails instead of taking the machine with it. (CPython 3.13.0 puts no limit on
# the recursion of a function that takes **kwargs.)
matrix: .venv/dev.stamp
	@.ci/system-packages postgresql
	PYENV_VERSION="$$(pyenv versions --bare 2>/dev/null | paste -s -d : -)"; export PYENV_VERSION; ulimit -v 8388608; \
	exec $(BIN)/tox run-parallel --parallel auto --parallel-no-spinner

clean:
	rm -rf .venv .tox .coverage .coverage.* .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	rm -rf build dist docs/_build htmlcov routesock.egg-info tests/dialects/node/node_modules tests/asyncapi/node/node_modules tests/clients/node/node_modules
	rm -rf clients/typescript/build clients/typescript/dist clients/typescript/node_modules
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: system-packages
system-packages:
	@.ci/system-packages venv redis-server postgresql chromium node

.venv/bin/python:
	.ci/system-packages venv
	"$$(.ci/python)" -m venv .venv

# A stamp is older than setup.cfg or pyproject.toml when one of them has changed: then pip runs again.
.venv/demo.stamp .venv/demo-redis.stamp: $(REQUIREMENTS) | .venv/bin/python
	@echo 'Installing into .venv; the first time takes some minutes'
	$(PIP) --editable '.[$(basename $(@F))]'
	@touch $@

.venv/dev.stamp: $(REQUIREMENTS) | .venv/bin/python
	$(PIP) --editable '.[dev]'
	@touch $@ .venv/demo.stamp .venv/demo-redis.stamp
