# The agent itself in a container: with a tree of control groups that it may write it keeps all limits, else it tells what not
# machines: docker12
# limit: 300

put_profiles "$(limited_profiles)"
hub_by_hand
engine

# in_container NAME OPTION…: pairs and runs an agent in a container.
in_container() {
    local name=$1 state=/var/lib/agents/$1
    shift
    mkdir -p "$state"
    node_name=$name
    enroll_by_hand "$name" env EDGE_STATE_DIR="$state"
    docker run --detach --name "$name" --network host --init "$@" --volume "$state:/var/lib/edge-agent" --volume /usr:/usr:ro \
        --volume /opt:/opt:ro --volume /etc/edge-agent:/etc/edge-agent:ro --volume "$authority:$authority:ro" \
        boot-test/base:1 edge-agent run --state-dir /var/lib/edge-agent >/dev/null
    await 60 "the node to be online" node_online
    step "$name: $(docker exec "$name" cat /proc/1/cgroup)"
}
# The bot's process as this machine sees it.
seen_pid() { pgrep -f '^python3 /opt/bots/sample-bot'; }

in_container privileged --privileged --cgroupns private
create_bot first limited
start_bot first 90
answers first
all_kept first
pid=$(seen_pid)
group=$tree$(group_of "$pid")
same memory.max $((128 << 20)) "$(cat "$group/memory.max")"
same cpu.max "50000 100000" "$(cat "$group/cpu.max")"
same pids.max 40 "$(cat "$group/pids.max")"
row first "agent in a privileged container" "$pid"
# A restarted container begins anew; so do its bots.
docker restart --time 20 privileged >/dev/null
await 60 "the bot to be gone" gone "$pid"
await 60 "the node to be online" node_online
start_bot first 90
answers first
all_kept first
stop_bot first
docker rm --force privileged >/dev/null

in_container plain --cgroupns private
create_bot second limited
start_bot second 90
answers second
shortfall_is_told second
differs "what keeps memory" cgroup2 "$(kept_by second memory)"
row second "agent in a plain container" "$(seen_pid)"
stop_bot second
