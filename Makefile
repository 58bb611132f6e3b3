# `make` lists what there is. Every target first sets up what it needs: .tools/ holds uv, .venv/ the workspace.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

UV_VERSION := $(shell sed -n 's/^uv==\([0-9.]*\).*/\1/p' requirements-uv.txt)
UV := .tools/bin/uv
UV_READY := .tools/uv-$(UV_VERSION)
BIN := .venv/bin
STACK := $(BIN)/python -m wavecom_stack

# The first interpreter that is new enough; uv is kept from fetching one of its own. The path is the interpreter's own word:
# from that of a version manager's wrapper uv would conclude that .venv is of another Python, and make it anew.
PYTHON := $(shell for name in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$name -c 'import sys; sys.version_info < (3, 11) and sys.exit(1); print(sys.executable)' 2>/dev/null && break; done)
export UV_PYTHON_DOWNLOADS := never

# One certificate bundle for both package clients, whichever of the two variables it was given in.
ifdef SSL_CERT_FILE
export PIP_CERT ?= $(SSL_CERT_FILE)
else ifdef PIP_CERT
export SSL_CERT_FILE := $(PIP_CERT)
endif

# All members of the workspace, and what calls providers.
EVERYTHING := --all-packages --all-extras

MEMBERS := proto libs/common $(wildcard services/*) $(wildcard tools/*) benchmarks
SOURCES := $(filter-out proto/src,$(wildcard $(addsuffix /src,$(MEMBERS))))

SENDERS := $(notdir $(wildcard services/*-sender))
# import-linter knows no pattern for packages.
SENDER_PACKAGES := $(subst -,_,$(SENDERS))
COMMA := ,
SPACE := $(subst ,, )

PROTO_OUT := proto/src
PROTOC = $(BIN)/python -m grpc_tools.protoc -I proto/src \
	--plugin=protoc-gen-mypy=$(BIN)/protoc-gen-mypy --plugin=protoc-gen-mypy_grpc=$(BIN)/protoc-gen-mypy_grpc \
	--python_out=$(PROTO_OUT) --mypy_out=quiet:$(PROTO_OUT) --grpc_python_out=$(PROTO_OUT) --mypy_grpc_out=quiet:$(PROTO_OUT) \
	proto/src/wavecom_proto/v1/*.proto
# events.proto has no service, so its service stubs are empty.
generate_proto = $(PROTOC) && rm $(PROTO_OUT)/wavecom_proto/v1/events_pb2_grpc.py*

.PHONY: help setup demo up down test mutants bench fault lint proto check-proto sbom audit images

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/.ready ## install uv and the workspace's packages into .tools and .venv
	@:

demo: setup ## start everything, send a mixed load through all channels, show what happened, clean up
	@$(STACK) demo

up: setup ## start the whole system and leave it running (API on port 3000)
	@$(STACK) up

down: setup ## stop what `make up` started
	@$(STACK) down

test: setup ## run all tests against a real RabbitMQ and a real MongoDB
	@$(BIN)/pytest -n 2 --dist worksteal

mutants: setup ## break the critical modules in small ways and say which breaks no unit test sees (ONLY=kernel/batcher.py or ONLY=delivery, ALL=1)
	@$(UV) sync --frozen --inexact $(EVERYTHING) --group mutants --python $(PYTHON) --quiet
	@$(BIN)/python -m wavecom_mutants $(ONLY) $(if $(ALL),--all)

bench: setup ## measure how fast the system is and what a notification costs (MODES="single quiet" SCALE=0.5)
	@$(BIN)/python -m wavecom_bench $(MODES) $(if $(SCALE),--scale $(SCALE))

fault: setup ## kill, stop and cut off every process under load, and say what came of it (SEED=2, LONG=20000, CHAOS=600, or CLUSTER=3)
	@$(BIN)/python -m wavecom_fault $(if $(SEED),--seed $(SEED)) $(if $(COUNT),--count $(COUNT)) $(if $(LONG),--notifications $(LONG)) $(if $(CHAOS),--chaos $(CHAOS)) $(if $(VICTIM),--victim $(VICTIM)) $(if $(FAULT),--fault $(FAULT)) $(if $(HOLD),--hold $(HOLD)) $(if $(RATE),--rate $(RATE)) $(if $(CLUSTER),--cluster $(CLUSTER))

lint: setup check-proto ## check format, style, types, layers and generated code
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	MYPYPATH=$$(echo proto/src $(SOURCES) | tr ' ' ':') $(BIN)/mypy $(SOURCES) conftest.py
	@mkdir -p .run && sed -e 's/"\*_sender"/"$(subst $(SPACE),"$(COMMA) ",$(SENDER_PACKAGES))"/' \
		-e 's/\*_sender/$(subst $(SPACE), | ,$(SENDER_PACKAGES))/' pyproject.toml > .run/lint-imports.toml
	$(BIN)/lint-imports --config .run/lint-imports.toml

proto: setup ## generate the Python code of proto/
	$(generate_proto)

check-proto: PROTO_OUT := .run/proto
check-proto: setup
	@rm -rf $(PROTO_OUT) && mkdir -p $(PROTO_OUT)
	@$(generate_proto)
	@for file in $$(cd $(PROTO_OUT) && find . -name '*_pb2*.py*'); do \
		diff -u proto/src/$$file $(PROTO_OUT)/$$file || { echo "Generated code is out of date: run 'make proto' and commit."; exit 1; }; done
	@rm -rf $(PROTO_OUT)

SBOM_OF := $(notdir $(wildcard services/*)) wavecom-cli

sbom: setup ## list what each image holds, as CycloneDX, in .run/sbom
	@mkdir -p .run/sbom
	@for member in $(SBOM_OF); do case $$member in *-sender) more=--all-extras;; *) more="$(SENDERS:%=--package %)";; esac; \
		$(UV) export --frozen --quiet --preview-features sbom-export --no-dev --package $$member $$more --format cyclonedx1.5 --output-file .run/sbom/$$member.cdx.json >/dev/null; echo "  .run/sbom/$$member.cdx.json"; done

audit: setup ## ask the OSV database about every locked package (needs the internet; to be run daily, not by .ci/run)
	@$(UV) audit --frozen || { echo "The audit found something, or https://api.osv.dev could not be asked: see above." >&2; exit 1; }

images: ## build a container image of each service and of the command line
	@deploy/docker/build.sh

# Custom resources are checked against the definitions in this folder; without one the check says so.
export WAVECOM_CRDS ?= ../shared/crds

k8s-render: setup ## render the Kubernetes overlays into deploy/k8s/rendered
	@$(BIN)/python -m wavecom_manifests render

figures: setup ## write the tables of docs that follow from deploy/capacity.toml and the manifests
	@$(BIN)/python -m wavecom_manifests figures

k8s-validate: setup ## render every overlay and check it against schemas, our rules and the code; then with a channel more
	@$(UV) sync --frozen --inexact $(EVERYTHING) --group k8s --python $(PYTHON) --quiet
	@$(BIN)/python -m wavecom_manifests validate
	@$(BIN)/pytest -q tests/channels/one_more_in_manifests.py

$(UV_READY):
	@[ -n "$(PYTHON)" ] || { echo "Python 3.11 or newer is needed: sudo apt-get install -y python3 python3-venv" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
		|| { echo "Python's venv module is missing: sudo apt-get install -y python3-venv" >&2; exit 1; }
	@echo "Installing uv $(UV_VERSION) into .tools (about 10 s) ..."
	@$(PYTHON) -m venv --clear .tools; \
		.tools/bin/pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: -r requirements-uv.txt; touch $@; echo "  done in $$SECONDS s"

.venv/.ready: $(UV_READY) uv.lock pyproject.toml $(wildcard $(addsuffix /pyproject.toml,$(MEMBERS)))
	@echo "Installing the workspace's packages into .venv (about a minute the first time) ..."
	@$(UV) sync --frozen $(EVERYTHING) --python $(PYTHON) --compile-bytecode --quiet; touch $@; echo "  done in $$SECONDS s"
