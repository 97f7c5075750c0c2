"""A bot that tries everything: other people's files, other processes, the kernel's doors, this machine's services.

The agent runs as a plain user, as most do. Three kinds of bots take turns: one of the standard profile, one whose profile opens
Unix sockets, and one whose profile switches isolation off, for what must hold even then.
"""

import json
import os
import pathlib
import shutil
import socket
import stat
import sys

from attack import Part, judge
from stage import Stage, wait

PRISONER = pathlib.Path(__file__).resolve().parents[1] / "prisoner.py"
# Of nobody else on most machines; has no entry anywhere.
USER = 54321
# Groups of version 2, in which root can make one and give it away.
GROUPS = next((place for place in map(pathlib.Path, ("/sys/fs/cgroup", "/sys/fs/cgroup/unified"))
               if os.geteuid() == 0 and os.access(place / "cgroup.procs", os.W_OK)), None)


class Isolation(Stage):
    def __init__(self, programs, folder, environment):
        super().__init__(programs, folder)
        self.environment |= environment
        self.state = folder / "agent"
        self.bots = {}

    def begin(self):
        folder = self.folder
        folder.chmod(0o755)
        shutil.copy(PRISONER, folder / "prisoner.py")
        (folder / "prisoner.py").chmod(0o755)
        (folder / "home").mkdir()
        self.state.mkdir(mode=0o700)
        self.environment["HOME"] = str(folder / "home")
        # This test's own may lie where nobody else may look.
        python = "/usr/bin/python3" if os.geteuid() == 0 else sys.executable
        words = [python, str(folder / "prisoner.py")]
        kinds = {"standard": {}, "sockets": {"isolation": {"unix_sockets": True}}, "free": {"isolation": False}}
        self.environment["EDGE_PROFILES"] = json.dumps(
            {kind: {"command": words, "packets": False, "settle_time": "100ms", **more} for kind, more in kinds.items()})
        # A service of this machine: as a container engine's, for everybody in some group.
        self.engine = socket.socket(socket.AF_UNIX)
        self.engine.bind(str(folder / "engine.sock"))
        (folder / "engine.sock").chmod(0o666)
        self.engine.listen()
        self.abstract = socket.socket(socket.AF_UNIX)
        self.abstract.bind(f"\0{folder.name}")
        self.abstract.listen()
        if GROUPS:
            self.group = GROUPS / folder.name
            self.group.mkdir()
            os.chown(self.group / "cgroup.procs", USER, USER)
        self.raise_hub()
        self.admin = self.operator("the-admin", "admin")["token"]
        if os.geteuid() == 0:
            for place in self.state, folder / "home":
                os.chown(place, USER, USER)
        self.holder = self.start([self.agent_program, "hold", "--state-dir", str(self.state)], folder / "holder.log")
        wait("the holder", lambda: (self.state / "holder.sock").exists())
        self.pair(self.admin)
        (self.state / "journal-like").write_text("x")
        for kind in kinds:
            self.bots[kind] = self.make(kind, kind)
        self.bots["neighbour"] = self.make("neighbour", "standard")
        self.file("neighbour", "workspace/secret").write_text("a neighbour's secret")
        os.chown(self.file("neighbour", "workspace/secret"), self.uid, self.uid)

    def strike(self):
        super().strike()
        if GROUPS:
            wait("the group to be empty", lambda: not (self.group / "cgroup.procs").read_text())
            self.group.rmdir()

    @property
    def uid(self):
        return USER if os.geteuid() == 0 else os.geteuid()

    def start(self, arguments, log, **more):
        more.pop("EDGE_NATIVE_COMMAND", None)
        return super().start(self.plain(arguments), log, **more)

    def run(self, *arguments):
        return super().run(*self.plain(list(arguments)))

    def plain(self, arguments):
        """As a plain user, where it is the agent and this is root."""
        if os.geteuid() != 0 or arguments[0] != self.agent_program:
            return arguments
        return ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "--", *arguments]

    def make(self, name, profile):
        body = {"name": name, "node_id": self.node, "runtime_profile": profile}
        bot = self.send("POST", "/api/bots", token=self.admin, body=body).json["id"]
        self.send("POST", f"/api/bots/{bot}/start", token=self.admin)
        wait(f"the bot {name}", lambda: self.document(bot)["phase"] == "ready")
        return bot

    def document(self, bot):
        return self.send("GET", f"/api/bots/{self.bots.get(bot, bot)}", token=self.admin).json

    def file(self, bot, name=""):
        return self.state / "bots" / self.bots.get(bot, bot) / name

    def control(self, bot, name=""):
        return self.state / "bots-control" / self.bots.get(bot, bot) / name

    def pid(self, who):
        """Of the agent, the holder, or a bot or its supervisor."""
        if who in ("agent", "holder"):
            return getattr(self, who).pid
        name, _, part = who.partition("'s ")
        told = json.loads(self.control(name, "supervisor.json").read_text())
        return told[part or "bot"]["pid"]

    def order(self, bot, code):
        """Has a bot carry something out; gives what it tells."""
        answer = self.file(bot, "workspace/answer.json")
        answer.unlink(missing_ok=True)
        new = self.file(bot, "workspace/order.new")
        new.write_text(code)
        os.chown(new, self.uid, self.uid)
        new.rename(new.with_name("order.py"))
        wait("the bot's answer", answer.exists, 15)
        return json.loads(answer.read_text())

    def serves(self, bot="neighbour"):
        """Whether the agent still does what it is there for."""
        return (self.agent.poll() is None and self.document(bot)["phase"] == "ready"
                and self.send("GET", f"/api/bots/{self.bots[bot]}/workspace/secret", token=self.admin).status == 200)

    def again(self, bot):
        self.send("POST", f"/api/bots/{self.bots[bot]}/restart", token=self.admin)


