# A swap file on ephemeral storage: small boards and cloud machines are killed
# for want of memory without one. It is never made on the card by mistake (the
# storage must be mounted), the boot does not hang when the storage is gone, and
# the next run makes the file anew when the storage came back empty.
# See pillar.example.

{%- set swap = salt['pillar.get']('swap', {}) %}

swap-file:
  swap.file:
    - name: {{ swap.get('path', '/mnt/swapfile') }}
    - size: {{ swap.get('size', '2GiB') }}
    {%- if swap.get('storage', '/mnt') %}
    - storage: {{ swap.get('storage', '/mnt') }}
    {%- endif %}
    {%- if swap.get('priority') is not none %}
    - priority: {{ swap.priority }}
    {%- endif %}

{%- if swap.get('swappiness') is not none %}

swap-swappiness:
  sysctl.present:
    - name: vm.swappiness
    - value: {{ swap.swappiness }}
{%- endif %}
