"""A Debian system on this machine's own kernel, in namespaces of its own: for what the kernel of User Mode Linux lacks, such as Landlock.

systemd is process 1 of a namespace, in control groups below those of who runs the tests, on an overlay over the tree of a root.
It shares the kernel: nothing of it can be cut off from power, and limits are those of this machine's control groups.
"""

import os
import pathlib
import signal
import subprocess
import time

import machine

# What `unshare` starts: makes the mounts, and becomes process 1.
ENTRY = r"""
set -e
mount --make-rprivate /
mkdir -p "$FOLDER/upper" "$FOLDER/work" "$FOLDER/root"
mount -t overlay -o "lowerdir=$TREE,upperdir=$FOLDER/upper,workdir=$FOLDER/work" overlay "$FOLDER/root"
cd "$FOLDER/root"
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
while IFS=$'\t' read -r place kind options; do
    [[ $place != /sys/fs/cgroup/* ]] || mountpoint -q sys/fs/cgroup || mount -t tmpfs -o mode=755 tmpfs sys/fs/cgroup
    mkdir -p "./$place"
    mount -t "$kind" -o "$options" cgroup "./$place"
done <<<"$GROUPS_MOUNTED"
mount -t tmpfs -o mode=755 tmpfs run
mkdir -p run/boot-here run/boot-test
mount --bind "$FOLDER/channel" run/boot-here
mount --bind "$SHARE" run/boot-test
mount -t tmpfs -o mode=755 tmpfs dev
for name in null zero full random urandom tty; do touch "dev/$name"; mount --bind "/dev/$name" "dev/$name"; done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
mount -t tmpfs tmpfs dev/shm
mkdir -p run/old
pivot_root . run/old
umount -l /run/old
hostname node
ip link set lo up
exec env -i container=boot-test PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --log-target=console --show-status=no
"""


def groups():
    """The hierarchies of control groups: where each is mounted, of which kind, with which options."""
    found = {}
    for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines():
        fields, _, rest = line.partition(" - ")
        kind, _, options = rest.split(" ", 2)
        if kind in ("cgroup", "cgroup2"):
            words = [word for word in options.split(",") if word not in ("rw", "ro")]
            found[fields.split()[4]] = kind, ",".join(words) or "rw"
    return found


def cannot_boot():
    """Why no system comes up so here; None where one does."""
    if subprocess.run(["unshare", "--pid", "--fork", "--mount", "--net", "--cgroup", "true"], capture_output=True).returncode:
        return "this machine gives no namespaces"
    if not all(os.access(pathlib.Path(place, "cgroup.procs"), os.W_OK) for place in groups()):
        return "this machine's control groups cannot be written"
    return None


class Here:
    """One such machine; what is written stays from boot to boot."""

    CUT = machine.Machine.CUT

    def __init__(self, name, share, folder):
        self.share, self.folder, self.boots = share, folder, 0
        self.tree = machine.BOOT / "roots" / machine.root_of(name)
        self.group = folder.name
        (folder / "channel").mkdir()

    def boot(self, words, limit, init, fails=lambda output: False):
        """As `Machine.boot`; the mains of this one do not fail."""
        self.boots += 1
        output = self.folder / "channel" / "output"
        output.write_bytes(b"")
        (self.folder / "channel" / "words").write_text(f"-,{','.join(words)}")
        mounted = "\n".join("\t".join((place, *how)) for place, how in sorted(groups().items()))
        environment = {**os.environ, "FOLDER": str(self.folder), "TREE": str(self.tree), "SHARE": str(self.share),
                       "GROUPS_MOUNTED": mounted}
        with open(self.folder / f"console-{self.boots}", "wb") as screen:
            command = ["unshare", "--pid", "--fork", "--kill-child", "--mount", "--uts", "--ipc", "--net", "--cgroup", "bash", "-c", ENTRY]
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=screen, stderr=subprocess.STDOUT, start_new_session=True,
                                       env=environment, preexec_fn=self.enter)
        machine.Machine.running.add(process.pid)
        end = time.monotonic() + limit
        try:
            while process.poll() is None and time.monotonic() < end:
                time.sleep(0.05)
            in_time = process.poll() is not None
        finally:
            machine.Machine.kill(process.pid)
            process.wait()
            machine.Machine.running.discard(process.pid)
            self.leave()
        (self.folder / f"output-{self.boots}").write_bytes(output.read_bytes())
        return output.read_bytes().decode(errors="replace").replace("\r", ""), in_time

    def screen(self):
        return (self.folder / f"console-{self.boots}").read_text(errors="replace")

    def enter(self):
        """Into control groups of its own, which are the roots of what the system sees."""
        for place in map(pathlib.Path, groups()):
            group = place / self.group
            group.mkdir(exist_ok=True)
            for file in "cpuset.cpus", "cpuset.mems":
                # Of version 1, where a new group has none.
                if (group / file).exists() and not (group / file).read_text().strip():
                    (group / file).write_text((place / file).read_text())
            (group / "cgroup.procs").write_text(str(os.getpid()))

    def leave(self):
        for place in map(pathlib.Path, groups()):
            for folder, _, _ in os.walk(place / self.group, topdown=False):
                for _ in range(100):
                    try:
                        os.rmdir(folder)
                        break
                    except FileNotFoundError:
                        break
                    except OSError:
                        self.end(folder)
                        time.sleep(0.05)

    @staticmethod
    def end(folder):
        """What the end of process 1 has not reached yet."""
        for pid in pathlib.Path(folder, "cgroup.procs").read_text().split():
            try:
                os.kill(int(pid), signal.SIGKILL)
            except ProcessLookupError:
                pass
