# A web site: folders, a page made of a template, settings, a symlink, and a
# command that is run when the page has changed.

{%- set site = pillar['site'] %}

site-folders:
  file.directory:
    - names:
      - {{ site.folder }}/www
      - {{ site.folder }}/conf
    - mode: '0755'
    - makedirs: True

{{ site.folder }}/www/index.html:
  file.managed:
    - source: salt://site/index.html.jinja
    - template: jinja
    - mode: '0644'
    - require:
      - file: site-folders

{{ site.folder }}/conf/site.json:
  json.keys:
    - keys: {{ site.settings | json }}
    - mode: '0644'
    - require:
      - file: site-folders

{{ site.folder }}/current:
  file.symlink:
    - target: www
    - require:
      - file: site-folders

site-checksums:
  cmd.run:
    - name: cksum current/* >checksums
    - cwd: {{ site.folder }}
    - require:
      - file: {{ site.folder }}/current
    - onchanges:
      - file: {{ site.folder }}/www/index.html
