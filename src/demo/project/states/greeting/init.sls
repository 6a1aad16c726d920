# What whoever logs in reads, a name for the registry, and a line in a file.

/etc/motd:
  file.managed:
    - contents: This is {{ grains['id'] }}, looked after by picloud.
    - mode: '0644'

registry.demo:
  host.present:
    - ip: 192.0.2.10

/etc/profile.d/demo.sh:
  file.append:
    - text: export REGISTRY=registry.demo:5000
