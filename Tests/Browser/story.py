#!/usr/bin/env python3
"""An operator's day in a real browser, against a real hub, agent and bot.

Run it by `make browser-test`. Each step goes on where the one before stopped; the first failure ends it, with a picture
and the logs in .build/browser/failure. What the console, the content security policy and axe-core complain of is gathered
and fails the run at the end.
"""

import pathlib
import shutil
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from browser import Browser, Keys  # noqa: E402
from moves import Moves  # noqa: E402
from workbench import ROOT, Agent, Failure, Hub, check_programs  # noqa: E402

FAILURE = ROOT / ".build" / "browser" / "failure"
PHONE = 390
STILL_SECONDS = 3


class Story(Moves):
    def __init__(self, folder):
        self.hub = Hub(folder, heartbeat_interval="2s", closed_grace="2s")
        self.agent = Agent(folder / "agent")
        self.other = Agent(folder / "other")
        self.twin = None
        self.left = []
        self.operator = self.hub.operator("ada")
        self.page = Browser(self.hub)
        self.bot = None

    def close(self):
        self.page.close()
        self.agent.stop()
        self.other.stop()
        for each in filter(None, [self.twin, *self.left]):
            each.stop()
        self.hub.stop()

    # Steps, in order

    def signs_in(self):
        page = self.page
        page.open("/")
        page.see("#sign-in #token")
        page.barriers("sign-in")
        page.type("#token", "op_wrong")
        page.press("Sign in")
        page.see("#problem")
        page.console(allowed=["401"])
        page.sign_in(self.operator["login_link"])
        page.see("#link", "Live")
        if "login_" in page.driver.current_url:
            raise Failure("the sign-in link's token stays in the address bar")

    def is_taught_by_an_empty_hub(self):
        page = self.page
        page.see(".empty h2", "No nodes yet")
        page.barriers("empty overview")
        page.go("#/bots")
        page.see(".empty h2", "No bots yet")
        page.go("#/")
        page.press("Add your first node")

    def adds_a_node(self):
        page = self.page
        page.type("#node-name", "attic-pc")
        page.press("Create code")
        code = page.see(".code")
        page.see(".countdown", "valid for 14:")
        shown = page.see(".command pre")
        if code not in shown or "--pin-sha256" not in shown:
            raise Failure(f"the command lacks the code or the pin of the hub's key: {shown}")
        page.barriers("code")
        page.press("Copy command")
        page.told("Copied")
        copied = page.driver.execute_async_script("const done = arguments[0]; navigator.clipboard.readText().then(done, (error) => done(String(error)))")
        if copied != shown:
            raise Failure(f"copied is not what is shown: {copied}")
        self.agent.enroll(copied)
        page.see(".waiting", "Paired. Waiting for the agent to connect")
        page.barriers("paired")
        self.agent.start()
        page.see("[data-done=true] h2", "It is here")
        page.see(".state-line", "Online")

    def sees_it_online(self):
        page = self.page
        page.go("#/")
        page.see(".fleet-row .badge", "Online")
        page.see(".fleet-row .way[aria-label='Link Connected, agent Running, bots Idle']")
        page.stillness("overview", STILL_SECONDS)
        page.barriers("overview")
        page.press("attic-pc")
        page.see(".way-card .state", "Connected")
        page.see(".facts", "Debian")
        page.see(".chart-now", "%")
        page.stillness("node", STILL_SECONDS)
        page.barriers("node")

    def looks_after_the_node(self):
        page = self.page
        self.choose("Test the connection")
        page.see("dialog h2", "The node answered")
        page.see("dialog li", "Link")
        page.barriers("test of a node")
        page.press("Done", "dialog")
        self.choose("Refresh figures")
        page.told("figures of this moment")
        self.choose("Rotate its token…")
        page.press("Rotate", "dialog")
        page.told("proved its new token")
        page.see(".way-card .state", "Connected")

    def labels_and_drains_it(self):
        page = self.page
        self.choose("Labels…")
        page.type("#new-labels", "site=home\ngpu=none")
        page.press("Save", "dialog")
        page.see(".label", "site=home")
        self.choose("When it counts as offline…")
        page.type("#degraded-after", "1")
        page.press("Save", "dialog")
        # Shorter than the heartbeat cannot be, and the hub says so.
        page.see("dialog [role=alert]", "must be longer")
        page.barriers("refused thresholds")
        page.console(allowed=["422"])
        page.press("Cancel", "dialog")
        self.choose("Draining…")
        page.press("Drain", "dialog")
        page.gone("dialog")
        page.go("#/")
        page.see(".fleet-row .badge", "Draining")
        page.type("#fleet-search", "label:site=home")
        page.see(".fleet-row .fleet-under", "site=home")
        page.type("#fleet-search", "label:site=office")
        page.see("h2", "No node matches")
        page.press("Show all nodes")
        page.press("attic-pc")
        self.choose("Draining…")
        page.press("End draining", "dialog")
        page.gone("dialog")

    def choose(self, entry):
        """From the menu of what can be done with the node."""
        self.page.press("Actions")
        self.page.press(entry, ".menu")

    def creates_and_starts_a_bot(self):
        page = self.page
        page.press("New bot")
        page.type("#bot-name", "mail-helper")
        if page.js("return document.getElementById('bot-node').selectedOptions[0].text") != "attic-pc":
            raise Failure("the node one came from is not chosen")
        page.type("#bot-config", '{"reply_delay_ms": 1500')
        page.press("Create bot")
        page.see("#bot-config-problem", "not valid JSON")
        page.barriers("new bot")
        page.type("#bot-config", '{"reply_delay_ms": 1500}')
        page.press("Create bot")
        page.see(".state-line", "Running", limit=90)
        self.bot = page.driver.current_url.split("#")[1].split("/")[2]

    def talks_to_it(self):
        page = self.page
        # The turn is there while it is under way, with what the bot says it does.
        page.remember(steps=".message[data-role=assistant] summary")
        page.type("#message", "my name is <b onclick=x>Ada</b>")
        page.keys(Keys.ENTER)
        page.saw("steps", "thinking")
        page.barriers("live turn")
        page.see(".message[data-role=assistant] .text", "I will remember your name")
        if page.js("return document.querySelector('.message b') !== null"):
            raise Failure("what a person wrote became part of the page")
        page.type("#message", "what time is it?")
        page.keys(Keys.ENTER)
        page.see(".message[data-role=assistant] .text", "It is ")
        page.click(".message[data-role=assistant] summary", "2 steps")
        page.see(".step-text", "looked at the clock")
        if not page.focused():
            raise Failure("the focus was lost while answers came in")

    def follows_the_log(self):
        page = self.page
        page.press("Log")
        page.see(".log-text", "listening on")
        page.see("#view [role=status]", "Following")
        page.barriers("log")
        self.say("emit 400")
        page.see(".log-text", "emit line 400 of 400")
        page.press("Pause")
        self.say("emit 3")
        page.see(".to-end", "new line")
        held = len(page.texts(".log-line"))
        page.type("[aria-label='Find in the log']", "emit line 7 of")
        page.see("#view [role=status]", "1 of ")
        page.see("mark", "emit line 7 of")
        if len(page.texts(".log-line")) != held:
            raise Failure("the paused log moved")
        page.type("[aria-label='Find in the log']", "emit line 3 of 3")
        page.press("Follow")
        page.see(".log-text", "emit line 3 of 3")

    def looks_at_the_rest_of_it(self):
        page = self.page
        page.press("Packets")
        page.see(".packet-type", "assistant_message")
        page.barriers("packets")
        self.files()
        for tab, selector, text in ("Resources", ".chart-title", "CPU"), ("Releases", ".facts", "attic-pc"), ("Details", ".output", "reply_delay_ms"):
            page.press(tab)
            page.see(selector, text)
            page.barriers(tab)

    def changes_only_what_it_edits(self):
        page, path = self.page, f"/api/bots/{self.bot}"
        text = '{ "reply_delay_ms": 1500, "id": 1234567890123456789, "one":1.0,  "share": 0.10, "most":[1e999], "a":{"b":1,"b":2} }'

        def call(method, body=None):
            return self.hub.text(self.operator["token"], method, path, body)

        call("PATCH", f'{{"config":{text}}}')
        shown = '{\n  "reply_delay_ms": 1500,\n  "id": 1234567890123456789,\n  "one": 1.0,\n  "share": 0.10,\n  "most": [\n    1e999\n  ],'
        page.see("[aria-label=Configuration]", shown)
        page.press("Edit")
        page.type("#edit-name", "mail-friend")
        page.press("Save", "dialog")
        page.gone("dialog")
        page.see("h1", "mail-friend")
        if text not in call("GET"):
            raise Failure(f"renaming the bot has changed its configuration: {call('GET')}")
        page.press("Edit")
        edited = text.replace("1.0", "1.00").replace("456789", "456788")
        page.type("#edit-config", edited)
        page.press("Save", "dialog")
        page.gone("dialog")
        page.see("[aria-label=Configuration]", '"one": 1.00')
        if f'"config":{edited},' not in call("GET"):
            raise Failure(f"the configuration is not what was typed: {call('GET')}")
        call("PATCH", '{"name":"mail-helper","config":{"reply_delay_ms": 1500}}')
        page.see("h1", "mail-helper")

    def files(self):
        page = self.page
        page.press("Files")
        page.gone(".waiting")
        page.click(".file-name", "memory/")
        page.see("[aria-current=location]", "memory")
        page.see(".file-name", ".jsonl")
        page.barriers("folder")
        page.press("workspace")
        page.press("New file")
        page.type("#file-name", "notes.md")
        page.press("Create", "dialog")
        page.type(".file-text", "# Notes\nfrom the browser")
        page.press("Save")
        page.see("#view [role=status]", "Saved")
        page.barriers("file")
        written = next((self.agent.state / "bots").glob("*/workspace")) / "notes.md"
        if not written.exists():
            raise Failure(f"the new file is not where it was made but at {[str(each) for each in written.parent.glob('**/notes.md')]}")
        if written.read_text() != "# Notes\nfrom the browser":
            raise Failure(f"the node has {written.read_text()!r}")
        picked = self.hub.folder / "upload.bin"
        picked.write_bytes(bytes(range(256)) * 4096)
        page.pick("input[type=file]", picked)
        page.see(".file-name", "upload.bin")
        if (written.parent / "upload.bin").read_bytes() != picked.read_bytes():
            raise Failure("the uploaded file is another on the node")
        page.press("Delete upload.bin")
        page.press("Delete", "dialog")
        page.gone(".file-name", "upload.bin")
        if (written.parent / "upload.bin").exists():
            raise Failure("the deleted file is still on the node")

    def sees_why_a_node_is_gone(self):
        page = self.page
        page.go("#/")
        page.see(".fleet-row .badge", "Online")
        self.agent.program.kill()
        page.see(".fleet-row .badge", "Offline", limit=60)
        reason = page.see(".attention li", "attic-pc")
        if "Not connected" not in reason:
            raise Failure(f"the reason is not told: {reason}")
        page.wait("the way to the bots drawn as broken", lambda: page.js("return document.querySelector('.fleet-row .way path.broken') !== null"))
        page.barriers("overview with trouble")
        page.press("attic-pc", ".attention")
        page.see(".way-card .state", "Not connected")
        page.see(".happenings", "attic-pc is offline")
        page.go(f"#/bots/{self.bot}")
        page.see("#view", "which is offline: this is what was last known")
        page.wait("the conversation of the name", lambda: page.js("""
            const pick = document.getElementById('conversation');
            const first = [...pick.options].find((option) => option.text.includes('2 messages'));
            if (!first) return false;
            pick.value = first.value;
            pick.dispatchEvent(new Event('change'));
            return true;"""))
        page.see(".message .text", "my name is")
        for count, text in enumerate(("who am I?", "never mind"), 1):
            page.type("#message", text)
            page.keys(Keys.ENTER)
            page.wait(f"{count} queued messages", lambda: page.text("#view").count("Queued until the node takes it") == count)
        page.go("#/commands")
        page.see(".rows li", "attic-pc is not connected")
        page.barriers("commands")
        page.wait("both commands", lambda: page.text("#view").count("attic-pc is not connected") == 2)
        # The newest, which is the second message.
        page.press("Cancel")
        page.see(".rows li .badge", "Cancelled")

    def brings_it_back(self):
        page = self.page
        page.go("#/")
        self.agent.start()
        page.see(".fleet-row .badge", "Online")
        page.see(".all-fine", "Nothing.")
        page.go(f"#/bots/{self.bot}")
        page.see(".state-line", "Running")
        # What was asked while it was away is answered now, by the same process that heard the name before.
        page.see(".message[data-role=assistant] .text", "You are ")
        if "Cancelled" not in page.see(".message", "never mind"):
            raise Failure("the cancelled message is not told as cancelled")

    def sees_who_may_do_what(self):
        page = self.page
        page.go("#/settings")
        page.see(".facts", "127.0.0.1")
        for tab, selector, text in ("Pairing codes", ".badge", "Used"), ("Audit log", "td", "ada"):
            page.press(tab)
            page.see(selector, text)
            page.barriers(tab)
            if tab == "Pairing codes":
                page.click(".refused summary", "1 attempt refused")
                page.see(".refused li", "was used before")
                page.barriers("attempts")
        link = self.hub.operator("vic", role="viewer")["login_link"]
        page.press("Sign out")
        page.see("#sign-in")
        page.sign_in(link)
        page.see(".fleet-row .badge", "Online")
        for forbidden in "Add node", "New bot":
            if forbidden in page.texts("a, button"):
                raise Failure(f"a viewer is offered “{forbidden}”")
        page.go(f"#/bots/{self.bot}")
        page.see(".chat-note", "Your role lets you read")
        if page.texts("#message"):
            raise Failure("a viewer may write")
        page.press("Sign out")
        page.see("#sign-in")
        page.sign_in(self.hub.operator("eve")["login_link"])

    def gets_about_by_keyboard(self):
        page = self.page
        page.open("/")
        page.see(".fleet-row .badge", "Online")
        page.keys(Keys.TAB)
        order = []
        for _ in range(24):
            order.append(page.focused())
            box = page.js("const e = document.activeElement; const b = e.getBoundingClientRect(); const s = getComputedStyle(e); const a = getComputedStyle(e, '::after');"
                          " return [b.width > 0, s.outlineStyle !== 'none' || a.outlineStyle !== 'none']")
            if not all(box):
                raise Failure(f"the focus cannot be seen on “{order[-1]}”")
            page.keys(Keys.TAB)
        wanted = ["Skip to content", "ControlHub", "Nodes", "Bots", "Commands", "Settings", "Add node", "Search nodes", "attic-pc"]
        places = [next((index for index, name in enumerate(order) if name.startswith(each)), None) for each in wanted]
        if None in places or places != sorted(places):
            raise Failure(f"the order of the focus is {order}")
        page.js("document.activeElement.blur()")
        page.keys("/")
        if page.focused() != "Search nodes":
            raise Failure("/ does not lead to the search")
        page.keys("attic", Keys.ARROW_DOWN)
        page.wait("the focus on the row", lambda: page.focused() == "attic-pc")
        page.keys(Keys.ENTER)
        page.see("h1", "attic-pc")
        page.wait("the focus on the new heading", lambda: page.focused() == "attic-pc")
        page.press("Actions")
        page.wait("the focus in the menu", lambda: page.focused() == "Test the connection")
        page.keys(Keys.ARROW_DOWN)
        page.keys(Keys.ESCAPE)

    def finds_it_on_a_phone_and_in_the_dark(self):
        page = self.page
        node = page.driver.current_url.split("/nodes/")[1]
        views = ["#/", f"#/nodes/{node}", "#/bots", "#/add-node", "#/add-bot", "#/commands", "#/settings/audit", "#/settings/operators",
                 *(f"#/bots/{self.bot}/{part}" for part in ("chat", "log", "packets", "files", "usage", "releases", "details"))]
        for dark, width in (True, 1280), (False, PHONE), (True, PHONE):
            page.scheme(dark)
            page.size(width)
            for view in views:
                page.go(view)
                page.see("#view h1")
                page.gone(".waiting")
                where = f"{view} {'dark' if dark else 'light'} {width}"
                page.fits(where)
                if dark:
                    page.barriers(where)
            self.moves_nothing(f"{'dark' if dark else 'light'} {width}")
        page.scheme(False)
        page.size(1280)

    def say(self, text):
        """As another operator would, while this one looks at something else."""
        self.hub.call(self.operator["token"], "POST", f"/api/bots/{self.bot}/messages", {"text": text})

    def run(self):
        steps = [
            self.signs_in, self.is_taught_by_an_empty_hub, self.adds_a_node, self.sees_it_online, self.looks_after_the_node,
            self.labels_and_drains_it, self.creates_and_starts_a_bot, self.talks_to_it, self.follows_the_log,
            self.looks_at_the_rest_of_it, self.changes_only_what_it_edits, self.sees_why_a_node_is_gone, self.brings_it_back, self.adds_another_node,
            self.decides_about_a_clone, self.decides_that_a_node_has_moved, self.moves_the_bot, self.thinks_better_of_it,
            self.rolls_it_back, self.goes_without_a_node, self.sees_who_may_do_what, self.gets_about_by_keyboard,
            self.finds_it_on_a_phone_and_in_the_dark]
        for step in steps:
            began = time.monotonic()
            step()
            # Signing out.
            self.page.console(allowed=["401"] if step == self.sees_who_may_do_what else [])
            print(f"browser: {step.__name__.replace('_', ' ')} ({time.monotonic() - began:.1f} s)", flush=True)


def main():
    check_programs()
    shutil.rmtree(FAILURE, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix="browser-test-") as folder:
        folder = pathlib.Path(folder)
        story = Story(folder)
        try:
            story.run()
            complaints = story.page.complaints
        except Exception as error:
            FAILURE.mkdir(parents=True, exist_ok=True)
            story.page.picture(FAILURE / "page.png")
            for log in folder.glob("**/*.log"):
                shutil.copy(log, FAILURE / log.name)
            print(f"browser: FAILED: {error}\nbrowser: picture and logs are in {FAILURE.relative_to(ROOT)}", file=sys.stderr)
            for complaint in story.page.complaints:
                print(f"browser: {complaint}", file=sys.stderr)
            if not isinstance(error, Failure):
                raise
            sys.exit(1)
        finally:
            story.close()
    for complaint in complaints:
        print(f"browser: {complaint}", file=sys.stderr)
    print(f"browser: {len(complaints)} complaints of console, policy, axe-core and layout")
    sys.exit(1 if complaints else 0)


if __name__ == "__main__":
    main()
