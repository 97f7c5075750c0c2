# Bots of another user: the agent as root, by the drop-in of deploy/README.md; limits are kept as well
# machines: debian12

install_all
useradd --create-home ada
holder_of_root() { [[ $(stat -c %U "/proc/$(main_pid edge-agent-bots)") == root ]]; }
put_profiles "$(limited_profiles | jq '.adas = .limited + {user: "ada"}')"
by_the_document "A node" "Bots of other users."
await 60 "the agent to be back, as root" agent_answers root
await 60 "the holder to be back, as root" holder_of_root
await 60 "the node to be online" node_online
same "the agent's user" root "$(stat -c %U "/proc/$(main_pid edge-agent)")"

create_bot clerk adas
start_bot clerk
pid=$(bot clerk .pid)
same "the bot's user" ada "$(stat -c %U "/proc/$pid")"
same "its rights" "CapEff:	0000000000000000" "$(grep CapEff "/proc/$pid/status")"
answers clerk
all_kept clerk
in_force clerk
! runuser -u ada -- ls /var/lib/edge-agent 2>/dev/null || fail "the bot's user can read the agent's directory"
row clerk "bots of another user"

restart_agent root
runs_on clerk "$pid" "a restart of the agent"
stop_bot clerk
gone "$pid" || fail "the bot's process is still there"
