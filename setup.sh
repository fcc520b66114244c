#!/bin/sh
# Sets up the checkout: packages of the distribution where they are missing and may be installed,
# and the virtual environment .venv. Quick when there is nothing to do.
#
# Messages go to stderr. Exit status 1: something is missing; one line says what to install.
set -eu
cd "$(dirname "$0")"

VENV=.venv
STAMP=$VENV/.setup-stamp
PACKAGES="gcc libc6-dev libssl-dev libjansson-dev pkg-config python3-venv"

say() { printf '%s\n' "$*" >&2; }
fail() {
    say "$*"
    exit 1
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
        printf '#include <openssl/evp.h>\n#include <jansson.h>\nint main(void) { return 0; }\n' |
        "${CC:-cc}" -x c -fsyntax-only - 2>/dev/null
}

have_packages() {
    can_compile && { [ -x "$VENV/bin/pip" ] || can_make_venv "$(find_python)"; }
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
    log=$(mktemp)
    # The log names the distribution's servers: show it only when something failed.
    # shellcheck disable=SC2086 # a list of words
    if as_root apt-get update >"$log" 2>&1 &&
        as_root env DEBIAN_FRONTEND=noninteractive \
            apt-get install -y --no-install-recommends $PACKAGES >>"$log" 2>&1; then
        rm -f "$log"
        return 0
    fi
    grep '^E:' "$log" | head -n 3 >&2 || true
    rm -f "$log"
    return 1
}

have_packages || install_packages ||
    fail "setup: please install (Debian, Ubuntu): apt-get install $PACKAGES"

PYTHON=$(find_python)
[ -n "$PYTHON" ] || fail "setup: Python 3.11 or newer is needed; please install it"
have_packages ||
    fail "setup: still missing for $PYTHON: a C compiler, OpenSSL or jansson headers, or venv"

want=$(cat pyproject.toml setup.sh | sha256sum)
if [ -x "$VENV/bin/python" ] && [ "$(cat "$STAMP" 2>/dev/null)" = "$want" ]; then
    exit 0
fi

say "setup: Python packages into $VENV ($("$PYTHON" --version))"
[ -x "$VENV/bin/pip" ] || "$PYTHON" -m venv "$VENV"
# pip 25.1 is the first that knows dependency groups.
pip() { "$VENV/bin/python" -m pip --quiet --disable-pip-version-check "$@"; }
pip install --upgrade 'pip>=25.1'
pip install --editable '.[lab]' --group dev
printf '%s\n' "$want" >"$STAMP"
say "setup: done"
