# W30 for one who is not root: thirty resources of the same kinds, all below the minion's own folder or such that any Debian has them.
{% set peers = ['10.0.0.1', '10.0.0.2', '10.0.0.3'] %}
{% set base = pillar['many']['folder'] ~ '/' ~ grains['id'] %}
{% set user, group = pillar['many']['user'], pillar['many']['group'] %}

# a group and two users
root-group:
  group.present:
    - name: root
    - gid: 0

{% for name, uid, home, shell in [
    ('root', 0, '/root', pillar['many']['shell']),
    ('daemon', 1, '/usr/sbin', '/usr/sbin/nologin'),
] %}
user-{{ name }}:
  user.present:
    - name: {{ name }}
    - uid: {{ uid }}
    - gid: {{ uid }}
    - home: {{ home }}
    - createhome: False
    - shell: {{ shell }}
    - require:
      - group: root-group
{% endfor %}

# five directories
{% for name in ['etc', 'srv'] %}
{{ base }}/{{ name }}:
  file.directory:
    - user: {{ user }}
    - group: {{ group }}
    - mode: '0755'
{% endfor %}

{% for name in ['cache', 'data', 'log'] %}
{{ base }}/srv/{{ name }}:
  file.directory:
    - user: {{ user }}
    - group: {{ group }}
    - mode: '0750'
    - require:
      - user: user-root
      - file: {{ base }}/srv
{% endfor %}

# ten files from one template
{% for n in range(10) %}
{{ base }}/etc/app{{ n }}.conf:
  file.managed:
    - source: salt://many/app.conf.j2
    - template: jinja
    - context:
        n: {{ n }}
        id: {{ grains['id'] }}
        peers: {{ peers }}
    - user: {{ user }}
    - group: {{ group }}
    - mode: '0640'
    - require:
      - group: root-group
      - file: {{ base }}/etc
{% endfor %}

# two symlinks
{{ base }}/etc/current:
  file.symlink:
    - target: app0.conf
    - require:
      - file: {{ base }}/etc

{{ base }}/srv/etc:
  file.symlink:
    - target: {{ base }}/etc
    - require:
      - file: {{ base }}/srv

# a line appended, one replaced, one in its place
{% for name, lines in [('limits.conf', '# limits'), ('login.defs', 'UMASK 022'), ('ssh_config', 'Host *\n    GSSAPIAuthentication yes')] %}
{{ base }}/{{ name }}:
  file.managed:
    - contents: {{ lines | json }}
    - replace: False
{% endfor %}

limits:
  file.append:
    - name: {{ base }}/limits.conf
    - text: app soft nofile 65535
    - require:
      - file: {{ base }}/limits.conf

login:
  file.replace:
    - name: {{ base }}/login.defs
    - pattern: '^UMASK\s+\d+'
    - repl: UMASK 027
    - require:
      - file: {{ base }}/login.defs

client:
  file.line:
    - name: {{ base }}/ssh_config
    - content: ServerAliveInterval 30
    - mode: ensure
    - after: GSSAPIAuthentication yes
    - require:
      - file: {{ base }}/ssh_config

# two sysctls
{% for key, value in pillar['many']['sysctls'].items() %}
{{ key }}:
  sysctl.present:
    - value: {{ value }}
    - config: {{ base }}/sysctl.conf
{% endfor %}

# three packages, a service, a cron entry
packages:
  pkg.installed:
    - pkgs:
      - coreutils
      - dash
      - grep

no-service:
  service.dead:
    - name: picloud-bench-none

no-cron:
  cron.absent:
    - name: /usr/bin/true picloud-bench-none
    - user: {{ user }}
