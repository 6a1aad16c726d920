# Which minions get which states. A target here is what it is on the command
# line: pi0, 'pi*', 'G@os:Debian and not pi0', 'N@workers'.
base:
  '*':
    - hello
