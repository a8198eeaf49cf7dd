# SPDX-License-Identifier: GPL-2.0
"""The module's parameters: who may send options, of which kinds, to which ports."""

import contextlib
import errno
import ipaddress
import mmap
import os
import stat
import struct
from socket import AF_INET, AF_INET6

import module
from case import Case, Child, port_of, tun
from net import pad, toa

CLIENT4 = ("198.51.100.7", 40123)
CLIENT6 = ("2001:db8::7", 40123)

# What a value that is taken is shown as.
GOOD = {
    "kinds": {
        "254": "254",
        "200": "200",
        "28,200,254": "254,200,28",
        "254,254": "254",
        "254,253,252,250,249,202,201,200,28": "254,253,252,250,249,202,201,200,28",
        "250,254": "254,250",
    },
    "trusted": {
        "": "",
        "10.0.0.1": "10.0.0.1/32",
        "fd00::1": "fd00::1/128",
        "10.0.0.0/8,fd00::/8": "10.0.0.0/8,fd00::/8",
        "fd00::/8,10.0.0.0/8": "10.0.0.0/8,fd00::/8",
        "0.0.0.0/0": "0.0.0.0/0",
        "::/0": "::/0",
        "0.0.0.0/0,::/0": "0.0.0.0/0,::/0",
        "::ffff:10.0.0.0/104": "10.0.0.0/8",
        "FD00:0:0::1": "fd00::1/128",
        # One that lies in another is no more.
        "10.1.0.0/16,10.0.0.0/8,10.2.3.4": "10.0.0.0/8",
        "10.0.0.2,10.0.0.1": "10.0.0.1/32,10.0.0.2/32",
        "255.255.255.255": "255.255.255.255/32",
    },
    "ports": {
        "": "",
        "80": "80",
        "443,80": "80,443",
        "8000-8999": "8000-8999",
        "1-65535": "1-65535",
        "80-80": "80",
        "80,81,82": "80-82",
        "8000-8999,8500-9500,80": "80,8000-9500",
        "65535,1": "1,65535",
    },
}

MANY = ",".join(f"10.0.{i >> 8}.{i & 255}" for i in range(300))

# What is not taken, with the words in the log that tell the item.
BAD = {
    "kinds": {
        "": "an item is empty",
        "254,": "an item is empty",
        ",254": "an item is empty",
        "254,,200": "an item is empty",
        "255": '"255"',
        "30": '"30"',
        "0": '"0"',
        "256": '"256"',
        "-254": '"-254"',
        "+254": '"+254"',
        "0254": '"0254"',
        "0xfe": '"0xfe"',
        "254 ,200": '"254 "',
        "254, 200": '" 200"',
        "254;200": '"254;200"',
        "250": '"250" only accompanies',
        "201,202,250": '"250" only accompanies',
        "all": '"all"',
        "4294967550": '"4294967550"',
    },
    "trusted": {
        "256.0.0.1": '"256.0.0.1"',
        "10.0.0.1/33": '"10.0.0.1/33"',
        "fd00::/129": '"fd00::/129"',
        "10.0.0.1/8": '"10.0.0.1/8" has bits set',
        "fd00::1/8": '"fd00::1/8" has bits set',
        "::ffff:10.0.0.1/104": '"::ffff:10.0.0.1/104" has bits set',
        "10.0.0.1,": "an item is empty",
        ",10.0.0.1": "an item is empty",
        "10.0.0.1,,10.0.0.2": "an item is empty",
        ",": "an item is empty",
        " 10.0.0.1": '" 10.0.0.1"',
        "10.0.0.1 ": '"10.0.0.1 "',
        "10.0.0.1, 10.0.0.2": '" 10.0.0.2"',
        "10.0.0": '"10.0.0"',
        "010.0.0.1": '"010.0.0.1"',
        "10.0.0.1/": '"10.0.0.1/"',
        "10.0.0.0/08": '"10.0.0.0/08"',
        "10.0.0.0/-8": '"10.0.0.0/-8"',
        "10.0.0.0/8/8": '"10.0.0.0/8/8"',
        "/8": '"/8"',
        "10.0.0.1-10.0.0.9": '"10.0.0.1-10.0.0.9"',
        "fd00::1%eth0": '"fd00::1%eth0"',
        "[fd00::1]": '"[fd00::1]"',
        "balancer.example": '"balancer.example"',
        f"{MANY},10.0.0.256": '"10.0.0.256"',
    },
    "ports": {
        "0": '"0"',
        "65536": '"65536"',
        "0-80": '"0-80"',
        "1-65536": '"1-65536"',
        "90-80": '"90-80" is a range that ends before it begins',
        "80,": "an item is empty",
        ",80": "an item is empty",
        "80,,443": "an item is empty",
        "80, 443": '" 443"',
        "80-": '"80-"',
        "-80": '"-80"',
        "80-90-100": '"80-90-100"',
        "+80": '"+80"',
        "080": '"080"',
        "http": '"http"',
        "80:90": '"80:90"',
    },
}

