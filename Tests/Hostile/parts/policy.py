"""Whoever holds the hub, or may use it, against the policy of a node's owner; and the hub's own user against root.

What must hold: nothing that came from the hub is run, whatever profile a bot gets before or after; a node that shows nothing of its
workspaces tells no names; variables and ids are those the owner allows; root's commands do nothing in the hub's directory that the
hub's user could not do alone.
"""

import json
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import time

from attack import Part, broke, held, judge
from hub import DONE, Hub
from protobuf import decode, encode, message
from stage import ROOT, Stage, wait

SAMPLE = [sys.executable, f"{ROOT}/samples/bot/sample-bot", "--config", "{config}", "--workspace", "{workspace}"]
NOBODY = 65534
LAYERS = "code-writes,code-installs,code-launches"


class Agent:
    """One agent with profiles and a policy that its owner changes between starts."""

    def __init__(self, stage, name):
        self.stage, self.name, self.process = stage, name, None
        self.state = stage.folder / name
        self.policy = stage.folder / f"{name}.policy.json"
        made = stage.send("POST", "/api/nodes", token=stage.admin, body={"name": name}).json
        self.node, self.token = made["id"], made["token"]

    def run(self, policy=None, url=None, **profiles):
        """Starts it anew with these profiles beside the sample bot's, and waits for the hub to see it."""
        self.end()
        self.policy.write_text(json.dumps(policy or {}))
        self.policy.chmod(0o644)
        catalog = {"default": {"command": SAMPLE}} | {
            name: {"packets": False, "settle_time": "200ms", "restart": "no", **(value if isinstance(value, dict) else {"command": value})}
            for name, value in profiles.items()}
        self.process = self.stage.start(
            [self.stage.agent_program, "run", "--hub", url or self.stage.url, "--state-dir", str(self.state)],
            self.stage.folder / f"{self.name}.log", EDGE_TOKEN=self.token, EDGE_PROFILES=json.dumps(catalog),
            EDGE_POLICY_FILE=str(self.policy), EDGE_TEST_LONGEST_WAIT_MS="100")
        if url:
            return

        def seen():
            node = self.stage.send("GET", f"/api/nodes/{self.node}", token=self.stage.admin).json
            offered = {profile["name"] for profile in node.get("runtime_profiles") or []}
            return node["health"] == "online" and offered == set(catalog)

        wait(f"{self.name} to be online with its profiles", seen)

    def end(self):
        if self.process:
            self.process.terminate()
            self.process.wait(20)

    def workspace(self, bot):
        return self.state / "bots" / bot / "workspace"


class Owners(Stage):
    def __init__(self, programs, folder, environment):
        super().__init__(programs, folder)
        self.environment |= environment | {"HUB_SESSION_BURST": "10000", "HUB_HEARTBEAT_INTERVAL": "1s"}
        self.bots = 0

    def begin(self):
        self.raise_hub()
        self.admin = self.operator("the-admin", "admin")["token"]
        self.here, self.there = Agent(self, "here"), Agent(self, "there")
        self.here.run()

    def ask(self, method, path, body=None):
        """A node that has just said who it is takes requests a moment later; until then the hub says to try again."""
        end = time.monotonic() + 5
        while True:
            answer = self.send(method, path, token=self.admin, body=body, timeout=60)
            if answer.status != 409 or b"node_offline" not in answer.body or time.monotonic() > end:
                return answer
            time.sleep(0.05)

    def bot(self, agent, profile="default"):
        self.bots += 1
        body = {"name": f"bot-{self.bots}", "node_id": agent.node, "runtime_profile": profile}
        bot = self.ask("POST", "/api/bots", body).json["id"]
        self.ask("POST", f"/api/bots/{bot}/start")
        wait("the bot to run", lambda: self.ask("GET", f"/api/bots/{bot}").json["phase"] == "ready")
        return bot

    def put(self, bot, path, text):
        folder = path.rpartition("/")[0]
        if folder:
            self.ask("PUT", f"/api/bots/{bot}/workspace/{folder}/")
        return self.ask("PUT", f"/api/bots/{bot}/workspace/{path}", text).status

    def delete(self, bot, path):
        return self.ask("DELETE", f"/api/bots/{bot}/workspace/{path}?recursive=true").status

    def code(self):
        """A script that leaves a mark, and the mark."""
        mark = f"mark-{os.urandom(6).hex()}"
        # In its own directory: isolation lets it leave one nowhere else.
        return f"import os, time\nopen(os.environ['HOME'] + '/{mark}', 'w').close()\ntime.sleep(600)\n", mark

    def has_run(self, mark):
        """Whether the script has left its mark, for which it has a moment after the deployment is over."""
        end = time.monotonic() + 2
        while not (found := any(self.folder.rglob(mark))) and time.monotonic() < end:
            time.sleep(0.1)
        return found

    def deploy(self, bot, **wish):
        """The deployment when it is over; the refusal where there was none."""
        return self.over(self.ask("POST", f"/api/bots/{bot}/deploy", wish))

    def over(self, answer):
        if answer.status != 202:
            return answer.json
        path = f"/api/deployments/{answer.json['id']}"
        return wait("the deployment to be over",
                    lambda: (now := self.ask("GET", path).json)["state"] not in ("running", "pending", "rolling_back") and now, 120)


