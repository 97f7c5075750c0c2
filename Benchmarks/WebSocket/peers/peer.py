"""What the peers in Python have in common: the command line and the result as one line of JSON."""

import argparse
import json
import ssl
import sys
import time
import urllib.parse

now = time.perf_counter_ns


def parse():
    parser = argparse.ArgumentParser()
    roles = parser.add_subparsers(dest="role", required=True)
    server = roles.add_parser("server")
    server.add_argument("--port", type=int, required=True)
    server.add_argument("--cert")
    server.add_argument("--key")
    server.add_argument("--deflate", action="store_true")
    client = roles.add_parser("client")
    client.add_argument("--url", required=True)
    client.add_argument("--mode", choices=["rtt", "send", "recv"], required=True)
    client.add_argument("--size", type=int, required=True)
    client.add_argument("--count", type=int, required=True)
    client.add_argument("--ca")
    options = parser.parse_args()
    if options.role == "client":
        options.secure = options.url.startswith("wss://")
        options.path = urllib.parse.urlsplit(options.url).path
    return options


def server_tls(options):
    if not options.cert:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(options.cert, options.key)
    return context


def client_tls(options):
    if not options.secure:
        return None
    context = ssl.create_default_context(cafile=options.ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context


def payload(size):
    return bytes(i * 31 & 255 for i in range(size))


def fail(what):
    sys.exit(f"peer: {what}")


def print_rtt(options, samples):
    samples.sort()

    def quantile(share):
        return samples[min(len(samples) - 1, int(len(samples) * share))] / 1000

    print(json.dumps({
        "mode": "rtt", "size": options.size, "count": options.count, "min_us": quantile(0), "p50_us": quantile(0.5),
        "p90_us": quantile(0.9), "p99_us": quantile(0.99), "p999_us": quantile(0.999),
        "mean_us": sum(samples) / len(samples) / 1000,
    }), flush=True)


def print_throughput(options, nanoseconds):
    seconds = nanoseconds / 1e9
    print(json.dumps({
        "mode": options.mode, "size": options.size, "count": options.count, "secs": seconds,
        "mb_s": options.count * options.size / 1e6 / seconds, "msg_s": options.count / seconds,
    }), flush=True)
