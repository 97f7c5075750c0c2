# One configuration (debug) serves test, check and demo, so that each builds only what the others have not.
# `make` alone lists what there is.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# A module may be imported only where Package.swift says the target depends on it.
BUILD_FLAGS := --explicit-target-dependency-import-check error
# Static: the machines that run these programs have no Swift installation.
RELEASE_FLAGS := $(BUILD_FLAGS) -c release --static-swift-stdlib
DIST := .build/dist
OURS := Sources Tests Benchmarks Fuzz/Package.swift Fuzz/Sources Package.swift
ARGS ?=

.PHONY: help deps build test check fmt proto demo browser-test screenshots bench-page conformance nanobot-test \
    simulate clock-test fuzz-smoke flap kill-test bench-history bench-idle bench-link bench-memory bench-migrate bench-runtime \
    bench-websocket soak starve docker-test api-test bench-telemetry clean deploy-faults boot-test hostile-test year \
    restore-test power-test deploy-many

help: ## Lists these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

deps: ## Installs the Debian packages that are missing, and says which
	@scripts/install-deps.sh

demo: deps ## Hub, paired agent and a bot on this machine; ARGS=--once ends by itself
	@scripts/demo.py $(ARGS)

test: deps ## Every test that needs no special hardware
	@scripts/test.sh $(BUILD_FLAGS)

check: deps ## Format, repository rules, and no warning in our own code
	swift format lint --strict --parallel --recursive $(OURS)
	@scripts/check-warnings.sh $(BUILD_FLAGS)
	swift test $(BUILD_FLAGS) --skip-build --disable-xctest --filter TidyTests
	@scripts/check-deploy.sh

fmt: ## Formats our Swift in place
	swift format --in-place --parallel --recursive $(OURS)

build: deps ## Release programs, static and stripped, in .build/dist
	swift build $(RELEASE_FLAGS) --product edge-agent
	swift build $(RELEASE_FLAGS) --product control-hub
	@mkdir -p $(DIST)
	@for program in edge-agent control-hub; do \
	    strip -o "$(DIST)/$$program" "$$(swift build $(RELEASE_FLAGS) --show-bin-path)/$$program"; \
	    ls -l "$(DIST)/$$program"; \
	done

docker-test: ## The Docker runtime with a real engine and registry; installs docker.io and docker-registry
	@scripts/docker-test.sh $(BUILD_FLAGS)

# The generator comes from the checked-out swift-protobuf, so that it fits the library's version; protoc from Debian's
# protobuf-compiler. Public, because other modules read the messages.
proto: ## Generates Swift from Sources/WireFormat/Schema/node.proto
	@command -v protoc >/dev/null || { echo "protoc is missing: apt-get install protobuf-compiler" >&2; exit 1; }
	swift package resolve
	swift build --package-path .build/checkouts/swift-protobuf --scratch-path .build/generator -c release --product protoc-gen-swift
	protoc --plugin=protoc-gen-swift="$$(swift build --package-path .build/checkouts/swift-protobuf --scratch-path .build/generator -c release --show-bin-path)/protoc-gen-swift" \
	    --proto_path=Sources/WireFormat/Schema \
	    --swift_opt=Visibility=Public,UseAccessLevelOnImports=true --swift_out=Sources/WireFormat/Schema \
	    node.proto

simulate: deps ## Hub and agents on simulated networks: SEEDS=1000 FROM=1, or the trace of one SEED
	swift build $(BUILD_FLAGS) --product control-hubPackageTests
	SIMULATE_SEEDS=$(or $(SEEDS),1000) SIMULATE_FROM=$(or $(FROM),1) $(if $(SEED),SIMULATE_SEED=$(SEED)) \
	    swift test $(BUILD_FLAGS) --skip-build --disable-xctest --filter 'SimulationTests/seeds'

