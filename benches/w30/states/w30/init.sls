{% set peers = ['10.0.0.1', '10.0.0.2', '10.0.0.3'] %}

# a group and two users
w30:
  group.present:
    - gid: 2000

{% for name, uid, home, shell in [
    ('w30app', 2001, '/srv/w30', '/usr/sbin/nologin'),
    ('w30ops', 2002, '/srv/w30/data', '/bin/sh'),
] %}
{{ name }}:
  user.present:
    - uid: {{ uid }}
    - gid: 2000
    - home: {{ home }}
    - createhome: False
    - shell: {{ shell }}
    - require:
      - group: w30
{% endfor %}

# five directories
/etc/w30:
  file.directory:
    - user: root
    - group: root
    - mode: '0755'

/srv/w30:
  file.directory:
    - user: root
    - group: root
    - mode: '0755'

{% for name in ['cache', 'data', 'log'] %}
/srv/w30/{{ name }}:
  file.directory:
    - user: w30app
    - group: w30
    - mode: '0750'
    - require:
      - user: w30app
      - file: /srv/w30
{% endfor %}

# ten files from one template
{% for n in range(10) %}
/etc/w30/app{{ n }}.conf:
  file.managed:
    - source: salt://w30/app.conf.j2
    - template: jinja
    - context:
        n: {{ n }}
        id: {{ grains['id'] }}
        peers: {{ peers }}
    - user: root
    - group: w30
    - mode: '0640'
    - require:
      - group: w30
      - file: /etc/w30
{% endfor %}

# two symlinks
/etc/w30/current:
  file.symlink:
    - target: app0.conf
    - require:
      - file: /etc/w30

/srv/w30/etc:
  file.symlink:
    - target: /etc/w30
    - require:
      - file: /srv/w30

# a line appended, one replaced, one in its place
/etc/security/limits.conf:
  file.append:
    - text: w30app soft nofile 65535

/etc/login.defs:
  file.replace:
    - pattern: '^UMASK\s+\d+'
    - repl: UMASK 027

/etc/ssh/ssh_config:
  file.line:
    - content: ServerAliveInterval 30
    - mode: ensure
    - after: GSSAPIAuthentication yes

# two sysctls
{% for key, value in [('net.ipv4.tcp_keepalive_time', 600), ('net.ipv4.tcp_fin_timeout', 30)] %}
{{ key }}:
  sysctl.present:
    - value: {{ value }}
    - config: /etc/sysctl.d/60-w30.conf
{% endfor %}

# three packages, a service, a cron entry
w30-packages:
  pkg.installed:
    - pkgs:
      - tree
      - bc
      - lsof

cron:
  service.running:
    - enable: True

w30-cron:
  cron.present:
    - name: /usr/bin/true w30
    - identifier: w30
    - user: root
    - minute: '*/10'
