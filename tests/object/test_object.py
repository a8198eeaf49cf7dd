# SPDX-License-Identifier: GPL-2.0
"""Is toa.ko fit to be loaded? Each architecture has further tests of its own."""

import re
import unittest

import module


class Object(unittest.TestCase):
    def test_the_build_has_nothing_to_say(self):
        lines = [line for line in module.LOG.splitlines() if re.search(r"warning|objtool|modpost:|error", line)]
        self.assertEqual(lines, [])

    def test_the_release_is_found(self):
        release = (module.OBJECT / "release").read_text().strip()
        self.assertEqual(module.output("modinfo", "-F", "vermagic", module.MODULE).split()[0], release)
        self.assertEqual(module.output("modinfo", "-F", "license", module.MODULE).strip(), "GPL")
        # A second section of the name would hide the first from the loader.
        sections = module.output("readelf", "-SW", module.MODULE)
        self.assertEqual(len(re.findall(r"\s\.modinfo\s", sections)), 1)

    def test_types_are_described_where_the_headers_allow_it(self):
        described = " .BTF " in module.output("readelf", "-SW", module.MODULE)
        self.assertEqual(described, (module.OBJECT / "headers-have-btf").exists())

    def test_size_with_our_own_crate(self):
        if "src/kernel" not in module.LOG:
            return
        # What the kernel keeps in memory; the file has symbols and relocations beside.
        sections = re.findall(r"\] \S+\s+\w+\s+\w+ \w+ (\w+) \w+ +W?AX?I?M?S? ", module.output("readelf", "-SW", module.MODULE))
        loaded = sum(int(size, 16) for size in sections)
        self.assertTrue(50_000 < loaded < 100_000, loaded)


if __name__ == "__main__":
    unittest.main()
