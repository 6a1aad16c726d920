# The web site goes everywhere; what lies elsewhere needs a root of the minion's
# own: `picloud demo` gives its minions the grain `root` to tell.
base:
  '*':
    - site
  'G@root:overlay or G@root:copy':
    - greeting
    - base
