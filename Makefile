# Systole. `make help` lists the targets.
#
# A fresh Debian with Go and a C compiler is enough: what tests need besides, `make deps`
# installs.

SHELL := /bin/bash
GO ?= go
LINT_VERSION := v2.15.0
LINT := $(CURDIR)/bin/golangci-lint-$(LINT_VERSION)
# The objects in bpf depend on the version of clang.
CLANG := clang-14
FUZZ_COUNT ?= 20000
BENCH ?= floor engine
BENCH_TIME ?= 5s

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

.PHONY: build
build: ## build the probe, bin/systole
	$(GO) build -trimpath -o bin/systole ./cmd/systole

.PHONY: run
run: build ## show the main job on real sockets: a peer dies, hangs, restarts; ends by itself
	cmd/systole/run-demo.sh bin/systole

.PHONY: bpf
bpf: deps ## compile the BPF programs anew
	cd bpf && BPF2GO_CC=$(CLANG) $(GO) generate .

.PHONY: bpf-check
bpf-check: deps ## compile the BPF programs and compare with what is committed
	@set -e; out=$$(mktemp -d); trap 'rm -rf "$$out"' EXIT; \
	(cd bpf && BPF_OUT=$$out BPF2GO_CC=$(CLANG) $(GO) generate .); \
	for made in $$out/*; do \
		cmp $$made bpf/$${made##*/} || { echo "make bpf has not been run, or not by $(CLANG)"; exit 1; }; \
	done

.PHONY: test
test: deps lint bpf-check ## install what tests need, then run all tests, the fuzz corpora and the linter
	$(GO) vet ./...
	$(GO) build ./...
	$(GO) test -count=1 -p 1 -timeout 10m ./...
	$(MAKE) portable cross emulate absorb race fuzz-smoke

# Absorbed heartbeats pass by netfilter, so the tests that drop datagrams there do not apply.
.PHONY: absorb
absorb: ## run the probe's bad days once more, with heartbeats that are taken below the sockets
	SYSTOLE_TEST_STAMPS=absorb $(GO) test -count=1 -timeout 5m ./cmd/systole \
		-run '^Test(Peer|OwnStop|LinkDown|AddressRemoved|FullQueue|Duplicated|TwoTargets)'

# What is skipped is long and simulates its sockets, but for Example: a node leaves there during the
# handshake, when its credit for a stranger may not allow a goodbye. These sockets show that more often.
NOT_PORTABLE := ^Example$$|^TestAttack|^TestAdmittedPeersGet|^TestForgers|^TestDependencies|^TestSectionHas
.PHONY: portable
portable: ## run the tests of the engine with the sockets of other systems
	$(GO) test -tags systole_portable -count=1 -p 1 -timeout 5m -skip '$(NOT_PORTABLE)' ./engine ./engine/internal/portable

# One architecture for each system. vet compiles the tests as well. FreeBSD has the same files as macOS, so
# vet looks there only at what lies on the system. What is compiled here never runs, so the compiler
# does not optimize.
PORTABLE := ./engine ./engine/enginetest ./engine/level ./engine/detect ./engine/replay ./wire ./ringbuf
QUICK := -gcflags=all='-N -l'
.PHONY: cross
cross: ## compile and vet library and tests for macOS, Windows and FreeBSD
	GOOS=darwin GOARCH=arm64 $(GO) vet $(QUICK) $(PORTABLE)
	GOOS=windows GOARCH=amd64 $(GO) vet $(QUICK) $(PORTABLE)
	GOOS=freebsd GOARCH=amd64 $(GO) build $(QUICK) $(PORTABLE)
	GOOS=freebsd GOARCH=amd64 $(GO) vet $(QUICK) ./engine/clock ./engine/internal/portable ./engine/internal/kernelclock

