# What the stories share. Sourced by each; a story is a bash script that runs as root in the guest and ends with 0 when what it
# tells is true. `set -e` holds: every command must succeed.
#
# The header of a story says what it needs:
#   # machines: debian12 debian13     where it runs
#   # limit: 180                      seconds, for each boot
#   # boots: 2                        it is run so often, on the same disk, with BOOT=1, 2, …
#   # init: none                      without a service manager: process 1 is a shell
# shellcheck shell=bash

set -Eeuo pipefail
shopt -s inherit_errexit

checkout=$BOOT_TEST/checkout
# Kept from boot to boot.
readonly kept=/var/lib/boot-test
readonly hub=https://hub.example:8443
# The hub's own authority, where everybody may read it: the commands of the document name a hub that a proxy shows.
readonly authority=/etc/hub-ca.pem
readonly tree=/sys/fs/cgroup
begun=$(date '+%F %T')
mkdir -p "$kept/bots"
grep -q hub.example /etc/hosts 2>/dev/null || echo "127.0.0.1 localhost hub.example" >>/etc/hosts

# Telling

step() { printf '[%3d s] %s\n' "$SECONDS" "$*"; }
fail() { echo "FAILED: $*" >&2; exit 1; }
same() { [[ $2 == "$3" ]] || fail "$1: expected \"$2\", is \"$3\""; }
differs() { [[ $2 != "$3" ]] || fail "$1 is still \"$3\""; }

# Tells what there is to see when a story fails.
excerpts() {
    trap - ERR
    set +e
    echo "--- bots"
    for name in "$kept/bots"/*; do
        [[ ! -e $name ]] || bot "$(basename "$name")" |
            jq -c '{name, phase, reason_code, reason, pid, restart_count, limits, last_exit}'
    done
    echo "--- processes"
    ps -eo pid,ppid,user,cgroup:80,args | grep -E 'edge-agent|control-hub|/opt/bots' | grep -v grep | cut -c 1-220
    if [[ -d /run/systemd/system ]]; then
        echo "--- journal"
        journalctl --no-pager -n 80 --since "$begun" _TRANSPORT=journal + _TRANSPORT=stdout + _TRANSPORT=syslog |
            grep -v -e ' node boot-test' -e '\[core\]' | cut -c 1-500
    fi
    for container in $(docker ps -aq 2>/dev/null); do
        docker ps -a --no-trunc --filter "id=$container" --format '--- container {{.Names}}: {{.Command}}, {{.Status}}'
        docker logs --tail 20 "$container"
    done
    for log in /var/log/hub.log /var/log/agent.log; do
        [[ ! -e $log ]] || { echo "--- $log"; tail -n 20 "$log"; }
    done
}
trap 'status=$?; ((status == 0)) || excerpts 2>&1' EXIT
trap 'fail "it has not ended in its time"' TERM
trap 'echo "FAILED at ${BASH_SOURCE[0]##*/}:$LINENO: $BASH_COMMAND" >&2' ERR

# await SECONDS WHAT COMMAND…: until the command succeeds. Only its last try is shown.
await() {
    local end=$((SECONDS + $1)) what=$2 seen
    shift 2
    until seen=$("$@" 2>&1); do
        ((SECONDS < end)) || fail "waited for $what; last: ${seen:-no output}"
        sleep 0.3
    done
}

# The mains fail: the host sees this line and kills the machine.
power_cut() {
    echo "-----power cut-----"
    sleep 60
}

# Installing

# commands_of SECTION [WORDS]: the first block of indented commands of that section, or the first after these words in it.
commands_of() {
    awk -v title="## $1" -v words="${2-}" '
        $0 == title { inside = 1; found = words == ""; next }
        /^## / { inside = 0 }
        index($0, words) && !/^    / { found = found || inside }
        inside && found && /^    / { print substr($0, 5); begun = 1; next }
        begun && NF { exit }' "$checkout/deploy/README.md"
}

# by_the_document SECTION WORDS [SED…]: runs such commands as they stand, in a checkout. The rest are sed's arguments, for what
# a reader has to fill in.
by_the_document() {
    local commands
    commands=$(commands_of "$1" "$2" | sed -e '' "${@:3}")
    [[ -n $commands ]] || fail "deploy/README.md has no commands under \"$1\" after \"$2\""
    (cd "$checkout" && bash -exo pipefail -c "$commands")
}

use_sample_bot() {
    install -D -m 755 "$checkout/samples/bot/sample-bot" /opt/bots/sample-bot
}