clock-test: deps ## The clock of a real hub is set wrong by years and right again; needs Debian's faketime
	@scripts/build.sh $(BUILD_FLAGS)
	@scripts/clock-test.py --programs "$$(swift build $(BUILD_FLAGS) --show-bin-path)"

fuzz-smoke: deps ## Every fuzz target under AddressSanitizer, for SECONDS=60 together
	@Fuzz/fuzz.py --seconds $(or $(SECONDS),60)

kill-test: deps ## kill -9 of hub, agent and supervisor, ROUNDS=300 times from SEED=1; everything counted in the end
	@scripts/kill-test.py --rounds $(or $(ROUNDS),300) --seed $(or $(SEED),1)

restore-test: deps ## Copies put back: a hub's backup, a node's state directory, a cloned disk; ROUNDS=30 from SEED=1, FORMS="hub state clone"
	@scripts/build.sh $(BUILD_FLAGS)
	@Tests/Restore/run.py --programs "$$(swift build $(BUILD_FLAGS) --show-bin-path)" --rounds $(or $(ROUNDS),30) --seed $(or $(SEED),1) \
	    $(if $(FORMS),--form $(FORMS))

power-test: deps ## The mains of a booted machine fail under load, CUTS=100 times from SEED=1; BROKEN=flushing shows that it would be noticed
	@scripts/build.sh $(BUILD_FLAGS)
	@Tests/Boot/power.py --programs "$$(swift build $(BUILD_FLAGS) --show-bin-path)" --cuts $(or $(CUTS),100) --seed $(or $(SEED),1)

deploy-faults: deps ## Every step of a deployment × everything that can go wrong in it; CELLS="verify,link cut"
	@scripts/build.sh $(BUILD_FLAGS)
	DEPLOY_FAULTS="$(or $(CELLS),all)" swift test $(BUILD_FLAGS) --skip-build --disable-xctest --filter DeployFaultTests

deploy-many: deps ## A bot with many nested keys and entries of every kind from node to node, COUNT=50 times, spoken to; ENGINE=1 as a container
	@scripts/build.sh $(BUILD_FLAGS)
	@$(if $(ENGINE),scripts/with-engine.sh )scripts/deploy-many.py --programs "$$(swift build $(BUILD_FLAGS) --show-bin-path)" --count $(or $(COUNT),50)

hostile-test: deps ## Attacks on real programs by nodes, bots and strangers; ARGS=--prove shows that each would be noticed
	@scripts/build.sh $(BUILD_FLAGS)
	@Tests/Hostile/run.py --programs "$$(swift build $(BUILD_FLAGS) --show-bin-path)" $(ARGS)

api-test: deps ## The API of a real hub: roles, hostile senders, secrets, metrics, schemathesis; EXAMPLES=50, TABLE=docs/api-hostile.md
	swift build $(BUILD_FLAGS) --product edge-agent
	swift build $(BUILD_FLAGS) --product control-hub
	@scripts/api-env.sh
	@.build/api-test/bin/python Tests/API/run.py --programs "$$(swift build $(BUILD_FLAGS) --show-bin-path)" \
	    --examples $(or $(EXAMPLES),50) $(if $(TABLE),--write-table $(TABLE))

boot-test: build ## Real Debian systems booted under User Mode Linux, with hub, agent and bots in them; STORIES="limits user", MACHINES=debian13
	@Tests/Boot/run.py $(if $(STORIES),--story $(STORIES)) $(if $(MACHINES),--machine $(MACHINES))

year: deps ## A year of a hub with 100 bots in simulated time, and its standard limits at the full rate; FACTOR=1000, FILL=130000, MONTHS=12
	swift build $(BUILD_FLAGS) --product control-hubPackageTests
	YEAR=1 FACTOR=$(or $(FACTOR),1000) FILL=$(or $(FILL),130000) MONTHS=$(or $(MONTHS),12) \
	    swift test $(BUILD_FLAGS) --skip-build --disable-xctest --filter 'YearTests/(long|full)'

