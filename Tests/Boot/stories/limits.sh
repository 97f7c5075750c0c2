# Memory, processor time and processes of bots are limited by control groups, and what goes over ends nothing but itself
# machines: debian12 debian13 debian11
# limit: 300

install_all
bots_with_appetite
put_profiles "$(limited_profiles)"
restart_agent
await 30 "the node to be online" node_online
agent=$(main_pid edge-agent) holder=$(main_pid edge-agent-bots)

unharmed() {
    same "the agent's process after $1" "$agent" "$(main_pid edge-agent)"
    same "the holder's process after $1" "$holder" "$(main_pid edge-agent-bots)"
}

create_bot modest limited
start_bot modest
all_kept modest
in_force modest
answers modest
row modest
step "limits are told and in force"

# Eats 256 MB in its first life, and is content in its second.
create_bot glutton glutton
api POST "/api/bots/$(id glutton)/start" >/dev/null
killed() { bot glutton .last_exit && [[ $(bot glutton .last_exit.out_of_memory) == true ]]; }
await 60 "the glutton to be killed for its memory" killed
await 60 "the glutton to be started again" phase_is glutton ready
[[ $(bot glutton .restart_count) -ge 1 ]] || fail "it was not restarted"
unharmed "a bot was killed for its memory"
answers modest
step "out of memory: told, restarted, nothing else ended"

create_bot spinner spinner
start_bot spinner
used() { in_group spinner cpu.stat | sed -n 's/^usage_usec //p'; }
first=$(used) begun=$(date +%s%N)
sleep 5
share=$((($(used) - first) * 100000 / ($(date +%s%N) - begun)))
step "a bot that spins got $share % of a processor; its limit is 20 %"
((share >= 10 && share <= 30)) || fail "the limit of processor time is not kept"
stop_bot spinner

create_bot breeder breeder
start_bot breeder
refused() { in_group breeder pids.events && [[ $(in_group breeder pids.events) != "max 0" ]]; }
await 30 "the breeder to be refused a process" refused
count=$(in_group breeder pids.current)
((count <= 20)) || fail "it has $count processes; its limit is 20"
answers modest
unharmed "a fork bomb"
step "a fork bomb ended at $count processes"

groups=()
for name in modest glutton breeder; do groups+=("$tree$(group_of "$(bot "$name" .pid)")"); done
members=$(cat "${groups[@]/%//cgroup.procs}")
for name in modest glutton breeder; do stop_bot "$name"; done
for pid in $members; do gone "$pid" || fail "process $pid is left: $(tr '\0' ' ' <"/proc/$pid/cmdline")"; done
for group in "${groups[@]}"; do [[ ! -e $group ]] || fail "$group is left"; done
! pgrep -f '/opt/bots/' || fail "processes of bots are left"
unharmed "all bots were stopped"
step "stopped: no process and no group is left"
