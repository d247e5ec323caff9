# An index of go commands. Nothing here is needed to build hacheck:
#
#	go run ./cmd/hacheck --workload register --nemesis partition

GO ?= go

# Tests start servers and whole labs: one package at a time, or they steal each
# other's deadlines.
# In CI what they leave, such as screenshots of pages, is kept below bin/artifacts.
TEST = $(GO) run ./internal/gotest $(if $(CI),-skips .ci/skips) -- -p 1 $(if $(CI),-count=1 -artifacts -outputdir $(CURDIR)/bin/artifacts)

# Packages whose tests run processes of their own, which -race does not see into.
LABS = /cluster$$|/cmd/|/internal/gotest$$|/internal/protogen$$|/internal/bundle$$|/internal/browser$$|/report/page$$

.PHONY: all
all: lint test

# Everything is tested: on two cores in a quarter of an hour, and what is concurrent again, with
# the race detector, in a little less.
.PHONY: test
test: setup
	@mkdir -p bin/artifacts
	$(GO) build ./...
	$(TEST) -timeout 6m ./...
	$(MAKE) --no-print-directory race

# Tests of concurrent code again, with the race detector, which needs a C compiler.
.PHONY: race
race:
	@if CGO_ENABLED=1 $(GO) env CC | xargs sh -c 'command -v "$$0" >/dev/null'; then \
		echo "again, with the race detector"; CGO_ENABLED=1 $(TEST) -race -timeout 6m $$($(GO) list ./... | grep -vE '$(LABS)'); \
	else \
		echo "skipped: race (no C compiler)"; \
		test -z "$(CI)"; \
	fi

# What tests need beside Go: modules; a C compiler, for the race detector and for
# programs that read clocks; xfsprogs and tshark, for second opinions on disks and
# packets; QEMU, for guests that are machines; Chromium, for pages. Tests of what is
# missing are skipped by name.
.PHONY: setup
setup:
	@command -v $(GO) >/dev/null || { echo "Go is missing: see https://go.dev/dl, at least the version in go.mod" >&2; exit 1; }
	@missing=; \
	command -v "$$($(GO) env CC)" >/dev/null || missing="$$missing gcc libc6-dev"; \
	PATH="$$PATH:/usr/sbin:/sbin" command -v mkfs.xfs >/dev/null || missing="$$missing xfsprogs"; \
	command -v tshark >/dev/null || missing="$$missing tshark"; \
	command -v qemu-system-x86_64 >/dev/null || missing="$$missing qemu-system-x86"; \
	command -v chromium >/dev/null || command -v google-chrome >/dev/null || missing="$$missing chromium fonts-dejavu-core"; \
	if [ -n "$$missing" ]; then \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
			echo "installing$$missing"; \
			{ apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing; } || echo "could not install$$missing"; \
		else \
			echo "missing, and so are their tests (Debian, Ubuntu: sudo apt-get install$$missing)"; \
		fi; \
	fi
	$(GO) mod download

.PHONY: bench
bench:
	$(GO) test -p 1 -run '^$$' -bench . -timeout 20m ./...

# Is every deliberate bug found, and nothing else? The README has the answer.
BUDGET = 20m
.PHONY: prove
prove:
	$(GO) run ./cmd/hacheck prove --budget $(BUDGET) --into README.md

# Deciders of histories against porcupine and brute force: two million small histories, a
# hundred thousand medium ones, and what was done wrong to some of them. Of all this make
# test tries one in five hundred.
.PHONY: differential
differential:
	$(GO) test -tags differential -run 'Histories|Mutations' -count 1 -v -timeout 2h ./checker/linear/...

# How the cost of deciding grows with the length of a history: docs/scaling.md.
.PHONY: scaling
scaling:
	@mkdir -p docs
	$(GO) run ./internal/scaling >docs/scaling.md.new
	mv docs/scaling.md.new docs/scaling.md

# Tests of what reads files of others, and of what decides, with inputs nobody thought of.
.PHONY: fuzz
fuzz:
	$(GO) test -run '^$$' -fuzz FuzzRead -fuzztime 60s ./histories
	$(GO) test -run '^$$' -fuzz FuzzScanner -fuzztime 60s ./histories
	$(GO) test -run '^$$' -fuzz FuzzVerdict -fuzztime 60s ./workloads/register
	$(GO) test -run '^$$' -fuzz FuzzEDN -fuzztime 60s ./histories/edn
	$(GO) test -run '^$$' -fuzz FuzzJSON -fuzztime 60s ./histories/edn
	$(GO) test -run '^$$' -fuzz FuzzRead -fuzztime 60s -fuzzminimizetime 100x ./histories/foreign
	$(GO) test -run '^$$' -fuzz FuzzRead -fuzztime 60s -fuzzminimizetime 100x ./internal/matrix
	$(GO) test -run '^$$' -fuzz FuzzRegister -fuzztime 60s ./checker/linear
	$(GO) test -run '^$$' -fuzz FuzzJIT -fuzztime 60s ./checker/linear
	$(GO) test -run '^$$' -fuzz FuzzSearch -fuzztime 60s ./checker/linear
	$(GO) test -run '^$$' -fuzz FuzzQueue -fuzztime 60s ./checker/linear

.PHONY: lint
lint:
	@unformatted=$$(gofmt -l $$($(GO) list -f '{{.Dir}}' ./...)); test -z "$$unformatted" || { echo "not as gofmt has it:" $$unformatted; exit 1; }
	$(GO) vet ./...
	GOOS=darwin $(GO) vet ./...
	$(GO) tool -modfile=tools/go.mod golangci-lint run

.PHONY: generate
generate:
	$(GO) generate ./...

# The types of the pages' TypeScript, if npm is there: nothing else needs it.
.PHONY: typecheck
typecheck:
	@if command -v npx >/dev/null; then \
		npx --yes --package typescript@7.0.2 tsc -p report/page; \
	else \
		echo "skipped: typecheck (no npx)"; \
	fi

# The pictures in the README and in docs, of runs that are made for them.
.PHONY: screenshots
screenshots:
	$(GO) run ./internal/screenshots

# What this machine can do, and how to make it do the rest.
.PHONY: doctor
doctor:
	$(GO) run ./cmd/hacheck doctor

.PHONY: clean
clean:
	rm -rf bin store hacheck
	$(GO) clean -testcache
