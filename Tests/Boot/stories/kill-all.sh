# What ends what: the whole unit of the agent, the whole unit of the bots, the holder alone; at last all is removed
# machines: debian12
# limit: 300

install_all
put_profiles "$(limited_profiles)"
restart_agent
create_bot clerk limited
start_bot clerk
pid=$(bot clerk .pid) holder=$(main_pid edge-agent-bots)
another_pid() { [[ $(bot clerk .pid) != "$pid" ]] && phase_is clerk ready; }
another_holder() { [[ $(systemctl is-active edge-agent-bots) == active && $(main_pid edge-agent-bots) != "$holder" ]]; }

agent=$(main_pid edge-agent)
systemctl kill --kill-whom=all edge-agent
await 20 "the agent to be gone" gone "$agent"
runs_on clerk "$pid" "a kill of the agent's unit"
step "the agent's unit was killed: the bot runs on, the agent is back"

for signal in TERM KILL; do
    systemctl kill --kill-whom=all --signal=$signal edge-agent-bots
    await 20 "the bot to be gone" gone "$pid"
    await 30 "the holder to come back" another_holder
    await 60 "the bot to be started again" another_pid
    all_kept clerk
    in_force clerk
    answers clerk
    pid=$(bot clerk .pid) holder=$(main_pid edge-agent-bots)
    step "the bots' unit was killed (SIG$signal): the holder is back, the bot was started again, limits are kept"
done

kill -9 "$holder"
await 20 "the holder to be gone" gone "$holder"
sleep 2
runs_on clerk "$pid" "a kill of the holder"
in_force clerk
# A start must not fail because of that, and what is not kept is told.
create_bot second limited
start_bot second
answers second
shortfall_is_told second
step "the holder was killed: the bot runs on with its limits, another one could be started"
stop_bot second
stop_bot clerk
await 60 "the holder to come back" another_holder
start_bot clerk
all_kept clerk
in_force clerk
row clerk "after its holder was killed"
step "when the bots had ended the holder came back, and limits are kept"

pid=$(bot clerk .pid)
by_the_document "A node" "To remove it"
await 60 "everything to be gone" gone "$pid"
! pgrep -f 'edge-agent|/opt/bots' || fail "processes are left"
! compgen -G "$tree/system.slice/edge-agent*" || fail "control groups are left"
step "removed: no process and no group is left"
