"""Inputs to begin with: golden vectors of the protocol, and texts that a fuzzer would need long to guess. The layouts
are those that Sources/Fuzzer/Targets read."""

import base64
import json
import pathlib
import struct
import zlib

HERE = pathlib.Path(__file__).resolve().parent
VECTORS = HERE.parent / "Tests" / "Vectors"
SEED = b"\x00\x03"  # how the input is cut into pieces


def frame(opcode, payload, masked, first=0x80):
    """One WebSocket frame (RFC 6455 §5.2)."""
    mask = 0x80 if masked else 0
    if len(payload) < 126:
        head = bytes([first | opcode, mask | len(payload)])
    else:
        head = bytes([first | opcode, mask | 126]) + struct.pack(">H", len(payload))
    key = b"\x01\x02\x03\x04" if masked else b""
    body = bytes(b ^ key[i & 3] for i, b in enumerate(payload)) if masked else payload
    return head + key + body


def websocket_streams():
    """Streams of frames in both directions: (from a client, bytes)."""
    for masked in (True, False):
        yield masked, frame(1, "Grüße".encode(), masked) + frame(2, bytes(200), masked)
        yield masked, frame(1, b"one ", masked, 0) + frame(9, b"?", masked) + frame(0, b"message", masked)
        yield masked, frame(8, b"\x03\xe8bye", masked)
        yield masked, frame(10, b"", masked) + frame(8, b"", masked)
        yield masked, frame(1, b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80", masked)
        yield masked, frame(2, bytes(3000), masked)


def deflated(*texts):
    """Messages compressed one after the other with one window (RFC 7692 §7.2.1)."""
    stream = zlib.compressobj(wbits=-15)
    return [(stream.compress(text) + stream.flush(zlib.Z_SYNC_FLUSH))[:-4] for text in texts]


# Around every limit of numbers from outside.
NUMBERS = [0, 1, 2**31 - 1, 2**31, 2**32 - 1, 2**53, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1]


def varint(value):
    """Protocol Buffers' base 128."""
    content = b""
    while value > 0x7F:
        content += bytes([value & 0x7F | 0x80])
        value >>= 7
    return content + bytes([value])


def field(path, value):
    """A message that holds a number at the end of a path of field numbers."""
    if len(path) == 1:
        return varint(path[0] << 3) + varint(value)
    inner = field(path[1:], value)
    return varint(path[0] << 3 | 2) + varint(len(inner)) + inner


def messages():
    """The bytes of every wire message that has a vector."""
    for vector in json.loads((VECTORS / "messages.json").read_text())["vectors"]:
        yield bytes.fromhex(vector["hex"])


ACCEPTED = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: edge.v1\r\n"
)
REQUEST = (
    b"Host: hub.example\nUpgrade: websocket\nConnection: Upgrade\nSec-WebSocket-Version: 13\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\nSec-WebSocket-Protocol: edge.v1, chat\n"
)
URLS = ["wss://hub.example:8443/edge/v1/connect", "ws://127.0.0.1:1/?a=b", "https://[::1]:9/x", "http://user@h/"]
PACKET = b'{"type":"ready","seq":1,"ts":1.5e3,"chat_url":"http://127.0.0.1:9/","turn_id":null,"x":[{}]}'


