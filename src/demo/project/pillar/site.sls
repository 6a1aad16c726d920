# `site:folder` is each minion's own: `picloud demo` lays it over this, as
# `pillar: {site: {folder: ...}}` in an inventory would.
site:
  title: A cluster of picloud's
  links: [docker, swap, haproxy]
  settings: {port: 8080, workers: 4}
