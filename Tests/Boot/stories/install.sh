# Hub and node as deploy/README.md says, to the letter; a bot answers, and the journal is in order
# machines: debian12 debian13 debian11
# limit: 240

install_all
create_bot clerk
start_bot clerk
step "the bot is ready"
answers clerk
step "the bot has answered"
same "the bot's user" edge-agent "$(stat -c %U "/proc/$(bot clerk .pid)")"

# The hub again, twice: nothing of it may be in the journal that lets somebody in.
for time in 1 2; do
    systemctl restart control-hub
    await 30 "the hub to be ready again ($time)" ready
done
await 40 "the node to be online again" node_online
answers clerk

# every_line UNIT: what its processes wrote is one JSON object a line, each with the priority of its level.
every_line() {
    local lines
    lines=$(journalctl -b -o json "_SYSTEMD_UNIT=$1.service" | jq -s length)
    ((lines > 0)) || fail "there is nothing of $1 in the journal"
    journalctl -b -o json "_SYSTEMD_UNIT=$1.service" | jq -r '
        {trace: "7", debug: "7", info: "6", notice: "5", warning: "4", error: "3", critical: "2"} as $priorities
        | (try (.MESSAGE | fromjson) catch {}) as $record
        | select($record.level == null or .PRIORITY != $priorities[$record.level])
        | "\(.PRIORITY) \(.MESSAGE)"' >/run/odd
    [[ ! -s /run/odd ]] || fail "$1: these of $lines lines are no JSON object with the right priority: $(head -n 5 /run/odd)"
    step "$1: $lines lines in the journal, each a JSON object with its priority"
}
every_line control-hub
every_line edge-agent
[[ ! -e /etc/systemd/system/edge-agent-bots.service ]] || every_line edge-agent-bots
for words in 'login#' 'Failed to set thread priority'; do
    found=$(journalctl -b --no-pager -o cat | grep -F "$words" | head -n 3) || true
    [[ -z $found ]] || fail "in the journal: $found"
done
for unit in control-hub edge-agent; do
    same "$unit has ended by itself" 0 "$(systemctl show -P NRestarts "$unit")"
done
row clerk
stop_bot clerk
