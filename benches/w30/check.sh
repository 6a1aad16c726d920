#!/bin/sh
# W30, checked by hand: silent if all 30 hold, else one line per group that does not. Few forks, one per kind.
export LC_ALL=C
fail() { echo "W30: $1"; status=1; }
status=0
read -r id </etc/hostname

# 10 files
want=
for n in 0 1 2 3 4 5 6 7 8 9; do
    want="$want# instance $n of w30 on $id
[instance]
name = app$n
listen = 127.0.0.1:$((8000 + n))
workers = $((n % 4 + 1))
data = /srv/w30/data
log = /srv/w30/log/app$n.log
peers = 10.0.0.1, 10.0.0.2, 10.0.0.3
"
done
[ "$(cat /etc/w30/app[0-9].conf 2>&1; echo .)" = "$want." ] || fail files

# their owners and modes, 5 directories, 2 symlinks
want='root:w30 640 regular file /etc/w30/app0.conf
root:w30 640 regular file /etc/w30/app1.conf
root:w30 640 regular file /etc/w30/app2.conf
root:w30 640 regular file /etc/w30/app3.conf
root:w30 640 regular file /etc/w30/app4.conf
root:w30 640 regular file /etc/w30/app5.conf
root:w30 640 regular file /etc/w30/app6.conf
root:w30 640 regular file /etc/w30/app7.conf
root:w30 640 regular file /etc/w30/app8.conf
root:w30 640 regular file /etc/w30/app9.conf
root:root 755 directory /etc/w30
root:root 755 directory /srv/w30
w30app:w30 750 directory /srv/w30/cache
w30app:w30 750 directory /srv/w30/data
w30app:w30 750 directory /srv/w30/log'
[ "$(stat -c '%U:%G %a %F %n' /etc/w30/app[0-9].conf /etc/w30 /srv/w30 /srv/w30/cache /srv/w30/data /srv/w30/log 2>&1)" = "$want" ] ||
    fail 'owners and modes'
[ "$(readlink /etc/w30/current /srv/w30/etc)" = 'app0.conf
/etc/w30' ] || fail symlinks

# 3 lines in files, a cron entry
want='/etc/security/limits.conf:w30app soft nofile 65535
/etc/login.defs:UMASK 027
/etc/ssh/ssh_config:    ServerAliveInterval 30
/var/spool/cron/crontabs/root:*/10 * * * * /usr/bin/true w30'
[ "$(grep -xF -e 'w30app soft nofile 65535' -e 'UMASK 027' -e '    ServerAliveInterval 30' -e '*/10 * * * * /usr/bin/true w30' \
    /etc/security/limits.conf /etc/login.defs /etc/ssh/ssh_config /var/spool/cron/crontabs/root 2>&1)" = "$want" ] ||
    fail 'lines or cron entry'

# 2 users and a group
want='w30:x:2000:
w30app:x:2001:2000::/srv/w30:/usr/sbin/nologin
w30ops:x:2002:2000::/srv/w30/data:/bin/sh'
[ "$(grep -h '^w30' /etc/group /etc/passwd)" = "$want" ] || fail 'users or group'

# 2 sysctls, now and at boot (`key=value` or `key = value`)
[ "$(cat /proc/sys/net/ipv4/tcp_keepalive_time /proc/sys/net/ipv4/tcp_fin_timeout)" = '600
30' ] || fail 'sysctls now'
boot=$(cat /etc/sysctl.d/60-w30.conf 2>&1)
case $boot in *tcp_keepalive_time*=*600*) ;; *) fail 'tcp_keepalive_time at boot' ;; esac
case $boot in *tcp_fin_timeout*=*30*) ;; *) fail 'tcp_fin_timeout at boot' ;; esac

# 3 packages, a service
want='installed bc
installed lsof
installed tree'
[ "$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' bc lsof tree 2>&1)" = "$want" ] || fail packages
[ "$(systemctl show -p ActiveState -p UnitFileState cron)" = 'ActiveState=active
UnitFileState=enabled' ] || fail service

exit $status
