"""Debian machines under User Mode Linux: roots made by debootstrap, disks, boots, power cuts.

What stays in .build/boot: the packages that debootstrap fetched, and for each root the tree and an image of it, made anew
when the list of packages or the files in `guest/` have changed. Each machine works on a copy of the image.
"""

import fcntl
import hashlib
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
CHECKOUT = HERE.parent.parent
BOOT = CHECKOUT / ".build" / "boot"
GUEST = HERE / "guest"
# Where the guest keeps what is the harness's.
INSIDE = "opt/boot-test"

BASE = ["systemd", "systemd-sysv", "dbus", "libpam-systemd", "iproute2", "procps", "curl", "jq", "openssl", "python3"]
# What deploy/README.md says that our programs need.
NEEDED = ["zlib1g", "libsqlite3-0", "libstdc++6", "ca-certificates"]
ENGINE = ["docker.io", "busybox-static", "iptables"]


class Failure(Exception):
    """Something outside the stories went wrong."""


class Root:
    """A Debian system as debootstrap makes it."""

    def __init__(self, suite, packages, runs_programs=True, size="2600M"):
        # Programs that need libraries newer than the suite's come with their own: see `Programs`.
        self.suite, self.packages, self.runs_programs, self.size = suite, packages, runs_programs, size

    def name(self, kind):
        return f"{self.suite}-{kind}"


MACHINES = {
    "debian11": Root("bullseye", BASE + ["zlib1g", "libstdc++6", "ca-certificates"], runs_programs=False),
    "debian12": Root("bookworm", BASE + NEEDED + ["libssl3"]),
    "debian13": Root("trixie", BASE + NEEDED + ["libssl3t64"]),
    "docker12": Root("bookworm", BASE + NEEDED + ["libssl3"] + ENGINE, size="4000M"),
}
# On this machine's own kernel: see `here.py`.
MACHINES["here"] = MACHINES["debian12"]


def root_of(name):
    """Whose root a machine has."""
    return "debian12" if name == "here" else name


def run(arguments, **more):
    """Runs a program to its end; its output is shown only when it fails."""
    done = subprocess.run([str(each) for each in arguments], capture_output=True, text=True, **more)
    if done.returncode:
        shown = " ".join(str(each) for each in arguments[:3])
        raise Failure(f"{shown} … ended with {done.returncode}: {(done.stdout + done.stderr)[-2000:]}")
    return done.stdout


def mirror():
    """Where this machine gets its own Debian packages; without an answer debootstrap's default is taken."""
    release = dict(line.split("=", 1) for line in pathlib.Path("/etc/os-release").read_text().splitlines() if "=" in line)
    codename = release.get("VERSION_CODENAME", "").strip('"')
    try:
        listed = run(["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages",
                      f"Codename: {codename}", "Origin: Debian"])
    except (Failure, OSError):
        return []
    return listed.split()[:1]


def build(name, say):
    """The image of a machine's root; makes it when it is missing or out of date."""
    (BOOT / "roots").mkdir(parents=True, exist_ok=True)
    with open(BOOT / "lock", "w") as lock:
        # Another run may be at it.
        fcntl.flock(lock, fcntl.LOCK_EX)
        return build_alone(name, say)


def build_alone(name, say):
    name = root_of(name)
    root = MACHINES[name]
    tree, image, stamp = (BOOT / "roots" / f"{name}{suffix}" for suffix in ("", ".img", ".stamp"))
    packages = hashlib.sha256(" ".join([root.suite, *root.packages]).encode()).hexdigest()
    guest = hashlib.sha256(b"".join(file.read_bytes() for file in sorted(GUEST.iterdir()))).hexdigest()
    known = stamp.read_text().split() if stamp.exists() else []
    if known == [packages, guest, root.size]:
        return image
    stamp.unlink(missing_ok=True)
    if known[:1] != [packages] or not tree.exists():
        say(f"making the root of {name} (once)")
        cache = BOOT / "packages"
        cache.mkdir(parents=True, exist_ok=True)
        new = tree.with_suffix(".new")
        for old in new, tree:
            shutil.rmtree(old, ignore_errors=True)
        # In a mount namespace, so that what it mounts is gone with it.
        run(["unshare", "--mount", "debootstrap", "--variant=minbase", f"--cache-dir={cache}", f"--include={','.join(root.packages)}",
             root.suite, new, *mirror()])
        new.rename(tree)
    (tree / "etc" / "fstab").write_text("")
    (tree / "etc" / "hostname").write_text("node\n")
    shutil.rmtree(tree / INSIDE, ignore_errors=True)
    shutil.copytree(GUEST, tree / INSIDE)
    units = tree / "etc" / "systemd" / "system"
    wanted = units / "multi-user.target.wants" / "boot-test.service"
    for link, target in (units / wanted.name, f"/{INSIDE}/{wanted.name}"), (wanted, f"../{wanted.name}"):
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(target)
    # The engine is started by who wants it, with settings that such a kernel can keep.
    for unit in "multi-user.target.wants/docker.service", "sockets.target.wants/docker.socket":
        (units / unit).unlink(missing_ok=True)
    # Of no use on such a machine, and the slowest part of each reload.
    for generator in (tree / "lib" / "systemd" / "system-generators").iterdir():
        mask = units.parent / "system-generators" / generator.name
        mask.parent.mkdir(exist_ok=True)
        if not mask.is_symlink():
            mask.symlink_to("/dev/null")
    image.unlink(missing_ok=True)
    run(["mke2fs", "-q", "-t", "ext4", "-d", tree, image, root.size])
    stamp.write_text(f"{packages} {guest} {root.size}\n")
    return image


