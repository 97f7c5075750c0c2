"""The part of the browser's story that has two nodes: pairing that fails, a clone, moving a bot, old copies of it."""

import os
import platform

from browser import Keys
from workbench import Failure, can_have_mounts, wait

PAYLOAD_BYTES = 24 << 20
# A profile that cannot be used, on an agent that dials again soon after it was turned away.
NIGHTLY = {"profiles": {"nightly": {"command": "/opt/nightly/bot --config {config}"}}, "EDGE_TEST_LONGEST_WAIT_MS": "1000"}


class Moves:
    """Steps of `Story`, which has the hub, the agents and the page."""

    def adds_another_node(self):
        page = self.page
        page.go("#/add-node")
        page.type("#node-name", "garage-nuc")
        page.press("Create code")
        command = page.see(".command pre")
        # Typed with a slip, it is refused, and whoever waits on the page is told so.
        self.other.refused(command.replace(page.see(".code"), "ABCD-EFGH-JKMN"))
        page.see(".attempts li", platform.node())
        page.see(".attempts li", "not known here")
        page.see(".attempts .remedy", "Copy the whole command from here again")
        page.barriers("refused pairing")
        self.other.enroll(command)
        page.gone(".attempts")
        # The code has been used: another machine that tries it stands beside it.
        self.other.refused(command.replace("enroll", "enroll --again", 1))
        # The profile that cannot be used says why, in the dialog that moves a bot.
        self.other.start(**NIGHTLY)
        page.see("[data-done=true] h2", "It is here")

    def decides_about_a_clone(self):
        """A second machine comes with a copy of the node's disk, and so with its identity."""
        page = self.page
        if not can_have_mounts():
            print("browser: SKIPPED the clone: this user may not mount, so no second machine can be had", flush=True)
            return
        page.press("Open the node")
        page.see("h1", "garage-nuc")
        identity = self.hub.folder / "machine-id"
        identity.write_text("0123456789abcdef0123456789abcdef\n")
        self.twin = self.other.clone(self.hub.folder / "twin")
        self.twin.start(machine_id=identity)
        page.see(".notice", "A second machine presents this node’s identity")
        page.barriers("quarantine")
        page.press("It is a clone…")
        page.press("Make a code for it", "dialog")
        command = page.see("dialog .command pre")
        page.barriers("code for a clone")
        page.press("Done", "dialog")
        page.gone(".notice", "A second machine")
        self.twin.stop()
        self.twin.enroll(command)
        self.twin.start(machine_id=identity)
        page.go("#/")
        page.wait("three nodes online", lambda: page.texts(".fleet-row .badge").count("Online") == 3)
        self.twin.stop()
        # It has the name of its machine, which is this one.
        page.press(platform.node(), ".attention")
        self.choose("Delete…")
        page.type("#typed-name", platform.node())
        page.press("Delete", "dialog")
        page.wait("two nodes", lambda: len(page.texts(".fleet-row[data-node]")) == 2)

    def decides_that_a_node_has_moved(self):
        """The node's disk is in another machine now, and the old one is still there."""
        page = self.page
        if not can_have_mounts():
            return
        page.press("garage-nuc")
        page.see("h1", "garage-nuc")
        page.gone(".notice", "A second machine")
        machine = self.hub.folder / "new-machine-id"
        machine.write_text("fedcba9876543210fedcba9876543210\n")
        moved = self.other.clone(self.hub.folder / "moved")
        left, self.other = self.other, moved
        self.left.append(left)
        moved.start(machine_id=machine, **NIGHTLY)
        page.see(".notice", "A second machine presents this node’s identity")
        page.press("The node has moved there…")
        page.see("dialog p", "the one that is connected now is cut off")
        page.barriers("taking over")
        page.press("Let it take over", "dialog")
        page.told("The other machine takes over")
        # The one that was left behind dials again, and now it is the one that is kept out, by the operator's word: no
        # decision is asked for any more.
        wait("the old machine to be refused", lambda: "an operator has decided that" in left.program.log.read_text())
        page.see(".way-card .state", "Connected")
        page.gone(".notice", "A second machine")
        left.stop()

    def moves_the_bot(self):
        page = self.page
        source = next((self.agent.state / "bots").glob("*/workspace"))
        (source / "model").mkdir()
        (source / "model" / "weights.bin").write_bytes(os.urandom(PAYLOAD_BYTES))
        page.go(f"#/bots/{self.bot}")
        page.see(".state-line", "Running")
        page.press("Move…")
        page.see("dialog .verdict", "to know before")
        page.barriers("deploy dialog")
        page.click("dialog label.choice", "garage-nuc")
        # A profile that cannot be used is refused with what to do about it.
        page.click("dialog label.choice", "Not usable")
        page.see("dialog .verdict", "cannot go like this")
        page.see("dialog .checks [data-tone=bad] .remedy", "Set that right on the node")
        page.see("dialog .primary:disabled", "Move to garage-nuc")
        page.barriers("failed preflight")
        page.click("dialog label.choice", "sample-bot")
        page.see("dialog .verdict", "checks passed")
        page.see("dialog .away .figure", " s")
        page.see("dialog .change-tree", "model/")
        page.see("dialog .change-file", "weights.bin")
        page.see("dialog .facts", "To carry")
        page.barriers("preview")
        # What is shown of a copy is gone again too soon to be looked for: the page is asked to remember it.
        page.remember(headings="dialog h2", copies=".copying p")
        page.press("Move to garage-nuc", "dialog")
        page.see("dialog h2", "Done", limit=120)
        page.saw("headings", "Moving mail-helper to garage-nuc", limit=0)
        page.saw("copies", "MiB of ", limit=0)
        page.see("dialog .success", "mail-helper runs on garage-nuc")
        page.see("dialog .away", "was the bot away")
        page.see("dialog .receipt .facts", "24.0 MiB, for a workspace of")
        page.wait("the focus in the dialog", lambda: page.js("return document.querySelector('dialog').contains(document.activeElement)"))
        page.barriers("receipt")
        page.press("Done", "dialog")
        page.gone("dialog")
        page.see(".state-line + .small", "garage-nuc")
        moved = next((self.other.state / "bots").glob("*/workspace/model/weights.bin"))
        if moved.stat().st_size != PAYLOAD_BYTES:
            raise Failure(f"the moved file has {moved.stat().st_size} bytes")
        # It remembers what it was told where it was before.
        page.press("Chat")
        page.see(".message", "You are ")
        page.type("#message", "who am I?")
        page.keys(Keys.ENTER)
        page.wait("the answer of the moved bot", lambda: sum("You are " in each for each in page.texts(".message[data-role=assistant] .text")) == 2)

    def thinks_better_of_it(self):
        """A move is cancelled while the bot is stopped: it comes back to where it was."""
        page = self.page
        hold = self.hub.held / "delta_copy"
        hold.touch()
        page.press("Move…")
        page.click("dialog label.choice", "attic-pc")
        page.see("dialog .verdict", "checks passed")
        page.press("Move to attic-pc", "dialog")
        page.see("[aria-current=step]", "Copy what has changed since")
        page.barriers("progress")
        page.press("Close", "dialog")
        page.told("It goes on")
        page.see(".deploy-banner", "Moving mail-helper to attic-pc")
        page.see(".state-line", "messages wait until it is back")
        page.barriers("banner")
        if not page.js("return [...document.querySelectorAll('.page-head button')].filter((each) => ['Start', 'Stop', 'Restart', 'Move…'].includes(each.textContent)).every((each) => each.disabled)"):
            raise Failure("a bot that is being moved can be started or stopped")
        page.press("Show progress")
        page.press("Cancel and go back", "dialog")
        page.see("dialog h2", "Cancelled", limit=90)
        hold.unlink()
        page.see("dialog .notice", "mail-helper is on garage-nuc, as before")
        page.see("dialog .receipt", "What to do:")
        page.barriers("cancelled")
        page.press("Done", "dialog")
        page.gone(".deploy-banner")
        page.see(".state-line", "Running")

    def rolls_it_back(self):
        page = self.page
        page.press("Releases")
        page.click(".release summary", "attic-pc · default → garage-nuc · default")
        page.see(".receipt .deploy-steps", "Hand over")
        page.barriers("releases")
        page.press("Take one now")
        page.see("[aria-label=Snapshots] li", "24.0 MiB")
        page.press("Roll back to attic-pc · default…")
        page.see("dialog h2", "Roll mail-helper back")
        page.see("dialog .verdict", "checks passed")
        page.barriers("rollback dialog")
        page.press("Roll back", "dialog")
        page.see("dialog .success", "mail-helper runs on attic-pc", limit=120)
        page.press("Done", "dialog")
        page.see(".release summary", "garage-nuc · default → attic-pc · default")
        page.see(".state-line + .small", "attic-pc")

    def goes_without_a_node(self):
        """The bot's node is gone, so the bot is moved by force; then the node comes back with an old copy."""
        page = self.page
        self.agent.program.kill()
        page.see("#view", "which is offline", limit=60)
        page.press("Move…")
        page.click("dialog label.choice", "garage-nuc")
        page.see("dialog .verdict", "cannot go like this")
        page.click("dialog #deploy-force")
        page.see("dialog .verdict", "to know before")
        page.barriers("forced deploy")
        page.press("Move to garage-nuc", "dialog")
        page.see("dialog .success", "mail-helper runs on garage-nuc", limit=240)
        page.press("Done", "dialog")
        self.agent.start()
        page.go("#/")
        page.see(".attention li", "Holds an old copy of mail-helper")
        page.press("attic-pc", ".attention")
        held = "[aria-label='Old copies of bots'] li"
        page.see(held, "It holds")
        page.barriers("old copy")
        page.press("Recover it here…")
        page.press("Recover", "dialog")
        page.see("dialog .success", "mail-helper runs on attic-pc", limit=120)
        page.press("Done", "dialog")
        page.gone(held)
        page.go("#/")
        page.press("garage-nuc", ".attention")
        page.see(held, "mail-helper")
        page.press("Discard…")
        page.press("Discard", "dialog")
        page.gone(held)
        if any((self.other.state / "bots").glob("*/workspace/model")):
            raise Failure("the discarded copy is still on the node")

    def moves_nothing(self, where):
        """Looks at the dialog, by keyboard, and leaves."""
        page = self.page
        page.go(f"#/bots/{self.bot}/releases")
        page.press("Move…")
        page.see("dialog .verdict")
        if page.focused() != "Move mail-helper, or deploy it anew":
            raise Failure(f"the dialog does not begin at its heading but at “{page.focused()}”")
        page.keys(Keys.TAB, Keys.ARROW_DOWN)
        page.see("dialog .actions", "Move to garage-nuc")
        page.see("dialog .change-tree")
        page.barriers(f"deploy dialog {where}")
        wide = page.js("const d = document.querySelector('dialog'); return d.scrollWidth - d.clientWidth")
        if wide > 0:
            page.complaints.append(f"deploy dialog {where}: {wide} px wider than the window")
        page.keys(Keys.ESCAPE)
        page.gone("dialog")
