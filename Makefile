# Tandem6. `make help` lists the targets; `make run` and `make test` set up what
# they need by themselves on a Debian machine.

export PATH := $(CURDIR)/build/go/bin:$(PATH)
export GOTOOLCHAIN := local
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
FUZZTIME ?= 5s
SIMTIME ?= 2m

.DEFAULT_GOAL := help
.PHONY: help bin run test check fuzz image bench e2e e2e-short ledger sim

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "%-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: setup-run ## build the image, boot it in QEMU with a client on its LAN, show console and lease
	cd image && go run ./cmd/run

test: setup check bin ## everything, including what needs root
	go test -timeout 30m ./...
	cd image && go test -timeout 30m ./...
	$(MAKE) fuzz

check: setup ## formatting, vet, shell syntax: seconds
	@test -z "$$(gofmt -l $$(git ls-files '*.go') | tee /dev/stderr)" || { echo "error: these files are not gofmt'ed" >&2; exit 1; }
	go vet ./...
	cd image && go vet ./...
	@for f in $$(git ls-files '*.sh' .ci); do sh -n $$f || exit 1; done

fuzz: setup ## each fuzz target for FUZZTIME (5s)
	.ci/fuzz $(FUZZTIME)
	cd image && ../.ci/fuzz $(FUZZTIME)

bin: setup-run ## build the programs into bin/
	@mkdir -p bin
	go build -trimpath -ldflags "-X main.version=$(VERSION)" -o bin/ ./cmd/...

image: setup-run ## build the firmware image build/image/amd64/disk.img
	cd image && go run ./cmd/pack -version "$(VERSION)"

bench: setup bin ## exchanges per second with perfdhcp, next to Kea; engine and store benchmarks
	go test -run '^$$' -bench . -benchtime 1s ./appliance/dhcp6 ./appliance/engine ./failover/lease ./storage/bolt
	go run ./appliance/lab/cmd/bench

e2e-short: setup bin ## real clients in network namespaces
	go test -count 1 -v ./appliance/lab

e2e: setup bin ## the same with 200 kills under load, and the booted image
	TANDEM6_KILLS=200 go test -count 1 -v -timeout 60m ./appliance/lab ./storage/bolt
	cd image && go test -count 1 -v -timeout 30m ./...

sim: setup-run ## the failover simulator with fresh seeds for SIMTIME (2m)
	go run ./cmd/failsim -for $(SIMTIME)

ledger: setup-run ## each line of the conformance checklist with its tests
	@go run ./cmd/ledger

.PHONY: setup setup-run
setup:
	@.ci/setup

setup-run:
	@.ci/setup run
