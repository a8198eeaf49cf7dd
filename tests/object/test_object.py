# SPDX-License-Identifier: GPL-2.0
"""Is toa.ko fit to be loaded? Looks at the object in the folder $OBJECT, which tests/object/run fills.

What the emulator cannot try (indirect branch tracking, speculation) is read off the machine code.
"""

import os
import pathlib
import re
import subprocess
import unittest

OBJECT = pathlib.Path(os.environ["OBJECT"])
MODULE = OBJECT / "toa.ko"

# What arch/x86/kernel/module.c of all supported kernels applies.
RELOCATIONS = {
    f"R_X86_64_{kind}" for kind in ("NONE", "64", "32", "32S", "PC32", "PC64", "PLT32")
}


def output(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def instructions():
    """(function, instruction with its operands, relocation or "") of all code, in order."""
    function = None
    found = []
    for line in output("objdump", "-dr", "--no-show-raw-insn", MODULE).splitlines():
        if head := re.match(r"[0-9a-f]+ <(.*)>:$", line):
            function = head[1]
        elif relocation := re.match(r"\s+[0-9a-f]+: R_X86_64_\w+\s+(\S+)", line):
            found[-1] = (*found[-1][:2], relocation[1])
        elif code := re.match(r"\s+[0-9a-f]+:\s+(.*\S)", line):
            found.append((function, code[1], ""))
    return found


class Object(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.log = (OBJECT / "log").read_text()
        cls.config = dict(re.findall(r"^CONFIG_(\w+)=(.*)$", (OBJECT / "config").read_text(), re.M))
        cls.code = instructions()

    def has(self, *options):
        """Whether the kernel has one of the options: they were renamed over the years."""
        return any(self.config.get(option) == "y" for option in options)

    def test_the_build_has_nothing_to_say(self):
        lines = [line for line in self.log.splitlines() if re.search(r"warning|objtool|modpost:|error", line)]
        self.assertEqual(lines, [])

    def test_only_relocations_that_the_loader_knows(self):
        kinds = set(re.findall(r"R_X86_64_\w+", output("readelf", "-rW", MODULE)))
        self.assertTrue(kinds)
        self.assertEqual(kinds - RELOCATIONS, set())

    def test_the_release_is_found(self):
        release = (OBJECT / "release").read_text().strip()
        self.assertEqual(output("modinfo", "-F", "vermagic", MODULE).split()[0], release)
        self.assertEqual(output("modinfo", "-F", "license", MODULE).strip(), "GPL")
        # A second section of the name would hide the first from the loader.
        sections = output("readelf", "-SW", MODULE)
        self.assertEqual(len(re.findall(r"\s\.modinfo\s", sections)), 1)

    def test_types_are_described_where_the_headers_allow_it(self):
        described = " .BTF " in output("readelf", "-SW", MODULE)
        self.assertEqual(described, (OBJECT / "headers-have-btf").exists())

    def test_indirect_branches_go_through_thunks(self):
        self.assertTrue(self.has("MITIGATION_RETPOLINE", "RETPOLINE"), "nothing to see on this kernel")
        bare = [
            entry
            for entry in self.code
            if re.match(r"(notrack )?(bnd )?(call|jmp)q?\s+\*", entry[1])
            # The kernel makes direct calls of these as it loads the module.
            and not entry[2].startswith("pv_ops")
        ]
        self.assertEqual(bare, [])

    def test_returns_go_through_a_thunk(self):
        bare = [entry for entry in self.code if re.match(r"(bnd )?retq?\b", entry[1])]
        thunks = [entry for entry in self.code if entry[2].startswith("__x86_return_thunk")]
        if self.has("MITIGATION_RETHUNK", "RETHUNK"):
            self.assertEqual(bare, [])
            self.assertTrue(thunks)
        else:
            self.assertEqual(thunks, [])
            self.assertTrue(bare)

    def test_speculation_past_unconditional_branches_stops(self):
        if not self.has("MITIGATION_SLS", "SLS"):
            return
        for (_, code, _), following in zip(self.code, self.code[1:] + [("", "", "")], strict=True):
            if re.match(r"retq?\b", code):
                self.assertEqual(following[1], "int3")

    def test_landing_pads(self):
        if not self.has("X86_KERNEL_IBT"):
            return
        first = {}
        for function, code, _ in self.code:
            first.setdefault(function, code)
        # Rust's hooks, and what the loader calls.
        entries = [
            name
            for name in first
            if ("callback" in name or name in ("init_module", "cleanup_module"))
            and not name.startswith("__pfx_")  # padding before a function
        ]
        self.assertGreater(len(entries), 4)
        self.assertEqual([name for name in entries if first[name] != "endbr64"], [])

    def test_size_with_our_own_crate(self):
        if "src/kernel" not in self.log:
            return
        # What the kernel keeps in memory; the file has symbols and relocations beside.
        sections = re.findall(r"\] \S+\s+\w+\s+\w+ \w+ (\w+) \w+ +W?AX?I?M?S? ", output("readelf", "-SW", MODULE))
        loaded = sum(int(size, 16) for size in sections)
        self.assertTrue(50_000 < loaded < 100_000, loaded)

    def test_no_vector_registers(self):
        used = [entry for entry in self.code if re.search(r"%([xyz]mm|mm|st)\d", entry[1])]
        self.assertEqual(used, [])


if __name__ == "__main__":
    unittest.main()