starve: build ## A node with BOTS=300 bots, stalled downloads, moves and floods at once; a stop, a message, a listing timed beside it
	@scripts/starve.py --programs $(DIST) --bots $(or $(BOTS),300) --rounds $(or $(ROUNDS),30)

flap: deps ## Hub and agent over a link that is cut every few seconds, for SECONDS=600
	@scripts/flap.py --seconds $(or $(SECONDS),600)

bench-history: build ## What a hub's history costs, empty beside full; ROWS=10000000, COUNT=200, FOLDER=/tmp, JSON=1
	@Benchmarks/History/history.py

bench-idle: build ## What an idle agent and its hub cost; SECONDS_IDLE=60, JSON=1
	@Benchmarks/idle.sh

bench-link: deps ## Round trip hub, agent, hub of a command, beside NATS and MQTT; RUNS=5, COUNT=20000, JSON=1
	swift build -c release --static-swift-stdlib --package-path Benchmarks/Link --product LinkHub
	swift build -c release --static-swift-stdlib --package-path Benchmarks/Link --product LinkAgent
	@Benchmarks/Link/link.py

bench-memory: build ## What an idle node costs its hub; NODES=10000, SECONDS_IDLE=60, MODES="plain tls deflate", BURST_KIB=256, JSON=1
	@Benchmarks/Link/memory.py

bench-migrate: build ## A bot with a workspace from node to node, beside rsync; SIZES="10M 1G 5G", FOLDER=/tmp, JSON=1
	@scripts/install-deps.sh rsync
	@Benchmarks/Migrate/migrate.py

bench-runtime: build ## What the native runtime costs, agent and supervisors; PARTS="idle-bots log-capture packet-path", BOTS=5, SECONDS_IDLE=30, JSON=1
	@Benchmarks/Runtime/runtime.py

bench-telemetry: ## What telemetry costs the agent, and how it compares with ps, pidstat and a control group; BOTS=20, SECONDS_EACH=120
	scripts/install-deps.sh procps sysstat
	scripts/build.sh -c release
	Benchmarks/Telemetry/run.py --bots $(or $(BOTS),20) --seconds $(or $(SECONDS_EACH),120)

bench-websocket: deps ## WebSocket client and server beside Beast, libwebsockets, picows, websockets; JSON=1, TABLES="rtt small"
	@Benchmarks/WebSocket/run.sh $(TABLES)

browser-test: deps ## An operator's day in Chromium against a real hub and agent, with axe-core
	swift build $(BUILD_FLAGS) --product edge-agent
	swift build $(BUILD_FLAGS) --product control-hub
	@scripts/browser-test.sh

# fonts-inter and fonts-jetbrains-mono, so that the pictures look as the page does on most machines.
screenshots: build ## The pictures in docs/images
	@scripts/install-deps.sh fonts-inter fonts-jetbrains-mono pngquant
	@BROWSER_TEST_PROGRAMS=$(DIST) scripts/browser-test.sh screenshots.py

bench-page: build ## The overview with NODES=2000 nodes: first paint, frames, search; JSON=1
	@BROWSER_TEST_PROGRAMS=$(DIST) scripts/browser-test.sh fleet.py

nanobot-test: deps ## The tests with the real nanobot alone; it is installed from PyPI into .build/nanobot
	@scripts/nanobot-env.sh
	@scripts/build.sh $(BUILD_FLAGS)
	swift test $(BUILD_FLAGS) --skip-build --disable-xctest --filter 'NanobotTests|OddBotTests'

conformance: deps ## Autobahn|Testsuite against our client and the hub's server, every case
	@Tests/Conformance/Autobahn/run.py

soak: ## Ten minutes of real links through real proxies and of a link that is cut; SECONDS_SOAK=600, JSON=1
	@scripts/soak.sh $(ARGS)

clean: ## Removes what was built and the demo's data
	rm -rf .build .demo Benchmarks/Link/.build Benchmarks/WebSocket/.build Fuzz/.build