part = Part("policy", Owners)
SCRIPT = [sys.executable, "{workspace}/app/main.py"]


def outcome(stage, mark, deployment):
    words, has_run = json.dumps(deployment), stage.has_run(mark)
    return judge(not has_run, f"the script {'ran' if has_run else 'did not run'}; "
                              f"{'workspace_code' if 'workspace_code' in words else words[:200]}")


@part.attack("write what another profile would run, overwrite it, and take it away", "code-writes")
def write_for_another_profile(stage):
    stage.here.run(script=SCRIPT)
    bot = stage.bot(stage.here)
    own = stage.here.workspace(bot) / "app" / "main.py"
    own.parent.mkdir()
    own.write_text("pass\n")
    code, _ = stage.code()
    answers = [stage.put(bot, "app/main.py", code), stage.put(bot, "app/helper.py", code), stage.delete(bot, "app/main.py"),
               stage.delete(bot, "app")]
    harmless = stage.put(bot, "data/notes.txt", "notes")
    intact = own.exists() and own.read_text() == "pass\n"
    return judge(intact and set(answers) == {403} and harmless in (200, 201), f"answered {answers}, other files {harmless}")


@part.attack("write first, and have the profile come later", "code-launches")
def profile_comes_later(stage):
    stage.here.run()
    bot = stage.bot(stage.here)
    code, mark = stage.code()
    status = stage.put(bot, "app/main.py", code)
    stage.here.run(script=SCRIPT)
    return outcome(stage, mark, stage.deploy(bot, runtime_profile="script") | {"write": status})


@part.attack("move a bot with code to a node that allows none", LAYERS)
def move(stage):
    stage.here.run()
    bot = stage.bot(stage.here)
    code, mark = stage.code()
    stage.put(bot, "app/main.py", code)
    stage.there.run({"workspace_code": False}, script=SCRIPT)
    preview = stage.ask("POST", f"/api/bots/{bot}/deploy",
                        {"node_id": stage.there.node, "runtime_profile": "script", "dry_run": True}).json
    found = outcome(stage, mark, stage.deploy(bot, node_id=stage.there.node, runtime_profile="script"))
    stage.there.end()
    return judge(found.held and "workspace_code" in json.dumps(preview), f"{found.seen}; the preview said so before")


@part.attack("have a bot follow a link that came with its workspace to a file of its user's", "links-out")
def link_out(stage):
    stage.here.run()
    stage.there.run()
    secret = stage.folder / "owners" / "diary"
    secret.parent.mkdir(exist_ok=True)
    secret.write_text("of the owner of the other node\n")
    ways = {"diary.txt": str(secret), "around.txt": "data/../../../../../owners/diary", "system.txt": f"/usr/../{secret}",
            "python3": "/usr/bin/python3"}
    seen = {}
    for name, text in ways.items():
        bot = stage.bot(stage.here)
        stage.put(bot, "data/notes", "x")
        (stage.here.workspace(bot) / name).symlink_to(text)
        preview = json.dumps(stage.ask("POST", f"/api/bots/{bot}/deploy", {"node_id": stage.there.node, "dry_run": True}).json)
        moved = stage.deploy(bot, node_id=stage.there.node)
        came = os.path.lexists(stage.there.workspace(bot) / name)
        said = all("workspace_links" in words and name in words for words in (preview, json.dumps(moved)))
        seen[name] = "came" if came and moved["state"] == "succeeded" else "refused" if said and not came else f"{moved}"
    stage.there.end()
    expected = {name: "came" if name == "python3" else "refused" for name in ways}
    return judge(seen == expected, f"{seen}")


