# SPDX-License-Identifier: GPL-2.0
"""How many clients of SYNs are kept, for how long and of whom, whoever sends them."""

import subprocess
import time
from socket import AF_INET, AF_INET6

import module
import net
import tracing
from case import Child, port_of
from net import toa
from syn import CLIENT4, CLIENT6, FATES, OTHER4, SynCase


def clients(count):
    return [(f"198.51.100.{1 + number}", 40001 + number) for number in range(count)]


class Limits(SynCase):
    def begin(self, clients, listener=None):
        """Half-open connections, whose SYNs name these clients."""
        self.listener = listener or self.listen()
        remotes = [self.remote(self.listener) for _ in clients]
        for remote, client in zip(remotes, clients):
            remote.syn(toa(*client))
        return remotes


class Bounds(Limits):
    """How many are kept, for how long, and of whom."""

    def test_oldest_makes_room(self):
        self.reload(syn_max=4)
        names, listener = clients(5), self.listen()
        with self.assert_counts(option_254=5, syn_kept=5, syn_dropped=1):
            remotes = self.begin(names, listener)
        counts = {"syn_recv_sock_toa": 4, "syn_recv_sock_no_toa": 1, "records_live": 4}
        with self.assert_counts(syn_used=4, **counts):
            for remote in remotes:
                remote.ack()
        for remote, client in zip(remotes, [None, *names[1:]]):
            self.complete(remote, client)

    def test_oldest_makes_room_again_and_again(self):
        self.reload(syn_max=4)
        names, listener = clients(50), self.listen()
        with self.assert_counts(option_254=50, syn_kept=50, syn_dropped=46):
            remotes = self.begin(names, listener)
        for remote, client in zip(remotes, [None] * 46 + names[46:]):
            self.complete(remote, client)

    def test_used_ones_leave_room(self):
        self.reload(syn_max=4)
        names = clients(4)
        for _ in range(5):
            # From the middle, from the end and from the beginning of their order.
            remotes = dict(zip(names, self.begin(names)))
            for index in (1, 3, 0, 2):
                self.complete(remotes[names[index]], names[index])
        self.assertEqual(module.stats().total("syn_dropped"), 0)
        self.assertEqual(module.stats().total("syn_used"), 20)

    def test_abandoned_ones_leave_room_when_they_begin_anew(self):
        self.reload(syn_max=4)
        names = clients(4)
        remotes = self.begin(names)
        remotes[1].rst()
        remotes[1] = self.again(remotes[1])
        newer = self.remote(self.listener)
        with self.assert_counts(option_254=1, syn_kept=1, syn_superseded=1):
            remotes[1].syn()
            newer.syn(toa(*OTHER4))
        for remote, client in zip([*remotes, newer], [names[0], None, *names[2:], OTHER4]):
            self.complete(remote, client)

    def test_beginning_anew_counts_as_new(self):
        self.reload(syn_max=4)
        names = clients(4)
        remotes = self.begin(names)
        remotes[0].rst()
        remotes[0] = self.again(remotes[0])
        remotes[0].syn(toa(*names[0]))
        newer = self.remote(self.listener)
        with self.assert_counts(option_254=1, syn_kept=1, syn_dropped=1):
            newer.syn(toa(*OTHER4))
        for remote, client in zip([*remotes, newer], [names[0], None, *names[2:], OTHER4]):
            self.complete(remote, client)

    def test_room_for_one(self):
        self.reload(syn_max=1)
        names = clients(3)
        for remote, client in zip(self.begin(names), [None, None, names[2]]):
            self.complete(remote, client)

    def test_log_says_that_there_are_more(self):
        self.reload(syn_max=4)
        log = module.Log()
        self.addCleanup(log.close)
        self.begin(clients(50))
        lines = [line for line in log.ours() if "syn_max" in line]
        self.assertEqual(len(lines), 1, lines)

    def test_too_old(self):
        self.reload(syn_seconds=1)
        (old,) = self.begin([CLIENT4])
        time.sleep(2.5)
        with self.assert_counts(syn_expired=1, syn_recv_sock_no_toa=1):
            old.ack()
        self.complete(old)

    def test_not_yet_too_old(self):
        self.reload(syn_seconds=10)
        (old,) = self.begin([CLIENT4])
        time.sleep(2.5)
        self.complete(old, CLIENT4)

    def test_many_that_are_too_old(self):
        # Whichever comes first, none is used.
        self.reload(syn_seconds=1)
        remotes = self.begin(clients(9))
        time.sleep(2.5)
        with self.assert_counts(syn_expired=9, syn_recv_sock_no_toa=9):
            for remote in reversed(remotes):
                remote.ack()
        for remote in reversed(remotes):
            self.complete(remote)

    def test_old_ones_make_room_for_new_ones(self):
        self.reload(syn_seconds=1, syn_max=4)
        self.begin(clients(4))
        time.sleep(2.5)
        listener = self.listen()
        with self.assert_counts(option_254=4, syn_kept=4, syn_expired=4):
            remotes = self.begin(clients(4), listener)
        for remote, client in zip(remotes, clients(4)):
            self.complete(remote, client)

    def test_hooks_of_syns(self):
        if module.absent:
            self.fail("no module, no hooks")
        self.assertLessEqual(set(tracing.SYN_FUNCTIONS), set(tracing.hooked()))

    def test_none_at_all(self):
        self.reload(syn_max=0)
        self.assertEqual(module.loaded(), not module.absent)
        self.assertFalse(set(tracing.SYN_FUNCTIONS) & set(tracing.hooked()))
        listener = self.listen()
        with self.assert_counts():
            (remote,) = self.begin([OTHER4], listener)
        with self.assert_counts(syn_recv_sock_no_toa=1):
            remote.ack()
        self.complete(remote)
        (remote,) = self.begin([OTHER4])
        self.complete(remote, CLIENT4, "ack", toa(*CLIENT4))

    def test_ports(self):
        listener, other = self.listen(), self.listen()
        self.parameter("ports", str(port_of(listener)))
        with self.assert_counts(option_254=1, syn_kept=1):
            (remote,) = self.begin([CLIENT4], listener)
        self.complete(remote, CLIENT4)
        with self.assert_counts(option_254=1, port_not_selected=1):
            (remote,) = self.begin([CLIENT4], other)
        self.complete(remote)

    def test_trusted(self):
        listener, listener6 = self.listen(), self.listen(AF_INET6)
        self.parameter("trusted", self.tun.balancer4)
        with self.assert_counts(option_254=1, syn_kept=1):
            (remote,) = self.begin([CLIENT4], listener)
        self.complete(remote, CLIENT4)

        self.listener, remote = listener6, self.remote(listener6)
        with self.assert_counts(option_254=1, not_trusted=1):
            remote.syn(toa(*CLIENT6))
        self.complete(remote)

        remote = self.remote(listener6, AF_INET)
        remote.syn(toa(*CLIENT4))
        self.complete(remote, CLIENT4)

    def test_not_trusted(self):
        listener = self.listen()
        self.parameter("trusted", self.tun.balancer6)
        with self.assert_counts(option_254=1, not_trusted=1):
            (remote,) = self.begin([CLIENT4], listener)
        self.complete(remote)

    def test_trusted_between_the_syn_and_the_ack(self):
        # What was believed when it came stays; what comes later does not count.
        (remote,) = self.begin([CLIENT4])
        self.parameter("trusted", self.tun.balancer6)
        self.complete(remote, CLIENT4, options=toa(*OTHER4))

    def test_each_has_one_fate(self):
        self.reload(syn_max=8, syn_seconds=2)
        left_over = self.begin(clients(6))
        time.sleep(3.5)
        used = self.begin(clients(10))
        for remote in used[:6]:
            remote.ack()
        used[7].ack(toa(*OTHER4))
        used[8].rst()
        self.again(used[8]).syn()
        stats = module.stats()
        fates = {row: stats.total(row) for row in FATES}
        self.assertEqual(
            fates, {"syn_used": 4, "syn_superseded": 2, "syn_expired": 6, "syn_dropped": 2}
        )
        # Those that are still kept are used in the end.
        self.assertEqual(stats.total("syn_kept"), sum(fates.values()) + 2)
        for remote in (used[6], used[9], *left_over):
            remote.ack()
        stats = module.stats()
        self.assertEqual(stats.total("syn_kept"), 16)
        self.assertEqual(sum(map(stats.total, FATES)), 16)


