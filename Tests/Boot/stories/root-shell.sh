# Under systemd, but past it: `edge-agent run` of root from a shell keeps all limits in a group at the top of the tree
# machines: debian12

put_profiles "$(limited_profiles)"
hub_by_hand
by_hand
