# Other programs take the place of hub and agent, and the former ones that place again, as deploy/README.md says
# machines: debian12
# limit: 240

install_all
put_profiles "$(limited_profiles)"
restart_agent
create_bot clerk limited
start_bot clerk
pid=$(bot clerk .pid) holder=$(main_pid edge-agent-bots)

# Another build, as far as anybody can see: another file with other contents.
cp -a "$checkout" /root/checkout
checkout=/root/checkout
for program in control-hub edge-agent; do echo "another build" >>"$checkout/.build/dist/$program"; done

holds_installed() { [[ $(readlink "/proc/$holder/exe") == /usr/local/bin/edge-agent ]]; }
# all_well WHEN
all_well() {
    runs_on clerk "$pid" "$1"
    await 20 "the holder to run the installed program after $1" holds_installed
    same "the holder's process" "$holder" "$(main_pid edge-agent-bots)"
    same "the holder's unit" active "$(systemctl is-active edge-agent-bots)"
    in_force clerk
    # A bot that is started now is limited as those before.
    create_bot "$2" limited
    start_bot "$2"
    all_kept "$2"
    stop_bot "$2"
    step "$1: the bot and the holder kept their processes"
}

by_the_document "Upgrade and rollback" ""
cmp -s "/proc/$(main_pid edge-agent)/exe" "$checkout/.build/dist/edge-agent" || fail "the agent is not the new program"
all_well "the upgrade of the agent" second
cmp -s "/proc/$holder/exe" "$checkout/.build/dist/edge-agent" || fail "the holder is not the new program"

# What the document has in a sentence.
rollback=$(grep -o '`mv /usr/local/bin/edge-agent.old [^`]*`' "$checkout/deploy/README.md" | tr -d '`')
bash -exc "$rollback"
all_well "the rollback of the agent" third
! cmp -s "/proc/$holder/exe" "$checkout/.build/dist/edge-agent" || fail "the holder is still the new program"

by_the_document "Upgrade and rollback" "The hub is the same"
by_the_document "Upgrade and rollback" "" -e 's/edge-agent/control-hub/g'
await 60 "the new hub to be ready" ready
all_well "the upgrade of the hub" fourth
systemctl stop control-hub
rm -rf /var/lib/private/control-hub
cp -a /var/lib/private/control-hub.before /var/lib/private/control-hub
bash -exc "${rollback//edge-agent/control-hub}"
await 60 "the former hub to be ready" ready
runs_on clerk "$pid" "the rollback of the hub"
row clerk "after upgrades"