# 386 runs natively, so the engine is tested there. arm64 has code of its own in package prefetch and a
# weaker order of memory. s390x is big-endian. vet has seen these tests, and the standard library need
# not be fast.
EMULATE = $(GO) test -vet=off -gcflags=std='-N -l' -count=1
.PHONY: emulate
emulate: deps ## run the engine on 386, and tests of formats, rings and sockets on arm64 and s390x
	GOARCH=386 $(EMULATE) -p 1 ./ringbuf ./wire ./engine/clock ./engine/internal/prefetch ./engine/internal/udp
	GOARCH=386 $(EMULATE) -run '$(EMULATED)' ./engine/level ./engine
	GOARCH=arm64 $(EMULATE) -exec qemu-aarch64-static ./ringbuf ./wire ./engine/clock ./engine/internal/prefetch ./engine/internal/portable
	GOARCH=s390x $(EMULATE) -exec qemu-s390x-static ./ringbuf ./wire ./engine/clock

EMULATED := FollowsSilence|TakenHeartbeats|MiddleboxThatRefuses|OlderClock|RefusedSendsAreTold|OverLoopback|Layers|AllocatesNothing

# Not the simulated worlds of enginetest, and not the longest of package engine and level: one goroutine does
# everything there.
SIMULATED := ^Test(AdmittedPeersGetNoMore|NewPeersKnow|SolicitationIsRare|LostHeartbeatsCost|FollowUps$$|Forgers$$|DeathOfTheDeaf|AttackWeighs|PromiseIsRevised|PromiseAtRisk)|^Example_leader
.PHONY: race
race: ## run the tests of concurrent packages under the race detector
	$(GO) test -race -count=1 -p 1 -timeout 10m -skip '$(SIMULATED)' ./ringbuf ./wire ./bpf ./engine ./engine/internal/... \
		./engine/level ./engine/recording ./engine/enginetest/load

# By count: a time limit for fuzzing now and then fails the target at the limit itself, with
# "context deadline exceeded" and no input (go.dev/issue/75804, mended in Go 1.27).
.PHONY: fuzz-smoke
fuzz-smoke: ## fuzz each target with FUZZ_COUNT inputs
	@set -eo pipefail; \
	for package in $$(grep -rl --include='*_test.go' '^func Fuzz' . | xargs -n 1 dirname | sort -u); do \
		for target in $$($(GO) test $$package -list '^Fuzz' | grep '^Fuzz'); do \
			timeout 3m $(GO) test $$package -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZ_COUNT)x; \
		done; \
	done

.PHONY: fuzz-corpus
fuzz-corpus: ## add what fuzzing has found on this machine to the committed corpora
	@cache=$$($(GO) env GOCACHE)/fuzz/systole; \
	for dir in $$(cd $$cache && find . -type d -name 'Fuzz*'); do \
		to=$$(dirname $$dir)/testdata/fuzz/$$(basename $$dir); mkdir -p $$to; cp $$cache/$$dir/* $$to/; \
	done

.PHONY: traces
traces: deps build ## record the traces that tests replay anew, on real sockets; takes four minutes and root
	$(GO) run ./engine/enginetest/traces -systole bin/systole -out engine/replay/testdata

.PHONY: picture
picture: build ## draw the picture in the README anew, from a recording that is committed
	bin/systole replay engine/replay/testdata/loopback.sysrec -o svg >bench/results/replay-loopback.svg

.PHONY: bench
bench: ## measure and keep the figures; BENCH="load bird" chooses others, BENCH_TIME is per figure
	$(GO) run ./bench -time $(BENCH_TIME) -results bench/results $(BENCH)

.PHONY: lint
lint: $(LINT) ## run the linter
	@set -e; unformatted=$$(gofmt -l .); \
		if [ -n "$$unformatted" ]; then echo "gofmt would change: $$unformatted"; exit 1; fi
	$(LINT) run ./...

$(LINT):
	GOBIN=$(CURDIR)/bin $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT_VERSION)
	mv bin/golangci-lint $@

.PHONY: deps
deps: ## install the Debian packages that tests use, if they are missing
	@missing=; for tool in ip:iproute2 nft:nftables $(CLANG):$(CLANG) $(CLANG:clang%=llvm-strip%):$(CLANG:clang%=llvm%) qemu-s390x-static:qemu-user-static; do \
		command -v $${tool%%:*} >/dev/null || missing="$$missing $${tool##*:}"; \
	done; \
	if [ -n "$$missing" ]; then \
		if [ "$$(id -u)" != 0 ]; then echo "tests need the packages$$missing; install them or run as root"; exit 1; fi; \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing; \
	fi
