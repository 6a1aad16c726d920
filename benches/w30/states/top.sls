base:
  '*':
    - w30
