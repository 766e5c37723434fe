#!/bin/sh
# cloud-init-schema.sh DIR VENV_PYTHON
#
# Makes DIR/cloud-init-schema, a program that checks one file against cloud-init's own schema (exit code 0: accepted).
# cloud-init comes as Debian 13's package (or, on Ubuntu, the release's own) through apt, with a private state in DIR: the
# machine's own packages and sources stay as they are, and no root is needed. 22.x accepts unknown keys, so older
# packages are refused. Fails with the reason where this cannot be done; running it again is cheap.
set -eu
fail() {
    echo "cloud-init-schema: $*" >&2
    exit 1
}
[ $# = 2 ] || fail "usage: cloud-init-schema.sh DIR VENV_PYTHON"
mkdir -p "$1"
dir=$(cd "$1" && pwd)
# Not resolved further: a virtual environment's python is a link.
python=$(cd "$(dirname "$2")" && pwd)/$(basename "$2")
checker=$dir/cloud-init-schema
requirements=$(cd "$(dirname "$0")" && pwd)/cloud-init-requirements.txt
# The environment may have been made anew since.
if [ -x "$checker" ] && "$python" -c 'import configobj, jinja2, jsonpatch, jsonschema, oauthlib, requests, yaml' 2>/dev/null; then
    exit 0
fi
command -v apt-get >/dev/null || fail "needs apt (Debian or Ubuntu)"

. /etc/os-release
mkdir -p "$dir/apt/lists/partial" "$dir/apt/cache/archives/partial" "$dir/apt/none"
: >"$dir/apt/status"
set -- -q -o APT::Sandbox::User="$(id -un)" -o Acquire::Languages=none -o Acquire::Retries=3 \
    -o Dir::State="$dir/apt" -o Dir::State::status="$dir/apt/status" -o Dir::Cache="$dir/apt/cache"
if [ "$ID" = debian ]; then
    # The mirror that this machine uses, whatever it is.
    mirror=$(apt-get indextargets --format '$(RELEASE) $(REPO_URI)' 'Identifier: Packages' |
        sed -n "s/^$VERSION_CODENAME //p" | head -n 1)
    [ "$mirror" ] || fail "no apt source for $VERSION_CODENAME to take the mirror from"
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror trixie main" >"$dir/apt/sources.list"
    set -- "$@" -o Dir::Etc::sourcelist="$dir/apt/sources.list" -o Dir::Etc::sourceparts="$dir/apt/none"
fi
apt-get "$@" update || fail "apt-get update failed"
(cd "$dir" && rm -f cloud-init_*.deb && apt-get "$@" download cloud-init) || fail "cannot download cloud-init"
set -- "$dir"/cloud-init_*.deb
version=$(dpkg-deb -f "$1" Version)
dpkg --compare-versions "$version" ge 25.1 || fail "cloud-init $version is older than 25.1"
rm -rf "$dir/root"
dpkg-deb -x "$1" "$dir/root"

"$python" -m pip install -q --disable-pip-version-check -r "$requirements" || fail "pip failed"

# In place last and at once, so that an interrupted run is not taken for a finished one.
cat >"$checker.new" <<EOF
#!/bin/sh
PYTHONPATH='$dir/root/usr/lib/python3/dist-packages' exec '$python' -m cloudinit.cmd.main schema --config-file "\$1"
EOF
chmod +x "$checker.new"
mv "$checker.new" "$checker"
echo "cloud-init $version: $checker"
