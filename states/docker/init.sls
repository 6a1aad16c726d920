# Docker: the distribution's package, or a pinned version that is held, so that
# no unattended upgrade takes the containers down; its daemon configured, started,
# and asked whether it answers. See pillar.example.

{%- set docker = salt['pillar.get']('docker', {}) %}
{%- set family = grains['os_family'] %}
{%- set package = docker.get('package', 'docker.io' if family == 'Debian' else 'docker') %}
{%- set version = docker.get('version') %}
{%- set config = {'log-driver': 'json-file', 'log-opts': {'max-size': '10m', 'max-file': '3'}} %}
{%- if docker.get('storage_driver') %}
{%- do config.update({'storage-driver': docker.storage_driver}) %}
{%- endif %}
{%- do config.update(docker.get('config', {})) %}

docker-package:
  pkg.installed:
    {%- if version %}
    - name: {{ package }}
    - version: {{ version | yaml_dquote }}
    - hold: True
    - update_holds: True
    {%- else %}
    - name: {{ package }}
    {%- endif %}

{#- Debian 13 has the client in a package of its own, and AppArmor's parser is
    only recommended: without it no container starts on Debian's kernel. #}
{%- set more = docker.get('more_packages') %}
{%- if more is none and family == 'Debian' and package == 'docker.io' %}
{%- set more = ['apparmor'] + (['docker-cli'] if grains['osmajorrelease'] | int >= 13 and grains['os'] != 'Ubuntu' else []) %}
{%- endif %}
{%- if more %}

docker-more-packages:
  pkg.installed:
    - pkgs: {{ more | json }}
    - require_in:
      - service: docker-service
{%- endif %}

docker-config:
  json.keys:
    - name: /etc/docker/daemon.json
    - keys: {{ config | json }}
    - makedirs: True
    - mode: '0644'

docker-service:
  service.running:
    - name: docker
    - enable: True
    - require:
      - pkg: docker-package
    - watch:
      - json: docker-config

# "Active" is not "answers": the socket may be gone while both units are active.
docker-answers:
  cmd.run:
    - name: docker info >/dev/null
    - unless: docker info >/dev/null 2>&1
    - retry:
        attempts: 5
        interval: 2
    - require:
      - service: docker-service
