#!/usr/bin/env python3
"""Writes the pictures in docs/images, from a real hub with two real nodes and simulated ones. Run it by `make screenshots`.

What only time brings, such as an hour of figures, is put into the hub's database (scenery.py)."""

import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from browser import Browser, Keys  # noqa: E402
import scenery  # noqa: E402
from workbench import ROOT, Agent, Fleet, Hub, check_programs, wait  # noqa: E402

IMAGES = ROOT / "docs" / "images"
HERE, THERE = "attic-pc", "garage-nuc"
SITES = ["clinic-front-desk", "clinic-archive", "greenhouse-pi", "hangar-2-gate", "lab-bench-1", "lab-bench-2",
         "lakehouse-mini", "office-nas", "pier-9-sensor", "reading-room", "shop-window", "studio-render", "van-router", "workshop-laptop"]
AWAY = ["barn-camera", "ferry-kiosk"]
NEVER = ["new-office-pc"]


class Pictures:
    def __init__(self, folder):
        self.hub = Hub(folder, heartbeat_interval="2s", closed_grace="2s")
        self.operator = self.hub.operator("ada")
        self.hub.stop()
        self.fleet = Fleet(self.hub, folder / "fleet", SITES, heartbeat_seconds=2)
        self.away = Fleet(self.hub, folder / "away", AWAY, heartbeat_seconds=2)
        Fleet(self.hub, folder / "never", NEVER)
        self.hub.start(HUB_ADMISSION_RATE="0")
        self.agents = {name: Agent(folder / name) for name in (HERE, THERE)}
        self.page = Browser(self.hub, 1280, 800)

    def call(self, method, path, body=None):
        return self.hub.call(self.operator["token"], method, path, body)

    def prepare(self):
        for name, agent in self.agents.items():
            agent.enroll(self.call("POST", "/api/enrollments", {"name": name})["command"])
            agent.start(profiles={"nightly": {"command": "/opt/nightly/bot --config {config}", "limits": {"memory": "2G", "cpu": 1.5}}} if name == THERE else None)
        self.away.connect()
        self.fleet.connect()
        self.node, self.other = (wait("online node", lambda: self.online(name))["id"] for name in self.agents)
        scenery.furnish(self.hub)
        for each in self.node, self.other:
            scenery.remember(self.hub, each)
        for number, name in enumerate(["mail-helper", "night-watch", "stock-taker"]):
            bot = self.call("POST", "/api/bots", {"name": name, "node_id": self.node, "config": {"reply_delay_ms": 600}})["id"]
            if number < 2:
                self.call("POST", f"/api/bots/{bot}/start")
                wait("running bot", lambda: self.call("GET", f"/api/bots/{bot}")["phase"] == "ready")
            if number == 0:
                self.bot = bot
        scenery.fill(next((self.agents[HERE].state / "bots").glob(f"*{self.bot}*/workspace"), None) or next((self.agents[HERE].state / "bots").glob("*/workspace")))
        self.away.disconnect()
        self.page.sign_in(self.operator["login_link"])
        self.page.see(".attention li", AWAY[0])
        self.page.see(".attention li", AWAY[1])
        self.talk()

    def online(self, name):
        return next((node for node in self.call("GET", "/api/nodes")["items"] if node["name"] == name and node["health"] == "online"), None)

    def talk(self):
        page = self.page
        page.go(f"#/bots/{self.bot}/chat")
        for text in "Good morning! My name is Ada.", "/note The courier comes at four", "What time is it?", "/notes":
            before = len(page.texts(".message[data-role=assistant] .text"))
            page.type("#message", text)
            page.keys(Keys.ENTER)
            page.wait("the answer", lambda: len(page.texts(".message[data-role=assistant] .text")) > before)

    def take(self, name, view, selector, width=1280, height=800, dark=False, first=None):
        page = self.page
        page.scheme(dark)
        page.size(width, height, scale=1 if width > 600 else 2)
        page.go(view)
        page.see(selector)
        page.gone(".waiting")
        if first:
            first()
        page.js("document.activeElement.blur(); window.scrollTo(0, 0)")
        # allow-sleep: fonts and bars settle
        time.sleep(1)
        path = IMAGES / f"{name}.png"
        page.picture(path)
        small(path)
        print(f"screenshots: {path.relative_to(ROOT)}, {path.stat().st_size // 1024} KiB", flush=True)

    def run(self):
        self.prepare()
        self.take("overview", "#/", ".fleet-row .badge")
        self.take("overview-dark", "#/", ".fleet-row .badge", dark=True)
        self.take("node", f"#/nodes/{self.node}", ".chart-now", height=1000)
        self.take("chat", f"#/bots/{self.bot}/chat", ".message[data-role=assistant] .text", dark=True, first=self.unfold)
        self.take("log", f"#/bots/{self.bot}/log", ".log-text")
        self.take("add-node", "#/add-node", "#node-name", first=self.make_code)
        self.take("deploy", f"#/bots/{self.bot}/chat", ".message", height=900, first=self.look_at_a_move)
        self.take("receipt", f"#/bots/{self.bot}/releases", ".facts", height=900, dark=True, first=self.move)
        self.page.press("Done", "dialog")
        self.take("phone", "#/", ".fleet-row .badge", width=390, height=780)

    def unfold(self):
        self.page.click(".message:last-child summary")

    def look_at_a_move(self):
        self.page.press("Move…")
        self.page.click("dialog label.choice", THERE)
        self.page.see("dialog .change-tree")
        for folder in "attachments", "inbox":
            if any(text.startswith(folder) for text in self.page.texts("dialog details:not([open]) > summary")):
                self.page.click("dialog details:not([open]) > summary", folder)

    def move(self):
        self.look_at_a_move()
        self.page.press(f"Move to {THERE}", "dialog")
        self.page.see("dialog .success", limit=120)

    def make_code(self):
        self.page.type("#node-name", "boathouse")
        self.page.press("Create code")
        self.page.see(".code")

    def close(self):
        self.page.close()
        if self.fleet.process:
            self.fleet.disconnect()
        for agent in self.agents.values():
            agent.stop()
        self.hub.stop()


def small(path):
    """A screen has few colours: a palette of them takes a third of the space, and the eye sees no difference."""
    if shutil.which("pngquant"):
        subprocess.run(["pngquant", "--force", "--skip-if-larger", "--speed", "1", "--output", str(path), "256", str(path)], check=False)


def main():
    check_programs()
    IMAGES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="screenshots-") as folder:
        pictures = Pictures(pathlib.Path(folder))
        try:
            pictures.run()
        finally:
            pictures.close()


if __name__ == "__main__":
    main()
