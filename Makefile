# Names for long commands. `go build ./...` and `go test ./...` work without it.

FUZZTIME ?= 10s
BENCH ?= .

.PHONY: build test race soak lint fuzz bench cover

build: ## the program btt in this folder
	CGO_ENABLED=0 go build -trimpath -o btt ./cmd/btt

test: ## all tests; installs the clients to test against where it may
	scripts/install-peers
	go run ./internal/lint/skips -timeout 20m ./...

race: ## all tests with the race detector (needs a C compiler)
	CGO_ENABLED=1 go run ./internal/lint/skips -race -count=1 -timeout 20m ./...

soak: ## 10,000 simulated lives of channels, 200 kills of the ledger, 100 kills in paid downloads
	go test -count=1 ./channel -run 'TestSimulation$$'
	BTT_KILLS=200 go test -count=1 -timeout 20m ./internal/ledgerd -run 'TestKill$$'
	BTT_KILLS=100 go test -count=1 -timeout 20m -parallel 6 ./cmd/btt -run 'TestKillAny$$'

lint: ## the repository's rules alone
	go test -count=1 ./internal/lint/...

fuzz: ## each fuzz target for FUZZTIME
	FUZZTIME=$(FUZZTIME) scripts/fuzz

bench: ## benchmarks whose name matches BENCH, with allocations
	go test -run '^$$' -bench '$(BENCH)' -benchmem ./...

cover: ## coverage of all packages by all tests
	mkdir -p bench/out
	go test -coverpkg=./... -coverprofile=bench/out/cover.out ./...
	go tool cover -func=bench/out/cover.out | tail -n 1
