# What a developer types; each line is one script, so that all of it also works without make.
.DEFAULT_GOAL := help
parts := $(addprefix setup-,target bindgen leptos node npm chromium postgres python autobahn sqlite)
.PHONY: help run dev check test e2e test-wasm interop conformance fuzz bench bench-router release release-check sizes setup-all $(parts)

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-16s %s\n", $$1, $$2}' Makefile

run: ## set up what is missing, build, serve the demo on embedded SQLite
	@scripts/run.sh
dev: ## cargo leptos watch: rebuild and reload the page at each change
	@scripts/dev.sh
check: ## fmt, clippy, wasm, unit tests, tidy, docs (before each commit)
	@scripts/check.sh
test: ## everything, end to end, with minutes per step (before closing an issue)
	@scripts/test.sh
test-wasm: ## the browser tests of shared and client in headless Chromium
	@scripts/test-wasm.sh
e2e: ## Playwright against a private server; GREP=text picks tests
	@scripts/e2e.sh
interop: ## WAMP clients by others walk over our router (part of make test)
	@scripts/interop.sh
conformance: ## Autobahn's WebSocket test suite against our sockets; needs CPython 2.7
	@scripts/conformance.sh
fuzz: ## libFuzzer on what reads bytes from outside (make test replays 200,000 mutations each)
	@scripts/fuzz.sh
bench: ## criterion benchmarks
	@scripts/bench.sh
bench-router: ## our router beside bare sockets and Crossbar (where it is installed)
	@scripts/bench-router.sh
release: ## target/release/safety: one file with client, styles and migrations inside
	@scripts/release.sh
release-check: ## the release serves exactly what was built
	@scripts/release-check.sh
sizes: ## sizes and idle memory of the release
	@scripts/sizes.sh
setup-all: ## install everything that make test and make dev need
	@scripts/setup.sh target bindgen chromium postgres autobahn sqlite npm leptos
$(parts): setup-%: ## one part: target bindgen leptos node npm chromium postgres python autobahn sqlite
	@scripts/setup.sh $*
