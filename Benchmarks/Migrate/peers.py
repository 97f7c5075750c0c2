"""rsync as what a workspace's way through the hub is compared with: its daemon on loopback, and over ssh where an ssh
server is installed."""

import os
import pathlib
import re
import shutil
import socket
import subprocess
import time


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Peer:
    """`with Peer(folder, source) as peer:`; each `copy` makes `folder/copy` like the source."""

    def __init__(self, folder, source):
        self.folder, self.source, self.port = folder, source, free_port()
        self.target = folder / "copy"

    def __enter__(self):
        self.folder.mkdir(mode=0o700)
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(self.server(), stdout=log, stderr=log)
        limit = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return self
            except OSError:
                if time.monotonic() > limit:
                    self.__exit__()
                    raise
                time.sleep(0.05)

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def copy(self):
        """Returns seconds, and bytes on the wire."""
        before = time.monotonic()
        done = subprocess.run(["rsync", "-a", "--delete", "--stats", *self.way(), f"{self.target}/"], check=True,
                              capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"})
        seconds = time.monotonic() - before
        moved = re.findall(r"Total bytes (?:sent|received): ([\d,]+)", done.stdout)
        return seconds, sum(int(number.replace(",", "")) for number in moved)


class Daemon(Peer):
    name = "rsync, its daemon"

    def server(self):
        settings = self.folder / "rsyncd.conf"
        settings.write_text(f"use chroot = no\n[source]\npath = {self.source}\nread only = yes\nuid = {os.getuid()}\n"
                            f"gid = {os.getgid()}\n")
        return ["rsync", "--daemon", "--no-detach", "--address=127.0.0.1", f"--port={self.port}",
                f"--config={settings}"]

    def way(self):
        return [f"rsync://127.0.0.1:{self.port}/source/"]


class OverSSH(Peer):
    name = "rsync over ssh"
    server_program = pathlib.Path("/usr/sbin/sshd")

    def server(self):
        for key in ("host", "user"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.folder / key], check=True)
        pathlib.Path("/run/sshd").mkdir(exist_ok=True)
        settings = self.folder / "sshd.conf"
        settings.write_text(
            f"ListenAddress 127.0.0.1\nPort {self.port}\nHostKey {self.folder}/host\nPidFile none\nUsePAM no\n"
            f"AuthorizedKeysFile {self.folder}/user.pub\nStrictModes no\nPermitRootLogin yes\nMaxStartups 100\n")
        return [self.server_program, "-D", "-e", "-f", settings]

    def way(self):
        shell = (f"ssh -p {self.port} -i {self.folder}/user -o IdentitiesOnly=yes -o StrictHostKeyChecking=no "
                 f"-o UserKnownHostsFile=/dev/null -o LogLevel=ERROR")
        return ["-e", shell, f"127.0.0.1:{self.source}/"]
