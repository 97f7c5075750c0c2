# After a reboot, and after a power cut, hub, agent and bot come up by themselves, and the conversation is still there
# machines: debian12 debian13
# boots: 3
# limit: 180

units=(control-hub edge-agent edge-agent-bots)
case $BOOT in
1)
    install_all
    create_bot sleeper
    start_bot sleeper
    talk sleeper "my name is Ada" >/dev/null
    cp /run/conversation "$kept/conversation"
    touch /run/boot-test-orderly
    step "the machine is switched off in order"
    ;;
2 | 3)
    conversation=$(cat "$kept/conversation")
    await 60 "the hub to be ready" ready
    await 60 "the node to be online" node_online
    await 60 "the bot to be ready" phase_is sleeper ready
    for unit in "${units[@]}"; do
        same "$unit" active "$(systemctl is-active "$unit")"
    done
    [[ $(talk sleeper "Who am I?" "$conversation") == "You are Ada." ]] || fail "the conversation is lost"
    step "boot $BOOT: all is there again"
    row sleeper "$([[ $BOOT == 2 ]] && echo "after a reboot" || echo "after a power cut")"
    if ((BOOT == 2)); then
        # In the middle of work.
        api POST "/api/bots/$(id sleeper)/messages" '{"text": "emit 200"}' >/dev/null
        power_cut
    fi
    journalctl --list-boots --no-pager
    ;;
esac