def seeds():
    """Pairs of a target's name and an input."""
    for masked, stream in websocket_streams():
        yield "frames", bytes([masked, 0]) + SEED + stream
        yield "connection", bytes([masked, 0]) + SEED + stream
        yield "connection", bytes([masked, 1]) + SEED + stream
        for taken_over in (0, 3):
            terms = bytes([taken_over, 7, 7, 5])
            first, second = deflated(b"hello, hello, hello", b"hello again, hello")
            both = frame(1, first, masked, 0xC0) + frame(2, second, masked, 0xC0)
            yield "connection-deflate", bytes([masked]) + terms + SEED + both
            yield "connection-deflate", bytes([masked]) + terms + SEED + frame(2, deflated(bytes(5000))[0], masked, 0xC0)
    first, second = deflated(b"hello, hello, hello", b"hello again, hello")
    yield "inflate", bytes([7, 1]) + SEED + bytes([len(first)]) + first + second
    yield "inflate", bytes([7, 0]) + SEED + b"\x00" + deflated(bytes(20000))[0]
    yield "inflate", bytes([0, 1]) + SEED + b"\x00" + zlib.compress(b"stored, and the last block", 0)[2:-4]
    for text in (b"permessage-deflate; client_max_window_bits", b"x, permessage-deflate; server_max_window_bits=\"9\"",
                 b"permessage-deflate; server_no_context_takeover; client_no_context_takeover; client_max_window_bits=8"):
        yield "extensions", bytes(8) + text
    for code in (1000, 1005, 1012, 2999, 3000, 4999, 5000):
        yield "close-frame", struct.pack(">H", code) + "grüß".encode()
    for text in ("κόσμε", "a" * 20 + "\U0010ffff", "\u0800\ud7ff\ue000"):
        yield "utf8", SEED + text.encode()
    yield "utf8", SEED + b"\xf4\x90\x80\x80"
    for answer in (ACCEPTED, ACCEPTED + b"Sec-WebSocket-Extensions: permessage-deflate\r\n",
                   b"HTTP/1.1 503 Busy\r\nRetry-After: 3\r\n", b"HTTP/1.0 200\r\n"):
        yield "upgrade-response", SEED + answer + b"\r\nrest"
    for extra in (b"", b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\n"):
        yield "server-handshake", b"\x01" + REQUEST + extra
    yield "http-body", b"\x00\x00\x01\x00" + SEED + b"5\r\nhello\r\nA;x=y\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\nrest"
    yield "base64", base64.b64encode(b"sixteen bytes ok")
    for url in URLS:
        yield "endpoint", url.encode()
    for answer in (b"HTTP/1.1 200 OK\r\n\r\nrest", b"HTTP/1.1 407 No\r\nProxy-Authenticate: Basic realm=x\r\n\r\n"):
        yield "proxy-dialogue", b"\x00\x01\x00" + SEED + answer
    for answer in (b"\5\0\5\0\0\1\1\2\3\4\0\x50rest", b"\5\2\1\0\5\0\0\3\4host\0\x50", b"\5\xff", b"\5\0\5\4\0\1"):
        yield "proxy-dialogue", b"\x01\x01\x02" + SEED + answer
    for url in ("http://user:p%40ss@proxy.example:3128", "socks5h://[::1]:1080/"):
        yield "proxy-settings", bytes([len(url)]) + url.encode() + b"10.0.0.0/8,[fd00::1]:80 .example.com,*.x"
    yield "packet-line", PACKET
    for value in NUMBERS:
        yield "packet-line", b'{"type":"a","seq":%d,"ts":-%d,"v":%de9}' % (value, value, value)
        yield "json-numbers", b'{"a":%d,"b":[-%d,%de30,0.%d],"c":"%d"}' % (value, value, value, value, value)
    for stream in ("stdout F", "stderr P", "packet F", "supervisor F"):
        yield "log-record", f"2026-01-31T12:00:00.123456789Z {stream} text".encode()
    yield "lines", b"\x09" + SEED + b"short\n" + b"x" * 50 + b"\n\nno newline at the end"
    for message in messages():
        if len(message) <= 250:
            # A raw message on stream 0; see `SessionTargets.swift`.
            for target in ("agent-session", "hub-session"):
                yield target, b"\x00" + bytes([0, 5, len(message)]) + message + b"\x00"
        for kind in range(8):
            yield "wire-numbers", bytes([kind]) + message
    for kind, fields in ((0, (3, 1)), (2, (1, 10)), (4, (10,)), (5, (1, 1)), (6, (5, 1))):
        for value in NUMBERS:
            yield "wire-numbers", bytes([kind]) + field(fields, value)


def write(folder):
    """Writes the inputs into a folder for each target."""
    counts = {}
    for target, data in seeds():
        counts[target] = counts.get(target, 0) + 1
        (folder / target).mkdir(parents=True, exist_ok=True)
        (folder / target / f"seed-{counts[target]:02}").write_bytes(data)
