#!/bin/sh
# Sets up the checkout: packages of the distribution where they are missing and may be installed,
# and the virtual environment .venv. Quick when there is nothing to do.
#
# Messages go to stderr. Exit status 1: something is missing; one line says what to install.
set -eu
cd "$(dirname "$0")"

VENV=.venv
STAMP=$VENV/.setup-stamp
PACKAGES="gcc libc6-dev libssl-dev libjson-c-dev python3-venv"

say() { printf '%s\n' "$*" >&2; }
fail() {
    say "$*"
    exit 1
}

# Runs a command without its chatter; shows its errors, without addresses, when it fails.
quietly() {
    log=$(mktemp)
    status=0
    "$@" >"$log" 2>&1 || status=$?
    if [ "$status" -ne 0 ]; then
        grep -E '^(E:|ERROR:)' "$log" | head -n 5 |
            sed -E "s#https?://[^ ]*#(address)#g; s#host='[^']*'#host=(address)#g" >&2 || true
    fi
    rm -f "$log"
    return "$status"
}

find_python() {
    for name in python3.13 python3.12 python3.11 python3; do
        if command -v "$name" >/dev/null 2>&1 &&
            "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            printf '%s' "$name"
            return
        fi
    done
}

# A venv without pip is what Debian gives when python3-venv is missing.
can_make_venv() { [ -n "$1" ] && "$1" -c 'import venv, ensurepip' 2>/dev/null; }

can_compile() {
    command -v "${CC:-cc}" >/dev/null 2>&1 &&
        printf '#include <openssl/evp.h>\n#include <json-c/json.h>\nint main(void) { return 0; }\n' |
        "${CC:-cc}" -x c -fsyntax-only - 2>/dev/null
}

# Also false when the Python that the environment was made with is gone.
have_venv() { "$VENV/bin/python" -m pip --version >/dev/null 2>&1; }

have_packages() {
    can_compile && { have_venv || can_make_venv "$(find_python)"; }
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    else
        sudo -n "$@"
    fi
}

install_packages() {
    command -v apt-get >/dev/null 2>&1 || return 1
    [ "$(id -u)" -eq 0 ] || sudo -n true 2>/dev/null || return 1
    say "setup: installing $PACKAGES"
    # shellcheck disable=SC2086 # a list of words
    quietly as_root apt-get update &&
        quietly as_root env DEBIAN_FRONTEND=noninteractive \
            apt-get install -y --no-install-recommends $PACKAGES
}

want=$(cat pyproject.toml setup.sh | sha256sum)
if can_compile && [ -x "$VENV/bin/python" ] && [ "$(cat "$STAMP" 2>/dev/null)" = "$want" ]; then
    exit 0
fi

have_packages || install_packages ||
    fail "setup: please install (Debian, Ubuntu): apt-get install $PACKAGES"

PYTHON=$(find_python)
[ -n "$PYTHON" ] || fail "setup: Python 3.11 or newer is needed; please install it"
have_packages ||
    fail "setup: still missing for $PYTHON: a C compiler, OpenSSL or json-c headers, or venv"

say "setup: Python packages into $VENV ($("$PYTHON" --version))"
have_venv || "$PYTHON" -m venv --clear "$VENV"
pip_install() { quietly "$VENV/bin/python" -m pip --disable-pip-version-check install "$@"; }
# pip 25.1 is the first that knows dependency groups.
pip_install --upgrade 'pip>=25.1' && pip_install --editable '.[lab]' --group dev ||
    fail "setup: pip could not install the Python packages; is a package index reachable?"
printf '%s\n' "$want" >"$STAMP"
say "setup: done"
