# The entry point. Each target does its own set-up and is quick when nothing has changed:
#
#   make run     trains a small vision transformer on handwritten digits, into runs/digits-vit
#   make test    builds and runs all tests
#   make program builds build/release/kudari alone
#   make build   builds everything: the program, the libraries, tests and benchmarks
#   make check   format, layers, lint, headers, consumers, sanitizers, fuzzing
#   make check-turn  the quick ones of these and, in turn, a sixth of the slow ones: what CI runs
#   make bench   times the optimisers and those of other libraries
#   make bench-train  trains with every rule on handwritten digits; writes docs/digits.md
#   make bench-parity  trains in 7 bytes per parameter and in float32 on CIFAR-10; writes docs/parity.md
#   make docs    writes docs/rules.md and docs/schedules.md, the pages of all rules and schedules
#   make playground  builds build/playground.html, optimisers to play with in a browser
#   make figures  draws the pictures of docs again, by the commands that the pages show
#   make mnist   downloads MNIST into .data/mnist
#   make cifar10 downloads CIFAR-10 into .data/cifar10
#   make clean   removes the builds; .venv and .data stay
#
# tools/setup lists the environment variables that it reads, for example KUDARI_TORCH=OFF.

MAKEFLAGS += --no-print-directory
JOBS := $(shell nproc)

.PHONY: run test program build check check-turn bench bench-train bench-parity docs playground figures setup mnist cifar10 clean FORCE

run: program
	@build/release/kudari train recipes/digits-vit.toml

test: build
	@ctest --preset release --parallel $(JOBS)

program: build/release/build.ninja
	@echo "build: build/release/kudari"
	@cmake --build --preset release --target kudari_lab

build: build/release/build.ninja
	@echo "build: build/release"
	@cmake --build --preset release

check: build
	@tools/check

check-turn: build
	@tools/check --turn

bench: build
	@build/release/kudari bench
	@.venv/bin/python bench/peers/run.py

bench-train: program
	@python3 bench/train_table.py

bench-parity: program
	@python3 bench/parity.py

docs: program
	@build/release/kudari describe --all --markdown >build/rules.md
	@mv build/rules.md docs/rules.md
	@build/release/kudari describe --schedules --markdown >build/schedules.md
	@mv build/schedules.md docs/schedules.md
	@build/release/kudari schedule --examples --svg docs/schedules.svg --force
	@echo "docs: docs/rules.md, docs/schedules.md, docs/schedules.svg"

playground:
	@tools/setup --playground
	@echo "build: build/playground.html"
	@cmake -G Ninja -S playground -B build/playground $(if $(CI),-DKUDARI_WERROR=ON) >build/configure.log 2>&1 \
	  || { cat build/configure.log; exit 1; }
	@cmake --build build/playground

figures: program
	@tools/figures build/release/kudari

setup: build/setup.cmake

# KUDARI_CIFAR10_URL=URL is a mirror of CIFAR-10's archive.
mnist cifar10: program
	@build/release/kudari data get $@ --out .data/$@ \
	  $(if $(and $(filter cifar10,$@),$(KUDARI_CIFAR10_URL)),--from $(dir $(KUDARI_CIFAR10_URL)))

clean:
	@rm -rf build

# tools/setup does not touch the file if nothing has changed; then nothing is reconfigured either.
build/setup.cmake: FORCE
	@tools/setup

# CI treats warnings as errors; a user's newer compiler may warn.
build/release/build.ninja: build/setup.cmake CMakePresets.json
	@echo "configure: build/release"
	@cmake --fresh --preset release $(if $(CI),-DKUDARI_WERROR=ON) >build/configure.log 2>&1 \
	  || { cat build/configure.log; exit 1; }
	@touch $@
