# An example: greets whoever logs in. `picloud doc file.managed` explains the
# function; `picloud doc` lists all.
#
# SLS files are Jinja templates that make YAML: grains are what a minion is,
# pillar is what it is told.

hello:
  file.managed:
    - name: /etc/motd
    - mode: '0644'
    - contents: |
        {{ pillar['greeting'] }} This is {{ grains['id'] }}, a {{ grains['osfinger'] }} on {{ grains['cpuarch'] }}.
        picloud looks after {{ pillar['cluster'] }}: changes made by hand may not last.
