#!/usr/bin/env python3
"""The round trip hub -> agent -> hub of a command over an established session, beside request/reply of NATS and MQTT:
TLS 1.3 on loopback, every end its own process, the peers through their brokers from Debian.

RUNS=5 rounds in which the three take turns, so that whatever else the machine does falls on all alike; COUNT=20000 round
trips each, REQUEST_BYTES=256. The table shows the median of the rounds, JSON=1 prints one line for each. Linux only."""

import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

here = pathlib.Path(__file__).resolve().parent
runs = int(os.environ.get("RUNS", "5"))
count = os.environ.get("COUNT", "20000")
request_bytes = os.environ.get("REQUEST_BYTES", "256")
binaries = pathlib.Path(os.environ.get("BIN", here / ".build/release"))
packages = ["nats-server", "libnats-dev", "mosquitto", "libmosquitto-dev"]
columns = ["p50_us", "p90_us", "p99_us", "p999_us"]


def fail(message):
    sys.exit(f"link.py: {message}")


def install():
    missing = [name for name in packages
               if subprocess.run(["dpkg-query", "-W", "-f=${db:Status-Status}", name], capture_output=True,
                                 text=True).stdout != "installed"]
    if missing:
        print(f"bench-link: installing {' '.join(missing)}", file=sys.stderr)
        apt = ["apt-get", "-o", "DPkg::Lock::Timeout=300", "-qq"]
        subprocess.run([*apt, "update"], check=True)
        subprocess.run([*apt, "install", "-y", "--no-install-recommends", *missing], check=True, stdout=sys.stderr,
                       env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"})


class Rig:
    """Certificates, brokers and compiled peers in one folder that goes away."""

    def __init__(self, folder):
        self.folder = folder
        self.ca, self.key = folder / "ca.pem", folder / "key.pem"
        self.processes = []
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                        "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
                        "-keyout", self.key, "-out", self.ca], check=True, capture_output=True)
        # The broker may give up its privileges before it reads the key.
        folder.chmod(0o755)
        self.key.chmod(0o644)
        for name, library in [("nats", "-lnats"), ("mqtt", "-lmosquitto")]:
            subprocess.run(["cc", "-O2", "-Wall", "-o", folder / name, here / f"peers/{name}.c", library], check=True)

    def start(self, *arguments, line=False):
        process = subprocess.Popen([str(argument) for argument in arguments], text=True,
                                   stdout=subprocess.PIPE if line else subprocess.DEVNULL,
                                   stderr=open(self.folder / "log", "a"))
        self.processes.append(process)
        if line:
            text = process.stdout.readline().strip()
            if not text:
                fail(f"{arguments[0]} ended: {(self.folder / 'log').read_text()[-2000:]}")
            return process, text
        return process, ""

    def stop(self, process):
        process.terminate()
        process.wait(20)
        self.processes.remove(process)

    def stop_all(self):
        for process in reversed(list(self.processes)):
            self.stop(process)

    def result(self, *arguments):
        done = subprocess.run([str(argument) for argument in arguments], text=True, capture_output=True, timeout=300)
        if done.returncode:
            fail(f"{arguments[0]}: {done.stderr[-2000:]}")
        return json.loads(done.stdout)


def free_port():
    import socket
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for_port(port):
    import socket
    import time
    limit = time.monotonic() + 20
    while time.monotonic() < limit:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    fail(f"nothing listens on {port} after 20 s")


def nats(rig):
    port, configuration = free_port(), rig.folder / "nats.conf"
    configuration.write_text(f'listen: "127.0.0.1:{port}"\ntls {{ cert_file: "{rig.ca}", key_file: "{rig.key}" }}\n')
    rig.start("nats-server", "-c", configuration)
    wait_for_port(port)
    rig.start(rig.folder / "nats", "respond", port, rig.ca, line=True)
    return ["nats", "request", port, rig.ca, count, request_bytes]


def mqtt(rig):
    port, configuration = free_port(), rig.folder / "mosquitto.conf"
    configuration.write_text(f"listener {port} 127.0.0.1\ncertfile {rig.ca}\nkeyfile {rig.key}\nset_tcp_nodelay true\n"
                             "allow_anonymous true\nlog_dest none\npersistence false\n")
    rig.start("mosquitto", "-c", configuration)
    wait_for_port(port)
    rig.start(rig.folder / "mqtt", "respond", port, rig.ca, line=True)
    return ["mqtt", "request", port, rig.ca, count, request_bytes]


def link(rig):
    hub, port = rig.start(binaries / "LinkHub", rig.ca, rig.key, count, request_bytes, line=True)
    agent, _ = rig.start(binaries / "LinkAgent", port, rig.ca)
    text = hub.stdout.readline()
    hub.wait(60)
    rig.processes.remove(hub)
    agent.wait(60)
    rig.processes.remove(agent)
    if not text:
        fail(f"no result of the link: {(rig.folder / 'log').read_text()[-2000:]}")
    return json.loads(text)


def main():
    install()
    with tempfile.TemporaryDirectory(prefix="bench-link-") as folder:
        rig = Rig(pathlib.Path(folder))
        try:
            requests = [nats(rig), mqtt(rig)]
            results = {"link": [], "nats": [], "mqtt": []}
            for _ in range(runs):
                results["link"].append(link(rig))
                for name, *arguments in requests:
                    results[name].append(rig.result(rig.folder / name, *arguments))
            log = (rig.folder / "log").read_text()
        finally:
            rig.stop_all()
    no_delay = [line for line in sorted(set(log.splitlines())) if line.startswith("TCP_NODELAY")]
    if len(no_delay) != 2 or not all(line.endswith(": set") for line in no_delay):
        fail(f"TCP_NODELAY: {no_delay}")
    medians = {name: {column: statistics.median(run[column] for run in of) for column in columns}
               for name, of in results.items()}
    if os.environ.get("JSON") == "1":
        for name, of in medians.items():
            print(json.dumps({"peer": name, "request_bytes": int(request_bytes), "count": int(count), "runs": runs, **of}))
        return
    titles = {"link": "HubSession to AgentSession", "nats": "NATS, libnats in C through nats-server",
              "mqtt": "MQTT, libmosquitto in C through mosquitto"}
    print(f"{count} round trips of {request_bytes} bytes, TLS 1.3 on loopback, median of {runs} runs;"
          f" load {os.getloadavg()[0]:.1f}")
    print("; ".join(no_delay))
    print("\n| | p50 us | p90 us | p99 us | p99.9 us |\n|---|--:|--:|--:|--:|")
    for name, of in medians.items():
        print(f"| {titles[name]} | " + " | ".join(f"{of[column]:.0f}" for column in columns) + " |")


main()
