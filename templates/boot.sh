#!/bin/sh
# Lets the tunnels in: sshd's settings first, tested, then the keys, then the restart. It may run again at any time.
set -eu
umask 022
problem=
fail() {
    problem=$*
    echo "gangplank: $problem" >&2
    exit 1
}
# The machine's report tells how this ends. It begins before anything can fail, and waits for cloud-init.
mkdir -p /var/lib/gangplank
echo running | tee /var/lib/gangplank/updates >/var/lib/gangplank/boot
trap 'code=$?; [ $code -ne 0 ] || problem=ok; echo "${problem:-exit code $code}" >/var/lib/gangplank/boot' EXIT
if [ -d /run/systemd/system ]; then
    systemctl enable --now --no-block gangplank-report.service
else
    sed -i '/^gpr:/d' /etc/inittab
    echo "gpr:2345:respawn:/bin/sh -c '/usr/local/sbin/gangplank-report; sleep 3600'" >>/etc/inittab
    telinit q
fi

# Session Manager and Run Command make whoever the account allows root here, without a key. Amazon's and Ubuntu's images start their
# agent, as a package or as a snap, whose unit can't be masked: systemctl can't put a link where a file is.
if [ -d /run/systemd/system ]; then
    for agent in amazon-ssm-agent snap.amazon-ssm-agent.amazon-ssm-agent; do
        mkdir -p "/etc/systemd/system/$agent.service.d"
        printf '[Unit]\nConditionPathExists=/nonexistent/gangplank\n' >"/etc/systemd/system/$agent.service.d/gangplank.conf"
    done
    systemctl daemon-reload
    systemctl mask --now amazon-ssm-agent.service 2>/dev/null || :
    systemctl stop snap.amazon-ssm-agent.amazon-ssm-agent.service 2>/dev/null || :
fi

. /etc/gangplank/settings # users, open_files

for user in $users; do
    echo "$user - nofile $open_files"
done >/etc/security/limits.d/90-gangplank.conf

# Where the folder is not included before every other setting (first value wins), include it there.
main=/etc/ssh/sshd_config
case $(grep -Ev '^[[:space:]]*(#|$)' $main | head -n 1) in
    [Ii]nclude*/etc/ssh/sshd_config.d/\*.conf*) ;;
    *)
        sed -i 's|^[[:space:]]*Include.*/etc/ssh/sshd_config\.d/|#&|I' $main
        { echo 'Include /etc/ssh/sshd_config.d/*.conf' && cat $main; } >$main.gangplank
        cat $main.gangplank >$main
        rm $main.gangplank
        ;;
esac

# Settings that sshd refuses would lock everybody out at its next start: they go again, and no key is let in.
mkdir -p /etc/ssh/sshd_config.d /run/sshd
dropin=/etc/ssh/sshd_config.d/00-gangplank.conf
{
    # From 9.8 on sshd shuts out an address after failed logins, for minutes: a vendor whose key is still to come, and
    # behind a firewall that hides its clients everybody. Only listed addresses get this far.
    if /usr/sbin/sshd -T | grep -q '^persourcepenalties '; then echo 'PerSourcePenalties no'; fi
    cat /etc/gangplank/sshd.conf
} >$dropin
chmod 0600 $dropin
if ! refusal=$(/usr/sbin/sshd -t 2>&1); then
    rm $dropin
    fail "sshd refuses /etc/gangplank/sshd.conf, so nobody is let in: $refusal"
fi

for user in $users; do
    home=$(getent passwd "$user" | cut -d: -f6)
    [ -d "$home" ] || fail "user $user has no home: cloud-init did not create the account"
    group=$(id -g "$user")
    chmod 0700 "$home"
    install -d -m 0700 -o "$user" -g "$group" "$home/.ssh"
    if [ -e "/etc/gangplank/keys/$user" ] && [ ! -x /usr/local/sbin/gangplank-keys ]; then
        install -m 0600 -o "$user" -g "$group" "/etc/gangplank/keys/$user" "$home/.ssh/authorized_keys.new"
        mv -f "$home/.ssh/authorized_keys.new" "$home/.ssh/authorized_keys"
    fi
    if command -v restorecon >/dev/null; then restorecon -R "$home/.ssh"; fi
done
# Where the metadata brings the keys or a deadline, nobody is let in before it was read; the service goes on asking.
if [ -x /usr/local/sbin/gangplank-keys ]; then
    /usr/local/sbin/gangplank-keys || :
    if [ -d /run/systemd/system ]; then
        systemctl enable --now gangplank-keys.service
    else
        sed -i '/^gpk:/d' /etc/inittab
        echo 'gpk:2345:respawn:/usr/local/sbin/gangplank-keys 20' >>/etc/inittab
        telinit q
    fi
fi

service=ssh
if [ -d /run/systemd/system ]; then
    systemctl cat ssh.service >/dev/null 2>&1 || service=sshd
    mkdir -p /etc/systemd/system/$service.service.d
    printf '[Service]\nLimitNOFILE=%s\nLimitNPROC=65535\n' "$open_files" \
        >/etc/systemd/system/$service.service.d/gangplank.conf
    systemctl daemon-reload
    # Ubuntu's socket has a port of its own, Debian 12's starts one sshd per connection, which undoes MaxStartups.
    # The plain service reads one file everywhere.
    if systemctl cat $service.socket >/dev/null 2>&1; then systemctl disable --now $service.socket; fi
    systemctl enable $service.service
    systemctl restart $service.service || fail "$service does not start: see journalctl -u $service"
    systemd-run --no-block --collect --unit=gangplank-updates /usr/local/sbin/gangplank-updates || :
else
    [ -x /etc/init.d/ssh ] || service=sshd
    # The init script reads this file as shell before it starts the daemon.
    touch /etc/default/$service
    sed -i '/^ulimit -n /d; /gangplank-keys/d' /etc/default/$service
    echo "ulimit -n $open_files" >>/etc/default/$service
    # What has ended while the machine was off lets nobody in.
    if [ -x /usr/local/sbin/gangplank-keys ]; then
        echo 'case $1 in start) /usr/local/sbin/gangplank-keys || : ;; esac' >>/etc/default/$service
    fi
    service $service restart || fail "$service does not start"
    setsid /usr/local/sbin/gangplank-updates >/var/log/gangplank-updates.log 2>&1 </dev/null &
fi
echo "gangplank: $service is up for: $users"
