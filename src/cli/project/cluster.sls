# Data for states: pillar['greeting'] in an SLS, I@cluster:... in a target.
cluster: this cluster
greeting: Welcome.