install_hub() {
    install -d -m 755 /etc/control-hub
    echo HUB_HOSTNAME=hub.example >/etc/control-hub/hub.env
    by_the_document "A hub" "" | tee /run/operator
    know_hub
}

# Remembers how to talk to the hub, from what `operator add` printed.
know_hub() {
    (umask 077 && sed -n 's/^ *token *\(op_.*\)/header = "Authorization: Bearer \1"/p' /run/operator >"$kept/curl")
    [[ -s $kept/curl ]] || fail "no operator's token was printed"
    install -m 644 /var/lib/control-hub/tls/ca.pem "$authority"
    await 30 "the hub to be ready" ready
}

# What stands in the place of the document's `--hub … --code …`.
pairing() {
    local code
    code=$(control-hub enrollment create --json --data-dir /var/lib/control-hub | jq -r .code)
    echo "s|https://hub.example|$hub --ca-file $authority|;s|XXXX-XXXX-XXXX|$code|"
}

install_node() {
    use_sample_bot
    install -d -m 755 /etc/edge-agent
    echo 'EDGE_NATIVE_COMMAND=/opt/bots/sample-bot --config {config} --workspace {workspace}' >/etc/edge-agent/agent.env
    chmod 600 /etc/edge-agent/agent.env
    by_the_document "A node" "" -e "$(pairing)"
    await 30 "the node to be online" node_online
}

# Hub and node as the document says; where a story of this boot has done it already, nothing.
install_all() {
    [[ ! -e $kept/installed ]] || return 0
    install_hub
    install_node
    touch "$kept/installed"
    step "hub and node are installed"
}

# A node as it was set up before there was a unit for the bots: by the agent's unit alone.
install_agent_unit_alone() {
    use_sample_bot
    install -m 755 "$checkout/.build/dist/edge-agent" /usr/local/bin/
    install -m 644 "$checkout/deploy/systemd/edge-agent.sysusers" /usr/lib/sysusers.d/edge-agent.conf
    systemd-sysusers
    install -m 644 "$checkout/deploy/systemd/edge-agent.service" /etc/systemd/system/
    install -d -o edge-agent -g edge-agent -m 700 /var/lib/edge-agent
    put_profiles "$(limited_profiles)"
    enroll_by_hand node runuser -u edge-agent -- env EDGE_STATE_DIR=/var/lib/edge-agent
    systemctl daemon-reload
    systemctl enable --now edge-agent
    await 30 "the node to be online" node_online
    step "hub and node are installed, without edge-agent-bots.service"
}

# put_profiles JSON: the node's runtime profiles besides the default one, for an agent that is started after that.
put_profiles() {
    install -d -m 755 /etc/edge-agent
    jq -n --argjson profiles "$1" '{$profiles}' >/etc/edge-agent/agent.json
}

restart_agent() {
    systemctl restart edge-agent
    await 30 "the agent to come back" agent_answers "${1-edge-agent}"
}
# agent_answers [USER]: the agent runs, as this user.
agent_answers() { runuser -u "${1-edge-agent}" -- edge-agent status --state-dir /var/lib/edge-agent >/dev/null; }

# Without a service manager, or past it: hub and agent from this shell, as root.
hub_by_hand() {
    install -m 755 "$checkout"/.build/dist/{control-hub,edge-agent} /usr/local/bin/
    setsid control-hub serve --listen 127.0.0.1:8443 --hostname hub.example --data-dir /var/lib/control-hub \
        >>/var/log/hub.log 2>&1 </dev/null &
    await 30 "the hub to listen" test -s /var/lib/control-hub/hub.address
    control-hub operator add ada --role admin --data-dir /var/lib/control-hub | tee /run/operator
    know_hub
    use_sample_bot
}

# enroll_by_hand NAME COMMAND…: pairs under this name; the command is put before that, to become another user.
enroll_by_hand() {
    sed "$(pairing)" <<<"${*:2} edge-agent enroll --name $1 --hub https://hub.example --code XXXX-XXXX-XXXX" | bash -ex
}

# agent_by_hand COMMAND…: starts the agent; its pid is in $agent.
agent_by_hand() {
    setsid "$@" edge-agent run >>/var/log/agent.log 2>&1 </dev/null &
    agent=$!
    await 30 "the node to be online" node_online
}

