base:
  '*':
    - site
    - base