part = Part("isolation", Isolation)


def attempt(tried, defence, code, bot="standard", wanted=None):
    """An order that must come to nothing. `{agent}` and its like are filled in; `wanted` is the error it must end with."""
    def run(stage):
        places = {"state": stage.state, "folder": stage.folder, "own": stage.file(bot), "name": stage.folder.name,
                  "next": stage.file("neighbour"), "plan": stage.control(bot, "launch.plan")}
        for who in ("agent", "holder", "neighbour", "neighbour's supervisor", "bot's supervisor"):
            if f"{{{who}}}" in code:
                places[who] = stage.pid(who.replace("bot's", f"{bot}'s") if who.startswith("bot's") else who)
        filled = code
        for name, value in places.items():
            filled = filled.replace(f"{{{name}}}", str(value))
        told = stage.order(bot, filled)
        held = not told["done"] and told["errno"] and (wanted is None or told["errno"] == wanted)
        return judge(held, told["seen"])
    part.attack(tried, defence)(run)


READ = "seen = str(len(open('{}', 'rb').read(64))) + ' bytes'"

# Files.
attempt("a bot reads the agent's identity", "landlock", READ.format("{state}/identity.json"))
attempt("a bot reads the agent's journal", "landlock", READ.format("{state}/journal.sqlite"))
attempt("a bot reads the holder's key", "landlock", READ.format("{state}/holder.key"))
attempt("a bot reads its launch plan", "landlock", READ.format("{plan}"))
attempt("a bot reads its launch plan by the link", "landlock", READ.format("{own}/.agent/launch.plan"))
attempt("a bot lists the state directory", "landlock", "seen = str(len(os.listdir('{state}'))) + ' names'")
attempt("a bot reads its neighbour's workspace", "landlock", READ.format("{next}/workspace/secret"))
attempt("a bot links the identity by a symbolic link", "landlock",
        "os.path.lexists('{own}/soft') or os.symlink('{state}/identity.json', '{own}/soft')\n" + READ.format("{own}/soft"))
attempt("a bot links the identity by a hard link", "landlock", "os.link('{state}/identity.json', '{own}/workspace/hard')\n"
        "os.unlink('{own}/workspace/hard')")
