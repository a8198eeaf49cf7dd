# SPDX-License-Identifier: GPL-2.0
"""Servers in other network namespaces than the node's: a container of podman's, and a pod.

The module is the node's, and nothing of it is in the container.
"""

import contextlib
import pathlib
import shutil
import subprocess

from case import CLIENTS_V4, CLIENTS_V6, SHARE, Application, module, topology

CLIENTS = CLIENTS_V4[0], CLIENTS_V6[0]
BALANCERS = f"{topology.BALANCER_V4},{topology.BALANCER_V6}"


def trusting(senders):
    """These senders alone are believed inside the block, if the module is there."""
    return module.setting("trusted", senders) if module.loaded() else contextlib.nullcontext()


class Answers(Application):
    """The server of Go, somewhere behind the node's own DNAT."""

    def assert_remote_addr(self, client, port, shown):
        answer = self.get(client, port)
        self.say(answer.body)
        address, _, remote_port = answer.body.rpartition(":")
        self.assertEqual(address.strip("[]"), shown)
        if shown == client:
            self.assertEqual(int(remote_port), answer.client[1])


class Podman(Answers):
    """A container with a published port: podman's bridge, and DNAT by podman's netavark."""

    PORT = 8086
    ROOTFS = pathlib.Path("/tmp/rootfs")
    PODMAN = (
        # In the node's namespace. `ip netns exec` would hide the control groups.
        *("nsenter", f"--net=/run/netns/{Application.SERVER}"),
        *("podman", "--root", "/tmp/podman", "--runroot", "/run/podman"),
        *("--cgroup-manager", "cgroupfs", "--events-backend", "none"),
    )

    @classmethod
    def podman(cls, *arguments):
        command = [*cls.PODMAN, *map(str, arguments)]
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()

    @classmethod
    def start(cls, folder):
        # A program and nothing else, as in images that are made "from scratch".
        cls.ROOTFS.mkdir()
        shutil.copy(SHARE / "goserver", cls.ROOTFS)
        cls.podman(
            *("run", "--detach", "--name", "web", "--log-driver", "none"),
            *("--publish", f"{cls.PORT}:80", "--rootfs", cls.ROOTFS, "/goserver", 80),
        )
        cls.cleanup(cls.podman, "rm", "--force", "--time", 0, "web")
        cls.pid = cls.podman("inspect", "--format", "{{.State.Pid}}", "web")

    @classmethod
    def listens(cls):
        return ":80 " in cls.in_container("ss", "-Hltn")

    @classmethod
    def in_container(cls, *command):
        """What a command of the node's prints in the container's network namespace."""
        inside = ["nsenter", "--net", "--target", cls.pid, *command]
        return subprocess.run(inside, check=True, stdout=subprocess.PIPE, text=True).stdout

    def test_its_network_is_not_the_nodes(self):
        addresses = self.in_container("ip", "-br", "-4", "address")
        self.say(addresses)
        self.assertNotIn(topology.SERVER_V4, addresses)

    def test_podman_published_port(self):
        with trusting(BALANCERS):
            self.assert_remote_addr(CLIENTS_V4[0], self.PORT, self.shown(CLIENTS_V4[0]))


class Pod(Answers):
    """What kube-proxy makes of a service of type NodePort or LoadBalancer, with nftables by hand."""

    PORTS = (80,)
    SERVER = "pod"
    LOCAL, CLUSTER = 30001, 30002  # the ports of the node
    NODE_V4, NODE_V6 = "10.99.0.1", "fd99::1"  # what the pod sees of it
    POD_V4, POD_V6 = "10.99.0.2", "fd99::2"

    NETWORK = f"""
link add pod type veth peer name eth0 netns {SERVER}
link set pod up
address add {NODE_V4}/24 dev pod
address add {NODE_V6}/64 dev pod nodad
"""
    INSIDE = f"""
link set lo up
link set eth0 up
address add {POD_V4}/24 dev eth0
address add {POD_V6}/64 dev eth0 nodad
route add default via {NODE_V4}
route add default via {NODE_V6}
"""
    # externalTrafficPolicy is Local for one port, and Cluster, which hides the sender, for the other.
    RULES = f"""
table inet service {{
	chain arriving {{
		type nat hook prerouting priority dstnat
		meta nfproto ipv4 tcp dport {{ {LOCAL}, {CLUSTER} }} dnat ip to {POD_V4}:{PORTS[0]}
		meta nfproto ipv6 tcp dport {{ {LOCAL}, {CLUSTER} }} dnat ip6 to [{POD_V6}]:{PORTS[0]}
	}}
	chain leaving {{
		type nat hook postrouting priority srcnat
		ct original proto-dst {CLUSTER} masquerade
	}}
}}
"""

    @classmethod
    def start(cls, folder):
        node = topology.Namespace(Application.SERVER)
        subprocess.run(["ip", "netns", "add", cls.SERVER], check=True)
        cls.cleanup(subprocess.run, ["ip", "netns", "delete", cls.SERVER])
        node.run("ip", "-batch", "-", input=cls.NETWORK, text=True)
        topology.Namespace(cls.SERVER).run("ip", "-batch", "-", input=cls.INSIDE, text=True)
        node.set("ipv4/ip_forward", 1)
        node.set("ipv6/conf/all/forwarding", 1)
        node.run("nft", "-f", "-", input=cls.RULES, text=True)
        cls.run_server(SHARE / "goserver", cls.PORTS[0], log="pod.log")

    def node(self, client):
        return self.NODE_V6 if ":" in client else self.NODE_V4

    def not_trusted(self):
        """How many options were ignored for their sender, in the pod's namespace."""
        if not module.loaded():
            return 0
        with topology.Namespace(self.SERVER).entered():
            return module.stats().total("not_trusted")

    def test_pod_with_traffic_policy_local(self):
        with trusting(BALANCERS):
            for client in CLIENTS:
                self.assert_remote_addr(client, self.LOCAL, self.shown(client))

    def test_pod_with_traffic_policy_cluster(self):
        for client in CLIENTS:
            with trusting(f"{BALANCERS},{self.NODE_V4},{self.NODE_V6}"):
                shown = client if module.loaded() else self.node(client)
                self.assert_remote_addr(client, self.CLUSTER, shown)

    def test_pod_with_traffic_policy_cluster_and_the_balancer_alone_trusted(self):
        for client in CLIENTS:
            with trusting(BALANCERS):
                before = self.not_trusted()
                self.assert_remote_addr(client, self.CLUSTER, self.node(client))
                # The SYN has the option, too.
                self.assertEqual(self.not_trusted() > before, module.loaded())
