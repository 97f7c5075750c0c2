"""Tests of the sample bot by itself, without any agent. Run with `python3 -m unittest` in this directory."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import threading
import unittest
import urllib.request

PROGRAM = pathlib.Path(__file__).parents[2] / "samples/bot/sample-bot"
PREFIX = "@@ "
SECONDS = 20


class SampleBotTests(unittest.TestCase):
    def setUp(self):
        self.home = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.home, True)
        self.workspace = os.path.join(self.home, "workspace")
        os.mkdir(self.workspace)
        config = os.path.join(self.home, "config.json")
        with open(config, "w", encoding="utf-8") as file:
            file.write("{}")
        self.bot = subprocess.Popen(
            [sys.executable, str(PROGRAM), "--config", config, "--workspace", self.workspace],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            env={**os.environ, "BOT_CHAT_TOKEN": "secret", "BOT_PACKET_PREFIX": PREFIX, "BOT_CHAT_PORT": "0"})
        self.addCleanup(self.bot.stdout.close)
        self.addCleanup(self.bot.wait)
        self.addCleanup(self.bot.kill)
        # A bot that falls mute is ended, so that reading it ends.
        watch = threading.Timer(SECONDS, self.bot.kill)
        watch.start()
        self.addCleanup(watch.cancel)
        self.url = self.packet("ready")["chat_url"]

    def packet(self, kind, **fields):
        """The next packet of a type with these fields."""
        for line in self.bot.stdout:
            if line.startswith(PREFIX.encode()):
                packet = json.loads(line[len(PREFIX):])
                if packet["type"] == kind and all(packet.get(name) == value for name, value in fields.items()):
                    return packet
        self.fail("the bot wrote no %s %s" % (kind, fields))

    def say(self, message_id, text):
        body = json.dumps({"message": text, "conversation_id": "c", "message_id": message_id}).encode()
        request = urllib.request.Request(self.url, body, {"Authorization": "Bearer secret"})
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:
            return answer.status

    def test_goes_on_when_its_memory_is_deleted(self):
        self.assertEqual(self.say("m1", "my name is Ada"), 202)
        self.packet("assistant_message", message_id="m1")
        shutil.rmtree(os.path.join(self.workspace, "memory"))
        self.say("m2", "who am I")
        self.assertEqual(self.packet("assistant_message", message_id="m2")["text"], "You have not told me your name.")

    def test_says_so_where_it_cannot_remember_and_takes_the_next_turn(self):
        memory = os.path.join(self.workspace, "memory")
        shutil.rmtree(memory)
        with open(memory, "w", encoding="utf-8"):
            pass
        self.say("m1", "hello")
        self.assertIn("went wrong", self.packet("assistant_message", message_id="m1", final=True)["text"])
        self.packet("state", state="idle", open_turns=0)
        os.remove(memory)
        self.say("m2", "hello")
        self.assertIn("Hello", self.packet("assistant_message", message_id="m2")["text"])


if __name__ == "__main__":
    unittest.main()
