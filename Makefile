# SPDX-License-Identifier: GPL-2.0
#
#   make                 build toa.ko for the running kernel
#   make KDIR=DIR        build it for the kernel whose headers are in DIR
#   make CRATE=own       build it with the small crate in src/kernel even where the kernel has Rust
#   make CRATE=kernel    build it with the kernel's own Rust crate, or say why that cannot be
#   make man             the man pages toa-check(8) and toa(4), with pandoc, in build/man
#   make sign KEY=FILE CERT=FILE   sign toa.ko, for Secure Boot (scripts/doc/secure-boot.md)
#   make fleet KERNELS="RELEASE..."  modules and packages for servers without compilers (scripts/doc/fleet.md)
#   make install         the module into /lib/modules, and what goes with it; DESTDIR=, PREFIX=/usr/local
#   make uninstall       remove both
#   make deb             build the packages toa-dkms and toa-tools for Debian and its kin, in build/ (root, Debian)
#   make rpm             build those for RHEL and its kin
#   make metadata        regenerate the kernel's Rust metadata where the headers lack it
#   make demo            see it work: a balancer and nginx in a virtual machine
#   make test            check, host tests, and the real thing on a few kernels (root, Debian)
#   make test-all        the same on every kernel of the lab
#   make test-debug      the same on a kernel that looks for mistakes (KASAN, lockdep, kmemleak and more)
#   make test-applications  nginx, sshd, PostgreSQL and others, and containers, behind a balancer
#   make test-signing    Secure Boot: what of our modules loads where signatures are enforced
#   make test-fleet      that make fleet's packages load, only where they belong, and come out the same twice
#   make test-packages   the packages in clean Debian 12 and 13: install, boot, upgrade, purge
#   make fuzz            throw bytes at the parsers for a minute each; FUZZ="runs=1000000 option" or the like
#   make soak            load and unload beside traffic for ten minutes; SOAK="seconds=60 kernel=6.12 cpus=4"
#   make hostile         send ten million hostile segments at servers; HOSTILE="segments=100000 seed=7" or the like
#   make bench           what the module costs, in instructions, on kernels 7.3, 6.12 and 7.3-arm64
#   make bench-scale     the same with up to a million connections, memory, and rmmod; takes long
#   make bench-check     fail if anything costs more than was recorded
#   make bench-record    record what bench and bench-scale measured, and draw the chart

KVER ?= $(shell uname -r)
KDIR ?= /lib/modules/$(KVER)/build

# Finds headers, metadata and tools, or says in one line what is missing and how to get it.
toolchain = CRATE=$(CRATE) scripts/toolchain $(KDIR)
kbuild = $(MAKE) --no-print-directory -C "$$KBUILD_DIR" M=$(CURDIR) RUSTC="$$RUSTC" BINDGEN="$$BINDGEN" \
	TOA_OWN_CRATE="$$TOA_OWN_CRATE" $(anywhere)

# Debug information, and with it the module's build-id, does not depend on where this directory is.
anywhere = KCFLAGS='$(KCFLAGS) -ffile-prefix-map=$(CURDIR)=.' \
	KRUSTFLAGS='$(KRUSTFLAGS) --remap-path-prefix=$(CURDIR)=.'

all: modules

modules:
	+@settings=$$($(toolchain)) && eval "$$settings" && $(kbuild) $(if $(CLIPPY),CLIPPY=1) modules

metadata:
	+@$(toolchain) metadata >/dev/null

sign:
	@scripts/sign '$(KDIR)' '$(KEY)' '$(CERT)' toa.ko

fleet:
	@scripts/fleet $(if $(KEY),--key '$(KEY)') $(if $(CERT),--cert '$(CERT)') $(KERNELS)

clean:
	@$(MAKE) -C $(KDIR) M=$(CURDIR) clean

man: $(patsubst scripts/doc/%.md,build/man/%,$(wildcard scripts/doc/*.[0-9].md))

# Without smart, quotes and dashes are those that people type.
build/man/%: scripts/doc/%.md
	@command -v pandoc >/dev/null || { echo "toa: no pandoc (package pandoc)" >&2; exit 1; }
	@mkdir -p $(@D)
	@pandoc --standalone --from markdown-smart --to man -o $@ $<

install uninstall:
	@KVER='$(KVER)' DESTDIR='$(DESTDIR)' PREFIX='$(PREFIX)' scripts/package/install $@

deb rpm:
	@scripts/lab host --root package -- scripts/package/build $@

demo:
	@tests/demo/run

test test-all check test-host test-guest test-debug test-applications test-signing test-fleet test-packages:
	@tests/run $@

fuzz:
	@scripts/lab host -- tests/fuzz/run $(or $(FUZZ),60)

soak:
	@tests/soak/run $(SOAK)

hostile:
	@tests/hostile/run 7.3 $(or $(HOSTILE),segments=10000000)

bench:
	@tests/bench/bench.py

bench-scale bench-check bench-record:
	@tests/bench/bench.py $(@:bench-%=--%)

.PHONY: all modules metadata clean demo test test-all check test-host test-guest test-debug man \
	fuzz bench bench-scale bench-check bench-record soak test-applications sign fleet test-signing \
	test-fleet install uninstall deb rpm test-packages hostile
