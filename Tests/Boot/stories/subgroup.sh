# The agent's unit alone, with DelegateSubgroup=agent (systemd 254 and later): all limits are kept beside the agent
# machines: debian13

install_hub
install -d /etc/systemd/system/edge-agent.service.d
printf '[Service]\nDelegateSubgroup=agent\n' >/etc/systemd/system/edge-agent.service.d/subgroup.conf
install_agent_unit_alone
same "the agent's group" /system.slice/edge-agent.service/agent "$(group_of "$(main_pid edge-agent)")"
create_bot clerk limited
start_bot clerk
all_kept clerk
in_force clerk
pid=$(bot clerk .pid)
row clerk DelegateSubgroup

restart_agent
runs_on clerk "$pid" "a restart of the agent"
in_force clerk
stop_bot clerk
gone "$pid" || fail "the bot's process is still there"
