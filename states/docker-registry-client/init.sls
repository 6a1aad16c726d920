# Lets docker pull from and push to registries of one's own: insecure registries
# and mirrors, in /etc/docker/daemon.json, or in DOCKER_OPTS where the host has
# its options there; never in both, as the daemon then refuses to start. The
# daemon takes them by a reload. See pillar.example.

{%- set registry = salt['pillar.get']('docker_registry_client', {}) %}
{%- set insecure = registry.get('insecure', []) %}
{%- set mirrors = registry.get('mirrors', []) %}
{%- set options = salt['cmd.shell']("sed -n 's/^[[:space:]]*DOCKER_OPTS=//p' /etc/default/docker 2>/dev/null | tail -n 1 | tr -d \"\\042\\047\"") %}

{%- if options.strip() %}
{%- set kept = [] %}
{%- set skip = namespace(next=False) %}
{%- for word in options.split() %}
{%- if skip.next %}{% set skip.next = False %}
{%- elif word in ('--insecure-registry', '--registry-mirror') %}{% set skip.next = True %}
{%- elif not word.startswith('--insecure-registry=') and not word.startswith('--registry-mirror=') %}{% do kept.append(word) %}
{%- endif %}
{%- endfor %}
{%- for name in insecure %}{% do kept.append('--insecure-registry=' ~ name) %}{% endfor %}
{%- for url in mirrors %}{% do kept.append('--registry-mirror=' ~ url) %}{% endfor %}

docker-registry-client-config:
  file.replace:
    - name: /etc/default/docker
    - pattern: '^[ \t]*DOCKER_OPTS=.*$'
    - repl: 'DOCKER_OPTS="{{ kept | join(' ') }}"'
{%- else %}

docker-registry-client-config:
  json.keys:
    - name: /etc/docker/daemon.json
    - keys:
        insecure-registries: {{ insecure | json }}
        registry-mirrors: {{ mirrors | json }}
    - makedirs: True
    - mode: '0644'
{%- endif %}

docker-registry-client-service:
  service.running:
    - name: docker
    {%- if not options.strip() %}
    - reload: True
    {%- endif %}
    - watch:
      - {{ 'file' if options.strip() else 'json' }}: docker-registry-client-config
