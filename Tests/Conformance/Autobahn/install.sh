#!/usr/bin/env bash
# Installs Autobahn|Testsuite 25.10.1 in the user's cache and prints the path of its `wstest`. Does nothing when it is
# there already. Progress goes to stderr.
#
# The suite needs CPython 2.7, which Debian 12 does not have. Unless the machine has one, it is unpacked from Debian 11
# into the cache as well: no package is installed and no source added, so root is not needed. PYTHON27 names another.
set -euo pipefail

version=25.10.1
prefix=${AUTOBAHN_HOME:-${XDG_CACHE_HOME:-$HOME/.cache}/control-hub/autobahn-$version}
say() { echo "autobahn: $*" >&2; }

if [[ -x $prefix/wstest ]] && "$prefix/wstest" --autobahnversion >/dev/null 2>&1; then
    echo "$prefix/wstest"
    exit 0
fi
mkdir -p "$prefix"
# Two runs at once would step on each other.
exec 9>"$prefix/lock"
flock 9

works() { [[ -n $1 ]] && "$1" -c 'import ssl, zlib, ctypes' 2>/dev/null; }

# Python 2.7 and the libraries that went with it, from Debian 11 through the mirror that apt uses already.
unpack_python() {
    local apt=$prefix/apt root=$prefix/python mirror
    mirror=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources 2>/dev/null |
        grep -v '^#' | grep -oE 'https?://[^ ]+/debian/?( |$)' | head -n 1) || true
    [[ -n $mirror ]] || { say "no Debian mirror among apt's sources, and no python2.7; install Python 2.7"; return 1; }
    say "unpacking Python 2.7 from Debian 11"
    rm -rf "$apt" "$root"
    mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial" "$root"
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] ${mirror% } bullseye main" >"$apt/sources.list"
    : >"$apt/status"
    local options=(
        -o "Dir::Etc::sourcelist=$apt/sources.list" -o Dir::Etc::sourceparts=/dev/null -o "Dir::State::lists=$apt/lists"
        -o "Dir::State::status=$apt/status" -o "Dir::Cache=$apt/cache" -o APT::Sandbox::User= -qq
    )
    apt-get "${options[@]}" update >&2
    (
        cd "$root"
        apt-get "${options[@]}" download python2.7 python2.7-minimal libpython2.7-stdlib libpython2.7-minimal \
            libpython2.7 libpython2.7-dev python2.7-dev libssl1.1 libffi7 libreadline8 libdb5.3 libsqlite3-0 >&2
        for package in *.deb; do dpkg -x "$package" .; done
        rm -- *.deb
    )
    rm -rf "$apt"
    # Finds its own libraries wherever it is called from; what it starts does too.
    cat >"$prefix/python2.7" <<END
#!/bin/sh
export LD_LIBRARY_PATH="$root/usr/lib/$(uname -m)-linux-gnu\${LD_LIBRARY_PATH:+:\$LD_LIBRARY_PATH}"
exec "$root/usr/bin/python2.7" "\$@"
END
    chmod +x "$prefix/python2.7"
}

python=
for candidate in "${PYTHON27:-}" /usr/bin/python2.7; do
    works "$candidate" && python=$candidate && break
done
library_path=
if [[ -z $python ]]; then
    works "$prefix/python2.7" || unpack_python
    works "$prefix/python2.7" || { say "the unpacked Python 2.7 does not run"; exit 1; }
    python=$prefix/python/usr/bin/python2.7
    library_path=$prefix/python/usr/lib/$(uname -m)-linux-gnu
    # It looks for its headers where they are after an ordinary installation; one of them is named by its architecture.
    export CPATH=$prefix/python/usr/include/python2.7:$prefix/python/usr/include${CPATH:+:$CPATH}
fi

say "installing Autobahn|Testsuite $version with $python"
tool=$(mktemp -d)
trap 'rm -rf "$tool"' EXIT
export LD_LIBRARY_PATH=$library_path${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
[[ -n $LD_LIBRARY_PATH ]] || unset LD_LIBRARY_PATH
LD_LIBRARY_PATH='' python3 -m venv "$tool"
# The last line of virtualenv that makes environments for Python 2.7.
LD_LIBRARY_PATH='' "$tool/bin/pip" install -q 'virtualenv==20.21.1' >&2
rm -rf "$prefix/environment"
"$tool/bin/virtualenv" -q -p "$python" "$prefix/environment" >&2
"$prefix/environment/bin/pip" install -q --no-python-version-warning "autobahntestsuite==$version" >&2
cat >"$prefix/wstest" <<END
#!/bin/sh
${library_path:+export LD_LIBRARY_PATH="$library_path"}
exec "$prefix/environment/bin/python" -W ignore "$prefix/environment/bin/wstest" "\$@"
END
chmod +x "$prefix/wstest"
say "$("$prefix/wstest" --autobahnversion 2>/dev/null | tail -n 1)"
echo "$prefix/wstest"
