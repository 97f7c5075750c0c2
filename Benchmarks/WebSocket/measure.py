#!/usr/bin/env python3
"""Measures the kit's WebSocket client and the hub's WebSocket server beside their peers, all in one run.

usage: measure.py BIN [TABLE ...]      BIN holds the built programs; see run.sh, which makes them

Whoever is compared takes turns within each repetition, so that what else the machine does falls on all alike; the
figures are medians over the repetitions. REPEAT=5 sets how many, CONNECTIONS=10000 the size of the idle crowd, JSON=1
prints one JSON document instead of tables.
"""

import contextlib
import json
import os
import pathlib
import re
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time

REPEAT = int(os.environ.get("REPEAT", "5"))
CONNECTIONS = int(os.environ.get("CONNECTIONS", "10000"))
AS_JSON = os.environ.get("JSON") == "1"
# Nothing measured here takes as long, unless it hangs.
LIMIT_SECONDS = 180
PEERS = pathlib.Path(__file__).resolve().parent / "peers"

OURS = "websocket-bench"
LIMIT = "raw OpenSSL"
ASYNCHRONOUS_BEAST = "Boost.Beast, asynchronous"


def fail(text):
    sys.exit(f"bench: {text}")


class Bench:
    def __init__(self, binaries):
        self.bin = pathlib.Path(binaries)
        python = str(self.bin / "python" / "bin" / "python")
        self.programs = {
            OURS: [str(self.bin / "websocket-bench")],
            "Boost.Beast": [str(self.bin / "beast")],
            ASYNCHRONOUS_BEAST: ["env", "BEAST_ASYNCHRONOUS=1", str(self.bin / "beast")],
            "libwebsockets": [str(self.bin / "lws")],
            "picows": [python, str(PEERS / "picows_peer.py")],
            "websockets": [python, str(PEERS / "websockets_peer.py")],
            LIMIT: [str(self.bin / "raw")],
        }
        # Messages a second that each is good for, roughly: makes every run take about as long.
        self.small_out = {OURS: 2_000_000, "picows": 150_000, "websockets": 25_000}
        self.small_in = {"websockets": 80_000, "picows": 1_000_000, "libwebsockets": 1_000_000}
        self.large = {"websockets": 4096}
        self.work = pathlib.Path(tempfile.mkdtemp(prefix="bench-websocket-"))
        self.ca = str(self.work / "ca.pem")
        self.key = str(self.work / "key.pem")
        self.certificate()
        self.results = {}

    def certificate(self):
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
             "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
             "-keyout", self.key, "-out", self.ca], check=True, stderr=subprocess.DEVNULL)

    # MARK: Running

    @contextlib.contextmanager
    def server(self, name, tls, deflate=False, cpu=None):
        """A server of the named program; yields its port and process."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        command = self.programs[name] + ["server", "--port", str(port)]
        if tls:
            command += ["--cert", self.ca, "--key", self.key]
        if deflate:
            command.append("--deflate")
        log = open(self.work / f"{name}.log".replace(" ", "-"), "a")
        process = subprocess.Popen(pinned(command, cpu), stdout=log, stderr=log)
        try:
            wait_for(port, process, name)
            yield port, process
        finally:
            process.kill()
            process.wait()
            log.close()

    def client(self, name, port, tls, mode, size, count, cpu=None, extra=()):
        """One run; returns its JSON line with the peak of its resident memory added, in MB."""
        path = {"rtt": "/echo", "send": "/sink", "recv": "/source"}[mode]
        command = self.programs[name] + [
            "client", "--url", f"{'wss' if tls else 'ws'}://127.0.0.1:{port}{path}", "--mode", mode,
            "--size", str(size), "--count", str(count)]
        if tls:
            command += ["--ca", self.ca]
        with tempfile.NamedTemporaryFile() as memory:
            # A small program in between, because the peak of a child begins with that of its parent.
            wrapped = ["/usr/bin/time", "--quiet", "-f", "%M", "-o", memory.name] + pinned(command + list(extra), cpu)
            try:
                done = subprocess.run(wrapped, capture_output=True, text=True, timeout=LIMIT_SECONDS)
            except subprocess.TimeoutExpired:
                fail(f"{name} did not end within {LIMIT_SECONDS} s: {' '.join(command)}")
            if done.returncode != 0:
                fail(f"{name} ended with {done.returncode}: {' '.join(command)}\n{done.stderr}")
            result = json.loads(done.stdout)
            result["peak_mb"] = int(memory.read()) / 1024
            return result

    def compare(self, table, names, run):
        """Runs each name in turn, REPEAT times, and keeps all results."""
        for repetition in range(REPEAT):
            for name in names:
                note(f"{table}, {repetition + 1} of {REPEAT}: {name}")
                self.results.setdefault(table, {}).setdefault(name, []).append(run(name))

    def median(self, table, name, field):
        return statistics.median(result[field] for result in self.results[table][name])

    # MARK: Clients

    CLIENTS = [OURS, "Boost.Beast", "libwebsockets", "picows", "websockets", LIMIT]

    def clients_rtt(self):
        for table, cpu in (("client-rtt-one-cpu", 0), ("client-rtt", None)):
            with self.server(LIMIT, True, cpu=cpu) as (port, _):
                names = [*self.CLIENTS[:2], ASYNCHRONOUS_BEAST, *self.CLIENTS[2:]]
                self.compare(table, names, lambda name: self.client(name, port, True, "rtt", 128, 20000, cpu))

    def clients_large_tls(self):
        self.clients_large("tls", True)

    def clients_large_plain(self):
        self.clients_large("plain", False)

    def clients_large(self, label, tls):
        with self.server(LIMIT, tls) as (port, _):
            for mode in ("send", "recv"):
                self.compare(f"client-64k-{label}-{mode}", self.CLIENTS, lambda name: self.client(
                    name, port, tls, mode, 65536, self.large.get(name, 16384)))

    def clients_small(self):
        with self.server(LIMIT, True) as (port, _):
            self.compare("client-128-send", self.CLIENTS, lambda name: self.client(
                name, port, True, "send", 128, self.small_out.get(name, 250_000)))
            self.compare("client-128-recv", self.CLIENTS, lambda name: self.client(
                name, port, True, "recv", 128, self.small_in.get(name, 4_000_000)))

    # MARK: Servers, all driven by the raw client

    SERVERS = [OURS, "Boost.Beast", "libwebsockets", "picows", "websockets", LIMIT]

    def servers(self):
        runs = [
            ("server-rtt", "rtt", 128, 20000, ()), ("server-64k-in", "send", 65536, 8192, ()),
            ("server-64k-out", "recv", 65536, 8192, ()), ("server-128-in", "send", 128, 200_000, ("--burst",)),
            ("server-128-out", "recv", 128, 200_000, ()),
        ]
        with contextlib.ExitStack() as stack:
            ports = {name: stack.enter_context(self.server(name, True))[0] for name in self.SERVERS}
            for table, mode, size, count, extra in runs:
                self.compare(table, self.SERVERS, lambda name: self.client(
                    LIMIT, ports[name], True, mode, size, count, extra=extra))

    # MARK: Idle connections

    CROWDS = [OURS, "Boost.Beast", "libwebsockets", "websockets"]

    def memory(self):
        for name in self.CROWDS:
            for label, tls, deflate in (("plain", False, False), ("TLS", True, False), ("TLS+deflate", True, True)):
                note(f"memory: {CONNECTIONS} idle connections to {name}, {label}")
                with self.server(name, tls, deflate) as (port, process):
                    before = resident_kb(process.pid)
                    command = [str(self.bin / "loader"), "--url", f"{'wss' if tls else 'ws'}://127.0.0.1:{port}/echo",
                               "--count", str(CONNECTIONS)]
                    command += ["--ca", self.ca] if tls else []
                    command += ["--deflate"] if deflate else []
                    loader = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
                    line = loader.stdout.readline()
                    if not line.startswith("ready"):
                        fail(f"the idle crowd of {name} did not come together")
                    # Whatever the last message left to be done.
                    time.sleep(2)
                    kilobytes = (resident_kb(process.pid) - before) / CONNECTIONS
                    self.results.setdefault("memory", {}).setdefault(name, {})[label] = kilobytes
                    loader.stdin.close()
                    loader.wait()

    # MARK: Codec

    def codec(self):
        for repetition in range(REPEAT):
            note(f"codec, {repetition + 1} of {REPEAT}")
            done = subprocess.run(self.programs[OURS] + ["codec"], capture_output=True, text=True, check=True)
            for line in done.stdout.splitlines():
                result = json.loads(line)
                self.results.setdefault("codec", {}).setdefault(result["what"], {}).setdefault(
                    str(result["size"]), []).append(result["gb_s"])

    # MARK: Printing

    def print(self):
        if AS_JSON:
            print(json.dumps({"machine": machine(), "repeat": REPEAT, "results": self.results}, indent=1))
            return
        print(f"{machine()}; medians of {REPEAT} runs, taking turns\n")
        for table, title in (
            ("client-rtt-one-cpu", "Client, round trips of 128 bytes over TLS, both ends on one cpu"),
            ("client-rtt", "Client, round trips of 128 bytes over TLS, free to use all cpus"),
            ("server-rtt", "Server, round trips of 128 bytes over TLS"),
        ):
            self.print_table(table, title, [("min µs", "min_us", 1), ("p50 µs", "p50_us", 1), ("p90 µs", "p90_us", 1),
                                            ("p99 µs", "p99_us", 1), ("p99.9 µs", "p999_us", 1)], "rtt", 128, 20000)
        for table, title, mode, size in (
            ("client-64k-tls-send", "Client, 64 KiB messages out over TLS", "send", 65536),
            ("client-64k-tls-recv", "Client, 64 KiB messages in over TLS", "recv", 65536),
            ("client-64k-plain-send", "Client, 64 KiB messages out, plain", "send", 65536),
            ("client-64k-plain-recv", "Client, 64 KiB messages in, plain", "recv", 65536),
            ("client-128-send", "Client, 128-byte messages out over TLS", "send", 128),
            ("client-128-recv", "Client, 128-byte messages in over TLS", "recv", 128),
            ("server-64k-in", "Server, 64 KiB messages in over TLS", "send", 65536),
            ("server-64k-out", "Server, 64 KiB messages out over TLS", "recv", 65536),
            ("server-128-in", "Server, 128-byte messages in over TLS", "send", 128),
            ("server-128-out", "Server, 128-byte messages out over TLS", "recv", 128),
        ):
            self.print_table(table, title, [("MB/s", "mb_s", 0), ("messages/s", "msg_s", 0)], mode, size, "N")
        self.print_resident()
        self.print_memory()
        self.print_codec()

    def print_table(self, table, title, columns, mode, size, count):
        if table not in self.results:
            return
        print(f"{title}\n")
        print("| |" + "".join(f" {heading} |" for heading, _, _ in columns))
        print("| --- |" + " --: |" * len(columns))
        for name in self.results[table]:
            cells = "".join(f" {self.median(table, name, field):,.{digits}f} |" for _, field, digits in columns)
            print(f"| {name} |{cells}")
        scheme = "ws" if "plain" in table else "wss"
        path = {"rtt": "/echo", "send": "/sink", "recv": "/source"}[mode]
        program = "PROGRAM client" if table.startswith("client") else "raw client"
        burst = " --burst" if table == "server-128-in" else ""
        print(f"\n    {program} --url {scheme}://127.0.0.1:PORT{path} --mode {mode} --size {size} --count {count}"
              f"{'' if scheme == 'ws' else ' --ca ca.pem'}{burst}\n")

    def print_resident(self):
        if "client-rtt" not in self.results:
            return
        print("Client, peak of resident memory in the runs with 128-byte round trips over TLS\n")
        print("| | MB |\n| --- | --: |")
        for name in self.results["client-rtt"]:
            print(f"| {name} | {self.median('client-rtt', name, 'peak_mb'):.1f} |")
        print("\n    time -f %M PROGRAM client --url wss://127.0.0.1:PORT/echo --mode rtt --size 128 --count 20000 "
              "--ca ca.pem\n")

    def print_memory(self):
        if "memory" not in self.results:
            return
        print(f"Server, resident memory of each of {CONNECTIONS:,} idle connections, after one message each\n")
        print("| | plain KB | TLS KB | TLS+deflate KB |\n| --- | --: | --: | --: |")
        for name, cells in self.results["memory"].items():
            print(f"| {name} | {cells['plain']:.1f} | {cells['TLS']:.1f} | {cells['TLS+deflate']:.1f} |")
        print(f"\n    loader --url wss://127.0.0.1:PORT/echo --count {CONNECTIONS} --ca ca.pem [--deflate]\n")

    def print_codec(self):
        if "codec" not in self.results:
            return
        print("Masking and UTF-8 validation beside memcpy, GB/s\n")
        sizes = list(next(iter(self.results["codec"].values())))
        print("| |" + "".join(f" {int(size) >> 10} KiB |" for size in sizes))
        print("| --- |" + " --: |" * len(sizes))
        for what, cells in self.results["codec"].items():
            print(f"| {what} |" + "".join(f" {statistics.median(cells[size]):.1f} |" for size in sizes))
        print("\n    websocket-bench codec\n")


def note(text):
    print(f"bench: {text}", file=sys.stderr, flush=True)


def pinned(command, cpu):
    return command if cpu is None else ["taskset", "-c", str(cpu)] + command


def wait_for(port, process, name):
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.02)
    fail(f"the server of {name} does not listen on port {port}")


def resident_kb(pid):
    return int(re.search(r"^VmRSS:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text(), re.M)[1])


def machine():
    model = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    load = os.getloadavg()[0]
    openssl = subprocess.check_output(["openssl", "version"], text=True).split()[1]
    return (f"{model[1] if model else 'unknown cpu'}, {os.cpu_count()} cpus, Linux {os.uname().release}, "
            f"OpenSSL {openssl}, load {load:.1f}")


def main():
    if len(sys.argv) < 2:
        fail(__doc__)
    # Both ends of the idle crowd need a descriptor for each connection.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    bench = Bench(sys.argv[1])
    tables = {
        "rtt": bench.clients_rtt, "large-tls": bench.clients_large_tls, "large-plain": bench.clients_large_plain,
        "small": bench.clients_small, "servers": bench.servers, "memory": bench.memory, "codec": bench.codec,
    }
    wanted = sys.argv[2:] or list(tables)
    for table in wanted:
        if table not in tables:
            fail(f"no table {table}; there are {', '.join(tables)}")
    for table in wanted:
        tables[table]()
    bench.print()


if __name__ == "__main__":
    main()
