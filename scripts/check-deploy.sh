#!/usr/bin/env bash
# Checks the files in deploy/ with the programs that will read them, where those are installed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

if command -v systemd-analyze >/dev/null; then
    for unit in edge-agent edge-agent-bots control-hub; do
        # The programs need not be installed here.
        sed 's#^ExecStart=/usr/local/bin/[a-z-]*#ExecStart=/bin/true#' "deploy/systemd/$unit.service" >"$work/$unit.service"
        systemd-analyze verify "$work/$unit.service"
        echo "check-deploy: $unit.service is right"
    done
else
    echo "check-deploy: no systemd-analyze here (apt-get install systemd); units not checked"
fi

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=hub.example \
    -keyout "$work/privkey.pem" -out "$work/fullchain.pem" 2>/dev/null
cp "$work/fullchain.pem" "$work/hub-ca.pem"
cat "$work/fullchain.pem" "$work/privkey.pem" >"$work/haproxy.pem"
# The certificates of the examples are these.
site() { sed "s#/etc/ssl/control-hub/#$work/#" "deploy/$1"; }

if command -v nginx >/dev/null; then
    {
        echo "pid $work/nginx.pid; error_log stderr; events {} http { access_log off;"
        for place in client_body proxy fastcgi uwsgi scgi; do echo "${place}_temp_path $work/$place;"; done
        site nginx/control-hub.conf
        echo "}"
    } >"$work/nginx.conf"
    nginx -t -q -c "$work/nginx.conf"
    echo "check-deploy: nginx/control-hub.conf is right"
else
    echo "check-deploy: no nginx here (apt-get install nginx-light); its configuration not checked"
fi

if command -v haproxy >/dev/null; then
    site haproxy/control-hub.cfg >"$work/haproxy.cfg"
    haproxy -c -q -f "$work/haproxy.cfg"
    echo "check-deploy: haproxy/control-hub.cfg is right"
else
    echo "check-deploy: no haproxy here (apt-get install haproxy); its configuration not checked"
fi

if command -v caddy >/dev/null; then
    site caddy/Caddyfile >"$work/Caddyfile"
    HOME=$work caddy validate --adapter caddyfile --config "$work/Caddyfile" >"$work/caddy.log" 2>&1 \
        || { cat "$work/caddy.log"; exit 1; }
    echo "check-deploy: caddy/Caddyfile is right"
else
    echo "check-deploy: no caddy here (apt-get install caddy); its configuration not checked"
fi