@part.attack("put a snapshot back in place of what the owner put there", "code-installs", quick=False)
def snapshot_takes_away(stage):
    stage.here.run(script=SCRIPT)
    bot = stage.bot(stage.here)
    stage.put(bot, "notes.txt", "from before")
    stage.ask("PUT", f"/api/bots/{bot}/snapshots/kept", {"kept": 3})
    # Takes a snapshot first, in which there is no such file yet.
    done = stage.deploy(bot, runtime_profile="default")
    own = stage.here.workspace(bot) / "app" / "main.py"
    own.parent.mkdir()
    own.write_text("pass\n")
    back = stage.over(stage.ask("POST", f"/api/bots/{bot}/rollback", {"deployment_id": done["id"]}))
    return judge(own.exists() and back["workspace_from"] == "snapshot",
                 f"the owner's file {'stayed' if own.exists() else 'went'}; {json.dumps(back.get('failure'))}")


@part.attack("bend a link in the middle of a program's path", "code-links")
def link_in_the_middle(stage):
    stage.here.run(script=[sys.executable, "{workspace}/current/main.py"])
    bot = stage.bot(stage.here)
    root = stage.here.workspace(bot)
    (root / "releases" / "one").mkdir(parents=True)
    (root / "releases" / "one" / "main.py").write_text("pass\n")
    (root / "current").symlink_to("releases/one")
    code, _ = stage.code()
    through = stage.put(bot, "current/main.py", code)
    around = stage.put(bot, "releases/one/main.py", code)
    gone = stage.delete(bot, "current")
    return judge((through, around, gone) == (403, 403, 403) and (root / "current").is_symlink(),
                 f"through the link {through}, around it {around}, the link itself {gone}")


@part.attack("write where a shell, a module's name or a search path runs it", "code-in-text")
def inexact(stage):
    profiles = {
        "shell": ["/bin/sh", "-c", "cd $BOT_WORKSPACE && exec python3 notes.py"],
        "module": [sys.executable, "-m", "workspace.notes"],
        "assigned": ["/usr/bin/env", "PYTHONPATH={workspace}", sys.executable, "-m", "notes"],
        "searched": {"command": [sys.executable, "-m", "notes"], "environment": {"PYTHONPATH": "workspace"}},
        "folder": [sys.executable, "{workspace}"],
        "project": ["/usr/bin/make", "-C", "{workspace}", "run"],
    }
    answers = {}
    bot = None
    for name, profile in profiles.items():
        stage.here.run(**{name: profile})
        bot = bot or stage.bot(stage.here)
        answers[name] = [stage.put(bot, "notes.py", "x"), stage.delete(bot, "notes.py")]
    return judge(all(answer == [403, 403] for answer in answers.values()), f"{answers}")


@part.attack("have an executable lie where an unknown program is told to look for plugins", "code-writes")
def plugins(stage):
    stage.here.run(plugged=[*SAMPLE, "--plugin-dir", "{workspace}/plugins"])
    bot = stage.bot(stage.here)
    answers = [stage.put(bot, "plugins/x.py", "x"), stage.put(bot, "other/x.py", "x")]
    return judge(answers[0] == 403 and answers[1] in (200, 201), f"answered {answers}")


def hostile_hub(stage, policy, **profiles):
    """The agent, led to a hub that asks what it likes."""
    hub = Hub()
    stage.here.run(policy, url=hub.url, **profiles)
    return hub, hub.session()


@part.attack("ask what a transfer would do to a workspace that nobody may see, and how large it is", "workspace-previews")
def preview(stage):
    hub, session = hostile_hub(stage, {"workspace": "none"})
    session.start_bot("shown")
    secret = stage.here.workspace("shown") / "secret-name.txt"
    wait("the workspace", lambda: secret.parent.exists())
    secret.write_text("secret content")
    empty = message(2, encode((3, 1)))
    told = list(session.ask(message(6, encode((1, "shown"), (2, "look"), (3, 1))), empty, seconds=5))
    size = session.command(message(15, encode((1, "shown"))))
    session.close()
    hub.close()
    names = b"secret-name" in b"".join(told)
    counted = decode(size[3].get(20, [b""])[0]).get(2, [0])[0]
    return judge(not names and not counted, f"names {'told' if names else 'kept'}, files counted: {size[1] or counted}")