# The story of an agent of root that nobody but a shell has started.
by_hand() {
    local pid
    enroll_by_hand roots
    agent_by_hand env
    create_bot first limited
    start_bot first
    pid=$(bot first .pid)
    all_kept first
    in_force first
    [[ $(group_of "$pid") == /edge-agent-* ]] || fail "the bot's group is $(group_of "$pid")"
    answers first
    row first "an agent of root by hand"
    kill -9 "$agent"
    await 20 "the killed agent to be gone" gone "$agent"
    sleep 1
    [[ -e /proc/$pid ]] || fail "the bot has ended with its agent"
    agent_by_hand env
    runs_on first "$pid" "a kill of the agent"
    in_force first
    step "the agent was killed and started again; the bot is the one from before"
    stop_bot first
    gone "$pid" || fail "the bot's process is still there"
    ! compgen -G "$tree/edge-agent-*" || fail "control groups are left"
    kill "$agent"
    await 20 "the agent to end" gone "$agent"
}

# An engine for containers, with an image that has nothing of its own: programs come from the node by mounts.
engine() {
    echo '{"iptables": false, "ip6tables": false, "bridge": "none", "storage-driver": "vfs"}' >/etc/docker/daemon.json
    systemctl start docker
    await 60 "the container engine" docker version
    local image=/run/image
    # /sbin is its own: the engine puts its init there.
    mkdir -p "$image"/{usr,opt,etc,proc,sys,dev,tmp,var,run,sbin}
    for name in bin lib lib64; do ln -s "usr/$name" "$image/$name"; done
    cp /etc/passwd /etc/group /etc/hosts "$image/etc/"
    tar -C "$image" -c . | docker import - boot-test/base:1 >/dev/null
}

