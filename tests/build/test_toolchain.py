# SPDX-License-Identifier: GPL-2.0
"""What `make` says when something is missing: one line, the thing and where to get it.

Runs the real scripts against made-up headers and a PATH of made-up tools, on any machine.
"""

import os
import pathlib
import subprocess
import tempfile
import unittest

TOP = pathlib.Path(__file__).resolve().parents[2]
CONFIG = {
    "MODULES": "y",
    "X86_64": "y",
    "RUST": "y",
    "DYNAMIC_FTRACE_WITH_ARGS": "y",
    "RUSTC_VERSION_TEXT": '"rustc 1.85.1 (4eb161250 2025-03-15) (built from a source tarball)"',
    "CC_VERSION_TEXT": '"gcc (Debian 14.2.0-19) 14.2.0"',
}
# What the scripts call, beside the tools that a case leaves out.
PLAIN = "sh basename cat cmp cp cut dirname echo env expr find grep head ln ls make mkdir mktemp mv nproc readlink rm sed sort tail tar uname xz"


class ToolchainTest(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.root = pathlib.Path(scratch.name)
        self.bin = self.root / "bin"
        self.bin.mkdir()
        for tool in PLAIN.split():
            for folder in ("/usr/bin", "/bin"):
                if os.path.exists(f"{folder}/{tool}"):
                    (self.bin / tool).symlink_to(f"{folder}/{tool}")
                    break
        self.tool("rustc", rustc("1.85.1", self.root / "sysroot"))
        self.tool("bindgen", "echo bindgen 0.71.1")
        self.tool("gcc", "true")
        self.kdir = self.root / "headers"
        self.headers(CONFIG)

    def tool(self, name, body):
        path = self.bin / name
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)

    def headers(self, config, metadata=True):
        for part in ("include/generated", "rust"):
            (self.kdir / part).mkdir(parents=True, exist_ok=True)
        (self.kdir / "Makefile").touch()
        (self.kdir / "Module.symvers").touch()
        self.release("7.3.4+test")
        (self.kdir / ".config").write_text(
            "".join(f"CONFIG_{name}={value}\n" for name, value in config.items())
        )
        rmeta = self.kdir / "rust/libkernel.rmeta"
        rmeta.touch() if metadata else rmeta.unlink(missing_ok=True)

    def release(self, release):
        (self.kdir / "include/generated/utsrelease.h").write_text(f'#define UTS_RELEASE "{release}"\n')

    def rust_src(self):
        core = self.root / "sysroot/lib/rustlib/src/rust/library/core/src"
        core.mkdir(parents=True)
        (core / "lib.rs").touch()

    def run_script(self, script="toolchain", *arguments, **environment):
        return subprocess.run(
            [TOP / "scripts" / script, *(arguments or [self.kdir])],
            env={"PATH": str(self.bin), "HOME": str(self.root), **environment},
            capture_output=True,
            text=True,
            check=False,
        )

    def refused(self, result, *words):
        """Asserts a refusal, of one line that has all the words."""
        self.assertNotEqual(result.returncode, 0)
        self.assertEqual(result.stdout, "")
        lines = result.stderr.splitlines()
        self.assertEqual(len(lines), 1, result.stderr)
        self.assertTrue(lines[0].startswith("toa: "), lines)
        for word in words:
            self.assertIn(word, lines[0])

    def without(self, option):
        return {name: value for name, value in CONFIG.items() if name != option}

    def chosen(self, result, *words, own):
        """Asserts a choice of crate, said in one line that has all the words."""
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn(f"TOA_OWN_CRATE='{1 if own else ''}'", result.stdout)
        self.assertEqual(len(result.stderr.splitlines()), 1, result.stderr)
        for word in ("building for 7.3.4+test", *words):
            self.assertIn(word, result.stderr)

    def test_the_kernels_crate_where_it_is_there(self):
        result = self.run_script()
        self.chosen(result, "kernel's own Rust crate", own=False)
        self.assertIn(f"KBUILD_DIR='{self.kdir}'", result.stdout)
        self.assertIn("BINDGEN='bindgen'", result.stdout)

    def test_our_crate_for_a_kernel_without_rust(self):
        self.rust_src()
        self.headers(self.without("RUST"))
        self.chosen(self.run_script(), "src/kernel", "without CONFIG_RUST", own=True)

    def test_our_crate_where_the_metadata_is_missing(self):
        self.rust_src()
        self.headers(CONFIG, metadata=False)
        self.chosen(self.run_script(), "src/kernel", "make metadata", own=True)

    def test_our_crate_with_another_rustc(self):
        self.rust_src()
        self.tool("rustc", rustc("1.95.0", self.root / "sysroot"))
        self.chosen(self.run_script(RUSTC="rustc"), "src/kernel", "1.85.1", "1.95.0", own=True)

    def test_our_crate_by_force(self):
        self.rust_src()
        self.chosen(self.run_script(CRATE="own"), "src/kernel", "CRATE=own", own=True)

    def test_no_such_crate(self):
        self.refused(self.run_script(CRATE="mine"), "CRATE=mine", "own")

    def test_no_headers(self):
        result = self.run_script("toolchain", self.root / "nowhere")
        self.refused(result, "no kernel headers", f"linux-headers-{os.uname().release}", "KDIR=")

    def test_headers_not_configured(self):
        (self.kdir / "include/generated/utsrelease.h").unlink()
        self.refused(self.run_script(), "no configured kernel", "linux-headers-")

    def test_kernel_too_old(self):
        for release in ("3.10.0-1160.el7.x86_64", "4.19.0-27-amd64", "5.4.0-1", "5.9.16"):
            self.release(release)
            self.refused(self.run_script(), release, "too old", "5.10")

    def test_no_modules(self):
        self.headers(self.without("MODULES"))
        self.refused(self.run_script(), "7.3.4+test", "CONFIG_MODULES")

    def test_no_ftrace(self):
        self.headers(self.without("DYNAMIC_FTRACE_WITH_ARGS"))
        self.refused(self.run_script(), "CONFIG_DYNAMIC_FTRACE_WITH_ARGS")

    def test_arm64(self):
        config = {**self.without("X86_64"), "ARM64": "y"}
        self.headers(config)
        self.chosen(self.run_script(), "kernel's own Rust crate", own=False)

    def test_arm64_without_replaceable_functions(self):
        # Linux 5.5 to 6.1 has other hooks there.
        config = {**self.without("X86_64"), "ARM64": "y", "DYNAMIC_FTRACE_WITH_REGS": "y"}
        del config["DYNAMIC_FTRACE_WITH_ARGS"]
        self.headers(config)
        self.refused(self.run_script(), "CONFIG_DYNAMIC_FTRACE_WITH_ARGS", "arm64", "6.2")

    def test_other_machines(self):
        for config in ({"RISCV": "y"}, {"ARM64": "y", "CPU_BIG_ENDIAN": "y"}):
            self.headers({**self.without("X86_64"), **config})
            self.refused(self.run_script(), "x86-64", "arm64")

    def test_the_kernels_crate_by_force_without_rust_in_the_kernel(self):
        self.headers(self.without("RUST"))
        self.refused(self.run_script(CRATE="kernel"), "7.3.4+test", "CONFIG_RUST")

    def test_the_kernels_crate_by_force_without_rustc(self):
        # The system's own may be there all the same, but of another version.
        self.headers({**CONFIG, "RUSTC_VERSION_TEXT": '"rustc 1.0.7 (none)"'})
        result = self.run_script(CRATE="kernel", RUSTC=str(self.bin / "missing"))
        self.refused(result, "no rustc", "1.0.7", "package rustc")

    def test_the_kernels_crate_by_force_with_another_rustc(self):
        self.tool("rustc", rustc("1.95.0", self.root / "sysroot"))
        result = self.run_script(CRATE="kernel", RUSTC="rustc")
        self.refused(result, "wrong rustc", "1.85.1", "1.95.0", "RUSTC=")

    def test_right_rustc_under_its_versioned_name(self):
        self.tool("rustc", rustc("1.95.0", self.root / "sysroot"))
        self.tool("rustc-1.85", rustc("1.85.1", self.root / "sysroot"))
        result = self.run_script()
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("RUSTC='rustc-1.85'", result.stdout)

    def test_our_crate_is_not_for_kernels_with_cfi(self):
        for option in ("CFI", "CFI_CLANG"):
            self.headers({**self.without("RUST"), option: "y"})
            self.refused(self.run_script(), "CONFIG_CFI", "without CONFIG_RUST")

    def test_our_crate_needs_rustc(self):
        result = self.run_script(CRATE="own", RUSTC=str(self.bin / "missing"))
        self.refused(result, "no rustc", "1.78", "package rustc")

    def test_our_crate_needs_no_ancient_rustc(self):
        for version in ("1.48.0", "1.63.0", "1.77.2"):
            self.tool("rustc", rustc(version, self.root / "sysroot"))
            self.refused(self.run_script(CRATE="own"), version, "1.78", "rustc-web")

    def test_our_crate_finds_a_newer_rustc_beside_an_old_one(self):
        self.rust_src()
        self.tool("rustc", rustc("1.75.0", self.root / "sysroot"))
        for version in ("1.76", "1.78", "1.80"):
            self.tool(f"rustc-{version}", rustc(f"{version}.1", self.root / "sysroot"))
        result = self.run_script(CRATE="own")
        self.chosen(result, "CRATE=own", own=True)
        self.assertIn("RUSTC='rustc-1.80'", result.stdout)

    def test_fits(self):
        # Whatever the tools, which are another question.
        (self.bin / "rustc").unlink()
        (self.bin / "bindgen").unlink()
        result = self.run_script("toolchain", self.kdir, "fits")
        self.assertEqual((result.returncode, result.stdout, result.stderr), (0, "", ""))
        self.headers(self.without("DYNAMIC_FTRACE_WITH_ARGS"))
        self.refused(self.run_script("toolchain", self.kdir, "fits"), "CONFIG_DYNAMIC_FTRACE_WITH_ARGS")

    def test_our_crate_needs_rust_src(self):
        self.refused(self.run_script(CRATE="own"), "core library", "package rust-src")

    def test_no_bindgen(self):
        (self.bin / "bindgen").unlink()
        self.refused(self.run_script(), "no bindgen", "package bindgen")

    def test_no_libclang(self):
        self.tool("bindgen", "exit 101")
        self.refused(self.run_script(), "bindgen", "package libclang-dev")

    def test_no_compiler(self):
        (self.bin / "gcc").unlink()
        self.refused(self.run_script(), "no C compiler", "package gcc")

    def metadata(self, **environment):
        return self.run_script(
            "metadata", self.kdir, self.root / "headers-7.3.4+test",
            **{"RUSTC": "rustc", "BINDGEN": "bindgen", **environment},
        )

    def test_metadata_needs_rust_src(self):
        self.refused(self.metadata(), "core library", "package rust-src")

    def test_metadata_needs_the_kernel_source(self):
        self.rust_src()
        result = self.metadata(KERNEL_SOURCE=str(self.root / "none.tar.xz"))
        self.refused(result, "linux-source-7.3", "KERNEL_SOURCE=")


def rustc(version, sysroot):
    return f"""case $1 in
--print) echo {sysroot} ;;
*) echo "rustc {version}"; echo "release: {version}" ;;
esac"""


if __name__ == "__main__":
    unittest.main()
