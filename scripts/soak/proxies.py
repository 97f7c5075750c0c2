"""Idle links through the proxies people have: each stays one session for the whole time.

In front of the hub stand nginx, HAProxy and Caddy with the configurations of deploy/, in front of the agent tinyproxy,
microsocks, and where installed squid and dante. Their time-outs are their defaults: what deploy/ sets is taken out, and
HAProxy, which has none of its own, gets those of Debian's haproxy.cfg. `--scale` divides the time-outs that can be set
and the heartbeat alike.
"""

import pathlib
import re
import shutil
import subprocess
import time
import types

from bench import CHECKOUT, Bench, Failure, descriptors, free_port, resident_kib

USER, PASSWORD = "node", "s3cret-word"
HEARTBEAT_SECONDS = 15.0
# The agent holds the interval it is told to at least this.
LEAST_HEARTBEAT_SECONDS = 1.0


def seconds(default, scale):
    return max(1, round(default / scale))


class Front:
    """A proxy that ends TLS for the hub."""

    def __init__(self, bench, name, scale):
        self.bench, self.name, self.scale = bench, name, scale
        self.port = free_port()
        self.folder = bench.folder / name
        self.folder.mkdir()
        self.certificate, self.key = self.folder / "cert.pem", self.folder / "key.pem"
        subprocess.run(
            [
                "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                "-days", "2", "-subj", f"/CN={name}", "-addext", "subjectAltName=DNS:localhost",
                "-keyout", self.key, "-out", self.certificate,
            ],
            check=True, capture_output=True,
        )
        self.program = bench.start(name, getattr(self, name)())
        bench.listening(self.port, self.program)

    url = property(lambda self: f"https://localhost:{self.port}")
    authority = property(lambda self: self.certificate)
    environment = {}

    def configuration(self, path, *changes):
        """A file of deploy/ with this machine's ports and paths, and the changes given as (pattern, replacement)."""
        text = (CHECKOUT / "deploy" / path).read_text()
        changes += (
            (r"127\.0\.0\.1:8443", self.bench.hub_address),
            (r"/etc/ssl/control-hub/hub-ca\.pem", str(self.bench.hub_authority)),
            (r"/etc/ssl/control-hub/privkey\.pem", str(self.key)),
            (r"/etc/ssl/control-hub/fullchain\.pem", str(self.certificate)),
        )
        for pattern, replacement in changes:
            text, count = re.subn(pattern, lambda _: replacement, text, flags=re.MULTILINE)
            if count == 0 and "privkey" not in pattern and "fullchain" not in pattern:
                raise Failure(f"deploy/{path} has nothing like {pattern}")
        return text

    def write(self, text):
        path = self.folder / "conf"
        path.write_text(text)
        return path

    def nginx(self):
        site = self.configuration(
            "nginx/control-hub.conf",
            (r"^ *listen \[::\].*\n", ""),
            (r"listen 443 ssl", f"listen 127.0.0.1:{self.port} ssl"),
            (r"^ *proxy_(read|send)_timeout .*\n", ""),
        )
        places = "".join(
            f"{kind}_temp_path {self.folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        # 60 s unless set otherwise (ngx_http_proxy_module).
        scaled = "" if self.scale == 1 else "".join(
            f"proxy_{way}_timeout {seconds(60, self.scale)}s;" for way in ("read", "send")
        )
        conf = self.write(
            f"daemon off; pid {self.folder}/pid; error_log stderr; worker_processes 1; events {{}}\n"
            f"http {{ access_log off; {places} {scaled}\n{site}\n}}\n"
        )
        return ["nginx", "-e", "stderr", "-c", conf]

    def haproxy(self):
        combined = self.folder / "haproxy.pem"
        combined.write_text(self.certificate.read_text() + self.key.read_text())
        site = self.configuration(
            "haproxy/control-hub.cfg",
            (r"^ *bind \[::\].*\n", ""),
            (r"bind :443", f"bind 127.0.0.1:{self.port}"),
            (r"/etc/ssl/control-hub/haproxy\.pem", str(combined)),
            (r"^ *timeout .*\n", ""),
        )
        # Those of the haproxy.cfg that Debian installs.
        conf = self.write(
            f"defaults\n timeout connect 5s\n timeout client {seconds(50, self.scale)}s\n"
            f" timeout server {seconds(50, self.scale)}s\n\n{site}"
        )
        return ["haproxy", "-db", "-f", conf]

    def caddy(self):
        site = self.configuration(
            "caddy/Caddyfile",
            (r"^hub\.example \{", f"https://localhost:{self.port} {{\n\tbind 127.0.0.1\n"
             f"\ttls {self.certificate} {self.key}"),
        )
        conf = self.write("{\n\tadmin off\n\tauto_https disable_redirects\n\tskip_install_trust\n}\n" + site)
        return ["caddy", "run", "--adapter", "caddyfile", "--config", conf]


class Forward:
    """A proxy that the agent goes through."""

    def __init__(self, bench, name, scale):
        self.bench, self.name, self.scale = bench, name, scale
        self.port = free_port()
        self.folder = bench.folder / name
        self.folder.mkdir()
        self.login = f"{USER}:{PASSWORD}@"
        self.scheme = "http"
        self.program = bench.start(name, getattr(self, name)())
        bench.listening(self.port, self.program)

    url = property(lambda self: f"https://{self.bench.hub_address}")
    authority = property(lambda self: self.bench.hub_authority)
    environment = property(lambda self: {"EDGE_PROXY": f"{self.scheme}://{self.login}127.0.0.1:{self.port}"})

    def write(self, text):
        path = self.folder / "conf"
        path.write_text(text)
        return path

    def tinyproxy(self):
        # 600 s is the default of the program and of Debian's tinyproxy.conf; scaled further it would never be met.
        idle = 600 if self.scale == 1 else seconds(60, self.scale)
        conf = self.write(f"Port {self.port}\nListen 127.0.0.1\nTimeout {idle}\nBasicAuth {USER} {PASSWORD}\n")
        return ["tinyproxy", "-d", "-c", conf]

    def squid(self):
        helper = self.folder / "login"
        helper.write_text(
            'while read -r user password; do\n'
            f'    [ "$user:$password" = "{USER}:{PASSWORD}" ] && echo OK || echo ERR\n'
            'done\n'
        )
        conf = self.write(
            f"http_port 127.0.0.1:{self.port}\npid_filename none\ncache deny all\naccess_log none\n"
            f"cache_log /dev/null\ncoredump_dir {self.folder}\nauth_param basic program /bin/sh {helper}\n"
            "auth_param basic children 1 startup=1\nacl known proxy_auth REQUIRED\nhttp_access allow known\n"
        )
        return ["squid", "-N", "-n", f"soak{self.port}", "-f", conf]

    def microsocks(self):
        self.scheme = "socks5"
        return ["microsocks", "-i", "127.0.0.1", "-p", self.port, "-u", USER, "-P", PASSWORD]

    def danted(self):
        # Logging in would need an account of this machine.
        self.scheme, self.login = "socks5", ""
        conf = self.write(
            f"logoutput: stderr\ninternal: 127.0.0.1 port = {self.port}\nexternal: lo\nclientmethod: none\n"
            "socksmethod: none\nuser.unprivileged: nobody\n"
            "client pass { from: 0.0.0.0/0 to: 0.0.0.0/0 }\nsocks pass { from: 0.0.0.0/0 to: 0.0.0.0/0 }\n"
        )
        return ["danted", "-f", conf]


SETUPS = {
    "nginx": Front, "haproxy": Front, "caddy": Front, "tinyproxy": Forward, "microsocks": Forward,
    "squid": Forward, "danted": Forward,
}
# Everywhere; the others where they are installed.
REQUIRED = ("nginx", "haproxy", "caddy", "tinyproxy", "microsocks")


def run(options):
    """Returns the title, the columns, a row for each proxy, and whether every link lived."""
    missing = [name for name in REQUIRED if not shutil.which(name)]
    if missing:
        raise Failure(f"not installed: {', '.join(missing)}; see scripts/install-deps.sh")
    heartbeat = options.heartbeat or max(LEAST_HEARTBEAT_SECONDS, HEARTBEAT_SECONDS / options.scale)
    bench = Bench(options.binaries, heartbeat, options.keep)
    try:
        watched = {}
        for name, kind in SETUPS.items():
            if not shutil.which(name):
                continue
            setup = kind(bench, name, options.scale)
            began = time.monotonic()
            state = bench.pair(name, setup.url, setup.authority, setup.environment)
            agent = bench.agent(name, state, setup.environment)
            bench.wait(
                f"{name}: the node is online", lambda: bench.nodes()[name]["health"] == "online", agent
            )
            watched[name] = types.SimpleNamespace(
                agent=agent, proxy=setup.program, connected=time.monotonic() - began, heartbeats=0, seen=None,
                begin_kib=resident_kib(agent.pid), problem="",
            )
        watch(bench, watched, options.seconds, heartbeat)
        return report(bench, watched, options.seconds, heartbeat)
    finally:
        bench.close()


def watch(bench, watched, duration, heartbeat):
    deadline = time.monotonic() + duration
    pause = min(1.0, heartbeat / 5)
    while time.monotonic() < deadline:
        for name, node in bench.nodes().items():
            link = watched[name]
            if node["last_seen_at"] != link.seen:
                link.heartbeats += link.seen is not None
                link.seen = node["last_seen_at"]
        for link in watched.values():
            link.agent.check()
            link.proxy.check()
        # Only looking: what is watched goes on by itself.
        time.sleep(pause)


def report(bench, watched, duration, heartbeat):
    nodes = bench.nodes()
    rows, healthy = [], True
    # One may fall just outside at either end; on a busy machine some come late.
    expected = int(duration / heartbeat)
    for name, link in watched.items():
        node = nodes[name]
        alive = node["health"] == "online" and node["link"]["state"] == "up"
        sessions = node["session_epoch"]
        good = alive and sessions == 1 and link.heartbeats >= expected * 0.8 - 1
        healthy &= good
        rows.append(
            {
                "proxy": name,
                "connected": f"after {link.connected:.1f} s",
                "sessions": sessions,
                "heartbeats": f"{link.heartbeats} of {expected}",
                "still alive": "yes" if alive else f"NO: {node['health_reason']}",
                "agent RSS": f"{link.begin_kib / 1024:.1f} → {resident_kib(link.agent.pid) / 1024:.1f} MiB",
                "agent files": descriptors(link.agent.pid),
                "verdict": "ok" if good else "FAILED",
            }
        )
        if not good:
            print(f"--- {name}: the end of its agent's log\n{link.agent.tail()}")
    title = f"idle through proxies for {duration:.0f} s, a heartbeat every {heartbeat:g} s"
    return title, rows, healthy
