# SPDX-License-Identifier: GPL-2.0
"""Is toa.ko as kernels for x86-64 want it?

What the emulator cannot try (indirect branch tracking, speculation) is read off the machine code.
"""

import re
import unittest

import module

load_tests = module.only_on("X86_64")

# What arch/x86/kernel/module.c of all supported kernels applies.
RELOCATIONS = {
    f"R_X86_64_{kind}" for kind in ("NONE", "64", "32", "32S", "PC32", "PC64", "PLT32")
}


class X86(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.code = module.instructions()

    def test_only_relocations_that_the_loader_knows(self):
        kinds = module.relocations()
        self.assertTrue(kinds)
        self.assertEqual(kinds - RELOCATIONS, set())

    def test_indirect_branches_go_through_thunks(self):
        self.assertTrue(module.has("MITIGATION_RETPOLINE", "RETPOLINE"), "nothing to see on this kernel")
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
        if module.has("MITIGATION_RETHUNK", "RETHUNK"):
            self.assertEqual(bare, [])
            self.assertTrue(thunks)
        else:
            self.assertEqual(thunks, [])
            self.assertTrue(bare)

    def test_speculation_past_unconditional_branches_stops(self):
        if not module.has("MITIGATION_SLS", "SLS"):
            return
        for (_, code, _), following in zip(self.code, self.code[1:] + [("", "", "")], strict=True):
            if re.match(r"retq?\b", code):
                self.assertEqual(following[1], "int3")

    def test_landing_pads(self):
        if not module.has("X86_KERNEL_IBT"):
            return
        first = module.first_instructions(self.code)
        entries = module.entries(first)
        self.assertGreater(len(entries), 4)
        self.assertEqual([name for name in entries if first[name] != "endbr64"], [])

    def test_no_vector_registers(self):
        used = [entry for entry in self.code if re.search(r"%([xyz]mm|mm|st)\d", entry[1])]
        self.assertEqual(used, [])


if __name__ == "__main__":
    unittest.main()
