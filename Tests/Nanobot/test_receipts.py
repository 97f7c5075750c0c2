"""Tests of the part of the nanobot plug-in that needs no nanobot. Run with `python3 -m unittest` in this directory."""

import asyncio
import importlib.util
import pathlib
import unittest

SOURCE = pathlib.Path(__file__).parents[2] / "deploy/nanobot/plugin/nanobot_channel_edge/receipts.py"
specification = importlib.util.spec_from_file_location("receipts", SOURCE)
receipts = importlib.util.module_from_spec(specification)
specification.loader.exec_module(receipts)


class ReceiptsTests(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        self.receipts = receipts.Receipts(limit=2)
        self.calls = 0
        self.failures = 0

    async def take(self):
        self.calls += 1
        await asyncio.sleep(0)
        if self.failures:
            self.failures -= 1
            raise OSError("the bus is gone")

    async def test_a_repeat_is_not_taken_again(self):
        self.assertTrue(await self.receipts.once("m1", self.take))
        self.assertFalse(await self.receipts.once("m1", self.take))
        self.assertEqual(self.calls, 1)

    async def test_a_repeat_after_an_error_is_taken(self):
        self.failures = 1
        with self.assertRaises(OSError):
            await self.receipts.once("m1", self.take)
        self.assertFalse(self.receipts.has("m1"))
        self.assertTrue(await self.receipts.once("m1", self.take))
        self.assertEqual(self.calls, 2)

    async def test_a_repeat_that_comes_meanwhile_waits_for_how_it_ends(self):
        both = await asyncio.gather(self.receipts.once("m1", self.take), self.receipts.once("m1", self.take))
        self.assertEqual(sorted(both), [False, True])
        self.failures = 1
        both = await asyncio.gather(
            self.receipts.once("m2", self.take), self.receipts.once("m2", self.take), return_exceptions=True
        )
        self.assertIsInstance(both[0], OSError)
        self.assertTrue(both[1])

    async def test_an_attempt_that_is_given_up_leaves_nothing_behind(self):
        stuck = asyncio.create_task(self.receipts.once("m1", asyncio.Event().wait))
        await asyncio.sleep(0)
        repeat = asyncio.create_task(self.receipts.once("m1", self.take))
        await asyncio.sleep(0)
        stuck.cancel()
        self.assertTrue(await repeat)

    async def test_the_oldest_are_forgotten(self):
        for name in ("m1", "m2", "m3"):
            await self.receipts.once(name, self.take)
        self.assertFalse(self.receipts.has("m1"))
        self.assertTrue(self.receipts.has("m3"))


if __name__ == "__main__":
    unittest.main()
