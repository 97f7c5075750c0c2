"""The channel itself: puts nanobot's message bus on one side together with chat and packets on the other."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

from nanobot import __version__ as nanobot_version
from nanobot.bus.events import OutboundMessage
from nanobot.channels.base import BaseChannel

from nanobot_channel_edge.chat import ChatEndpoint, ChatMessage
from nanobot_channel_edge.contract import Contract
from nanobot_channel_edge.packets import Packets
from nanobot_channel_edge.turns import Turn, Turns

# Marks metadata as ours. The `message` tool hands on the message id alone, the final answer everything.
MARK = "edge_turn_id"
# After an answer that is not the last one a turn is over when this long nothing more comes (bot contract, "Packets").
QUIET_SECONDS = 5.0
# Between the answer to /restart and the restart itself, which loses what comes in meanwhile, nanobot waits a second. If
# none has come after this long, it has failed.
RESTART_SECONDS = 10.0


class EdgeChannel(BaseChannel):
    name = "edge"
    display_name = "Edge agent"

    def __init__(self, config, bus):
        super().__init__(config, bus)
        self._contract = Contract.from_environment()
        self._packets = Packets(self._contract.prefix, self._contract.bot_id)
        self._turns = Turns()
        self._quiet: dict[str, asyncio.TimerHandle] = {}
        self._chat = ChatEndpoint(self._contract.token, self._take, self._health)
        self._ended = asyncio.Event()
        self._is_busy = False
        self._stop_signal = ""

    @classmethod
    def default_config(cls) -> dict:
        return {"enabled": True}

    def is_allowed(self, sender_id: str) -> bool:
        # Whoever has the token of this launch is the agent. nanobot's own list would look for an attribute of the
        # configuration, which is a dictionary for a plug-in, and so deny everybody.
        return True

    # MARK: Life

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        # nanobot cleans up after SIGINT only; SIGTERM would end it at once.
        loop.add_signal_handler(signal.SIGTERM, self._asked_to_stop)
        try:
            url = await self._chat.listen(self._contract.host, self._contract.port)
        except OSError as error:
            # nanobot would go on without its channel and never become ready. Ended, it is started again.
            sys.stderr.write(f"edge channel: {self._contract.host} port {self._contract.port}: {error}\n")
            sys.stderr.flush()
            os._exit(1)
        self._running = True
        self._packets.send(
            "ready", chat_url=url, pid=os.getpid(), engine="nanobot", engine_version=nanobot_version
        )
        self._packets.send("state", state="idle", open_turns=0)
        await self._ended.wait()

    async def stop(self) -> None:
        self._running = False
        self._chat.is_closing = True
        await self._chat.close()
        self._packets.send("stopped", open_turns=len(self._turns))
        self._ended.set()

    def _asked_to_stop(self) -> None:
        if self._stop_signal:
            return
        self._stop_signal = "SIGTERM"
        self._chat.is_closing = True
        self._packets.send("stopping", signal=self._stop_signal, open_turns=len(self._turns))
        os.kill(os.getpid(), signal.SIGINT)

    def _not_restarted(self) -> None:
        self._chat.is_closing = bool(self._stop_signal)

    def _health(self) -> dict:
        return {"state": "busy" if len(self._turns) else "idle", "open_turns": len(self._turns)}

    # MARK: In

    async def _take(self, message: ChatMessage) -> None:
        if message.text.strip().lower() == "/restart":
            self._chat.is_closing = True
            asyncio.get_running_loop().call_later(RESTART_SECONDS, self._not_restarted)
        turn = self._turns.open(message.message_id, message.conversation_id, message.text)
        self._tell_state()
        try:
            await self._handle_message(
                sender_id=message.sender,
                chat_id=message.conversation_id,
                content=message.text,
                media=message.media,
                metadata={"message_id": message.message_id, MARK: turn.turn_id},
            )
        except BaseException:
            # It will come again, as if for the first time.
            self._close(turn)
            if turn.command == "/restart":
                self._not_restarted()
            raise
        # Before 202 goes out: it proves that the message was taken, also where the answer gets lost. And not before nanobot
        # has it, or it would prove what is not so; nanobot works on it when this task waits next.
        self._packets.send("user_message", text=message.text, sender=message.sender, **turn.ids)

    # MARK: Out

    async def send(self, msg: OutboundMessage) -> None:
        metadata = msg.metadata or {}
        turn = self._turns.get(metadata.get("message_id"))
        if metadata.get("_progress"):
            kind = "tool" if metadata.get("_tool_hint") else "progress"
            self._packets.send(kind, text=msg.content, **(turn.ids if turn else self._place(msg)))
            if turn and turn.message_id in self._quiet:
                self._wait_for_quiet(turn)
        elif turn and MARK in metadata:
            self._answer(turn, msg)
        elif turn and turn.conversation_id == msg.chat_id:
            # From the `message` tool in the middle of a turn, after which nanobot sends no final answer.
            self._packets.answer(msg.content, final=False, media=msg.media or None, **turn.ids)
            self._wait_for_quiet(turn)
        elif stopped := self._turns.stopped_by(msg.chat_id, msg.content):
            self._packets.send("notice", text=msg.content, **self._place(msg))
            for each in stopped:
                self._close(each)
        elif answered := self._turns.answered_by(msg.chat_id, msg.content):
            self._answer(answered, msg)
        else:
            # A reminder, a background task, or a late word on a turn that is over.
            self._packets.send("notice", text=msg.content, media=msg.media or None, **self._place(msg))

    def _answer(self, turn: Turn, msg: OutboundMessage) -> None:
        self._packets.answer(
            msg.content, final=True, media=msg.media or None, elapsed_ms=turn.elapsed_ms, **turn.ids
        )
        self._close(turn)

    def _close(self, turn: Turn) -> None:
        if timer := self._quiet.pop(turn.message_id, None):
            timer.cancel()
        self._turns.close(turn)
        self._tell_state()

    def _wait_for_quiet(self, turn: Turn) -> None:
        if timer := self._quiet.pop(turn.message_id, None):
            timer.cancel()
        loop = asyncio.get_running_loop()
        self._quiet[turn.message_id] = loop.call_later(QUIET_SECONDS, self._close, turn)

    def _tell_state(self) -> None:
        is_busy = len(self._turns) > 0
        if is_busy != self._is_busy:
            self._is_busy = is_busy
            self._packets.send("state", **self._health())

    @staticmethod
    def _place(msg: OutboundMessage) -> dict:
        return {"conversation_id": msg.chat_id} if msg.chat_id else {}
