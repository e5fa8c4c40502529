# Everything a person does with this checkout. `make` alone lists it.
# One profile (dev) for the demo and the tests, and programs chosen by --bin and not by -p, which
# would choose other features of the same dependencies: so everything shares one build.

.DEFAULT_GOAL := help
.PHONY: fuzz fuzz-seeds simulate help tools setup build demo up down test chaos soak lint lint-deploy deny bench bench-micro bench-instructions fmt

help: ## List these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

tools:
	@sh deploy/local/install-tools.sh

setup: tools ## Install missing tools and fetch Kafka, PostgreSQL and ClickHouse (once, 240 MB)
	cargo build --bin local-stack
	cargo run --quiet --bin local-stack -- setup

build: tools
	cargo build --workspace --bins

demo: build setup ## Start everything, send usage, show the invoices, stop
	cargo run --quiet --bin weir-demo -- run

up: build setup ## Start everything in the background and keep it running
	cargo run --quiet --bin weir-demo -- up

down: ## Stop what `make up` started; data stays
	cargo run --quiet --bin weir-demo -- down

test: setup build ## Run all tests against real servers
	@sh deploy/local/install-tools.sh tests
	cargo test --workspace --no-fail-fast

BENCH_BINS = --bin weir --bin weir-bench --bin weir-micro --bin clickhouse-embedded

bench: setup ## Measure against the budgets on a quiet machine (half an hour after a release build): docs/benchmarks.md
	cargo build --release $(BENCH_BINS)
	target/release/weir-bench run
	target/release/weir-bench table --markdown > docs/benchmarks.md

bench-micro: tools ## Measure the inner parts alone (release build, no server, five minutes)
	cargo build --release $(BENCH_BINS)
	target/release/weir-bench run 'micro-*' --results $(or $(RESULTS),target/benchmarks-micro.json)

bench-instructions: tools ## Count instructions of the inner parts, compare with the kept ones; UPDATE=1 keeps new ones
	cargo build --release $(BENCH_BINS)
	target/release/weir-bench instructions $(if $(UPDATE),--update)

chaos: build setup ## Kill, freeze, cut and lose things under load: ROUNDS=3 SEED=…
	cargo run --quiet --bin weir-chaos -- run --rounds $(or $(ROUNDS),3) $(if $(SEED),--seed $(SEED))

soak: build setup ## Load for MINUTES=60, with samples of memory, handles and threads
	cargo run --quiet --bin weir-chaos -- soak --minutes $(or $(MINUTES),60)

simulate: tools ## Crashes, simulated: SEEDS=… FROM=… (STEPS=1 tells every decision of one)
	cargo run --quiet --bin simulate -- --seeds $(or $(SEEDS),1000) --from $(or $(FROM),1) $(if $(STEPS),--steps) $(if $(MUTATION),--mutation $(MUTATION))

fuzz: tools ## Feed the decoders mutated input: TARGET="numbers …" SECONDS=60 of a processor for each (all without TARGET)
	@sh fuzz/run.sh $(or $(SECONDS),60) $(TARGET)

fuzz-seeds: tools ## Write the inputs that fuzzing begins with anew, and check what is kept
	@sh fuzz/run.sh seeds
	cd fuzz && cargo test --quiet

lint: tools ## Check the format and run clippy
	cargo fmt --all --check
	cargo fmt --manifest-path fuzz/Cargo.toml --check
	cargo clippy --workspace --lib --bins -- -D warnings
	cargo clippy --workspace --all-targets -- -D warnings -A clippy::unwrap_used

lint-deploy: ## Check compose file, Dockerfile, Prometheus rules and scripts (fetches linters)
	sh deploy/lint.sh

deny: ## Check licences, sources and advisories of all dependencies (needs cargo-deny)
	@command -v cargo-deny >/dev/null || { echo 'cargo-deny is missing. Install it: cargo install --locked cargo-deny' >&2; exit 1; }
	cargo deny check licenses bans sources
	@cargo deny check advisories || { echo 'make deny: see above; the advisories come from github.com/RustSec/advisory-db, which must be reachable' >&2; exit 1; }

fmt: ## Format the code
	cargo fmt --all
