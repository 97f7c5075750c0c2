"""Which messages the bot is working on.

nanobot tells neither that it begins a turn nor that it has ended one, and it gives the metadata of a message back only
with progress and with the final answer. What it sends without metadata is told apart by what is open.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

# Carried out at once, past the turns that wait.
CONTROL_COMMANDS = ("/stop", "/restart")
# Answered in their turn, without metadata.
QUEUED_COMMANDS = ("/new", "/help")
# What nanobot says where a turn ends by an exception.
FAILURE_TEXT = "Sorry, I encountered an error."
STOP_ANSWERS = ("Stopped ", "No active task")


@dataclass
class Turn:
    message_id: str
    conversation_id: str
    turn_id: str
    command: str
    began: float = field(default_factory=time.monotonic)

    @property
    def ids(self) -> dict[str, str]:
        return {
            "conversation_id": self.conversation_id,
            "message_id": self.message_id,
            "turn_id": self.turn_id,
        }

    @property
    def elapsed_ms(self) -> int:
        return int((time.monotonic() - self.began) * 1000)


class Turns:
    """The open turns, oldest first."""

    def __init__(self) -> None:
        self._open: dict[str, Turn] = {}

    def __len__(self) -> int:
        return len(self._open)

    def open(self, message_id: str, conversation_id: str, text: str) -> Turn:
        turn = Turn(message_id, conversation_id, f"turn-{message_id}", text.strip().lower())
        self._open[message_id] = turn
        return turn

    def get(self, message_id: str | None) -> Turn | None:
        return self._open.get(message_id) if message_id else None

    def close(self, turn: Turn) -> None:
        self._open.pop(turn.message_id, None)

    def stopped_by(self, conversation_id: str, text: str) -> list[Turn]:
        """Where the text answers a /stop: its turn and the ones it stopped."""
        if not text.startswith(STOP_ANSWERS):
            return []
        mine = self._of(conversation_id)
        stop = next((turn for turn in mine if turn.command == "/stop"), None)
        return mine[:mine.index(stop) + 1] if stop else []

    def answered_by(self, conversation_id: str, text: str) -> Turn | None:
        """The turn that a text without metadata ends; None where it belongs to no turn."""
        mine = self._of(conversation_id)
        restart = next((turn for turn in mine if turn.command == "/restart"), None)
        if restart and text.startswith("Restarting"):
            return restart
        running = next((turn for turn in mine if turn.command not in CONTROL_COMMANDS), None)
        if running and (text == FAILURE_TEXT or running.command in QUEUED_COMMANDS):
            return running
        return None

    def _of(self, conversation_id: str) -> list[Turn]:
        return [turn for turn in self._open.values() if turn.conversation_id == conversation_id]
