# What a bot under the shipped units can get at, by what its kernel has, and that the units leave supervisors what they need
# machines: debian12 debian13 debian11 here
# limit: 240

install_all
cat >/opt/bots/prisoner <<'END'
#!/usr/bin/env python3
"""Tries everything once, tells in its workspace what came of it, and lives on."""
import ctypes, json, os, socket, subprocess, time

libc = ctypes.CDLL(None, use_errno=True)
state = "/var/lib/edge-agent"


def call(*arguments):
    if libc.syscall(*arguments) < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def pid_of(name):
    for entry in os.listdir("/proc"):
        try:
            if entry.isdigit() and open(f"/proc/{entry}/comm").read().strip() == name:
                return int(entry)
        except OSError:
            pass
    raise ProcessLookupError(3, f"no {name}")


def group_file():
    place = [line.split(":", 2)[2].strip() for line in open("/proc/self/cgroup") if line.startswith("0::")][0]
    return f"/sys/fs/cgroup{place}/memory.max"


def connect(path, kind=socket.SOCK_STREAM):
    made = socket.socket(socket.AF_UNIX, kind)
    made.settimeout(5)
    made.connect(path)


attempts = {
    "files: identity": lambda: open(f"{state}/identity.json").read(),
    "files: journal": lambda: open(f"{state}/journal.sqlite", "rb").read(16),
    "files: launch plan": lambda: open(f"{state}/bots-control/{os.environ['BOT_ID']}/launch.plan", "rb").read(16),
    "files: other bots": lambda: os.listdir(f"{state}/bots"),
    "files: writing outside": lambda: open("/var/tmp/planted", "w").close(),
    "files: limits of its control group": lambda: open(group_file(), "w").write("max"),
    "attributes: mode of the state directory": lambda: os.chmod(state, 0o700),
    "processes: memory of the agent": lambda: open(f"/proc/{pid_of('edge-agent')}/mem", "rb"),
    "processes: memory of the holder": lambda: open(f"/proc/{pid_of('edge-hold')}/mem", "rb"),
    "processes: environment of its supervisor": lambda: open(f"/proc/{os.getppid()}/environ", "rb").read(1),
    "signals: the agent": lambda: os.kill(pid_of("edge-agent"), 0),
    "system_calls: io_uring": lambda: call(425, 4, ctypes.create_string_buffer(256)),
    "system_calls: namespace of users": lambda: call(272, 0x10000000),
    "system_calls: a key of its user": lambda: call(250, 0, -4, 1),
    "unix_sockets: the holder": lambda: connect(f"{state}/holder.sock", socket.SOCK_SEQPACKET),
    "unix_sockets: the service manager": lambda: connect("/run/systemd/private"),
    "own: a file, its mode, a child": lambda: (open("own", "w").close(), os.chmod("own", 0o700),
                                              subprocess.run(["true"], check=True)),
}
answers = {}
for name, attempt in attempts.items():
    try:
        attempt()
        answers[name] = "open"
    except OSError as fault:
        answers[name] = fault.strerror
with open(os.environ["BOT_WORKSPACE"] + "/answers.json", "w") as file:
    json.dump(answers, file)
print("told", flush=True)
time.sleep(100000)
END
chmod 755 /opt/bots/prisoner
put_profiles '{"caged": {"command": "/opt/bots/prisoner", "packets": false, "settle_time": "3s"},
    "free": {"command": "/opt/bots/prisoner", "packets": false, "settle_time": "3s", "isolation": false}}'
restart_agent
await 30 "the node to be online" node_online

answers() { api GET "/api/bots/$(id "$1")/workspace/answers.json"; }
kept_by() { bot "$1" | jq -r --arg aspect "$2" '.isolation[] | select(.aspect == $aspect) | .mechanism'; }

for name in caged free; do
    create_bot "$name" "$name"
    start_bot "$name"
    await 30 "$name to have tried everything" answers "$name"
done
step "kernel $(uname -r): $(runuser -u edge-agent -- edge-agent doctor --json --state-dir /var/lib/edge-agent |
    jq -r '.checks[] | select(.name == "isolation") | .detail')"
printf '%-45s %-10s %-28s %s\n' attempt "kept by" "with isolation" "without"
jq -r --argjson free "$(answers free)" 'to_entries[] | [.key, .value, $free[.key]] | @tsv' <<<"$(answers caged)" |
    while IFS=$'\t' read -r attempt with without; do
        aspect=${attempt%%:*}
        keeper=$([[ $aspect == own ]] && echo "-" || kept_by caged "$aspect")
        printf '%-45s %-10s %-28s %s\n' "$attempt" "$keeper" "$with" "$without"
        case $keeper:$with in
            none:* | -:open) ;;
            -:*) fail "a bot in its cage cannot do its work: $attempt: $with" ;;
            *:open) fail "$attempt is open, although $keeper is said to keep it" ;;
        esac
    done
# Whatever the kernel has.
for attempt in "processes: memory of the agent" "processes: memory of the holder" "processes: environment of its supervisor"; do
    for name in caged free; do
        [[ $(answers "$name" | jq -r --arg attempt "$attempt" '.[$attempt]') != open ]] || fail "$name: $attempt is open"
    done
done
same "what keeps system calls" seccomp "$(kept_by caged system_calls)"
same "what keeps a bot without isolation" none "$(bot free | jq -r '[.isolation[].mechanism] | unique | join(" ")')"
step "what is said to be kept is kept; the agent's processes are closed to all bots"
for name in caged free; do stop_bot "$name"; done
