# SPDX-License-Identifier: GPL-2.0
#
# The one entry for people. `make help` lists the targets.

SHELL := /bin/bash
.ONESHELL:
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# A kernel build tree >= 7.2 with Rust and NTB; without it the test bed's own, inside its tools root.
KDIR ?=
# More QEMU arguments for the hosts of `make play`.
export LENDER_ARGS BORROWER_ARGS
# The hardware family of the emulated NTB.
NTB ?=

# `stock` is the kernel that Debian built; others are in qemu/kernel.
KERNEL ?=
ifneq ($(KERNEL),)
export DEVLEND_KERNEL := $(KERNEL)
endif

# Modules for each kernel are built in a directory of their own.
ifeq ($(KDIR),)
# qemu/env/lib.sh says where.
environment = $(shell export DEVLEND_KERNEL='$(DEVLEND_KERNEL)' && . qemu/env/lib.sh && echo $$$(1))
MODULES_OUT = $(call environment,MODULES_OUT)
kernel-tree = $(call environment,KERNEL_TREE)
kbuild = qemu/env/enter make --no-print-directory -C /linux $(call llvm,$(kernel-tree)) W=$(W) M=/src MO=/src/$(1) \
	$(if $(wildcard $(kernel-tree)/ntb/Module.symvers),KBUILD_EXTRA_SYMBOLS=/linux/ntb/Module.symvers)
needs-kernel := env
# Warnings are errors here, as in CI; not where somebody builds for a kernel and a compiler that we have not seen.
W ?= e
else
MODULES_OUT = target/modules/$(shell cat $(KDIR)/include/config/kernel.release 2>/dev/null)
kbuild = $(MAKE) --no-print-directory -C $(KDIR) $(call llvm,$(KDIR)) W=$(W) M=$(CURDIR) MO=$(CURDIR)/$(1)
needs-kernel := check-kernel
W ?=
endif
# A kernel's modules are built with what it was built with.
llvm = $(shell grep -sqx CONFIG_CC_IS_CLANG=y $(1)/.config && echo LLVM=1)
cargo := cargo
bed := target/release/bed
bench := target/release/bench

.PHONY: help
help:
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: env
env: ## Make the environment: tools, test kernel, guest image (in ~/.cache/devlend)
	@qemu/env/setup

.PHONY: check-kernel
check-kernel:
	@RUSTC='$(RUSTC)' KBUILD_EXTRA_SYMBOLS='$(KBUILD_EXTRA_SYMBOLS)' packaging/check-kernel $(KDIR)

.PHONY: modules
modules: $(needs-kernel) ## Build the kernel modules (KDIR=... for another kernel build tree)
	@mkdir -p $(MODULES_OUT)
	$(call kbuild,$(MODULES_OUT)) modules

.PHONY: tools
tools: ## Build the host-side programs: ntb-emu, bed, and what runs in the guests
	@command -v $(cargo) >/dev/null || { echo "error: no cargo: install Rust 1.85 or later (Debian 13: apt install cargo; else rustup.rs)" >&2; exit 1; }
	$(cargo) build --release -p ntb-emu -p devlend-bed
	# These run in the guests: without libraries of this machine's.
	$(cargo) rustc --release -p mmio-time -- -C target-feature=+crt-static
	$(cargo) rustc --release -p devlend-blocks --bin blocks -- -C target-feature=+crt-static -C strip=symbols
	$(cargo) rustc --release -p bad-peer -- -C target-feature=+crt-static

.PHONY: demo
demo: env modules tools ## Lend an NVMe disk from one host to another, use it, give it back; ends with a report (NTB=, KERNEL=stock)
	@$(bed) demo $(if $(NTB),--ntb $(NTB))

.PHONY: play
play: env modules tools ## Start the two hosts and leave them running (LENDER_ARGS=, BORROWER_ARGS=, NTB=)
	@$(bed) up --detach $(if $(NTB),--ntb $(NTB))
	echo "qemu/sh lender 'CMD' and qemu/sh borrower 'CMD' run commands in them; 'make stop' ends them"

.PHONY: stop
stop: ## End what 'make play' started
	@$(bed) down

# Tests by parts of their names, for `make test` and `make test-sanitize`; whether to show where the time went.
TESTS ?=
export TIMES

.PHONY: test
test: ## Run all tests: format, lints, unit and property tests, the tests in the hosts (TESTS=, TIMES=1)
	@tests/run $(TESTS)

.PHONY: test-faults
test-faults: env modules tools ## Break things under a borrowed disk in use, again and again (SEED=, FAULTS=200, FROM=1, NTB=)
	@$(if $(NTB),DEVLEND_NTB=$(NTB)) $(cargo) run --release -p devlend-integration --bin test-faults -- \
	    $(if $(SEED),--seed $(SEED)) $(if $(FAULTS),--faults $(FAULTS)) $(if $(FROM),--from $(FROM))