attempt("a bot moves its neighbour's file to itself", "landlock",
        "os.rename('{next}/config.json', '{own}/stolen'); os.rename('{own}/stolen', '{next}/config.json')")
attempt("a bot writes outside", "landlock", "open('{folder}/home/written', 'w').close()")
attempt("a bot writes its launch plan", "landlock", "open('{plan}', 'ab').close()")
attempt("a bot writes to the disk of everybody", "landlock", "open('/tmp/{name}-x', 'w').close(); os.unlink('/tmp/{name}-x')")
if GROUPS:
    attempt("a bot opens a control group that its user may change", "landlock",
            f"open('{GROUPS}/{{name}}/cgroup.procs', 'r+').close()")
attempt("a bot cuts the journal off by its path", None, "os.truncate('{state}/journal-like', 0)")
attempt("a bot changes the mode of the state directory", "seccomp", "os.chmod('{state}', 0o700)")
attempt("a bot changes the mode by an open directory", "seccomp",
        "os.chdir('{state}')\ntry:\n    os.chmod('.', 0o700)\nfinally:\n    os.chdir('{own}')")
attempt("a bot changes the mode through a link of its own", "seccomp",
        "os.path.lexists('{own}/way') or os.symlink('{state}', '{own}/way')\nos.chmod('{own}/way/identity.json', 0o600)")
attempt("a bot changes the times of the identity", "seccomp", "os.utime('{state}/identity.json')")
attempt("a bot sets attributes of the identity", "seccomp", "os.setxattr('{state}/identity.json', 'user.x', b'1')")

# Processes.
for who in "agent", "holder", "neighbour", "bot's supervisor":
    attempt(f"a bot signals: {who}", "landlock", f"os.kill({{{who}}}, 0)")
attempt("a bot reads its neighbour's environment", "landlock", READ.format("/proc/{neighbour}/environ"))
attempt("a bot reads its neighbour's memory", "landlock", "open('/proc/{neighbour}/mem', 'rb')")
attempt("a bot debugs its neighbour", None, "call(101, 16, {neighbour}, 0, 0)")
attempt("a bot reads its neighbour's memory by process_vm_readv", None,
        "call(310, {neighbour}, ctypes.create_string_buffer(16), 1, ctypes.create_string_buffer(16), 1, 0)", wanted=1)
attempt("a bot limits the agent's files", "seccomp",
        "import resource\nresource.prlimit({agent}, resource.RLIMIT_NOFILE)")
attempt("a bot lets the agent run on one processor", "seccomp", "os.sched_setaffinity({agent}, os.sched_getaffinity({agent}))")
attempt("a bot takes the agent's priority", "seccomp", "os.setpriority(os.PRIO_PROCESS, {agent}, os.getpriority(0, {agent}))")
attempt("a bot takes its user's priority", "seccomp", "os.setpriority(os.PRIO_USER, 0, 19)")
for who in "agent", "holder", "neighbour's supervisor":
    attempt(f"a bot without isolation reads the memory of: {who}", "dumpable", f"open('/proc/{{{who}}}/mem', 'rb')", bot="free")
    attempt(f"a bot without isolation reads the environment of: {who}", "dumpable", READ.format(f"/proc/{{{who}}}/environ"),
            bot="free")

# The kernel's doors.
attempt("a bot makes an io_uring", "seccomp", "call(425, 4, ctypes.create_string_buffer(256))", wanted=38)
attempt("a bot makes a namespace of users", "seccomp", """
child = os.fork()
if child == 0:
    try:
        call(272, 0x10000000)
    except OSError as fault:
        os._exit(fault.errno)
    os._exit(0)
if code := os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
    raise OSError(code, os.strerror(code))
""", wanted=1)
attempt("a bot starts a process in another namespace", "seccomp", "child = call(56, 0x10000000 | 17, 0, 0, 0, 0)\n"
        "if child == 0:\n    os._exit(0)\nos.waitpid(child, 0)", wanted=1)
