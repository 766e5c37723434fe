#!/bin/sh
# Lets the tunnels in: sshd's settings first, tested, then the keys, then the restart. It may run again at any time.
set -eu
umask 022
fail() {
    echo "gangplank: $*" >&2
    exit 1
}
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
if ! /usr/sbin/sshd -t; then
    rm $dropin
    fail "sshd refuses /etc/gangplank/sshd.conf (above); nobody is let in"
fi

for user in $users; do
    home=$(getent passwd "$user" | cut -d: -f6)
    [ -d "$home" ] || fail "user $user has no home: cloud-init did not create the account"
    group=$(id -g "$user")
    chmod 0700 "$home"
    install -d -m 0700 -o "$user" -g "$group" "$home/.ssh"
    if [ -e "/etc/gangplank/keys/$user" ]; then
        install -m 0600 -o "$user" -g "$group" "/etc/gangplank/keys/$user" "$home/.ssh/authorized_keys.new"
        mv -f "$home/.ssh/authorized_keys.new" "$home/.ssh/authorized_keys"
    fi
    if command -v restorecon >/dev/null; then restorecon -R "$home/.ssh"; fi
done
# Where the keys come by tags, nobody is let in before they do; a service goes on asking.
live=
if [ -x /usr/local/sbin/gangplank-keys ]; then live=1; fi
if [ $live ]; then /usr/local/sbin/gangplank-keys || :; fi

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
    if [ $live ]; then systemctl enable --now gangplank-keys.service; fi
    systemd-run --no-block --collect --unit=gangplank-updates /usr/local/sbin/gangplank-updates || :
else
    [ -x /etc/init.d/ssh ] || service=sshd
    # The init script reads this file as shell before it starts the daemon.
    touch /etc/default/$service
    sed -i '/^ulimit -n /d' /etc/default/$service
    echo "ulimit -n $open_files" >>/etc/default/$service
    service $service restart || fail "$service does not start"
    if [ $live ]; then
        sed -i '/^gpk:/d' /etc/inittab
        echo 'gpk:2345:respawn:/usr/local/sbin/gangplank-keys 20' >>/etc/inittab
        telinit q
    fi
    setsid /usr/local/sbin/gangplank-updates >/var/log/gangplank-updates.log 2>&1 </dev/null &
fi
echo "gangplank: $service is up for: $users"
