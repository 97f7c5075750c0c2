# Hub and agent are restarted, stopped and killed, in either order: the bot runs on and answers after each
# machines: debian12 debian13
# limit: 240

install_all
create_bot walker
start_bot walker
pid=$(bot walker .pid)
talk walker "my name is Ada" >/dev/null
conversation=$(cat /run/conversation)

# still WHAT: after it everything is there again, and the bot is the one from before.
still() {
    runs_on walker "$pid" "$1" "Who am I?" "$conversation"
    same "the answer after $1" "You are Ada." "$(cat /run/said)"
    step "$1: same process, answers"
}

agent=$(main_pid edge-agent)
systemctl restart edge-agent
still "a restart of the agent"
differs "the agent's process" "$agent" "$(main_pid edge-agent)"

systemctl stop edge-agent
gone "$agent" || true
[[ -e /proc/$pid ]] || fail "the bot has ended with its agent"
systemctl start edge-agent
still "a stop and a start of the agent"

agent=$(main_pid edge-agent)
kill -9 "$agent"
await 20 "the killed agent to be gone" gone "$agent"
still "kill -9 of the agent"

systemctl restart control-hub
still "a restart of the hub"
hub_pid=$(main_pid control-hub)
kill -9 "$hub_pid"
await 20 "the killed hub to be gone" gone "$hub_pid"
await 30 "the hub to be ready" ready
still "kill -9 of the hub"

systemctl restart edge-agent && systemctl restart control-hub
still "agent, then hub"
systemctl restart control-hub && systemctl restart edge-agent
still "hub, then agent"
kill -9 "$(main_pid edge-agent)" "$(main_pid control-hub)"
sleep 1
await 30 "the hub to be ready" ready
still "kill -9 of both"
row walker
stop_bot walker
