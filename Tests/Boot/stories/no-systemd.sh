# A machine without a service manager: an agent of root keeps all limits, one of a user tells what it cannot keep
# machines: debian12
# init: none

put_profiles "$(limited_profiles)"
hub_by_hand
by_hand
step "an agent without root"
useradd --create-home ada
node_name=adas
enroll_by_hand adas runuser -u ada -- env HOME=/home/ada
agent_by_hand runuser -u ada -- env HOME=/home/ada
create_bot third limited
start_bot third
pid=$(bot third .pid)
same "the bot's user" ada "$(stat -c %U "/proc/$pid")"
answers third
shortfall_is_told third
differs "what keeps memory" cgroup2 "$(kept_by third memory)"
row third "an agent without root"
stop_bot third
gone "$pid" || fail "the bot's process is still there"
