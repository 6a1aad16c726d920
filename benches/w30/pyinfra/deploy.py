"""W30 for pyinfra: see ../README.md."""

from pyinfra import host
from pyinfra.operations import apt, crontab, files, server, systemd

PEERS = ["10.0.0.1", "10.0.0.2", "10.0.0.3"]

server.group(group="w30", gid=2000)
for user, uid, home, shell in (
    ("w30app", 2001, "/srv/w30", "/usr/sbin/nologin"),
    ("w30ops", 2002, "/srv/w30/data", "/bin/sh"),
):
    server.user(user=user, uid=uid, group="w30", home=home, shell=shell, ensure_home=False)

files.directory(path="/etc/w30", user="root", group="root", mode="755")
files.directory(path="/srv/w30", user="root", group="root", mode="755")
for name in ("cache", "data", "log"):
    files.directory(path=f"/srv/w30/{name}", user="w30app", group="w30", mode="750")

for n in range(10):
    files.template(
        src="../states/w30/app.conf.j2",
        dest=f"/etc/w30/app{n}.conf",
        user="root",
        group="w30",
        mode="640",
        n=n,
        id=host.name,
        peers=PEERS,
    )

files.link(path="/etc/w30/current", target="app0.conf")
files.link(path="/srv/w30/etc", target="/etc/w30")

files.line(path="/etc/security/limits.conf", line="w30app soft nofile 65535")
files.line(path="/etc/login.defs", line=r"^UMASK\s.*$", replace="UMASK 027")
files.line(path="/etc/ssh/ssh_config", line="    ServerAliveInterval 30")

for key, value in (("net.ipv4.tcp_keepalive_time", 600), ("net.ipv4.tcp_fin_timeout", 30)):
    server.sysctl(key=key, value=value, persist=True, persist_file="/etc/sysctl.d/60-w30.conf")

apt.packages(packages=["tree", "bc", "lsof"])
systemd.service(service="cron", running=True, enabled=True)
crontab.crontab(command="/usr/bin/true w30", user="root", minute="*/10")
