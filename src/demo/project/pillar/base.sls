# For the shipped state `base`: what needs neither packages to be fetched nor a
# service manager. Where there can be no account but root, there are no users.
base:
  time_sync: False
  calm_apt: False
  {%- if grains['tzdata'] %}
  timezone: Pacific/Marquesas
  {%- endif %}
  {%- if grains['accounts'] %}
  users:
    demo-ana:
      fullname: Ana Example
  {%- endif %}
