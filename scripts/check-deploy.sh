#!/usr/bin/env bash
# Checks the files in deploy/ with the programs that will read them: systemd-analyze, and nginx where it is installed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

if command -v systemd-analyze >/dev/null; then
    for unit in edge-agent control-hub; do
        # The programs need not be installed here.
        sed 's#^ExecStart=/usr/local/bin/[a-z-]*#ExecStart=/bin/true#' "deploy/systemd/$unit.service" >"$work/$unit.service"
        systemd-analyze verify "$work/$unit.service"
        echo "check-deploy: $unit.service is right"
    done
else
    echo "check-deploy: no systemd-analyze here (apt-get install systemd); units not checked"
fi

if command -v nginx >/dev/null; then
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=hub.example \
        -keyout "$work/key.pem" -out "$work/cert.pem" 2>/dev/null
    {
        echo "pid $work/nginx.pid; error_log stderr; events {} http { access_log off;"
        for place in client_body proxy fastcgi uwsgi scgi; do echo "${place}_temp_path $work/$place;"; done
        sed "s#/etc/ssl/control-hub/privkey.pem#$work/key.pem#; s#/etc/ssl/control-hub/[a-z-]*.pem#$work/cert.pem#" \
            deploy/nginx/control-hub.conf
        echo "}"
    } >"$work/nginx.conf"
    nginx -t -q -c "$work/nginx.conf"
    echo "check-deploy: nginx/control-hub.conf is right"
else
    echo "check-deploy: no nginx here (apt-get install nginx-light); its configuration not checked"
fi
