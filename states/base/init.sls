# What every board of a cluster wants: the right time, a locale, its users with
# their keys, and an apt that keeps its hands off. See pillar.example.

{%- set base = salt['pillar.get']('base', {}) %}
{%- set debian = grains['os_family'] == 'Debian' %}
{%- set contained = grains.get('virtual', '') in ('container', 'docker', 'LXC', 'systemd-nspawn', 'podman', 'chroot') or grains.get('virtual_subtype') %}

{%- if base.get('timezone') %}

base-tzdata:
  pkg.installed:
    - name: tzdata

base-timezone:
  timezone.system:
    - name: {{ base.timezone }}
    - require:
      - pkg: base-tzdata
{%- endif %}

{%- if debian and base.get('time_sync', True) %}

base-time-sync:
  pkg.installed:
    - name: systemd-timesyncd
{%- if not contained %}
  service.running:
    - name: systemd-timesyncd
    - enable: True
    - require:
      - pkg: base-time-sync
{%- endif %}
{%- endif %}

{%- if base.get('locale') %}
{%- if debian %}

base-locales:
  pkg.installed:
    - name: locales
    - require_in:
      - locale: base-locale
{%- endif %}

base-locale:
  locale.present:
    - name: {{ base.locale }}

base-system-locale:
  locale.system:
    - name: {{ base.locale }}
    - require:
      - locale: base-locale
{%- endif %}

{%- for name, user in base.get('users', {}).items() %}

base-user-{{ name }}:
  user.present:
    - name: {{ name }}
    - shell: {{ user.get('shell', '/bin/bash' if debian else '/bin/sh') }}
    {%- if user.get('fullname') %}
    - fullname: {{ user.fullname | yaml_dquote }}
    {%- endif %}
    {%- if user.get('groups') %}
    - groups: {{ user.groups | json }}
    - remove_groups: False
    {%- endif %}
    {%- if user.get('password') %}
    - password: {{ user.password | yaml_squote }}
    {%- endif %}

{%- if user.get('keys') %}

base-keys-{{ name }}:
  ssh_auth.present:
    - user: {{ name }}
    - names: {{ user['keys'] | json }}
    - require:
      - user: base-user-{{ name }}
{%- endif %}

{%- if user.get('sudo') %}

base-sudo-{{ name }}:
  file.managed:
    - name: /etc/sudoers.d/picloud-{{ name | replace('.', '_') }}
    - contents: '{{ name }} ALL=(ALL:ALL) {{ 'NOPASSWD: ' if user.sudo == 'nopasswd' else '' }}ALL'
    - mode: '0440'
    - check_cmd: visudo -cf
{%- endif %}
{%- endfor %}

{%- if debian and base.get('calm_apt', True) %}

# Upgrades by themselves, at boot, are what holds apt's lock when a run comes.
base-apt-calm:
  file.managed:
    - name: /etc/apt/apt.conf.d/99picloud
    - contents: |
        // Kept by picloud: packages change when picloud is told to change them.
        APT::Periodic::Enable "0";
        APT::Periodic::Unattended-Upgrade "0";
    - mode: '0644'

base-apt-timers:
  service.dead:
    - names:
      - apt-daily.timer
      - apt-daily-upgrade.timer
    - enable: False
{%- endif %}