FAMILIES = ["AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "KUBECONFIG", "NANOBOT_TOOLS__EXEC__ENABLE", "NANOBOT_TOOLS__MCP_SERVERS",
            "GOOGLE_APPLICATION_CREDENTIALS", "APP_PLUGINS", "MYBOT_STARTUP_COMMAND"]
ALWAYS = ["LD_PRELOAD", "PYTHONPATH", "NODE_OPTIONS", "PERL5OPT", "BASH_ENV", "GIT_SSH_COMMAND", "SSL_CERT_FILE", "https_proxy", "PATH"]


def variables(stage, names, patterns):
    hub, session = hostile_hub(stage, {"environment": ["OPENAI_API_KEY", *patterns]})
    passed = [name for name in names if session.start_bot("set", environment={name: "/tmp/evil"})[1] != "refused_by_policy"]
    named = session.start_bot("set", environment={"OPENAI_API_KEY": "k"})
    session.close()
    hub.close()
    return judge(not passed and named[0] == DONE, f"{len(names) - len(passed)} of {len(names)} refused"
                 + (f", not {passed}" if passed else "") + f"; the one that is named: {named[1] or 'taken'}")


@part.attack("set variables that a wide pattern covers", "variable-names")
def wide_patterns(stage):
    return variables(stage, FAMILIES[-2:], ["*", "A*", "APP_*", "MYBOT_*"])


@part.attack("set variables of families that make programs run something else", "variable-names,variable-families")
def families(stage):
    return variables(stage, FAMILIES[:-2] + ALWAYS, ["*", "A*", "AWS_*", "KUBE*", "NANOBOT_*"])


@part.attack("name a bot like an option", "bot-names")
def option_names(stage):
    hub, session = hostile_hub(stage, {})
    names = ["-rf", "--config", "-", "--", "-c"]
    answers = {name: session.start_bot(name)[1] or "started" for name in names}
    answers["removal"] = session.command(message(6, encode((1, "-rf"))))[1] or "done"
    session.close()
    hub.close()
    made = [entry.name for entry in (stage.here.state / "bots").iterdir() if entry.name.startswith("-")]
    return judge(not made and set(answers.values()) == {"invalid_bot_id"}, f"{answers}, directories {made}")


# Root in the directory of the hub's user

COMMANDS = {
    "operator list": ["operator", "list"], "operator add": ["operator", "add", "mallory", "--role", "viewer"],
    "login link": ["operator", "login-link", "the-admin"], "node create": ["node", "create", "evil"],
    "enrollment create": ["enrollment", "create"], "backup": ["backup", "{backup}"], "bots list": ["bots", "list"],
    "serve": ["serve", "--listen", "127.0.0.1:0"],
}
NAMES = ["hub.sqlite", "hub.sqlite-wal", "hub.sqlite-shm", "hub.key", "hub.key.new", "hub.json", "hub.json.new", "hub.local", "hub.local.new",
         "hub.address", "hub.address.new", "hub.lock", "tls", "tls/ca.pem", "tls/ca.pem.new", "tls/server.pem", "tls/server-key.pem",
         "logs", "snapshots"]


