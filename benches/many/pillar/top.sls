base:
  '*':
    - many