attempt("a bot starts a process by clone3", "seccomp", "call(435, ctypes.create_string_buffer(88), 0)", wanted=38)
attempt("a bot mounts", None, "call(165, 0, 0, 0, 0, 0)", wanted=1)
attempt("a bot types into a terminal", "seccomp", "import fcntl; fcntl.ioctl(0, 0x5412, b'a')", wanted=1)
attempt("a bot makes a key of its user", "seccomp", "call(250, 0, -4, 1)", wanted=1)
attempt("a bot makes memory that its user shares", "seccomp", "seen = call(29, 0x7357, 4096, 0o1600)", wanted=1)
attempt("a bot loads a program into the kernel", None, "call(321, 0, ctypes.create_string_buffer(72), 72)", wanted=1)
attempt("a bot uses calls of the 32-bit kind", None, "call(0x40000000 + 39)", wanted=38)

# Services of this machine.
CONNECT = "s = socket.socket(socket.AF_UNIX, socket.{}); s.settimeout(5); s.connect('{}')"
attempt("a bot talks to the container engine", "seccomp", CONNECT.format("SOCK_STREAM", "{folder}/engine.sock"))
attempt("a bot talks to the holder", "seccomp", CONNECT.format("SOCK_SEQPACKET", "{state}/holder.sock"))
attempt("a bot talks to the agent", "seccomp", "s = socket.socket(socket.AF_UNIX)")
attempt("a bot gets a socket that can be connected anew", "seccomp", "socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)")
attempt("a bot with sockets connects to an abstract one", "landlock", CONNECT.format("SOCK_STREAM", "\\0{name}"), bot="sockets")
SPAWN = CONNECT.format("SOCK_SEQPACKET", "{state}/holder.sock") + """
from array import array
program, output = open('/bin/true', 'rb'), open('{own}/workspace/out', 'w')
message = b'request=spawn\\0argument=x\\0end=\\0'
s.sendmsg([message], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array('i', [program.fileno(), output.fileno()]))])
seen = s.recv(4096).decode().replace('\\0', ' ')
if 'error=' in seen:
    raise OSError(13, seen[:120])
"""
attempt("a bot with sockets has the holder start a program", "holder-proof", SPAWN, bot="sockets")


@part.attack("a bot does its ordinary work")
def ordinary(stage):
    told = stage.order("standard", """
import subprocess, tempfile
(workspace / 'dir').mkdir(exist_ok=True)
(workspace / 'dir' / 'file').write_text('x')
os.chmod(workspace / 'dir' / 'file', 0o640)
os.utime(workspace / 'dir' / 'file', (1, 2))
os.setxattr(workspace / 'dir' / 'file', 'user.x', b'1') if hasattr(os, 'setxattr') else None
os.chdir(workspace); os.chmod('dir/file', 0o600); os.chdir('..')
with open(workspace / 'dir' / 'file') as file:
    os.fchmod(file.fileno(), 0o755); os.utime(file.fileno(), (3, 4))
os.rename(workspace / 'dir' / 'file', workspace / 'moved')
os.symlink('moved', workspace / 'link') if not os.path.lexists(workspace / 'link') else None
os.chmod(workspace / 'link', 0o700)
state = os.stat(workspace / 'moved')
assert (state.st_mode & 0o777, state.st_mtime) == (0o700, 4), state
with tempfile.NamedTemporaryFile() as file:
    assert file.name.startswith(os.environ['TMPDIR']), file.name
out = subprocess.run(['sh', '-c', 'id -u; echo x > /dev/null; cat /etc/passwd | wc -l; nice -n 5 true'], capture_output=True, text=True)
assert out.returncode == 0 and not out.stderr, out
os.sched_setaffinity(os.getpid(), os.sched_getaffinity(0))
child = subprocess.Popen(['sleep', '5']); os.setpriority(os.PRIO_PROCESS, child.pid, os.getpriority(0, 0)); child.kill(); child.wait()
a, b = socket.socketpair(); a.send(b'x'); b.recv(1)
listener = socket.create_server(('127.0.0.1', 0)); socket.create_connection(listener.getsockname()).close()
import threading; t = threading.Thread(target=lambda: None); t.start(); t.join()
(pathlib.Path(os.environ['HOME']) / '.cache').mkdir(exist_ok=True)
seen = 'files, times, modes, children, sockets'
""")
    sides = {side["aspect"]: side["mechanism"] for side in stage.document("standard")["isolation"]}
    open_sides = sorted(aspect for aspect, mechanism in sides.items() if mechanism == "none")
    return judge(told["done"] and open_sides == ["user"], f"{told['seen']} (line {told.get('line', '-')}); its status leaves open: {open_sides}")


