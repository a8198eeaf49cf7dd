# SPDX-License-Identifier: GPL-2.0
#
#   make                 build toa.ko for the running kernel
#   make KDIR=DIR        build it for the kernel whose headers are in DIR
#   make metadata        regenerate the kernel's Rust metadata where the headers lack it
#   make demo            see it work: a balancer and nginx in a virtual machine
#   make test            check, host tests and guest tests (root, Debian)

KVER ?= $(shell uname -r)
KDIR ?= /lib/modules/$(KVER)/build

# Finds headers, metadata and tools, or says in one line what is missing and how to get it.
toolchain = scripts/toolchain $(KDIR)
kbuild = $(MAKE) -C "$$KBUILD_DIR" M=$(CURDIR) RUSTC="$$RUSTC" BINDGEN="$$BINDGEN"

all: modules

modules:
	@eval "$$($(toolchain))" && $(kbuild) $(if $(CLIPPY),CLIPPY=1) modules

metadata:
	@$(toolchain) >/dev/null

clean:
	@$(MAKE) -C $(KDIR) M=$(CURDIR) clean

demo:
	@tests/demo/run

test check test-host test-guest:
	@tests/run $@

.PHONY: all modules metadata clean demo test check test-host test-guest
