"""Which messages of this launch were taken, so that a delivery may be repeated."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import Awaitable, Callable


class Receipts:
    """An id is noted once its message was taken and not before: a repeat after an error is another try."""

    def __init__(self, limit: int):
        """`limit`: ids that are remembered; the oldest are forgotten first."""
        self._limit = limit
        self._taken: OrderedDict[str, None] = OrderedDict()
        self._underway: dict[str, asyncio.Event] = {}

    def has(self, message_id: str) -> bool:
        return message_id in self._taken

    async def once(self, message_id: str, take: Callable[[], Awaitable[None]]) -> bool:
        """Calls `take` unless the message was taken before; a repeat that comes meanwhile waits for how it ends.

        Returns whether this call took the message. Raises what `take` raises; the message is then as if it had not come.
        """
        while message_id not in self._taken:
            if other := self._underway.get(message_id):
                await other.wait()
                continue
            ended = self._underway[message_id] = asyncio.Event()
            try:
                await take()
                self._taken[message_id] = None
                if len(self._taken) > self._limit:
                    self._taken.popitem(last=False)
                return True
            finally:
                del self._underway[message_id]
                ended.set()
        return False
