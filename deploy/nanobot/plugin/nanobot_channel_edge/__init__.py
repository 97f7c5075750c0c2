"""The native bot contract, version 1, as a channel of nanobot.

An edge agent starts `nanobot gateway` and talks to it over this channel: messages come in by HTTP on the loopback
interface (chat.py), what the bot does goes out as monitor packets on standard output (packets.py), and which packet
belongs to which message is kept in turns.py.
"""

from nanobot_channel_edge.channel import EdgeChannel

__all__ = ["EdgeChannel"]