@part.attack("a bot without isolation is told as such")
def told(stage):
    free = {side["mechanism"] for side in stage.document("free")["isolation"]}
    sockets = {side["aspect"]: side["mechanism"] for side in stage.document("sockets")["isolation"]}
    return judge(free == {"none"} and sockets["unix_sockets"] == "none" and sockets["files"] == "landlock", f"{free}, {sockets}")


@part.attack("a bot puts a FIFO, a link and a directory in the place of its configuration")
def configuration(stage):
    ways = ["os.mkfifo(place)", f"os.symlink('{stage.state}/identity.json', place)", "os.mkdir(place)"]
    for way in ways:
        before = stage.document("standard")["launch_id"]
        told = stage.order("standard", f"place = '{stage.file('standard')}/config.json'\nos.unlink(place)\n{way}")
        if not told["done"]:
            return judge(False, f"{way}: {told}")
        stage.again("standard")
        wait("the bot again", lambda: stage.document("standard")["phase"] == "ready"
             and stage.document("standard")["launch_id"] != before, 30)
        kind = stage.file("standard", "config.json").lstat().st_mode
        if not stat.S_ISREG(kind) or not stage.serves():
            return judge(False, f"{way}: mode {kind:o}")
    return judge(True, "a file again each time, and the agent serves")


@part.attack("a bot puts a directory with FIFOs where earlier agents had their files")
def control(stage):
    before = stage.document("standard")["launch_id"]
    told = stage.order("standard", f"""
place = '{stage.file("standard")}/.agent'
os.unlink(place); os.mkdir(place)
for name in 'launch.plan', 'lease', 'exit.json', 'supervisor.json', 'supervisor.lock', 'stop.request':
    os.mkfifo(place + '/' + name)
""")
    stage.again("standard")
    wait("the bot again", lambda: stage.document("standard")["phase"] == "ready"
         and stage.document("standard")["launch_id"] != before, 30)
    return judge(told["done"] and stage.serves(), "it starts again, and the agent serves")


@part.attack("a bot puts a link to the state directory in the place of its workspace")
def workspace(stage):
    bot = stage.bots["sockets"]
    # The order's answer would go the way of the link, so it is not waited for.
    new = stage.file("sockets", "workspace/order.new")
    own = stage.file("sockets")
    new.write_text(f"os.rename('{own}/workspace', '{own}/former'); os.symlink('{stage.state}', '{own}/workspace')")
    os.chown(new, stage.uid, stage.uid)
    new.rename(new.with_name("order.py"))
    wait("the link", lambda: (own / "workspace").is_symlink())
    read = stage.send("GET", f"/api/bots/{bot}/workspace/identity.json", token=stage.admin)
    listed = stage.send("GET", f"/api/bots/{bot}/workspace?list", token=stage.admin)
    wrote = stage.send("PUT", f"/api/bots/{bot}/workspace/planted", token=stage.admin, body=b"x")
    gone = stage.send("DELETE", f"/api/bots/{bot}/workspace/journal-like", token=stage.admin)
    planted = (stage.state / "planted").exists() or not (stage.state / "journal-like").exists()
    leaked = read.status == 200 or b"identity.json" in listed.body
    return judge(not planted and not leaked and stage.serves(),
                 f"read {read.status}, list {listed.status}, write {wrote.status}, delete {gone.status}")