# Which rows of the table of devices, by parts of their names; where the whole table is written to.
DEVICES ?=
WRITE ?=

.PHONY: test-devices
test-devices: env modules tools ## Lend devices of many kinds and use them, with a table of what came of it (DEVICES=, WRITE=docs/compatibility.md)
	@$(cargo) run --release -p devlend-integration --bin test-devices -- $(DEVICES) $(if $(WRITE),--write $(WRITE))

# Rounds of what is compared, whether all is measured, or only some parts of it.
ROUNDS ?=
FULL ?=
ONLY ?=

# On a kernel without checks, which would be measured along.
.PHONY: bench
bench: ## Measure a borrowed disk: counts, instructions, against a local one, NVMe/TCP and NBD (ROUNDS=3, FULL=1, ONLY=, NTB=)
	@export DEVLEND_KERNEL=plain
	$(MAKE) --no-print-directory bench-tools
	$(bench) measure $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(FULL),--full) $(if $(ONLY),--only $(ONLY)) $(if $(NTB),--ntb $(NTB))

.PHONY: profile
profile: ## Look where the borrower's processor is while it uses a borrowed disk: a table and flame graphs (NTB=)
	@export DEVLEND_KERNEL=plain
	$(MAKE) --no-print-directory bench-tools
	$(bench) profile $(if $(NTB),--ntb $(NTB))

.PHONY: bench-tools
bench-tools: env modules tools
	@$(cargo) build --release -p devlend-bench --bin bench
	$(cargo) rustc --release -p devlend-bench --bin spin -- -C target-feature=+crt-static

.PHONY: check
check: ## Format, lints, and the unit tests of the crates that differ from main
	@tests/run check

# How often `make test-cycles` lends, borrows and returns.
CYCLES ?= 1000

.PHONY: test-sanitize
test-sanitize: test-cycles ## CYCLES=1000 leases, then the tests in the hosts on a kernel with KASAN and kmemleak (TESTS=)
	@export DEVLEND_KERNEL=sanitize DEVLEND_PATIENCE=$${DEVLEND_PATIENCE:-5}
	$(MAKE) --no-print-directory env modules tools
	$(cargo) test --release -p devlend-integration -- $(TESTS)

# On the kernel of the other tests: KASAN holds back what is freed, which is in nobody's use but counts as if it were.
.PHONY: test-cycles
test-cycles: env modules tools ## Lend, borrow and return CYCLES=1000 times: nothing may grow
	@DEVLEND_CYCLES=$(CYCLES) $(cargo) test --release -p devlend-integration -- cycles::

.PHONY: ntb-selftest
ntb-selftest: env tools ## Run the kernel's own NTB test script, unmodified (NTB=amd, LOOP=1: in one host)
	@$(bed) ntb-selftest --ntb $(or $(NTB),all) $(if $(LOOP),--loop)

.PHONY: install
install: ## Build the modules for the kernel in KDIR, and install them
	@[ -n "$(KDIR)" ] || { echo "error: say for which kernel: make install KDIR=/lib/modules/\$$(uname -r)/build" >&2; exit 2; }
	$(MAKE) --no-print-directory modules
	$(call kbuild,$(MODULES_OUT)) modules_install

# The version of the package.
VERSION := 0.1.0

.PHONY: deb
deb: ## Make the package devlend-dkms, which builds the modules for each kernel of Debian's that is installed
	@for program in dpkg-buildpackage dh dh_dkms; do
	    command -v $$program >/dev/null || { echo "error: no $$program: apt install dpkg-dev debhelper dh-dkms" >&2; exit 2; }
	done
	rm -rf target/deb
	mkdir -p target/deb/devlend
	git ls-files Kbuild LICENSE ntb pci_shim drivers packaging | xargs cp --parents -t target/deb/devlend
	mv target/deb/devlend/packaging/debian target/deb/devlend/debian
	rm -r target/deb/devlend/packaging/{Cargo.toml,src,tests}
	printf 'devlend ($(VERSION)) unstable; urgency=medium\n\n  * See CHANGELOG.md.\n\n -- The devlend authors <devlend@example.org>  %s\n' \
	    "$$(git log -1 --format=%cd --date=rfc2822)" >target/deb/devlend/debian/changelog
	# Nothing is compiled, so no build-essential is asked for (-d).
	cd target/deb/devlend
	dpkg-buildpackage -us -uc -b -d
	ls -l ../*.deb

.PHONY: clean
clean: ## Remove what was built here; the environment's cache stays
	rm -rf target