# Bots that want more than they get. They speak no packets and take no messages.
bots_with_appetite() {
    use_sample_bot
    # In its first life it eats; once it was killed for that it is content.
    cat >/opt/bots/glutton <<'END'
#!/usr/bin/env python3
import os, sys, time
if not os.path.exists("workspace/fed"):
    open("workspace/fed", "w").close()
    eaten = []
    for _ in range(64):
        eaten.append(b"x" * (4 << 20))
        time.sleep(0.02)
time.sleep(100000)
END
    cat >/opt/bots/spinner <<'END'
#!/bin/bash
while :; do :; done
END
    cat >/opt/bots/breeder <<'END'
#!/usr/bin/env python3
import os, time
while True:
    try:
        if os.fork() == 0:
            time.sleep(100000)
    except OSError:
        time.sleep(0.5)
END
    chmod 755 /opt/bots/*
}

limited_profiles() {
    jq -n --arg sample "/opt/bots/sample-bot --config {config} --workspace {workspace}" '{
        limited: {command: $sample, limits: {memory: "128M", cpu: 0.5, pids: 40, open_files: 256}},
        glutton: {command: "/opt/bots/glutton", packets: false, settle_time: "4s", limits: {memory: "48M"}},
        spinner: {command: "/opt/bots/spinner", packets: false, settle_time: "1s", limits: {cpu: 0.2}},
        breeder: {command: "/opt/bots/breeder", packets: false, settle_time: "1s", limits: {pids: 20}}}'
}

# The hub's API

ready() { curl -fsS --max-time 10 --cacert "$authority" "$hub/readyz" >/dev/null; }

# api METHOD PATH [JSON]: the answer.
api() {
    local code data=() answer=/run/answer.$BASHPID
    [[ $1 == GET ]] || data=(-H 'Content-Type: application/json' -d "${3-{\}}")
    code=$(curl -sS --max-time 30 --cacert "$authority" -K "$kept/curl" -o "$answer" -w '%{http_code}' -X "$1" \
        "${data[@]}" "$hub$2") || fail "$1 $2: curl ended with $?"
    [[ $code == 2?? ]] || fail "$1 $2: $code $(cat "$answer")"
    cat "$answer"
}

# The node that a story works with, where there are several.
node_name=
node() { api GET /api/nodes | jq -er --arg name "$node_name" '[.items[] | select($name == "" or .name == $name)][0]'; }
node_online() { [[ $(node | jq -r .health) == online ]]; }

# create_bot NAME [PROFILE [CONFIG]]
create_bot() {
    local node_id
    node_id=$(node | jq -r .id)
    api POST /api/bots "$(jq -n --arg name "$1" --arg node_id "$node_id" --arg profile "${2:-default}" \
        --argjson config "${3:-{\}}" '{$name, $node_id, runtime_profile: $profile, $config}')" | jq -r .id >"$kept/bots/$1"
}

id() { cat "$kept/bots/$1"; }
# bot NAME [FILTER]: its document, or a part of it.
bot() { api GET "/api/bots/$(id "$1")" | jq -r "${2:-.}"; }
phase_is() {
    local seen
    seen=$(bot "$1" '"\(.phase), \(.reason)"')
    echo "$seen"
    [[ $seen == "$2,"* ]]
}
start_bot() {
    api POST "/api/bots/$(id "$1")/start" >/dev/null
    await "${2:-40}" "$1 to be ready" phase_is "$1" ready
}
stop_bot() {
    api POST "/api/bots/$(id "$1")/stop" >/dev/null
    await 40 "$1 to be stopped" phase_is "$1" stopped
}

# talk NAME [TEXT [CONVERSATION]]: what it answers. The conversation's id is left in /run/conversation.
talk() {
    local sent conversation message
    sent=$(api POST "/api/bots/$(id "$1")/messages" \
        "$(jq -n --arg text "${2-hello}" --arg id "${3-}" '{$text} + if $id == "" then {} else {conversation_id: $id} end')")
    conversation=$(jq -r .conversation_id <<<"$sent")
    message=$(jq -r .message_id <<<"$sent")
    echo "$conversation" >/run/conversation
    await 60 "$1 to answer" answer "$1" "$conversation" "$message"
    answer "$1" "$conversation" "$message"
}

# The answer to one message.
answer() {
    api GET "/api/bots/$(id "$1")/conversations/$2" |
        jq -er --arg id "$3" '[.items[] | select(.role == "assistant" and .message_id == $id)][0].text'
}

# answers NAME [TEXT [CONVERSATION]]: it says something, which is left in /run/said.
answers() {
    talk "$1" "${@:2}" >/run/said
    [[ -s /run/said ]] || fail "$1 said nothing"
}

# runs_on NAME PID WHEN [TEXT [CONVERSATION]]: it answers, and is the process it was.
runs_on() {
    await 40 "the node to be online after $3" node_online
    answers "$1" "${@:4}"
    same "the process of $1 after $3" "$2" "$(bot "$1" .pid)"
    [[ -e /proc/$2 ]] || fail "process $2 is gone"
}

# Looking at the machine

main_pid() { systemctl show -P MainPID "$1"; }
# The group of a process in version 2, as a path below the tree.
group_of() { sed -n 's/^0:://p' "/proc/$1/cgroup"; }
# The file of a bot's group, such as memory.max.
in_group() { cat "$tree$(group_of "$(bot "$1" .pid)")/$2"; }
# kept_by NAME RESOURCE: what keeps this limit.
kept_by() { bot "$1" ".limits[] | select(.resource == \"$2\") | .mechanism"; }
# all_kept NAME [WHAT]: each of these limits is told to be kept by that; by groups of version 2 unless something else is said.
all_kept() {
    for resource in memory cpu pids; do
        same "what keeps $resource of $1" "${2-cgroup2}" "$(kept_by "$1" "$resource")"
    done
}
# in_force NAME: the limits of the profile `limited` are the group's.
in_force() {
    same memory.max $((128 << 20)) "$(in_group "$1" memory.max)"
    same cpu.max "50000 100000" "$(in_group "$1" cpu.max)"
    same pids.max 40 "$(in_group "$1" pids.max)"
}
# Whatever no group keeps must be told with a reason.
shortfall_is_told() {
    bot "$1" '.limits[] | "\(.resource): \(.mechanism), \(.note)"'
    same "limits without a reason" 0 "$(bot "$1" '[.limits[] | select(.mechanism != "cgroup2" and .note == "")] | length')"
}
gone() { [[ ! -e /proc/$1 ]]; }

# row NAME [REMARK [PID]]: one line of the table that run.py prints, of what is seen of this bot's launch. The pid is given where
# the agent has other numbers than this machine.
row() {
    local pid system manager group limits controllers
    pid=${3:-$(bot "$1" .pid)}
    manager=$(basename "$(readlink /proc/1/exe)")
    [[ $manager != systemd ]] || manager=$(systemctl --version | sed -n '1s/ (.*//p')
    # Numbers that differ from run to run are left out.
    group=$(group_of "$pid" | sed -E 's/edge-agent-[0-9a-f]{6,}/edge-agent-…/; s|/bot_[^/]*-[^/]*$|/BOT-LAUNCH|; s/docker-[0-9a-f]+/docker-…/')
    controllers=$(tr ' ' , <"$tree/cgroup.controllers")
    limits=$(bot "$1" '[.limits[] | "\(.resource): \(.mechanism)"] | join(", ")')
    system=$(. /etc/os-release && echo "Debian $VERSION_ID")
    echo "TABLE|$system|$manager${2:+, $2}|version 2: $controllers|$group|${limits:-no limits}"
}
