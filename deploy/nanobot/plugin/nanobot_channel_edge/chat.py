"""The chat endpoint: POST /chat and GET /healthz on the loopback interface."""

from __future__ import annotations

import hmac
import json
import sys
from dataclasses import dataclass, field
from typing import Callable

from aiohttp import web

from nanobot_channel_edge.receipts import Receipts

MAXIMUM_BODY_BYTES = 1 << 20
# Ids that are remembered, so that a delivery may be repeated.
REMEMBERED_IDS = 10_000
# Turns that wait; nanobot takes them one by one.
MAXIMUM_OPEN_TURNS = 1_000


@dataclass(frozen=True)
class ChatMessage:
    text: str
    conversation_id: str
    message_id: str
    sender: str = "user"
    media: list[str] = field(default_factory=list)

    @classmethod
    def parse(cls, body: bytes) -> ChatMessage:
        """Raises ValueError with what is wrong."""
        try:
            given = json.loads(body)
        except ValueError as error:
            raise ValueError(f"the body is not JSON: {error}") from None
        if not isinstance(given, dict):
            raise ValueError("the body is not a JSON object")
        for name in ("message", "conversation_id", "message_id"):
            if not isinstance(given.get(name), str):
                raise ValueError(f"{name} must be a string")
        if not given["message_id"] or not given["conversation_id"]:
            raise ValueError("message_id and conversation_id must not be empty")
        media = given.get("media") or []
        if not isinstance(media, list) or not all(isinstance(item, str) for item in media):
            raise ValueError("media must be a list of strings")
        sender = given.get("sender") or "user"
        if not isinstance(sender, str):
            raise ValueError("sender must be a string")
        return cls(given["message"], given["conversation_id"], given["message_id"], sender, media)


class ChatEndpoint:
    """Takes messages in. `accept` is called once for each, before it is answered with 202; again where it raised."""

    def __init__(self, token: str, accept: Callable, health: Callable[[], dict]):
        self._token = token.encode()
        self._accept = accept
        self._health = health
        self._receipts = Receipts(REMEMBERED_IDS)
        self._runner: web.AppRunner | None = None
        self.is_closing = False

    async def listen(self, host: str, port: int) -> str:
        """Returns the URL to post to. Raises OSError where the port cannot be had."""
        application = web.Application(client_max_size=MAXIMUM_BODY_BYTES)
        application.router.add_post("/chat", self._chat)
        application.router.add_get("/healthz", self._healthz)
        self._runner = web.AppRunner(application, access_log=None, handle_signals=False, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port)
        await site.start()
        return f"http://{host}:{self._runner.addresses[0][1]}/chat"

    async def close(self) -> None:
        if self._runner:
            await self._runner.cleanup()

    async def _healthz(self, request: web.Request) -> web.Response:
        return web.json_response({"ok": True, **self._health()})

    async def _chat(self, request: web.Request) -> web.Response:
        kind, _, given = request.headers.get("Authorization", "").partition(" ")
        if kind.lower() != "bearer" or not given:
            return self._refusal(401, "a bearer token is needed")
        if not hmac.compare_digest(given.strip().encode(), self._token):
            return self._refusal(403, "this is not the token of this launch")
        if request.content_length is None:
            return self._refusal(411, "Content-Length is needed")
        if request.content_length > MAXIMUM_BODY_BYTES:
            return self._refusal(413, "a message is at most 1 MiB")
        try:
            message = ChatMessage.parse(await request.read())
        except ValueError as error:
            return self._refusal(400, str(error))
        is_full = self.is_closing or self._health()["open_turns"] >= MAXIMUM_OPEN_TURNS
        if is_full and not self._receipts.has(message.message_id):
            return self._refusal(503, "not now; try again")
        try:
            is_new = await self._receipts.once(message.message_id, lambda: self._accept(message))
        except Exception as error:
            sys.stderr.write(f"edge channel: message {message.message_id} was not taken: {error!r}\n")
            sys.stderr.flush()
            return self._refusal(503, f"not taken: {error}; try again")
        if not is_new:
            return web.json_response({"ok": True, "duplicate": True, "message_id": message.message_id})
        return web.json_response({"ok": True, "message_id": message.message_id}, status=202)

    @staticmethod
    def _refusal(status: int, reason: str) -> web.Response:
        return web.json_response({"error": reason}, status=status)
