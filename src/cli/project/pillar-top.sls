# Which minions are given which data.
base:
  '*':
    - cluster
