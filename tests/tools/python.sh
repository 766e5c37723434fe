# Sourced by tests/run, from the project's root. `tools` is the folder in which everything is installed.

have() { command -v "$1" >/dev/null 2>&1; }

# Debian's packages, as root only.
install() {
    [[ $(id -u) -eq 0 ]] && have apt-get || return 1
    printf '\n== installing %s\n' "$*"
    # policy-rc.d is how Debian is told to start no service: 101 stands for "not allowed".
    local policy=/usr/sbin/policy-rc.d mine=
    [[ -e $policy ]] || { printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod 755 "$policy" && mine=1; }
    local code=0
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends "$@"; } || code=$?
    [[ -z $mine ]] || rm -f "$policy"
    return "$code"
}

# moto, which is the cloud of the tests, boto3 and the AWS CLI; made again when the requirements change. Each package is held to its hash.
python_environment() {
    local venv=$tools/python wanted=tests/requirements.lock
    cmp -s "$wanted" "$venv/requirements.lock" && return
    printf '\n== installing %s\n' "$(grep -v '^#' tests/requirements.txt | xargs)"
    rm -rf "$venv"
    # Debian's python3 makes no environments without this package.
    python3 -m venv "$venv" >/dev/null || { install python3-venv && python3 -m venv --clear "$venv"; } || return 1
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r "$wanted" || return 1
    cp "$wanted" "$venv/requirements.lock"
}
