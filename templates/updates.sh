#!/bin/sh
# Switches on unattended security updates and applies those that are due. It runs beside the boot: the network may come
# late or never, and no tunnel waits for it. A bastion that nobody looks after also needs the reboot for a new kernel.
# What came of it, for the machine's report.
set -e
trap '[ $? -ne 0 ] || tried=ok; echo "$tried" >/var/lib/gangplank/updates' EXIT

tried=setup
retry() {
    tried=$*
    for pause in 15 30 60 120 240 0; do
        if timeout 900 "$@"; then tried=setup; return; fi
        sleep $pause
    done
    return 1
}

if command -v apt-get >/dev/null; then
    cat >/etc/apt/apt.conf.d/52gangplank <<'EOF'
APT::Periodic::Update-Package-Lists "1";
APT::Periodic::Unattended-Upgrade "1";
Unattended-Upgrade::Automatic-Reboot "true";
Unattended-Upgrade::Automatic-Reboot-Time "04:00";
DPkg::Lock::Timeout "300";
EOF
    export DEBIAN_FRONTEND=noninteractive
    retry apt-get -q update -o APT::Update::Error-Mode=any
    command -v unattended-upgrade >/dev/null ||
        retry apt-get -q -y --no-install-recommends install unattended-upgrades
    # From here on its timer repeats it every day.
    unattended-upgrade || :
elif command -v dnf >/dev/null; then
    # Amazon Linux stays at its image's versions unless it is told to follow the latest.
    if grep -q '^ID="amzn"' /etc/os-release; then echo latest >/etc/dnf/vars/releasever; fi
    retry dnf -q -y install dnf-automatic dnf-plugins-core
    sed -i 's/^upgrade_type *=.*/upgrade_type = security/; s/^apply_updates *=.*/apply_updates = yes/' \
        /etc/dnf/automatic.conf
    mkdir -p /etc/systemd/system/dnf-automatic.service.d
    cat >/etc/systemd/system/dnf-automatic.service.d/gangplank.conf <<'EOF'
[Service]
ExecStartPost=-/bin/sh -c 'dnf -q needs-restarting -r | grep -q "Reboot is required" && shutdown -r 04:00'
EOF
    systemctl daemon-reload
    systemctl enable --now dnf-automatic.timer
    # From here on its timer repeats it every day.
    retry dnf -q -y upgrade --security || :
else
    tried="apt-get, dnf"
    false
fi
