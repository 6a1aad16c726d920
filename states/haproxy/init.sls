# haproxy in front of backends: installed, its configuration checked before it
# takes its place, started, and seen to listen. See pillar.example.

{%- set haproxy = salt['pillar.get']('haproxy', {}) %}
{%- set ports = [] %}
{%- for name, proxy in haproxy.get('proxies', {}).items() %}
{%- do ports.append(proxy.port) %}
{%- endfor %}
{%- set listen = haproxy.get('listen', ports) %}

haproxy-package:
  pkg.installed:
    - name: haproxy

haproxy-config:
  file.managed:
    - name: /etc/haproxy/haproxy.cfg
    {%- if haproxy.get('config') %}
    - contents: {{ haproxy.config | json }}
    {%- else %}
    - source: salt://haproxy/haproxy.cfg.jinja
    - template: jinja
    - context:
        haproxy: {{ haproxy | json }}
    {%- endif %}
    - mode: '0644'
    - check_cmd: haproxy -c -f
    - require:
      - pkg: haproxy-package

# Old init scripts exit with 0 and start nothing while this says 0.
haproxy-enabled:
  file.replace:
    - name: /etc/default/haproxy
    - pattern: '^[ \t]*#?[ \t]*ENABLED=.*$'
    - repl: ENABLED=1
    - append_if_not_found: True
    - onlyif: grep -qs ENABLED /etc/init.d/haproxy
    - require:
      - pkg: haproxy-package

haproxy-service:
  service.running:
    - name: haproxy
    - enable: True
    - reload: True
    {%- if listen %}
    - port: {{ listen | json }}
    {%- endif %}
    - watch:
      - file: haproxy-config
      - file: haproxy-enabled
