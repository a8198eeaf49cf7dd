# SPDX-License-Identifier: GPL-2.0
"""sshd: its log, AllowUsers, and Match Address."""

import re
import subprocess

from case import CLIENTS_V4, UNWELCOME, WELCOME, Application, module, public

PORT = 22

CONFIGURATION = """
Port {port}
HostKey {folder}/host
AuthorizedKeysFile {folder}/user.pub
PasswordAuthentication no
KbdInteractiveAuthentication no
StrictModes no
AllowUsers root@{welcome[0]} root@{welcome[1]}
Match Address 203.0.113.0/24
    SetEnv OFFICE=inside
"""


class Sshd(Application):
    PORTS = (PORT,)

    @classmethod
    def start(cls, folder):
        for key in "host", "user":
            keygen = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / key)]
            subprocess.run(keygen, check=True)
        # The daemon insists on an empty folder of this name.
        subprocess.run(["mkdir", "-p", "/run/sshd"], check=True)
        file = folder / "sshd_config"
        file.write_text(CONFIGURATION.format(port=PORT, folder=folder, welcome=WELCOME))
        cls.run_server("/usr/sbin/sshd", "-D", "-e", "-f", file, log="sshd.log")

    def login(self, client, command):
        options = "BatchMode=yes", "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null"
        return self.run_client(
            client, "ssh", "-q", *(f"-o{option}" for option in options),
            "-i", self.folder / "user", f"root@{public(client)}", command,
        )

    def test_login_of_allowed_users(self):
        for client in WELCOME:
            done = self.login(client, 'echo "$SSH_CONNECTION, $OFFICE"')
            if not module.loaded():
                line = self.next_line("sshd.log", "not allowed")
                self.assertIn(f"User root from {self.shown(client)} not allowed", line)
                self.assertNotEqual(done.returncode, 0)
                continue
            line = self.next_line("sshd.log", "Accepted publickey")
            address, port = re.search(r"for root from (\S+) port (\d+)", line).groups()
            self.assertEqual(address, client)
            self.say(done.stdout)
            inside = "inside" if client in CLIENTS_V4 else ""
            self.assertRegex(done.stdout, rf"^{address} {port} \S+ 22, {inside}$")

    def test_login_of_others(self):
        done = self.login(UNWELCOME[0], "true")
        line = self.next_line("sshd.log", "not allowed")
        self.assertIn(f"User root from {self.shown(UNWELCOME[0])} not allowed", line)
        self.assertNotEqual(done.returncode, 0)
