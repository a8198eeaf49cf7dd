# SPDX-License-Identifier: GPL-2.0
#
# Builds the module with the `kernel` crate of this folder: libcore from rust-src, that crate, and
# the module linked with both into one object. For kernels without Rust.

own := $(obj)/src/kernel

rust-src := $(or $(RUST_LIB_SRC),$(shell MAKEFLAGS= $(RUSTC) --print sysroot)/lib/rustlib/src/rust/library)

# The first of the arguments that this rustc takes: options change their names over the years.
rustc-option = $(firstword $(foreach option,$(1),$(shell MAKEFLAGS= RUSTC_BOOTSTRAP=1 $(RUSTC) $(option) \
	--crate-name probe --print crate-name - </dev/null >/dev/null 2>&1 && echo $(option))))

# What each architecture's kernels want of the code; arch/*/Makefile of the kernel has the same by
# other names.
ifdef CONFIG_X86_64
# The compiler's own bare-metal target, with what the kernel's configuration asks of indirect
# branches. As an option the same features would draw a warning each.
rust-features := $(if $(CONFIG_MITIGATION_RETPOLINE)$(CONFIG_RETPOLINE),+retpoline-external-thunk \
	+retpoline-indirect-branches +retpoline-indirect-calls) \
	$(if $(CONFIG_MITIGATION_SLS)$(CONFIG_SLS),+harden-sls-ijmp +harden-sls-ret)

quiet_cmd_toa_target = GEN     $@
      cmd_toa_target = RUSTC_BOOTSTRAP=1 $(RUSTC) -Zunstable-options --print target-spec-json \
	--target x86_64-unknown-none | sed 's/"features": "/&$(subst $(space),$(comma),$(strip \
	$(rust-features) +soft-float)),/; s/"kind": "inline"/"kind": "none"/; /"is-builtin"/d' >$@

target-file := $(own)/target.json
$(target-file): FORCE
	+$(call if_changed,toa_target)

# Frame pointers save most of the unwind tables, which take more room than the code.
arch-flags = --target=$(target-file) -Ccode-model=kernel -Cno-redzone=y -Zplt=yes -Ctarget-cpu=x86-64 \
	-Cforce-unwind-tables=n \
	$(if $(CONFIG_X86_KERNEL_IBT),-Zcf-protection=branch) \
	$(if $(CONFIG_MITIGATION_RETHUNK)$(CONFIG_RETHUNK),-Zfunction-return=thunk-extern) \
	$(if $(CONFIG_CALL_PADDING),-Zpatchable-function-entry=$(CONFIG_FUNCTION_PADDING_BYTES)$(comma)$(CONFIG_FUNCTION_PADDING_BYTES))
endif
ifdef CONFIG_ARM64
# Kernels that sign return addresses or keep them on a stack of their own; the second may be decided
# at boot, by means of unwind tables.
arch-flags = --target=aarch64-unknown-none-softfloat \
	$(if $(CONFIG_ARM64_BTI_KERNEL),-Zbranch-protection=bti$(comma)pac-ret,$(if \
		$(CONFIG_ARM64_PTR_AUTH_KERNEL),-Zbranch-protection=pac-ret)) \
	$(if $(CONFIG_SHADOW_CALL_STACK),-Zfixed-x18 $(if $(CONFIG_DYNAMIC_SCS),,-Zsanitizer=shadow-call-stack)) \
	$(if $(CONFIG_UNWIND_TABLES),-Cforce-unwind-tables=y -Zuse-sync-unwind=n,-Cforce-unwind-tables=n)
endif

# Small: what has to be fast says itself what to inline.
rust-flags = $(arch-flags) -Zunstable-options --sysroot=/dev/null -L $(own) \
	-Cpanic=abort -Crelocation-model=static \
	-Ccodegen-units=1 -Csymbol-mangling-version=v0 -Zfunction-sections=n \
	-Copt-level=s -Cforce-frame-pointers=yes $(call rustc-option,-Zno-jump-tables -Cjump-tables=n)

# With `make CLIPPY=1` clippy and the kernel's own list of lints look at what is ours.
rust-driver = $(if $(lints),$(if $(CLIPPY),$(or $(CLIPPY_DRIVER),clippy-driver),$(RUSTC)) $(lints),$(RUSTC))
kernel-lints = $(or $(filter -W% -A% -D%,$(rust_common_flags)),-Astable_features)

quiet_cmd_toa_rlib = RUSTC   $@
      cmd_toa_rlib = RUSTC_BOOTSTRAP=1 $(rust-driver) $(rust-flags) $(crate-flags) --crate-type rlib \
	--out-dir $(own) --emit=dep-info=$(depfile),link $<

core-edition = $(shell sed -n 's/^edition = "\(.*\)"/\1/p' $(rust-src)/core/Cargo.toml)

$(own)/libcore.rlib: crate-flags = --edition=$(core-edition) --crate-name core --cfg no_fp_fmt_parse --cap-lints allow
$(own)/libcore.rlib: $(rust-src)/core/src/lib.rs $(target-file) FORCE
	+$(call if_changed_dep,toa_rlib)

# libcore's intrinsics, of which we use none: rustc asks for the crate all the same.
$(own)/libcompiler_builtins.rlib: crate-flags = --edition=2021 --crate-name compiler_builtins
$(own)/libcompiler_builtins.rlib: $(own)/compiler_builtins.rs $(own)/libcore.rlib FORCE
	+$(call if_changed_dep,toa_rlib)

# The first is unstable; the others became stable after 1.78, the oldest rustc that we support.
crate-features := -Zcrate-attr='feature(used_with_arg)' -Astable_features -Aunused_features \
	-Zcrate-attr='feature(asm_const,inline_const,lint_reasons,non_null_convenience,raw_ref_op)'

$(own)/libkernel.rlib $(own)/toa.o: private lints = $(kernel-lints)
$(own)/libkernel.rlib: crate-flags = --edition=2021 --crate-name kernel $(crate-features)
$(own)/libkernel.rlib: $(own)/lib.rs $(own)/libcompiler_builtins.rlib FORCE
	+$(call if_changed_dep,toa_rlib)

# Some kernels run objtool on each object, and some of those leave the separator to the caller.
objtool-step = $(if $(strip $(cmd_objtool)),$(if $(filter ;,$(firstword $(cmd_objtool))),,;) $(cmd_objtool))

# A static library with link-time optimisation holds the module in a single member.
quiet_cmd_toa_object = RUSTC $(quiet_modtag) $@
      cmd_toa_object = RUSTC_BOOTSTRAP=1 $(rust-driver) $(rust-flags) --edition=2021 --crate-name toa \
	--crate-type staticlib -Clto=fat --extern kernel -Zcrate-attr=no_std \
	$(crate-features) --cfg MODULE \
	--out-dir $(own) --emit=dep-info=$(depfile),link $< && \
	$(AR) p $(own)/libtoa.a $$($(AR) t $(own)/libtoa.a | grep '^toa\.') >$@ $(objtool-step)

$(own)/toa.o: $(obj)/src/toa.rs $(own)/libkernel.rlib $(obj)/src/linux/bindings_generated.rs FORCE
	+$(call if_changed_dep,toa_object)

targets += $(addprefix src/kernel/,target.json libcore.rlib libcompiler_builtins.rlib libkernel.rlib toa.o)