class Trap:
    """A hub's directory of another user, and files of root's that nobody may touch."""

    def __init__(self, stage):
        self.stage = stage
        self.folder = stage.folder / "trap"
        self.data, self.victims = self.folder / "data", self.folder / "victims"
        self.folder.mkdir(exist_ok=True)
        self.folder.chmod(0o755)
        stage.folder.chmod(0o755)
        self.fresh = self.folder / "fresh"
        if not self.fresh.exists():
            hub = stage.start([stage.hub_program, "serve", "--listen", "127.0.0.1:0", "--data-dir", str(self.fresh)], self.folder / "log")
            wait("a hub to leave its directory", lambda: (self.fresh / "hub.address").exists())
            hub.terminate()
            hub.wait(20)

    def set(self):
        for folder in self.data, self.victims:
            shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.fresh, self.data)
        for entry in [self.data, *self.data.rglob("*")]:
            os.chown(entry, NOBODY, NOBODY, follow_symlinks=False)
        self.victims.mkdir(mode=0o700)
        (self.victims / "file").write_text("root's own\n")
        (self.victims / "file").chmod(0o600)
        (self.victims / "folder").mkdir()
        self.before = self.look()

    def plant(self, name, kind):
        place = self.data / name
        if place.is_dir() and not place.is_symlink():
            shutil.rmtree(place)
        elif place.exists() or place.is_symlink():
            place.unlink()
        place.parent.mkdir(exist_ok=True)
        match kind:
            case "fifo":
                os.mkfifo(place)
                os.chown(place, NOBODY, NOBODY)
            case "link to a file":
                place.symlink_to(self.victims / "file")
            case "link to a folder":
                place.symlink_to(self.victims / "folder")
            case "link to nothing":
                place.symlink_to(self.victims / "made")
            case "second name":
                os.link(self.victims / "file", place)
            case "device":
                os.mknod(place, 0o666 | stat.S_IFCHR, os.makedev(1, 5))

    def look(self):
        seen = {}
        for entry in sorted([self.victims, *self.victims.rglob("*")]):
            facts = entry.lstat()
            content = entry.read_bytes() if entry.is_file() else b""
            seen[str(entry)] = (facts.st_mode, facts.st_uid, facts.st_gid, content)
        return seen

    def spring(self, command):
        """What went wrong when root ran the command; None where nothing did."""
        backup = self.folder / "backup"
        backup.unlink(missing_ok=True)
        words = [word.replace("{backup}", str(backup)) for word in command]
        environment = {**self.stage.environment, "HOME": str(self.folder)}
        run = subprocess.Popen([self.stage.hub_program, *words, "--data-dir", str(self.data)], env=environment,
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        serves = words[0] == "serve"
        try:
            said = run.communicate(timeout=1.5 if serves else 10)[0]
        except subprocess.TimeoutExpired:
            run.terminate()
            try:
                said = run.communicate(timeout=10)[0]
            except subprocess.TimeoutExpired:
                run.kill()
                run.communicate()
                return "held up"
            if not serves:
                return "held up"
        if self.look() != self.before:
            return "changed what is root's"
        if b"root's own" in said:
            return "told what is root's"
        if run.returncode not in (0, 1, 64, 65, 66, 68, 69, 70, 73, 74, 75, 77, 78):
            return f"ended with {run.returncode}: {said[-200:]!r}"
        return None


def spring_all(stage, commands, names, kinds):
    if os.geteuid() != 0:
        return held("is about root, which this is not")
    trap = Trap(stage)
    tried, found = 0, []
    for label in commands:
        for name in names:
            for kind in kinds:
                trap.set()
                trap.plant(name, kind)
                tried += 1
                if fault := trap.spring(COMMANDS[label]):
                    found.append(f"{label}, {kind} at {name}: {fault}")
    return judge(not found, f"{tried} tries" + (f"; {len(found)} wrong: {found[:4]}" if found else ""))


@part.attack("have root's commands open a FIFO or a link in the hub's directory", "data-files,data-owner")
def traps(stage):
    quick = ["hub.key", "hub.json", "hub.sqlite-wal"]
    outcome = spring_all(stage, ["operator list", "backup"], quick, ["fifo", "link to a file"])
    other = spring_all(stage, ["bots list"], ["hub.local"], ["fifo", "device"])
    return judge(outcome.held and other.held, f"{outcome.seen}; {other.seen}")


@part.attack("the same with everything at every path, for every command", "data-files,data-owner", quick=False)
def all_traps(stage):
    return spring_all(stage, COMMANDS, NAMES, ["fifo", "link to a file", "link to a folder", "link to nothing", "second name", "device"])


@part.attack("have root's backup written where a link of the hub's user leads, and root's files left in the directory", "data-owner")
def backup(stage):
    if os.geteuid() != 0:
        return held("is about root, which this is not")
    trap = Trap(stage)
    trap.set()
    (trap.data / "backups").symlink_to(trap.victims / "folder")
    os.chown(trap.data / "backups", NOBODY, NOBODY, follow_symlinks=False)
    trap.spring(["backup", str(trap.data / "backups" / "mine")])
    led = (trap.victims / "folder" / "mine").exists()
    trap.set()
    fault = trap.spring(["operator", "add", "somebody", "--role", "viewer"])
    roots = [entry.name for entry in trap.data.rglob("*") if entry.lstat().st_uid == 0]
    whole = trap.spring(["backup", "{backup}"])
    made = trap.folder / "backup"
    good = made.exists() and sqlite3.connect(made).execute("SELECT count(*) FROM operators").fetchone()[0] > 0
    if led or fault or roots or whole or not good:
        return broke(f"led elsewhere: {led}, left of root's: {roots}, backup: {whole or good}, {fault}")
    return held("nothing was written there, nothing of root's was left, and a backup elsewhere is whole")
