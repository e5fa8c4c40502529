# Everything a person does with this checkout. `make` alone lists it.
# One profile (dev) for the demo, the tests and the linters, so that they share one build.

.DEFAULT_GOAL := help
.PHONY: help tools setup build demo up down test lint fmt

help: ## List these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-7s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

tools:
	@sh deploy/local/install-tools.sh

setup: tools ## Install missing tools and fetch Kafka, PostgreSQL and ClickHouse (once, 240 MB)
	cargo build --quiet -p local-stack
	cargo run --quiet -p local-stack -- setup

build: tools
	cargo build --workspace --bins

demo: build setup ## Start everything, send usage, show the invoices, stop
	cargo run --quiet -p weir-demo -- run

up: build setup ## Start everything in the background and keep it running
	cargo run --quiet -p weir-demo -- up

down: ## Stop what `make up` started; data stays
	cargo run --quiet -p weir-demo -- down

test: setup build ## Run all tests against real servers
	cargo test --workspace

lint: tools ## Check the format and run clippy
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings

fmt: ## Format the code
	cargo fmt --all
