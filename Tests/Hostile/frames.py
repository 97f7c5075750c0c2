"""Frames that are each as the protocol has them and come in no order that an agent or a hub would send."""

import itertools
import random
import struct

from node import DATA, END, OPEN, RESET, WINDOW, Node, now_ms
from protobuf import encode, message

OPEN_AT_ONCE, LARGEST = 60, 1 << 62
# That a stream begins with; a message costs at least so much of it.
CREDIT, LEAST = 256 << 10, 64


class Babble:
    """Writes WebSocket messages of one end of a session; the same ones for the same seed. One frame in two thousand ends the session."""

    def __init__(self, seed, own, headers, session_messages):
        self.random = random.Random(seed)
        # The least number of a stream of this end's.
        self.next = own
        self.headers, self.session_messages = headers, session_messages
        # Those that are open, with what may still be sent on them.
        self.credit = {}
        # Of the first kind of header: these end with the session alone, or end it.
        self.kept = set()

    def payload(self):
        kind = self.random.random()
        if kind < 0.4:
            return b""
        if kind < 0.8:
            return message(self.random.randrange(1, 12), encode((1, self.random.randrange(LARGEST)), (2, "x" * self.random.randrange(99))))
        return self.random.randbytes(self.random.randrange(2000))

    def violation(self):
        stream = self.random.randrange(1 << 31)
        return Node.frame(self.random.randrange(1, 6), stream, self.random.randbytes(self.random.randrange(99)))

    def frame(self):
        if self.random.random() < 0.0005:
            return self.violation()
        kind = self.random.random()
        if kind < 0.1:
            return Node.frame(DATA, 0, self.random.choice(self.session_messages)(self.random))
        if kind < 0.12:
            # Of a type that comes later.
            return Node.frame(self.random.randrange(7, 255), 0, b"x" * self.random.randrange(99))
        if kind < 0.5 and len(self.credit) < OPEN_AT_ONCE or not self.credit:
            stream, self.next = self.next, self.next + 2
            self.credit[stream] = CREDIT
            header = self.random.choice(self.headers)
            if header is self.headers[0]:
                self.kept.add(stream)
            return Node.frame(OPEN, stream, header(self.random))
        stream = self.random.choice(list(self.credit))
        if kind < 0.7 or (stream in self.kept and kind > 0.85):
            payload = self.payload()
            self.credit[stream] -= max(LEAST, len(payload))
            if self.credit[stream] < 4096:
                del self.credit[stream]
            return Node.frame(DATA, stream, payload)
        if kind < 0.75:
            return Node.frame(WINDOW, stream, struct.pack(">I", self.random.choice((1, 64, 65536))))
        del self.credit[stream]
        return Node.frame(END, stream) if kind < 0.85 else Node.frame(RESET, stream, struct.pack(">I", self.random.randrange(9)) + b"why")

    def message(self):
        return b"".join(self.frame() for _ in range(self.random.choice((1, 2, 5, 20, 80))))


def of_a_node(seed, bots):
    """What an agent sends, of bots that are its own."""
    beats = itertools.count(2)

    def bot(dice):
        return dice.choice(bots)

    def status(dice):
        return message(1, encode((1, bot(dice)), (2, dice.randrange(9)), (3, "why" * dice.randrange(9)), (4, dice.randrange(LARGEST))))

    return Babble(
        seed, 1,
        [lambda dice: message(2, encode((1, f"journal-{dice.randrange(3)}"))),
         lambda dice: message(dice.randrange(1, 9), b"")],
        [lambda dice: message(3, encode((1, next(beats)), (2, now_ms()))),
         lambda dice: message(5, b"".join(status(dice) for _ in range(dice.randrange(4))) + encode((2, dice.randrange(LARGEST)))),
         lambda dice: message(6, message(1, encode((1, dice.randrange(9)), (19, now_ms())))),
         lambda dice: message(dice.randrange(20, 99), b"later")])


def of_a_hub(seed, bots):
    """What a hub sends to an agent with these bots."""
    def bot(dice):
        return dice.choice(bots)

    def command(dice):
        kind = dice.choice((3, 4, 5, 6, 7, 8, 12, 15, 16, 17))
        plan = encode((1, bot(dice)), (2, "babble"), (3, "default"), (4, dice.randrange(1, 9)), (5, "{}"))
        texts = (2, f"m{dice.randrange(99)}"), (3, "c"), (4, "text")
        body = message(1, plan) if kind == 3 else encode((1, bot(dice)), *(texts if kind == 5 else ()))
        return message(1, encode((1, f"cmd-{dice.randrange(999)}"), (2, dice.randrange(2))) + message(kind, body))

    return Babble(
        seed, 2,
        [lambda dice: message(dice.randrange(1, 9), b""),
         command,
         lambda dice: message(3, encode((1, bot(dice)), (2, dice.randrange(1, 99)), (4, dice.randrange(2)), (7, dice.randrange(2)))),
         lambda dice: message(3, encode((1, bot(dice)), (3, dice.randrange(LARGEST)), (4, dice.randrange(2)))),
         lambda dice: message(4, encode((1, bot(dice)), (2, dice.choice(("", ".", "a", "a/b", "../x")))) + message(dice.randrange(3, 9), b"")),
         lambda dice: message(5, encode((1, bot(dice)), (2, f"t{dice.randrange(4)}"), (3, dice.randrange(2)))),
         lambda dice: message(6, encode((1, bot(dice)), (2, f"t{dice.randrange(4)}"), (3, dice.randrange(2))))],
        [lambda dice: message(7, encode((1, dice.randrange(1 << 40)), (2, dice.randrange(1 << 40)))),
         lambda dice: message(dice.randrange(20, 99), b"later")])
