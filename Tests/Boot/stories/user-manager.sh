# Without root: the agent in the service manager of a user who is not logged in; restarts and a reboot
# machines: debian12
# boots: 2
# limit: 180

as_ada() { runuser -l ada -c "$*"; }
unit() { as_ada "systemctl --user show -P $2 $1"; }
if ((BOOT == 1)); then
    install_hub
    use_sample_bot
    install -m 755 "$checkout/.build/dist/edge-agent" /usr/local/bin/
    useradd --create-home --shell /bin/bash ada
    loginctl enable-linger ada
    await 30 "the user's service manager" as_ada systemctl --user is-system-running
    put_profiles "$(limited_profiles)"
    commands=$(commands_of "A node" "Without root." | sed "$(pairing)")
    as_ada "cd $checkout && set -ex && $commands"
    await 40 "the node to be online" node_online
    create_bot clerk limited
    start_bot clerk
    pid=$(bot clerk .pid)
    same "the bot's user" ada "$(stat -c %U "/proc/$pid")"
    all_kept clerk
    in_force clerk
    answers clerk
    holder=$(unit edge-agent-bots MainPID) agent=$(unit edge-agent MainPID)
    as_ada systemctl --user restart edge-agent
    await 20 "the former agent to be gone" gone "$agent"
    runs_on clerk "$pid" "a restart of the agent"
    same "the holder's process" "$holder" "$(unit edge-agent-bots MainPID)"
    in_force clerk
    row clerk "a user's manager"
    touch /run/boot-test-orderly
else
    await 60 "the hub to be ready" ready
    await 60 "the node to be online" node_online
    await 60 "the bot to be ready" phase_is clerk ready
    all_kept clerk
    in_force clerk
    answers clerk
    step "after a reboot all is there again, though nobody has logged in"
fi