# Those that are taken at load alone.
BAD_NUMBERS = {
    "syn_max": ("-1", "1048577", "", "many", " 1", "4294967295", "4294967296"),
    "syn_seconds": ("0", "3601", "-1", "", "1m", "99999999999999999999"),
}


def prefixes(count):
    """So many prefixes, no two of which are one."""
    return ",".join(f"10.{i >> 8}.{i & 255}.0/24" for i in range(count))


def allocations():
    """How many pieces of memory of 8 KiB are in use, as the slab allocator counts them.

    That is what a list of 1,000 IPv4 prefixes takes, or one of 250 prefixes for those of IPv6.
    """
    counts = module.slab_counts().items()
    return sum(count for name, count in counts if name.startswith("kmalloc") and name.endswith("-8k"))


class PolicyCase(Case):
    def setUp(self):
        super().setUp()
        self.log = module.Log()
        self.addCleanup(self.log.close)

    def load(self, **parameters):
        """Loads the module as new, for the time of the test."""
        self.addCleanup(module.unload)
        module.reload(**parameters)

    @contextlib.contextmanager
    def assert_refused(self, name, value, words):
        """The block fails, and the log says in one line what is wrong with the value."""
        self.log.lines()
        with self.assertRaises(OSError, msg=f"{name}={value[:99]}") as raised:
            yield
        self.assertEqual(raised.exception.errno, errno.EINVAL, f"{name}={value[:99]}")
        lines = self.log.ours()
        self.assertEqual(len(lines), 1, lines)
        self.assertTrue(lines[0].startswith(f"TOA: {name} not changed: "), lines)
        self.assertIn(words, lines[0])


