"""What the agent hands to each launch, by environment variables."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Contract:
    bot_id: str
    host: str
    port: int
    token: str
    prefix: str

    @classmethod
    def from_environment(cls, environment=os.environ) -> Contract:
        """Raises ValueError where no agent started this program."""
        missing = [name for name in ("BOT_ID", "BOT_CHAT_TOKEN", "BOT_PACKET_PREFIX") if not environment.get(name)]
        if missing:
            raise ValueError(f"{', '.join(missing)} not set; this channel works only where an edge agent starts nanobot")
        return cls(
            bot_id=environment["BOT_ID"],
            host=environment.get("BOT_CHAT_HOST") or "127.0.0.1",
            port=int(environment.get("BOT_CHAT_PORT") or 0),
            token=environment["BOT_CHAT_TOKEN"],
            prefix=environment["BOT_PACKET_PREFIX"],
        )
