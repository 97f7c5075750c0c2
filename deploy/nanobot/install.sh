#!/usr/bin/env bash
# Installs nanobot and the channel plug-in that lets an edge agent run it, into ROOT/nanobot-v<version>.
#
#   deploy/nanobot/install.sh [ROOT]      ROOT is /opt by default, where an agent looks for it
#
# Says the path of the virtual environment on its last line. Does nothing where it is there already and up to date.
set -euo pipefail

version=0.1.4.post5
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=${1:-/opt}
mkdir -p "$root"
root=$(cd "$root" && pwd)
target=$root/nanobot-v$version
python=${PYTHON:-python3}

die() {
    echo "install.sh: $*" >&2
    exit 1
}

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
    die "needs Python 3.11 or newer; set PYTHON to one ($python is not)"
"$python" -c 'import ensurepip, venv' 2>/dev/null ||
    die "Python's venv module is missing; on Debian: apt-get install python3-venv"

# What decides whether an installation is up to date: everything that goes into it.
wanted=$(cd "$here" && cat install.sh constraints.txt plugin/pyproject.toml plugin/nanobot_channel_edge/*.py | sha256sum)
if [[ $(cat "$target/edge-channel.sum" 2>/dev/null) == "$wanted" ]] && "$target/bin/nanobot" --version >/dev/null 2>&1; then
    echo "install.sh: up to date" >&2
    echo "$target"
    exit 0
fi

# One at a time; the environment cannot be built elsewhere and moved, since its programs name its path.
exec 9>"$root/.nanobot-install.lock"
flock 9
rm -f "$target/edge-channel.sum"
[[ -x $target/bin/pip ]] || "$python" -m venv "$target"
# A copy, because building writes beside the sources.
sources=$(mktemp -d)
trap 'rm -rf "$sources"' EXIT
cp -r "$here/plugin" "$sources/plugin"
"$target/bin/pip" install --quiet --disable-pip-version-check --no-input --constraint "$here/constraints.txt" \
    "nanobot-ai==$version" setuptools || die "nanobot-ai $version could not be installed; is the package index reachable?"
"$target/bin/pip" install --quiet --disable-pip-version-check --no-input --no-build-isolation --no-deps \
    --force-reinstall "$sources/plugin" || die "the channel plug-in could not be installed"
"$target/bin/python" -c 'from nanobot.channels.registry import discover_plugins; assert "edge" in discover_plugins()' ||
    die "nanobot does not find the channel plug-in"
echo "$wanted" >"$target/edge-channel.sum"
echo "install.sh: installed nanobot $version" >&2
echo "$target"
