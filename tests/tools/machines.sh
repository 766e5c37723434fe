#!/usr/bin/env bash
# machines.sh DIR
#
# Prepares what the tests with real machines need: Debian's packages on this machine, and in DIR a root filesystem for each
# kind of machine, as a cloud image has it but for the kernel. A root that is there already, whole and made by this
# script as it is, stays. Exit code 3, with the reason as the last line: this machine cannot run machines (not
# root, not Debian, or a sandbox that forbids what they need). Any other failure is a failure.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
source tests/tools/python.sh
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

cannot() {
    printf 'no machines here: %s\n' "$*" >&2
    exit 3
}

# The kinds: name, Debian's suite, init.
kinds='debian-13 trixie systemd
debian-12 bookworm systemd
debian-12-sysv bookworm sysv'
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
stamp=$(sha256sum tests/tools/machines.sh | cut -d' ' -f1)

packages() {
    local needed=(mmdebstrap:mmdebstrap systemd-nspawn:systemd-container nft:nftables ip:iproute2 nsenter:util-linux
        ssh:openssh-client runuser:util-linux)
    local absent=() pair
    for pair in "${needed[@]}"; do have "${pair%%:*}" || absent+=("${pair#*:}"); done
    [[ -e $keyring ]] || absent+=(debian-archive-keyring)
    compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || absent+=(postgresql)
    [[ ${#absent[@]} = 0 ]] || install "${absent[@]}" || {
        echo "machines.sh: cannot install ${absent[*]}" >&2
        exit 1
    }
}

# What a machine needs of the kernel, tried: containers and sandboxes forbid one or the other.
probe() {
    local tmp why=
    tmp=$(mktemp -d)
    # In a mount namespace of its own, so that nothing stays.
    unshare --mount sh -euc '
        mount -t tmpfs probe "$1"
        mkdir "$1/lower" "$1/upper" "$1/work" "$1/merged"
        mount -t overlay probe -o "lowerdir=$1/lower,upperdir=$1/upper,workdir=$1/work" "$1/merged"
    ' probe "$tmp" 2>"$tmp/said" || why="mounting tmpfs and overlay: $(tail -n 1 "$tmp/said")"
    if [[ -z $why ]]; then
        { ip netns add "gp$$-probe" && ip -n "gp$$-probe" link set lo up &&
            ip link add "gp$$a" netns "gp$$-probe" type veth peer name "gp$$b" netns "gp$$-probe" &&
            echo 'table ip t { chain c { type nat hook prerouting priority dstnat; tcp dport 22 counter dnat to 10.0.1.4; }; }' |
            ip netns exec "gp$$-probe" nft -f -; } >"$tmp/said" 2>&1 ||
            why="network namespaces with a firewall: $(tail -n 1 "$tmp/said")"
        ip netns del "gp$$-probe" 2>/dev/null || :
    fi
    rm -rf "$tmp"
    [[ -z $why ]] || cannot "$why"
}

# boots ROOT: an init of systemd comes up in a container and goes down again.
boots() {
    local said
    said=$(timeout 60 systemd-nspawn --quiet --directory="$1" --volatile=overlay --register=no --keep-unit \
        --private-network --machine="gp$$-probe" --console=pipe --boot systemd.unit=poweroff.target </dev/null 2>&1) ||
        cannot "systemd-nspawn does not boot: $(tail -n 1 <<<"$said")"
}

# The address from which this machine takes its own Debian; nothing elsewhere: mmdebstrap knows one itself.
mirror() {
    (
        . /etc/os-release
        [[ $ID = debian ]] || exit 0
        apt-get indextargets --format '$(RELEASE) $(REPO_URI)' 'Identifier: Packages' |
            sed -n "s/^$VERSION_CODENAME //p" | head -n 1
    )
}

# Runs at the end of mmdebstrap with the root as its argument.
hook() {
    local root=$1 unit
    # The seed is put there before the boot; there is no other cloud to look for. `locales` is left out for its size.
    printf 'datasource_list: [NoCloud, None]\nlocale: C.UTF-8\n' >"$root/etc/cloud/cloud.cfg.d/99-seed.cfg"
    # Addresses are given to the network namespace from outside.
    echo 'network: {config: disabled}' >"$root/etc/cloud/cloud.cfg.d/99-network.cfg"
    printf '127.0.0.1 localhost\n::1 localhost\n' >"$root/etc/hosts"
    # As an image before its first boot.
    rm -f "$root"/etc/ssh/ssh_host_* "$root/etc/resolv.conf" "$root/etc/apt/apt.conf.d/99mmdebstrap"
    if [[ -e $root/lib/systemd/systemd ]]; then
        : >"$root/etc/machine-id"
        # What wants hardware, a kernel of its own or the internet.
        for unit in apt-daily.timer apt-daily-upgrade.timer e2scrub_reap.service e2scrub_all.timer dpkg-db-backup.timer \
            fstrim.timer systemd-pstore.service getty@tty1.service console-getty.service systemd-timesyncd.service \
            systemd-networkd-wait-online.service cloud-init-hotplugd.socket modprobe@.service systemd-binfmt.service \
            sys-kernel-debug.mount sys-kernel-tracing.mount dev-hugepages.mount dev-mqueue.mount ldconfig.service \
            systemd-journal-catalog-update.service; do
            ln -sf /dev/null "$root/etc/systemd/system/$unit"
        done
    fi
}

build() {
    local name=$1 suite=$2 init=$3 source=() options=() line
    local include=openssh-server,cloud-init,python3,sudo,iproute2,netbase,e2fsprogs,udev,procps
    case $init in
    systemd) include+=,systemd,systemd-sysv,dbus ;;
    sysv) include+=,sysvinit-core,sysv-rc,insserv,initscripts,orphan-sysvinit-scripts,ifupdown ;;
    esac
    line=$(mirror)
    [[ -z $line ]] || source=("deb [signed-by=$keyring] $line $suite main")
    # A proxy is the machine's affair, and not its environment's only.
    while read -r line; do options+=("--aptopt=$line"); done < <(apt-config dump | grep -E '^Acquire::https?::' || :)
    rm -rf "${dir:?}/$name" "$dir/$name.new"
    mmdebstrap --quiet --variant=minbase --include="$include" --keyring="$keyring" "${options[@]}" \
        --aptopt='Acquire::Languages "none"' --aptopt='Acquire::Retries "3"' --dpkgopt=force-unsafe-io \
        --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' \
        --customize-hook="bash '$PWD/tests/tools/machines.sh' --hook \"\$1\"" \
        "$suite" "$dir/$name.new" "${source[@]}"
    echo "$stamp" >"$dir/$name.new/.gangplank"
    mv "$dir/$name.new" "$dir/$name"
}

if [[ ${1:-} = --hook ]]; then
    hook "$2"
    exit
fi
[[ $# = 1 ]] || { echo "usage: machines.sh DIR" >&2; exit 2; }
mkdir -p "$1"
dir=$(cd "$1" && pwd)
[[ $(id -u) -eq 0 ]] || cannot 'it takes root'
have apt-get && have dpkg || cannot 'it takes Debian or Ubuntu'
packages
probe
booted=
while read -r name suite init <&3; do
    if [[ $(cat "$dir/$name/.gangplank" 2>/dev/null) = "$stamp" ]]; then
        continue
    fi
    began=$SECONDS
    printf '\n== building %s\n' "$name"
    build "$name" "$suite" "$init"
    printf '%s: %s, %d s\n' "$name" "$(du -sh "$dir/$name" | cut -f1)" $((SECONDS - began))
    # A sandbox that cannot boot one shows it before the others are built.
    [[ -n $booted || $init != systemd ]] || { boots "$dir/$name" && booted=1; }
done 3<<<"$kinds"
[[ -n $booted ]] || boots "$dir/debian-13"
echo "real machines: $dir, ready after $SECONDS s"
