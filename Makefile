# Everything that a developer or CI runs. `make help` lists it.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PY := .venv/bin/python
PACKAGES := envoy_ext istio_kit
SOURCES := $(PACKAGES) e2e tests setup.py
# End to end: which driver (auto, local, istiod, kind), and further options of e2e/conftest.py.
E2E_DRIVER := auto
E2E_OPTIONS :=

.PHONY: help
help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: setup
setup: ## virtual environment and what the build needs
	@./setup.sh

.PHONY: build
build: setup ## compile the module into envoy_ext/_lib
	@$(PY) -m envoy_ext build

.PHONY: demo
demo: build ## stock Envoy against Envoy with the module, about a minute
	@$(PY) -m istio_kit demo

.PHONY: test
test: build gen-check lint ## everything: generated files, lint, all tests
	@$(PY) -m pytest
	@if [ -n "$$FORTIO" ] || command -v go >/dev/null; then \
		$(PY) -m pytest e2e --driver local; \
	else \
		echo "end-to-end scenarios left out: they need Go, to build Fortio" >&2; \
	fi

.PHONY: test-istio
test-istio: build ## Istio's own checks of what is rendered; builds istioctl when first run
	@$(PY) -m pytest -m istio tests/istio tests/e2e

.PHONY: goldens
goldens: setup ## write the expected outputs of render anew
	@REFRESH_GOLDEN=1 $(PY) -m pytest -q tests/render/test_goldens.py tests/render/test_docs.py

.PHONY: bench-render
bench-render: setup ## wall time of a rendering from a cold start
	@$(PY) tests/render/bench_cold_start.py

.PHONY: descriptors
descriptors: ## Envoy's message descriptors from go-control-plane, with Go
	@cd istio_kit/messages/dump && go run . > ../.envoy.binpb && mv ../.envoy.binpb ../envoy.binpb

.PHONY: e2e
e2e: build ## end-to-end scenarios; E2E_DRIVER=local, istiod or kind chooses how
	@$(PY) -m pytest e2e --driver $(E2E_DRIVER) $(E2E_OPTIONS)

.PHONY: bench
bench: build ## the full benchmark, about half an hour, into build/bench
	@rm -rf build/bench/crypto
	@$(PY) -m istio_kit bench crypto --output-dir build/bench/crypto
	@$(PY) -m istio_kit bench handshake --output-dir build/bench/handshake --resume

.PHONY: gen
gen: setup ## write the generated files anew
	@$(PY) -m envoy_ext gen

.PHONY: gen-check
gen-check: setup ## fail when a generated file is stale
	@$(PY) -m envoy_ext gen --check

.PHONY: lint
lint: setup ## ruff and mypy
	@$(PY) -m ruff check $(SOURCES)
	@$(PY) -m ruff format --check $(SOURCES)
	@$(PY) -m mypy

.PHONY: fmt
fmt: setup ## format the Python files and mend what can be mended
	@$(PY) -m ruff check --fix $(SOURCES)
	@$(PY) -m ruff format $(SOURCES)

.PHONY: clean
clean: ## remove what was built, and the virtual environment
	@rm -rf .venv build dist envoy_ext/_lib .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@rm -rf ./*.egg-info
	@find $(PACKAGES) tests -name __pycache__ -type d -prune -exec rm -rf {} +
