# SPDX-License-Identifier: GPL-2.0
#
# The one entry for people. `make help` lists the targets.

SHELL := /bin/bash
.ONESHELL:
.SHELLFLAGS := -euo pipefail -c

# A kernel build tree >= 7.2 with Rust and NTB; without it the test bed's own, inside its tools root.
KDIR ?=
MODULES_OUT := target/modules
# Warnings are errors in our modules, as in CI.
W ?= e

ifeq ($(KDIR),)
kbuild = qemu/env/enter make -C /linux LLVM=1 M=/src MO=/src/$(MODULES_OUT) W=$(W)
else
kbuild = $(MAKE) -C $(KDIR) LLVM=1 M=$(CURDIR) MO=$(CURDIR)/$(MODULES_OUT) W=$(W)
endif

.PHONY: modules
modules: ## Build the kernel modules (KDIR=... for another kernel)
	@mkdir -p $(MODULES_OUT)
	$(kbuild) modules