def cannot_boot(name):
    """Why a machine does not come up here; None when one does."""
    with tempfile.TemporaryDirectory(prefix="boot-test-") as folder:
        probe = Machine(name, "-", pathlib.Path(folder), memory="256M")
        text, _ = probe.boot([], 60, f"/{INSIDE}/start")
        if "-----up-----" in text:
            return None
        last = probe.screen().strip().splitlines()[-1:]
        return f"User Mode Linux does not boot here: {''.join(last) or 'it printed nothing'}"


class Programs:
    """The two programs, with what they need and the root does not have."""

    NAMES = "control-hub", "edge-agent"

    def __init__(self, folder):
        self.folder = folder
        missing = [name for name in self.NAMES if not (folder / name).exists()]
        if missing:
            raise Failure(f"{' and '.join(missing)} not found in {folder}; `make build` makes them")

    def libraries(self):
        found = set()
        for name in self.NAMES:
            for line in run(["ldd", self.folder / name]).splitlines():
                match = re.search(r"(/\S+) \(0x", line)
                if match:
                    found.add(match.group(1))
        return sorted(found)

    def put(self, machine, checkout):
        """Copies the programs into a checkout for the guest, and beside it what their machine must have."""
        dist = checkout / ".build" / "dist"
        dist.mkdir(parents=True)
        for name in self.NAMES:
            shutil.copy2(self.folder / name, dist / name)
        libraries = self.libraries()
        extra = checkout.parent / "libraries"
        extra.mkdir()
        if MACHINES[machine].runs_programs:
            tree = BOOT / "roots" / root_of(machine)
            for library in libraries:
                if not (tree / library.lstrip("/")).exists():
                    self.copy(library, extra / library.lstrip("/"))
            return
        own = f"/{INSIDE}/lib"
        for library in libraries:
            self.copy(library, extra / own.lstrip("/") / pathlib.Path(library).name)
        loader = next(library for library in libraries if pathlib.Path(library).name.startswith("ld-linux"))
        for name in self.NAMES:
            run(["patchelf", "--set-interpreter", f"{own}/{pathlib.Path(loader).name}",
                 "--force-rpath", "--set-rpath", own, dist / name])

    @staticmethod
    def copy(library, target):
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(library, target)


class Machine:
    """One machine with a disk of its own, which keeps what is on it from boot to boot."""

    CUT = b"-----power cut-----"
    # Process groups of the machines that run now, for who wants to leave.
    running = set()

    def __init__(self, name, share, folder, memory="1536M"):
        self.name, self.share, self.folder, self.memory = name, share, folder, memory
        self.boots = 0
        self.disk = folder / "disk"
        run(["cp", "--sparse=always", BOOT / "roots" / f"{name}.img", self.disk])

    def boot(self, words, limit, init, fails=lambda output: False):
        """Boots, and comes back when the machine is off: with what its stories printed, and whether it was in time.

        `fails` says of what was printed so far whether the mains fail now.
        """
        self.boots += 1
        output, console = (self.folder / f"{kind}-{self.boots}" for kind in ("output", "console"))
        command = ["linux.uml", f"mem={self.memory}", "ubd0=disk", "root=/dev/ubda", "rw", "quiet", "panic=-1",
                   "con=null", "con0=fd:0,fd:1", f"init={init}", f"boot_test={self.share},{','.join(words)}"]
        with open(output, "wb") as channel, open(console, "wb") as screen:
            command.append(f"ssl0=null,fd:{channel.fileno()}")
            # It leaves a directory for its console in HOME.
            environment = {**os.environ, "HOME": str(self.folder)}
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=screen, stderr=subprocess.STDOUT,
                                       pass_fds=[channel.fileno()], start_new_session=True, cwd=self.folder,
                                       env=environment)
        self.running.add(process.pid)
        end, in_time = time.monotonic() + limit, True
        try:
            while process.poll() is None:
                time.sleep(0.05)
                printed = output.read_bytes()
                is_cut = self.CUT in printed or fails(printed)
                if is_cut or time.monotonic() > end:
                    in_time = is_cut
                    break
        finally:
            self.kill(process.pid)
            process.wait()
            self.running.discard(process.pid)
        return output.read_bytes().decode(errors="replace").replace("\r", ""), in_time

    @staticmethod
    def kill(group):
        """The kernel of a machine and all its processes are in one group."""
        try:
            os.killpg(group, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def screen(self):
        """What the last boot wrote on the console."""
        return (self.folder / f"console-{self.boots}").read_text(errors="replace").replace("\r", "")
