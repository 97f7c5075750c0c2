# Containers of Docker Engine under systemd and version 2: limits by the engine, out of memory, logs, stop; outliving the agent
# machines: docker12
# limit: 300

install_all
bots_with_appetite
engine
step "the engine runs: $(docker info --format '{{.ServerVersion}}, cgroup version {{.CgroupVersion}}, driver {{.CgroupDriver}}')"
usermod -aG docker edge-agent
put_profiles "$(limited_profiles | jq '
    {backend: "docker", image: "boot-test/base:1", pull: "never", network: "host",
        mounts: ["/usr:/usr:ro", "/opt/bots:/opt/bots:ro"]} as $container
    | {boxed: (.limited + $container), boxed_glutton: (.glutton + $container)}')"
restart_agent
await 30 "the node to be online" node_online

create_bot clerk boxed
start_bot clerk 90
container=$(docker ps -q)
answers clerk
all_kept clerk engine
pid=$(docker inspect -f '{{.State.Pid}}' "$container")
group=$tree$(group_of "$pid")
same memory.max $((128 << 20)) "$(cat "$group/memory.max")"
same pids.max 40 "$(cat "$group/pids.max")"
same cpu.max "50000 100000" "$(cat "$group/cpu.max")"
api GET "/api/bots/$(id clerk)/logs?tail=20" | grep -q 'sample-bot.*is up' || fail "the container's log is not there"
row clerk "Docker Engine"
step "limits are told and in force"

kill -9 "$(main_pid edge-agent)"
sleep 1
await 40 "the agent to come back" agent_answers
await 30 "the node to be online" node_online
answers clerk
same "the container" "$container" "$(docker ps -q)"
same "its process" "$pid" "$(docker inspect -f '{{.State.Pid}}' "$container")"
step "the agent was killed, the container is the one from before"

create_bot glutton boxed_glutton
# The engine's word is all there is, and this engine sees some of these kills and some not.
docker events --filter event=oom --format '{{.Action}}' >/run/oom 2>&1 &
events=$!
api POST "/api/bots/$(id glutton)/start" >/dev/null
killed() { bot glutton .last_exit && [[ $(bot glutton '.last_exit | .code == 137 or .signal == 9') == true ]]; }
await 90 "the glutton to be killed for its memory" killed
told=$([[ -s /run/oom ]] && echo true || echo false)
same "out of memory, as the engine tells it" "$told" "$(bot glutton .last_exit.out_of_memory)"
await 90 "the glutton to be started again" phase_is glutton ready
kill "$events"
answers clerk
step "out of memory (told by the engine: $told): started again"

stop_bot glutton
stop_bot clerk
gone "$pid" || fail "the bot's process is still there"
[[ ! -e $group ]] || fail "$group is left"
same "containers that are left" "" "$(docker ps -aq)"
