# The agent's unit alone, as before there was one for the bots: they start, and what is not kept is told
# machines: debian12

install_hub
install_agent_unit_alone
create_bot clerk limited
start_bot clerk
pid=$(bot clerk .pid)
answers clerk
shortfall_is_told clerk
for resource in memory cpu pids; do
    differs "what keeps $resource" cgroup2 "$(kept_by clerk "$resource")"
done

# The agent dies and comes back beside the running bot.
agent=$(main_pid edge-agent)
kill -9 "$agent"
await 20 "the killed agent to be gone" gone "$agent"
await 30 "the agent to come back" agent_answers
runs_on clerk "$pid" "a kill of the agent"
row clerk "the agent's unit alone"
stop_bot clerk
gone "$pid" || fail "the bot's process is still there"
