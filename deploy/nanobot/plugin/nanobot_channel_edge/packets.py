"""Monitor packets: one JSON object a line on standard output, behind the prefix of this launch."""

from __future__ import annotations

import json
import os
import sys
import threading
import time

# The agent cuts lines at 1 MiB, and a packet that was cut is only a line of the log.
MAXIMUM_LINE_BYTES = 1_000_000
# A piece of a text that is too long for one packet. Six bytes a character is the worst that JSON makes of it.
PIECE_CHARACTERS = 150_000


class Packets:
    def __init__(self, prefix: str, bot_id: str, descriptor: int = 1):
        self._prefix = prefix
        self._bot_id = bot_id
        self._descriptor = descriptor
        self._lock = threading.Lock()
        self._seq = 0

    def send(self, kind: str, **fields) -> None:
        """Writes one packet. Fields that are None are left out."""
        with self._lock:
            self._seq += 1
            self._write(self._line(kind, fields))

    def answer(self, text: str, *, final: bool, **fields) -> None:
        """Writes an `assistant_message`; a text that is too long for one goes out in pieces."""
        whole = {**fields, "text": text, "final": final}
        with self._lock:
            self._seq += 1
            line = self._line("assistant_message", whole)
            if len(line) <= MAXIMUM_LINE_BYTES:
                self._write(line)
                return
            pieces = [text[start:start + PIECE_CHARACTERS] for start in range(0, len(text), PIECE_CHARACTERS)]
            for number, piece in enumerate(pieces, 1):
                is_last = number == len(pieces)
                self._write(self._line("assistant_message", {**whole, "text": piece, "final": final and is_last}))
                if not is_last:
                    self._seq += 1

    def _line(self, kind: str, fields: dict) -> bytes:
        packet = {"v": 1, "seq": self._seq, "ts": int(time.time() * 1000), "bot_id": self._bot_id, "type": kind}
        packet.update({name: value for name, value in fields.items() if value is not None})
        # A model may produce half of a surrogate pair, which is no UTF-8.
        text = json.dumps(packet, ensure_ascii=False, separators=(",", ":"))
        return f"{self._prefix}{text}\n".encode("utf-8", "replace")

    def _write(self, line: bytes) -> None:
        # What nanobot printed before must not stand in front of the prefix in the same line.
        sys.stdout.flush()
        rest = memoryview(line)
        while rest:
            rest = rest[os.write(self._descriptor, rest):]
