# SPDX-License-Identifier: GPL-2.0
"""Is toa.ko as kernels for arm64 want it?

No stock kernel asks for all that is possible, so tests/object/run builds variants beside it.
"""

import re
import unittest

import module

load_tests = module.only_on("ARM64")

# What arch/arm64/kernel/module.c of all supported kernels applies to code and data without a table of
# addresses (GOT), which modules have not.
RELOCATIONS = {
    f"R_AARCH64_{kind}"
    for kind in (
        *("NONE", "ABS32", "ABS64", "PREL32", "PREL64", "CALL26", "JUMP26", "ADR_PREL_PG_HI21"),
        *("ADD_ABS_LO12_NC", "LDST8_ABS_LO12_NC", "LDST16_ABS_LO12_NC", "LDST32_ABS_LO12_NC"),
        *("LDST64_ABS_LO12_NC", "LDST128_ABS_LO12_NC", "CONDBR19", "TSTBR14"),
    )
}
# Of the floating point and vector unit, which belongs to user space while the kernel runs.
VECTOR = re.compile(r"[ ,{\[]([vzpq]\d|[dshb]\d+\b)")
# Of Armv8.1, which not every machine has; the kernel's own are alternatives to older ones.
ATOMIC = re.compile(r"(ld|st)(add|clr|eor|set|[su]max|[su]min)|cas|swp")
# Where a call through a pointer may land: signing the return address is such a place too.
LANDING = re.compile(r"bti\s+j?c$|paciasp$")
SAVES_RETURN = re.compile(r"st[pr]\s+(x29, )?x30, \[sp")


def functions(code):
    """The instructions of each function."""
    found = {}
    for function, instruction, _ in code:
        found.setdefault(function, []).append(instruction)
    return found


def operands(instruction):
    """Without addresses and names, in which there may be anything."""
    return re.sub(r"\b[0-9a-f]+ <.*>|//.*|#\S+", "", instruction)


class Arm64(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.code = module.instructions()
        cls.functions = functions(cls.code)

    def variant(self, name):
        """The functions of a variant; none if the kernel's own crate, built by other rules, is in use."""
        file = module.OBJECT / f"{name}.ko"
        return functions(module.instructions(file)) if file.exists() else {}

    def unsigned(self, code):
        """Functions that keep a return address on the stack as it is, or return to it unseen."""
        for name, instructions in code.items():
            saves = [n for n, text in enumerate(instructions) if SAVES_RETURN.match(text)]
            if not saves:
                continue
            if "paciasp" not in instructions[: saves[0]]:
                yield name
            for before, text in zip(instructions, instructions[1:], strict=False):
                if text == "ret" and before != "autiasp" and "autiasp" not in instructions:
                    yield name

    def test_only_relocations_that_the_loader_knows(self):
        kinds = module.relocations()
        self.assertTrue(kinds)
        self.assertEqual(kinds - RELOCATIONS, set())

    def test_return_addresses_are_signed_where_the_kernel_signs_its_own(self):
        if module.has("ARM64_PTR_AUTH_KERNEL"):
            self.assertEqual(sorted(set(self.unsigned(self.functions))), [])
        rust = [name for name, code in self.functions.items() if name.startswith("_R") and "paciasp" in code]
        self.assertEqual(len(rust) > 20, module.has("ARM64_PTR_AUTH_KERNEL"), len(rust))

    def test_landing_pads_where_the_kernel_has_them(self):
        pads = [name for name, text in module.first_instructions(self.code).items() if text.startswith("bti")]
        self.assertEqual(bool(pads), module.has("ARM64_BTI_KERNEL"), pads)

    def test_landing_pads_if_asked_for(self):
        code = self.variant("bti")
        if not code and "src/kernel" not in module.LOG:
            return
        first = {name: instructions[0] for name, instructions in code.items()}
        entries = module.entries(first)
        # And where hooked calls go on.
        entries += [name for name in first if "length_of_inet" in name]
        self.assertGreater(len(entries), 6)
        self.assertEqual([name for name in entries if not LANDING.match(first[name])], [])
        self.assertEqual(sorted(set(self.unsigned(code))), [])

    def test_return_addresses_on_a_stack_of_their_own_if_asked_for(self):
        code = self.variant("scs")
        if not code and "src/kernel" not in module.LOG:
            return
        for name, instructions in code.items():
            text = "\n".join(instructions)
            if name.startswith("_R") and re.search(SAVES_RETURN, text):
                self.assertIn("str\tx30, [x18], #8", text, name)

    def test_no_floating_point(self):
        used = [entry for entry in self.code if VECTOR.search(operands(entry[1]).replace("\t", " "))]
        self.assertEqual(used, [])

    def test_atomic_operations_that_every_machine_has(self):
        self.assertEqual([entry for entry in self.code if entry[2].startswith("__aarch64_")], [])
        rust = [entry for entry in self.code if entry[0].startswith("_R")]
        self.assertGreater(len(rust), 1000)
        self.assertEqual([entry for entry in rust if ATOMIC.match(entry[1])], [])


if __name__ == "__main__":
    unittest.main()