class Namespaces(Limits):
    """Kept by network namespace, as long as that lives."""

    def in_namespace(self, function):
        """Runs `function` in a new namespace, with a device like that of all others there."""

        def run():
            with net.namespace("toatest"):
                case = Limits()
                case.tun = net.Tun(1)
                try:
                    function(case)
                finally:
                    case.doCleanups()
                    case.tun.close()

        Child(run).result()

    def check(self, case, family, client):
        case.listener = case.listen(family)
        for segments in (AF_INET, AF_INET6) if family == AF_INET6 else (AF_INET,):
            remote = case.remote(case.listener, segments)
            with case.assert_counts(option_254=1, syn_kept=1):
                remote.syn(toa(*client))
            case.complete(remote, client)

    def test_listener_in_a_namespace(self):
        with self.assert_counts():
            for family, client in ((AF_INET, CLIENT4), (AF_INET6, CLIENT4), (AF_INET6, CLIENT6)):
                with self.subTest(family=family, client=client):
                    self.in_namespace(lambda case: self.check(case, family, client))

    def test_same_addresses_in_two_namespaces(self):
        there = net.Tun(1)
        self.addCleanup(there.close)
        here = Limits()
        here.tun, here.listener = there, self.listen()
        self.addCleanup(here.doCleanups)
        port = port_of(here.listener)
        remote = here.remote(here.listener, port=33333)
        remote.syn(toa(*CLIENT4))

        def connect(case):
            case.listener = case.listen(port=port)
            for client in (OTHER4, None):
                twin = case.remote(case.listener, port=33333)
                twin.syn(toa(*client) if client else b"")
                case.complete(twin, client).socket.close()
                twin.abort()

        self.in_namespace(connect)
        here.complete(remote, CLIENT4)

    def test_namespace_that_ends(self):
        # A namespace can only be made when the one before is gone for good, and may get its memory.
        self.sysctl("user.max_net_namespaces", 1)
        self.reload(syn_max=64)
        ROUNDS = 6

        def leave(case):
            listener = case.listen(AF_INET6, port=4000)
            for number in range(20):
                for family in (AF_INET, AF_INET6):
                    remote = case.remote(listener, family, 30000 + number)
                    # In the same place as one that the namespace before left behind.
                    remote.syn(toa(*CLIENT4))
                    remote.rst()
                    remote.close()
            stats = module.stats()
            lost = {row: stats.total(row) for row in FATES}
            case.assertEqual((stats.total("syn_kept"), lost), (40, dict.fromkeys(FATES, 0)))

        def connect(case):
            case.listener = case.listen(AF_INET6, port=4000)
            for number in range(20):
                remote = case.remote(case.listener, AF_INET, 30000 + number)
                with case.assert_counts():
                    remote.syn()
                case.complete(remote)

        with self.assert_counts():
            for _ in range(ROUNDS):
                self.in_new_namespace(leave)
            self.in_new_namespace(connect)
        # All the room is there.
        listener, names = self.listen(), clients(64)
        with self.assert_counts(option_254=64, syn_kept=64):
            remotes = self.begin(names, listener)
        for remote, client in zip(remotes, names):
            self.complete(remote, client)

    def in_new_namespace(self, function):
        deadline = time.monotonic() + 300
        while True:
            try:
                return self.in_namespace(function)
            except AssertionError as error:
                if "netns', 'add'" not in str(error) or time.monotonic() > deadline:
                    raise
                # Where it was mounted stays behind.
                remove = ["ip", "netns", "del", "toatest"]
                subprocess.run(remove, stderr=subprocess.DEVNULL, check=False)
                time.sleep(0.05)