class AtRunTime(PolicyCase):
    """Values written to /sys/module/toa/parameters."""

    def test_good_values_are_shown_in_one_form(self):
        for name, values in GOOD.items():
            self.parameter(name, module.parameter(name).strip())
            for value, shown in values.items():
                with self.subTest(name=name, value=value):
                    module.set_parameter(name, value)
                    self.assertEqual(module.parameter(name), shown + "\n")
                    if value:
                        # As printf writes it.
                        module.set_parameter(name, "28" if name == "kinds" else "")
                        module.set_parameter(name, value, end="")
                        self.assertEqual(module.parameter(name), shown + "\n")
                    # What is shown is taken, and means the same.
                    module.set_parameter(name, shown)
                    self.assertEqual(module.parameter(name), shown + "\n")
        self.assertEqual(self.log.ours(), [])

    def test_bad_values_leave_the_old_one(self):
        for name, values in BAD.items():
            old = {"kinds": "254,200", "trusted": "10.0.0.0/8,fd00::/8", "ports": "80,8000-8999"}[name]
            self.parameter(name, old)
            for value, words in values.items():
                with self.subTest(name=name, value=value):
                    with self.assert_refused(name, value, words):
                        module.set_parameter(name, value)
                    self.assertEqual(module.parameter(name), old + "\n")

    def test_only_the_last_line_end_is_none_of_the_value(self):
        for name, value in (("kinds", "254\n"), ("trusted", "10.0.0.1\n"), ("ports", "80\n"), ("ports", "\n")):
            with self.subTest(name=name), self.assert_refused(name, value, '"'):
                module.set_parameter(name, value)

    def test_more_than_sys_takes_at_once(self):
        # /sys hands a longer text on in parts of a page. This one breaks between two items, so that
        # each part alone would do.
        rest = ",".join(["110.110.110.110"] * (mmap.PAGESIZE // 16 - 1))
        first = "fd00::1:1111:111," + rest
        self.assertEqual(len(first), mmap.PAGESIZE)
        for name, value in (
            ("trusted", first + ",110.110.110.111"),
            ("trusted", first),
            ("ports", "8080," * (mmap.PAGESIZE // 4) + "80"),
            ("kinds", "254," * (mmap.PAGESIZE // 4) + "254"),
        ):
            with self.subTest(name=name):
                self.parameter(name, {"kinds": "254", "trusted": "10.0.0.0/8", "ports": "80"}[name])
                old = module.parameter(name)
                with self.assert_refused(name, value, "when the module is loaded"):
                    module.set_parameter(name, value)
                self.assertEqual(module.parameter(name), old)
        longest = "fd00::1:1111:11," + rest
        module.set_parameter("trusted", longest, end="")
        self.assertEqual(module.parameter("trusted"), "110.110.110.110/32,fd00::1:1111:11/128\n")

    def test_who_may_write(self):
        for name, mode in (
            ("kinds", 0o644), ("trusted", 0o644), ("ports", 0o644), ("syn_max", 0o444), ("syn_seconds", 0o444)
        ):
            path = f"{module.PARAMETERS}/{name}"
            self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), mode, name)
        for name in BAD_NUMBERS:
            value = module.parameter(name)
            with self.assertRaises(PermissionError):
                module.set_parameter(name, "100")
            self.assertEqual(module.parameter(name), value)

    def test_values_go_with_the_module(self):
        self.load(kinds="254,200", trusted="10.0.0.0/8", ports="80", syn_max="100", syn_seconds="5")
        module.reload()
        values = [module.parameter(name).strip() for name in ("kinds", "trusted", "ports", "syn_seconds")]
        self.assertEqual(values, ["254", "", "", "64"])
        self.assertGreater(int(module.parameter("syn_max")), 4095)

    def test_replaced_values_are_freed(self):
        ROUNDS = 200
        lists = ",".join(f"10.{i}.0.0/16" for i in range(250)), ",".join(f"fd{i:02x}::/16" for i in range(250))
        self.parameter("trusted", "")
        for number in range(ROUNDS):
            if number == 20:
                before = allocations()
            module.set_parameter("trusted", lists[number % 2])
            with self.assertRaises(OSError):
                module.set_parameter("trusted", lists[number % 2] + ",x")
        self.assertGreater(before, 0)
        # The kernel counts whole slabs of a CPU as used, hence the margin.
        self.assertLess(allocations() - before, 60)


class AtLoad(PolicyCase):
    """Values given to insmod."""

    def setUp(self):
        module.unload()
        self.addCleanup(module.unload)
        self.tun = tun()
        self.log = module.Log()
        self.addCleanup(self.log.close)

    def test_good_values(self):
        values = {
            "kinds": "200,254",
            "trusted": "fd00::/8,10.0.0.0/8",
            "ports": "443,80",
            "syn_max": "100",
            "syn_seconds": "5",
        }
        module.load(**values)
        shown = {name: module.parameter(name).strip() for name in values}
        expected = {**values, "kinds": "254,200", "trusted": "10.0.0.0/8,fd00::/8", "ports": "80,443"}
        self.assertEqual(shown, expected)

    def test_numbers(self):
        for values in ({"syn_max": "0", "syn_seconds": "1"}, {"syn_max": "1048576", "syn_seconds": "3600"}):
            with self.subTest(values=values):
                module.reload(**values)
                for name, value in values.items():
                    self.assertEqual(module.parameter(name), value + "\n")

    def test_bad_values(self):
        values = [
            (name, value, f'"{value}"' if value else "an item is empty")
            for name, bad in BAD_NUMBERS.items()
            for value in bad
        ]
        for name, bad in BAD.items():
            # How they are read is the same as at run time; some of each will do.
            values += [(name, *item) for item in list(bad.items())[::4]]
        for name, value, words in values:
            with self.subTest(name=name, value=value), self.assert_refused(name, value, words):
                module.insert(module.PATH, **{name: value})
            self.assertFalse(module.loaded())
        self.assert_nothing_left()

    def test_parameter_without_a_value(self):
        for name in ("kinds", "trusted", "ports", "syn_max"):
            with self.assertRaises(OSError) as raised:
                module.insert_with(module.PATH, name)
            self.assertEqual(raised.exception.errno, errno.EINVAL)
        self.assert_nothing_left()

    def test_bad_value_after_good_ones(self):
        with self.assert_refused("kinds", "255", '"255"'):
            module.insert(module.PATH, trusted=prefixes(1000), ports="80", kinds="255")
        self.assert_nothing_left()

    def test_long_lists(self):
        for count in (1025, 10_000):
            for name, value in (
                ("trusted", prefixes(count)),
                ("ports", ",".join(str(2 * i + 1) for i in range(count))),
            ):
                with self.subTest(name=name, count=count):
                    with self.assert_refused(name, value, "more than 1024 items"):
                        module.insert(module.PATH, **{name: value})
                    self.assert_nothing_left()

    def test_as_many_as_may_be(self):
        balancer = self.tun.balancer4
        value = prefixes(1023) + "," + balancer
        module.load(trusted=value, ports=",".join(str(2 * i + 1) for i in range(1023)) + ",2-65534")
        # A file in /sys shows a page, of which each item is a whole one.
        shown = module.parameter("trusted")
        self.assertTrue(shown.endswith("\n"))
        networks = sorted(map(ipaddress.ip_network, value.split(",")), key=lambda network: network.network_address)
        expected = [str(network) for network in networks]
        self.assertGreater(len(shown), min(mmap.PAGESIZE - 20, len(",".join(expected))))
        items = shown.strip().split(",")
        self.assertEqual(items, expected[: len(items)])
        self.assertEqual(module.parameter("ports"), "1-65534\n")

        listener = self.listen()
        self.assert_shows(self.connect(listener, toa(*CLIENT4)), *CLIENT4)
        module.set_parameter("trusted", "10.0.0.0/16")
        self.assert_shows_peer(self.connect(listener, toa(*CLIENT4)))

    def test_whether_everyone_is_believed_is_said(self):
        for trusted, lines in (("", 1), (self.tun.balancer4, 0), ("0.0.0.0/0,::/0", 0)):
            with self.subTest(trusted=trusted):
                module.unload()
                self.log.lines()
                module.load(trusted=trusted)
                said = [line for line in self.log.ours() if "any sender of options is believed" in line]
                self.assertEqual(len(said), lines)

    def test_no_memory_is_lost_when_loading_fails(self):
        # Each time a list is taken before what comes next is refused.
        for attempt in range(40):
            if attempt == 4:
                before = allocations()
            with self.assertRaises(OSError):
                module.insert(module.PATH, trusted=prefixes(1000), kinds="255")
        self.assertGreater(before, 0)
        self.assertLess(allocations() - before, 24)


class Effects(PolicyCase):
    """Which options count."""

    def setUp(self):
        super().setUp()
        self.listener, self.listener6 = self.listen(), self.listen(AF_INET6)

    def assert_believed(self, listener, client=CLIENT4, segments=None):
        with self.assert_intake(toa=1):
            connection = self.connect(listener, pad(toa(*client)), segments)
        self.assert_shows(connection, *client)

    def assert_ignored(self, counter, listener, client=CLIENT4, segments=None):
        remote = self.remote(listener, segments)
        expected = {"option_254": 1, counter: 1}
        with self.assert_counts(**expected, syn_recv_sock_no_toa=1):
            remote.connect(pad(toa(*client)))
        self.assert_shows_peer(self.accept(listener, remote))

    def test_trusted_ipv4_sender(self):
        balancer = self.tun.balancer4
        for trusted in (balancer, "10.77.0.0/16", "0.0.0.0/0", f"::ffff:{balancer}", f"10.0.0.1,{balancer},11.0.0.1"):
            with self.subTest(trusted=trusted):
                self.parameter("trusted", trusted)
                self.assert_believed(self.listener)
                # The same sender, whose address such a socket has in its mapped form.
                self.assert_believed(self.listener6, CLIENT4, AF_INET)
                self.assert_believed(self.listener6, CLIENT6, AF_INET)
                self.assert_ignored("not_trusted", self.listener6, CLIENT6, AF_INET6)

    def test_untrusted_ipv4_sender(self):
        for trusted in ("10.77.0.1", "10.77.0.3", "10.77.0.1,10.77.0.3", "10.76.0.0/16,10.78.0.0/16", "::/0"):
            with self.subTest(trusted=trusted):
                self.parameter("trusted", trusted)
                self.assert_ignored("not_trusted", self.listener)
                self.assert_ignored("not_trusted", self.listener6, CLIENT4, AF_INET)

    def test_trusted_ipv6_sender(self):
        for trusted in (self.tun.balancer6, "fd70::/16", "::/0", "fd00::/64,fd70::2,fe00::/16"):
            with self.subTest(trusted=trusted):
                self.parameter("trusted", trusted)
                self.assert_believed(self.listener6, CLIENT6)
                self.assert_believed(self.listener6, CLIENT4, AF_INET6)
                self.assert_ignored("not_trusted", self.listener)

    def test_untrusted_ipv6_sender(self):
        for trusted in ("fd70::1", "fd70::3", "fd6f::/16,fd71::/16", "0.0.0.0/0", "fd70::8000:0:0:0/65"):
            with self.subTest(trusted=trusted):
                self.parameter("trusted", trusted)
                self.assert_ignored("not_trusted", self.listener6, CLIENT6)

    def test_boundaries_of_prefixes(self):
        # 10.77.0.2 is the last of 0/30's first half's three, and so on.
        for trusted, believed in (
            ("10.77.0.2/31", True), ("10.77.0.0/31", False), ("10.77.0.0/30", True), ("10.77.0.4/30", False)
        ):
            with self.subTest(trusted=trusted):
                self.parameter("trusted", trusted)
                if believed:
                    self.assert_believed(self.listener)
                else:
                    self.assert_ignored("not_trusted", self.listener)

    def test_untrusted_sender_of_a_syn(self):
        self.parameter("trusted", "10.0.0.1")
        remote = self.remote(self.listener)
        with self.assert_counts(option_254=1, not_trusted=1, syn_recv_sock_no_toa=1):
            remote.connect(syn_options=toa(*CLIENT4))
        self.assert_shows_peer(self.accept(self.listener, remote))

    def test_untrusted_sender_to_an_mptcp_listener(self):
        listener = self.listen(AF_INET, 262)
        self.parameter("trusted", self.tun.balancer4)
        self.assert_believed(listener)
        self.assert_shows(self.connect_mptcp(listener), *CLIENT4)
        self.parameter("trusted", "10.0.0.1")
        self.assert_ignored("not_trusted", listener)
        self.assert_shows_peer(self.connect_mptcp(listener))

    def connect_mptcp(self, listener):
        remote = self.remote(listener)
        reply = remote.syn(b"\x1e\x04\x01\x01")
        start = reply.options.index(b"\x1e\x0c\x01\x01")
        remote.ack(b"\x1e\x14\x01\x01ourkey!!" + reply.options[start + 4 : start + 12] + toa(*CLIENT4))
        return self.accept(listener, remote)

    def test_ports(self):
        port, other = port_of(self.listener), port_of(self.listener6)
        for ports in (f"{port}", f"1,{port},65535", f"{port}-{port + 5 if other < port else port}"):
            with self.subTest(ports=ports):
                self.parameter("ports", ports)
                self.assert_believed(self.listener)
                self.assert_ignored("port_not_selected", self.listener6, CLIENT6)
        for ports in (f"{port - 1},{port + 1}", f"1-{port - 1}", f"{port + 1}-65535"):
            with self.subTest(ports=ports):
                self.parameter("ports", ports)
                self.assert_ignored("port_not_selected", self.listener)
        self.parameter("ports", "1-65535")
        self.assert_believed(self.listener)
        self.assert_believed(self.listener6, CLIENT6)

    def test_ports_and_trusted(self):
        here, there = str(port_of(self.listener)), "1"
        for trusted, ports, counter in (
            ("10.77.0.2", here, None),
            ("10.77.0.2", there, "port_not_selected"),
            ("10.0.0.1", here, "not_trusted"),
            ("10.0.0.1", there, "port_not_selected"),
        ):
            with self.subTest(trusted=trusted, ports=ports):
                self.parameter("trusted", trusted)
                self.parameter("ports", ports)
                if counter is None:
                    self.assert_believed(self.listener)
                else:
                    self.assert_ignored(counter, self.listener)

    def test_connections_of_before_keep_their_client(self):
        connection = self.connect(self.listener, toa(*CLIENT4))
        self.parameter("trusted", "10.0.0.1")
        self.parameter("ports", "1")
        self.parameter("kinds", "28")
        self.assert_shows(connection, *CLIENT4)


class Warnings(PolicyCase):
    """What the log says of options that are ignored, once a minute and not for each."""

    def setUp(self):
        # What was said within the last minute would not be said again.
        module.unload()
        super().setUp()
        self.addCleanup(module.unload)
        self.listener = self.listen()
        self.log.lines()

    def test_untrusted_sender(self):
        module.set_parameter("trusted", "10.0.0.1")
        names = [self.connect(self.listener, toa(*CLIENT4)).remote.name for _ in range(5)]
        (line,) = self.log.ours()
        address, port = names[0]
        self.assertIn(f"options from {address}:{port} are ignored", line)
        self.assertIn("trusted=", line)

    def test_untrusted_ipv6_sender(self):
        module.set_parameter("trusted", "10.0.0.1")
        address, port = self.connect(self.listen(AF_INET6), toa(*CLIENT4)).remote.name
        (line,) = self.log.ours()
        self.assertIn(f"options from [{address}]:{port} are ignored", line)

    def test_kind_that_is_not_read(self):
        for _ in range(3):
            self.assert_shows_peer(self.connect(self.listener, toa(*CLIENT4, kind=200)))
        (line,) = self.log.ours()
        self.assertIn("options of kind 200 arrive and are not read", line)
        self.assertIn("kinds=254", line)

    def test_nothing_is_said_of_what_is_right(self):
        module.set_parameter("ports", str(port_of(self.listener)))
        self.connect(self.listener, toa(*CLIENT4))
        # One that follows the balancer's came from the client.
        self.connect(self.listener, toa(*CLIENT4) + toa(*CLIENT4, kind=200))
        self.connect(self.listener)
        accompanying = bytes([250, 8]) + bytes(6)
        self.connect(self.listener, accompanying)
        self.connect(self.listen(), toa(*CLIENT4))
        self.assertEqual(self.log.ours(), [])


class WhileConnectionsAreMade(PolicyCase):
    """A reader sees one value or the other, and nothing in between."""

    ROUNDS = 150

    def setUp(self):
        super().setUp()
        self.listener = self.listen()

    def toggled(self, name, values):
        """How often each of the two was the client, while `name` went from one value to another."""
        self.parameter(name, values[0])
        flags = mmap.mmap(-1, mmap.PAGESIZE)

        def toggle():
            writes = 0
            while not flags[0]:
                module.set_parameter(name, values[writes % len(values)])
                writes += 1
                struct.pack_into("=I", flags, 4, writes)
            return writes

        def writes():
            return struct.unpack_from("=I", flags, 4)[0]

        shown = {"client": 0, "peer": 0}
        child = Child(toggle)
        try:
            while sum(shown.values()) < self.ROUNDS or writes() < 20:
                remote = self.remote(self.listener)
                remote.connect(toa(*CLIENT4))
                connection, accepted = self.listener.accept()
                self.assertIn(accepted, (CLIENT4, remote.name))
                self.assertEqual(connection.getpeername(), accepted)
                shown["client" if accepted == CLIENT4 else "peer"] += 1
                connection.close()
                remote.abort()
        finally:
            flags[0] = 1
            child.result()
        return shown

    def test_trusted_and_not(self):
        shown = self.toggled("trusted", ("10.77.0.2", "10.77.0.3"))
        self.assertGreater(min(shown.values()), 0, shown)

    def test_always_trusted(self):
        values = ("10.77.0.2", "10.77.0.0/16,fd00::/8", "", prefixes(200) + ",10.77.0.2", "0.0.0.0/0")
        self.assertEqual(self.toggled("trusted", values)["peer"], 0)

    def test_never_trusted(self):
        values = ("10.77.0.1", "10.78.0.0/16,fd00::/8", "::/0", ",".join(["10.77.0.1"] * 200))
        self.assertEqual(self.toggled("trusted", values)["client"], 0)

    def test_port_always_selected(self):
        port = port_of(self.listener)
        values = (f"{port}", f"1-{port}", "", f"80,{port}-65535")
        self.assertEqual(self.toggled("ports", values)["peer"], 0)

    def test_kind_always_read(self):
        values = ("254", "254,200", "28,254", "254,253,252,250,249,202,201,200,28")
        self.assertEqual(self.toggled("kinds", values)["peer"], 0)
