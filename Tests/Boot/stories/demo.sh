# `make demo`, with programs that are built already: reaches its conversation and leaves nothing behind
# machines: debian12

cp -a "$checkout" /root/demo
cd /root/demo
CONTROL_HUB=$PWD/.build/dist/control-hub EDGE_AGENT=$PWD/.build/dist/edge-agent scripts/demo.py --once | tee /run/demo
grep -q 'assistant.*This is message 1' /run/demo || fail "there was no conversation"
! pgrep -f 'edge-agent|control-hub|sample-bot' || fail "processes are left"
! compgen -G "$tree/edge-agent*" || fail "control groups are left"
