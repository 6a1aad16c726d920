//! Mistakes that need no connection, and minions that cannot be reached: each has a message of its own, with its place, the nearest
//! name and what to do, and the exit code that is meant for it.

mod program;
#[allow(dead_code, reason = "each file of tests uses what it needs")]
mod sshd;

use program::{Program, Said};
use sshd::{Sshd, user};

/// Before anything that was compiled without a minion's grains.
const GUESSED: &str = "no grains are cached of pi0, taken for a Debian 12; `picloud grains` collects them\n";

/// A project of one minion, without mistakes.
fn project() -> Program {
    let program = Program::new();
    program
        .file("picloud.yaml", "")
        .file("inventory/lab.yaml", "minions:\n  pi0: {address: 10.9.8.1}\n")
        .file("states/top.sls", "base:\n  '*': [site]\n")
        .file("states/site.sls", "site:\n  test.nop: []\n")
        .file("pillar/top.sls", "base:\n  '*': [data]\n")
        .file("pillar/data.sls", "word: hello\n");
    program
}

/// What `picloud check` says to a project without mistakes into which `files` have been put.
fn check(files: &[(&str, &str)]) -> Said {
    let program = project();
    for (path, text) in files {
        program.file(path, text);
    }
    program.run(&["check"])
}

/// `picloud check` says `expected` when the states are compiled, and exits with 1.
#[track_caller]
fn wrong(files: &[(&str, &str)], expected: &str) {
    check(files).fails_with(1, &format!("--- stderr\n{GUESSED}{}", expected.trim_start()));
}

/// As [`wrong`], before anything is compiled.
#[track_caller]
fn wrong_at_once(files: &[(&str, &str)], expected: &str) {
    check(files).fails_with(1, &format!("--- stderr\n{}", expected.trim_start()));
}

/// As [`wrong`], with one more file, which is no text.
#[track_caller]
fn wrong_bytes(files: &[(&str, &str)], path: &str, bytes: &[u8], expected: &str) {
    let expected = format!("{GUESSED}{}", expected.trim_start());
    wrong_bytes_at_once(files, path, bytes, &expected);
}

/// As [`wrong_bytes`], before anything is compiled.
#[track_caller]
fn wrong_bytes_at_once(files: &[(&str, &str)], path: &str, bytes: &[u8], expected: &str) {
    let program = project();
    for (path, text) in files {
        program.file(path, text);
    }
    let said = program.bytes(path, bytes).run(&["check"]);
    said.fails_with(1, &format!("--- stderr\n{}", expected.trim_start()));
}

#[test]
fn a_typo_in_the_project_is_named() {
    wrong_at_once(
        &[("picloud.yaml", "name: lab\nforks: [1\n")],
        r#"
error: this `[` is never closed by a `]`
  --> picloud.yaml:2:8
   |
 2 | forks: [1
   |        ^
"#,
    );
    wrong_at_once(
        &[("picloud.yaml", "name: lab\nfroks: 3\n")],
        r#"
error: unknown argument `froks`
  --> picloud.yaml:2:1
   |
 2 | froks: 3
   | ^^^^^
hint: did you mean `forks`?
hint: known are `name`, `states`, `pillar`, `inventory`, `images`, `forks`,
  `known_hosts`, `unresolved_requisites`, `failhard`, `through_master` and
  `state_output`
"#,
    );
    wrong_at_once(
        &[("picloud.yaml", "forks: many\n")],
        r#"
error: `forks`: expected a whole number, 0 or more, found `many`
  --> picloud.yaml:1:8
   |
 1 | forks: many
   |        ^^^^
"#,
    );
    wrong_at_once(
        &[("picloud.yaml", "state_output: terce\n")],
        r#"
error: `state_output`: `terce` is not possible here
  --> picloud.yaml:1:15
   |
 1 | state_output: terce
   |               ^^^^^
hint: did you mean `terse`?
hint: possible are `full`, `changes` and `terse`
"#,
    );
    wrong_at_once(
        &[("picloud.yaml", "- forks\n")],
        r#"
error: expected a mapping, found a list
  --> picloud.yaml:1:1
   |
 1 | - forks
   | ^
"#,
    );
}

#[test]
fn a_typo_in_the_inventory_is_named() {
    wrong_at_once(
        &[("inventory/lab.yaml", "minons:\n  pi0: {address: 10.9.8.1}\n")],
        r#"
error: unknown key `minons` in the inventory
  --> inventory/lab.yaml:1:1
   |
 1 | minons:
   | ^^^^^^
hint: did you mean `minions`?
hint: an inventory has `defaults`, `minions` and `nodegroups`; in a Salt roster
  every minion has a `host`
"#,
    );
    wrong_at_once(
        &[("inventory/lab.yaml", "minions:\n  pi0: {adress: 10.9.8.1}\n")],
        r#"
error: unknown field `adress` in minion `pi0`
  --> inventory/lab.yaml:2:9
   |
 2 |   pi0: {adress: 10.9.8.1}
   |         ^^^^^^
hint: did you mean `address`?
"#,
    );
    wrong_at_once(
        &[("inventory/lab.yaml", "minions:\n  pi0: {address: 10.9.8.1\n")],
        r#"
error: this `{` is never closed by a `}`
  --> inventory/lab.yaml:2:8
   |
 2 |   pi0: {address: 10.9.8.1
   |        ^
"#,
    );
    wrong_at_once(
        &[("inventory/lab.yaml", "minions:\n  pi[0-2: {address: 10.9.8.1}\n")],
        r#"
error: `pi[0-2`: the bracket is not closed
  --> inventory/lab.yaml:2:3
   |
 2 |   pi[0-2: {address: 10.9.8.1}
   |   ^^
hint: a range is written `pi[0-13]`
"#,
    );
    wrong_at_once(
        &[(
            "inventory/lab.yaml",
            "minions:\n  pi0: 10.9.8.1\nnodegroups:\n  web: [pi0, pi00]\n",
        )],
        r#"
error: a nodegroup names `pi00`, which is not in the inventory
  --> inventory/lab.yaml:4:3
   |
 4 |   web: [pi0, pi00]
   |   ^^^
hint: did you mean `pi0`?
"#,
    );
    wrong_at_once(
        &[(
            "inventory/lab.yaml",
            "minions:\n  pi0: 10.9.8.1\nnodegroups:\n  web: 'pi* nad G@os:Debian'\n",
        )],
        r#"
error: expected `and` or `or` before `nad`
  --> inventory/lab.yaml:4:8
   |
 4 |   web: 'pi* nad G@os:Debian'
   |        ^
hint: terms are joined by `and` and `or`: `web* and not web1`
"#,
    );
    wrong_at_once(
        &[(
            "inventory/lab.yaml",
            "minions:\n  pi0: 10.9.8.1\nnodegroups:\n  web: pi*\n  all: N@wbe\n",
        )],
        r#"
error: no nodegroup is called `wbe`
  --> inventory/lab.yaml:5:8
   |
 5 |   all: N@wbe
   |        ^
hint: did you mean `web`?
hint: the nodegroups are web, all
"#,
    );
}

#[test]
fn a_typo_in_a_top_file_is_named() {
    wrong(
        &[("states/top.sls", "base:\n  '*': [sit]\n")],
        r#"
error: there is no SLS `sit`
  --> states/top.sls:2:9
   |
 2 |   '*': [sit]
   |         ^^^
   = minion: pi0
hint: looked for sit.sls and sit/init.sls in states, (shipped with picloud)
hint: did you mean `site`?
"#,
    );
    wrong(
        &[("states/top.sls", "base:\n  *: [site]\n")],
        r#"
error: while parsing node, found unknown anchor
  --> states/top.sls:2:3
   |
 2 |   *: [site]
   |   ^
   = minion: pi0
hint: a value that begins with `*` repeats an anchor: to mean the character, put
  it in quotes
"#,
    );
    wrong(
        &[("states/top.sls", "base:\n  'os:Debian':\n    - match: grian\n    - site\n")],
        r#"
error: `grian` is not a matcher
  --> states/top.sls:3:14
   |
 3 |     - match: grian
   |              ^^^^^
   = minion: pi0
hint: did you mean `grain`?
hint: possible are compound, glob, pcre, grain, grain_pcre, list, pillar,
  pillar_pcre, pillar_exact, ipcidr, data, range, nodegroup
"#,
    );
    wrong(
        &[("states/top.sls", "base:\n  'G@os:Debian and X@y:z': [site]\n")],
        r#"
error: unknown matcher `X@`
  --> states/top.sls:2:3
   |
 2 |   'G@os:Debian and X@y:z': [site]
   |   ^
   = minion: pi0
hint: G@ grain, P@ grain by regex, I@ pillar, J@ pillar by regex, E@ id by
  regex, L@ list, S@ subnet, N@ nodegroup, R@ range
"#,
    );
    wrong(
        &[("pillar/top.sls", "base:\n  '*': [dta]\n")],
        r#"
error: there is no SLS `dta`
  --> pillar/top.sls:2:9
   |
 2 |   '*': [dta]
   |         ^^^
   = minion: pi0
hint: looked for dta.sls and dta/init.sls in pillar
hint: did you mean `data`?
"#,
    );
    wrong(
        &[("pillar/top.sls", "base:\n  '*': data: x\n")],
        r#"
error: mapping values are not allowed in this context
  --> pillar/top.sls:2:12
   |
 2 |   '*': data: x
   |            ^
   = minion: pi0
hint: a value that holds `: ` wants quotes, and a key stands on a line of its
  own, no deeper than its neighbours
"#,
    );
}

#[test]
fn a_typo_in_pillar_is_named() {
    wrong(
        &[("pillar/data.sls", "word: hello\nword: bye\n")],
        r#"
error: found conflicting ID 'word'
  --> pillar/data.sls:2:1
   |
 2 | word: bye
   | ^^^^
   = minion: pi0
   = it stands first here: pillar/data.sls:1:1
hint: a mapping has each key once: rename one, or make one of the two
"#,
    );
    wrong(
        &[("pillar/data.sls", "- word\n")],
        r#"
error: the pillar SLS `data` is a list, not a mapping
  --> pillar/data.sls:1:1
   |
 1 | - word
   | ^
   = minion: pi0
"#,
    );
    wrong(
        &[("pillar/data.sls", "word: {{ grains['oss'] }}\n")],
        r#"
error: `grains['oss']` is not defined: there is no `oss` in `grains`
  --> pillar/data.sls:1:18
   |
 1 | word: {{ grains['oss'] }}
   |                  ^^^
   = minion: pi0
hint: did you mean `os`?
"#,
    );
}

#[test]
fn a_typo_in_an_sls_is_named() {
    wrong(
        &[("states/site.sls", "site:\n  tset.nop: []\n")],
        r#"
error: unknown state function `tset.nop`
  --> states/site.sls:2:3
   |
 2 |   tset.nop: []
   |   ^^^^^^^^
   = minion: pi0
hint: did you mean `test.nop`?
hint: `picloud doc` lists the state functions that picloud knows
"#,
    );
    wrong(
        &[("states/site.sls", "/x:\n  file.managed:\n    - contens: a\n")],
        r#"
error: unknown argument `contens`
  --> states/site.sls:3:7
   |
 3 |     - contens: a
   |       ^^^^^^^
   = state: file.managed /x
   = minion: pi0
hint: did you mean `contents`?
"#,
    );
    wrong(
        &[("states/site.sls", "site:\n  test.nop:\n    - requires:\n      - test: x\n")],
        r#"
error: unknown argument `requires`
  --> states/site.sls:3:7
   |
 3 |     - requires:
   |       ^^^^^^^^
   = state: test.nop site
   = minion: pi0
hint: known are `name` and `comment`
hint: did you mean `require`?
"#,
    );
    wrong(
        &[("states/site.sls", "site:\n  test.nop:\n    - name: a\n   - comment: c\n")],
        r#"
error: while parsing a block mapping, did not find expected key
  --> states/site.sls:4:4
   |
 4 |    - comment: c
   |    ^
   = minion: pi0
hint: look at the indentation of this line and the one before, and for a missing
  `:` or quote
"#,
    );
    wrong(
        &[("states/site.sls", "site: test\n")],
        r#"
error: `test` does not name a state function
  --> states/site.sls:1:7
   |
 1 | site: test
   |       ^^^^
   = minion: pi0
hint: a state function is written `module.function`: `file.managed`
"#,
    );
    wrong(
        &[("states/site.sls", "/x:\n  file:\n    - contents: a\n")],
        r#"
error: the ID `/x` names no function of the module `file`
  --> states/site.sls:2:3
   |
 2 |   file:
   |   ^^^^
   = minion: pi0
hint: write `file.function:`
"#,
    );
    wrong(
        &[("states/site.sls", "- site\n")],
        r#"
error: the SLS `site` is a list, not a mapping of IDs to states
  --> states/site.sls:1:1
   |
 1 | - site
   | ^
   = minion: pi0
"#,
    );
    wrong(
        &[(
            "states/site.sls",
            "site:\n  test.nop:\n    - onlyif:\n      - fun: file.serch\n        args: [/x, y]\n",
        )],
        r#"
error: there is no function `file.serch`
  --> states/site.sls:4:9
   |
 4 |       - fun: file.serch
   |         ^^^
   = minion: pi0
hint: did you mean `file.search`?
"#,
    );
    wrong(
        &[(
            "states/site.sls",
            "site:\n  test.nop:\n    - onlyif:\n      - fun: file.search\n        args: [/x]\n",
        )],
        r#"
error: `file.search` needs the argument `pattern`
  --> states/site.sls:4:9
   |
 4 |       - fun: file.search
   |         ^^^
   = state: test.nop site
   = minion: pi0
"#,
    );
}

#[test]
fn a_typo_in_a_template_is_named() {
    wrong(
        &[("states/site.sls", "site:\n  test.nop:\n    - name: {{ pilar.word }}\n")],
        r#"
error: the variable `pilar` is not defined
  --> states/site.sls:3:16
   |
 3 |     - name: {{ pilar.word }}
   |                ^^^^^^^^^^
   = minion: pi0
hint: did you mean `pillar`?
"#,
    );
    wrong(
        &[("states/site.sls", "site:\n  test.nop:\n    - name: {{ pillar['wrod'] }}\n")],
        r#"
error: `pillar['wrod']` is not defined: there is no `wrod` in `pillar`
  --> states/site.sls:3:24
   |
 3 |     - name: {{ pillar['wrod'] }}
   |                        ^^^^
   = minion: pi0
hint: did you mean `word`?
"#,
    );
    wrong(
        &[("states/site.sls", "site:\n  test.nop:\n    - name: {{ 'a' | uper }}\n")],
        r#"
error: there is no filter `uper`
  --> states/site.sls:3:22
   |
 3 |     - name: {{ 'a' | uper }}
   |                      ^^^^
   = minion: pi0
hint: did you mean `upper`?
"#,
    );
    wrong(
        &[(
            "states/site.sls",
            "site:\n  test.nop:\n    - name: {{ salt['pillar.gte']('a') }}\n",
        )],
        r#"
error: there is no function `pillar.gte`
  --> states/site.sls:3:22
   |
 3 |     - name: {{ salt['pillar.gte']('a') }}
   |                      ^^^^^^^^^^
   = minion: pi0
hint: did you mean `pillar.get`?
"#,
    );
    wrong(
        &[("states/site.sls", "{% if true %}\nsite:\n  test.nop: []\n{% endfi %}\n")],
        r#"
error: `endfi` where `endif` must come first
  --> states/site.sls:4:4
   |
 4 | {% endfi %}
   |    ^^^^^
   = minion: pi0
hint: `if` is opened in line 1
"#,
    );
    wrong(
        &[(
            "states/site.sls",
            "site:\n  test.nop:\n    - name: {{ salt['match.compound']('G@') }}\n",
        )],
        r#"
error: nothing follows `G@`
  --> states/site.sls:3:20
   |
 3 |     - name: {{ salt['match.compound']('G@') }}
   |                    ^
   = minion: pi0
"#,
    );
}

#[test]
fn a_mistake_in_an_imported_file_is_named_with_the_way_to_it() {
    wrong(
        &[
            (
                "states/site.sls",
                "{% from 'mpa.jinja' import conf with context %}\nsite:\n  test.nop:\n    - name: {{ conf.a }}\n",
            ),
            ("states/map.jinja", ""),
        ],
        r#"
error: there is no file `mpa.jinja` to be imported
  --> states/site.sls:1:4
   |
 1 | {% from 'mpa.jinja' import conf with context %}
   |    ^^^^
   = minion: pi0
hint: did you mean `map.jinja`?
"#,
    );
    wrong(
        &[
            (
                "states/site.sls",
                "{% from 'map.jinja' import cnf with context %}\nsite:\n  test.nop:\n    - name: {{ cnf.a }}\n",
            ),
            ("states/map.jinja", "{% set conf = {'a': 1} %}\n"),
        ],
        r#"
error: the variable `cnf` is not defined
  --> states/site.sls:4:16
   |
 4 |     - name: {{ cnf.a }}
   |                ^^^^^
   = minion: pi0
hint: did you mean `conf`, which states/map.jinja sets?
hint: it was looked up in line 1
"#,
    );
    wrong(
        &[
            (
                "states/site.sls",
                "{% from 'map.jinja' import conf with context %}\nsite:\n  test.nop:\n    - name: {{ conf.a }}\n",
            ),
            (
                "states/map.jinja",
                "{% set conf = {'a': 1} %}\n{% set b = grains.osarchs.more %}\n",
            ),
        ],
        r#"
error: `grains.osarchs` is not defined: there is no `osarchs` in `grains`
  --> states/map.jinja:2:19
   |
 2 | {% set b = grains.osarchs.more %}
   |                   ^^^^^^^^^^^^
   = minion: pi0
   = imported from: states/site.sls:1:4
hint: did you mean `osarch`?
"#,
    );
    wrong(
        &[
            (
                "states/site.sls",
                "{% from 'map.jinja' import conf with context %}\nsite:\n  test.nop:\n    - name: {{ conf.a }}\n",
            ),
            ("states/map.jinja", "{% set conf = {'a': 1} %}\n{% if conf %}\n"),
        ],
        r#"
error: `if` is never closed by `{% endif %}`
  --> states/map.jinja:2:4
   |
 2 | {% if conf %}
   |    ^^
   = minion: pi0
   = imported from: states/site.sls:1:4
"#,
    );
    wrong(
        &[
            (
                "states/site.sls",
                "{% import_yaml 'map.yaml' as conf %}\nsite:\n  test.nop: []\n",
            ),
            ("states/map.yaml", "a:\n  b: [1\n"),
        ],
        r#"
error: map.yaml is not YAML: this `[` is never closed by a `]`
  --> states/site.sls:1:5
   |
 1 | {% import_yaml 'map.yaml' as conf %}
   |     ^^^^^^^^^^
   = minion: pi0
hint: in line 2: `b: [1`
"#,
    );
    wrong(
        &[
            ("states/site.sls", "include: [other]\n"),
            ("states/other.sls", "other:\n  test.nop:\n    - name: {{ undefined_here }}\n"),
        ],
        r#"
error: the variable `undefined_here` is not defined
  --> states/other.sls:3:16
   |
 3 |     - name: {{ undefined_here }}
   |                ^^^^^^^^^^^^^^
   = minion: pi0
   = included by `site`: states/site.sls:1:11
"#,
    );
}

#[test]
fn references_that_lead_nowhere_are_named() {
    wrong(
        &[("states/site.sls", "site:\n  test.nop:\n    - require:\n      - test: sit\n")],
        r#"
error: `require` refers to `test: sit`, which no state declares
  --> states/site.sls:4:15
   |
 4 |       - test: sit
   |               ^^^
   = minion: pi0
hint: did you mean `site`?
hint: a reference is compared with IDs and names; is an `include` missing?
"#,
    );
    wrong(
        &[("states/site.sls", "site:\n  test.nop:\n    - require:\n      - tst: site\n")],
        r#"
error: `require` refers to `tst: site`, which no state declares
  --> states/site.sls:4:14
   |
 4 |       - tst: site
   |              ^^^^
   = minion: pi0
hint: there is `test: site`
"#,
    );
    wrong(
        &[(
            "states/site.sls",
            "site:\n  test.nop:\n    - watch_in:\n      - service: nginx\n",
        )],
        r#"
error: there is no state with the ID or the name `nginx` of the module `service`
  --> states/site.sls:4:9
   |
 4 |       - service: nginx
   |         ^^^^^^^
   = minion: pi0
hint: is an `include` missing?
"#,
    );
    wrong(
        &[("states/site.sls", "include: [sites]\n")],
        r#"
error: there is no SLS `sites`
  --> states/site.sls:1:11
   |
 1 | include: [sites]
   |           ^^^^^
   = minion: pi0
hint: looked for sites.sls and sites/init.sls in states, (shipped with picloud)
hint: did you mean `site`?
"#,
    );
    wrong(
        &[(
            "states/site.sls",
            "extend:\n  sites:\n    test.nop: []\nsite:\n  test.nop: []\n",
        )],
        r#"
error: there is no state with the ID or the name `sites` of the module `test`
  --> states/site.sls:2:3
   |
 2 |   sites:
   |   ^^^^^
   = minion: pi0
hint: did you mean `site`?
hint: is an `include` missing?
"#,
    );
    wrong(
        &[
            ("states/site.sls", "/x:\n  file.managed:\n    - source: salt://site.cnf\n"),
            ("states/site.conf", ""),
        ],
        r#"
error: there is no salt://site.cnf in the state tree
  --> states/site.sls:2:3
   |
 2 |   file.managed:
   |   ^^^^^^^^^^^^
   = state: file.managed /x
   = minion: pi0
hint: did you mean `salt://site.conf`?
"#,
    );
}

#[test]
fn a_cycle_is_shown_whole() {
    wrong(
        &[(
            "states/site.sls",
            "a:\n  test.nop:\n    - require: [test: b]\nb:\n  test.nop:\n    - require: [test: c]\nc:\n  test.nop:\n    - require: [test: a]\n",
        )],
        r#"
error: recursive requisites: `test: a` after `test: b` after `test: c` after
  `test: a`
  --> states/site.sls:3:23
   |
 3 |     - require: [test: b]
   |                       ^
   = minion: pi0
   = `test: a` has `test: b` in its require: states/site.sls:3:23
   = `test: b` has `test: c` in its require: states/site.sls:6:23
   = `test: c` has `test: a` in its require: states/site.sls:9:23
hint: take one of these requisites away
"#,
    );
}

#[test]
fn ids_are_unique() {
    wrong(
        &[("states/site.sls", "x:\n  test.nop: []\nx:\n  test.nop: []\n")],
        r#"
error: found conflicting ID 'x'
  --> states/site.sls:3:1
   |
 3 | x:
   | ^
   = minion: pi0
   = it stands first here: states/site.sls:1:1
hint: a mapping has each key once: rename one, or make one of the two
"#,
    );
    wrong(
        &[
            ("states/site.sls", "include: [other]\nx:\n  test.nop: []\n"),
            ("states/other.sls", "x:\n  test.nop: []\n"),
        ],
        r#"
error: the ID `x` is declared twice: in `site` (states/site.sls:2:1) and in
  `other`
  --> states/other.sls:1:1
   |
 1 | x:
   | ^
   = minion: pi0
   = included by `site`: states/site.sls:1:11
hint: IDs are unique over all SLS of a run: rename one, and give the old one as
  `- name: ...`
"#,
    );
}

#[test]
fn arguments_of_the_wrong_kind_are_named() {
    wrong(
        &[("states/site.sls", "/x:\n  file.managed:\n    - makedirs: perhaps\n")],
        r#"
error: `makedirs`: expected a boolean, found `perhaps`
  --> states/site.sls:3:17
   |
 3 |     - makedirs: perhaps
   |                 ^^^^^^^
   = state: file.managed /x
   = minion: pi0
"#,
    );
    wrong(
        &[("states/site.sls", "/x:\n  file.managed:\n    - mode: rw\n")],
        r#"
error: `mode`: expected a file mode in octal such as `0644`, found `rw`
  --> states/site.sls:3:13
   |
 3 |     - mode: rw
   |             ^^
   = state: file.managed /x
   = minion: pi0
"#,
    );
    wrong(
        &[("states/site.sls", "/x:\n  file.symlink:\n    - target: [a, b]\n")],
        r#"
error: `target`: expected a string, found a list
  --> states/site.sls:3:15
   |
 3 |     - target: [a, b]
   |               ^
   = state: file.symlink /x
   = minion: pi0
"#,
    );
    wrong(
        &[("states/site.sls", "x:\n  pkg.installed:\n    - pkgs: {a: {b: c}}\n")],
        r#"
error: the version of a must be text, not a mapping
  --> states/site.sls:3:17
   |
 3 |     - pkgs: {a: {b: c}}
   |                 ^
   = state: pkg.installed x
   = minion: pi0
"#,
    );
    wrong(
        &[("states/site.sls", "x:\n  test.nop:\n    - retry: {attemts: 3}\n")],
        r#"
error: unknown argument `attemts`
  --> states/site.sls:3:15
   |
 3 |     - retry: {attemts: 3}
   |               ^^^^^^^
   = minion: pi0
hint: did you mean `attempts`?
hint: known are `attempts`, `until`, `interval` and `splay`
"#,
    );
    wrong(
        &[("states/site.sls", "x:\n  cmd.run:\n    - timeout: [1]\n")],
        r#"
error: `timeout`: expected a whole number, 0 or more, found a list
  --> states/site.sls:3:16
   |
 3 |     - timeout: [1]
   |                ^
   = state: cmd.run x
   = minion: pi0
"#,
    );
}

#[test]
fn bytes_that_are_no_text_are_named() {
    wrong_bytes(
        &[],
        "states/site.sls",
        b"site:\n\ttest.nop: []\n",
        r#"
error: tabs disallowed within this context (block indentation)
  --> states/site.sls:2:2
   |
 2 |     test.nop: []
   |     ^^^^^^^^
   = minion: pi0
hint: YAML is not indented with tabs: use spaces
"#,
    );
    wrong_bytes(
        &[],
        "states/site.sls",
        b"site:\n  test.nop:\n    - name: caf\xe9\n",
        r#"
error: the text is not UTF-8
  --> states/site.sls:3:16
   |
 3 |     - name: caf�
   |                ^
   = minion: pi0
hint: save it as UTF-8; binary data belongs into a file of its own
"#,
    );
    wrong_bytes(
        &[],
        "states/site.sls",
        b"\xff\xfes\0i\0t\0e\0:\0\n\0 \0 \0t\0e\0s\0t\0.\0n\0o\0p\0:\0 \0[\0]\0\n\0",
        r#"
error: the text is not UTF-8
  --> states/site.sls:1:1
   |
 1 | ��s^@i^@t^@e^@:^@
   | ^
   = minion: pi0
hint: it looks like UTF-16: save it as UTF-8
"#,
    );
    wrong_bytes(
        &[],
        "states/site.sls",
        b"site:\n  test.nop:\n    - name: a\0b\n",
        r#"
error: found unprintable character
  --> states/site.sls:3:14
   |
 3 |     - name: a^@b
   |              ^^
   = minion: pi0
"#,
    );
    wrong_bytes_at_once(
        &[],
        "inventory/lab.yaml",
        b"minions:\n  pi0: {address: caf\xe9}\n",
        r#"
error: the text is not UTF-8
  --> inventory/lab.yaml:2:21
   |
 2 |   pi0: {address: caf�}
   |                     ^
hint: save it as UTF-8; binary data belongs into a file of its own
"#,
    );
    wrong_bytes_at_once(
        &[],
        "picloud.yaml",
        b"name: caf\xe9\n",
        r#"
error: the text is not UTF-8
  --> picloud.yaml:1:10
   |
 1 | name: caf�
   |          ^
hint: save it as UTF-8; binary data belongs into a file of its own
"#,
    );
    wrong_bytes(
        &[(
            "states/site.sls",
            "{% from 'map.jinja' import conf with context %}\nsite:\n  test.nop:\n    - name: {{ conf.a }}\n",
        )],
        "states/map.jinja",
        b"{% set conf = 'caf\xe9' %}\n",
        r#"
error: the text is not UTF-8
  --> states/map.jinja:1:19
   |
 1 | {% set conf = 'caf�' %}
   |                   ^
   = minion: pi0
   = imported from: states/site.sls:1:4
hint: save it as UTF-8; binary data belongs into a file of its own
"#,
    );
}

#[test]
fn a_byte_order_mark_is_no_mistake() {
    let mark = "\u{feff}";
    let said = check(&[
        ("picloud.yaml", &format!("{mark}name: lab\n")),
        ("inventory/lab.yaml", &format!("{mark}minions: {{pi0: 10.9.8.1}}\n")),
        ("states/top.sls", &format!("{mark}base:\n  '*': [site]\n")),
        ("states/site.sls", &format!("{mark}site:\n  test.nop: []\n")),
        ("pillar/data.sls", &format!("{mark}word: hello\n")),
    ]);
    said.shows(&format!("no mistakes: 1 minion, 1 state\n--- stderr\n{GUESSED}"));
}

#[test]
fn an_environment_that_is_none_is_warned_of() {
    let said = check(&[("states/top.sls", "bas:\n  '*': [site]\nbase:\n  '*': [site]\n")]);
    let warning = "\
warning: the section `bas` is left out: this run is for `base`
  --> states/top.sls:1:1
   |
 1 | bas:
   | ^^^
   = minion: pi0
hint: did you mean `base`?
";
    said.shows(&format!("no mistakes: 1 minion, 1 state\n--- stderr\n{warning}{GUESSED}"));
}

#[test]
fn bombs_are_refused() {
    let mut aliases = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for n in 1..12 {
        aliases += &format!("a{n}: &a{n} [{}]\n", format!("*a{}, ", n - 1).repeat(10));
    }
    let deep = format!("x: {}", "[".repeat(3000));
    let nested = format!("x: {{{{ {}1{} }}}}\n", "(".repeat(5000), ")".repeat(5000));
    for (text, expected) in [
        (aliases.as_str(), "the document holds more than 2000000 values"),
        (&deep, "nested deeper than 128 levels"),
        (&nested, "this expression is nested deeper than 60 levels"),
        (
            "{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}\n",
            "the template takes too long; it was stopped after 5000000 steps",
        ),
        (
            "{% set x = 'a' * 10**11 %}\n",
            "a string or list of 100000000000 is too large",
        ),
        (
            "{% set x = range(10**12) %}\n",
            "a range of 1000000000000 numbers is too large",
        ),
        (
            "{% include 'site.sls' %}\n",
            "the template imports, includes or calls itself without end",
        ),
        (
            "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}\n",
            "the template imports, includes or calls itself without end",
        ),
    ] {
        let said = check(&[("states/site.sls", text)]);
        let start = format!("--- stderr\n{GUESSED}error: {expected}\n  --> states/site.sls:");
        assert!(said.code == 1 && said.text.starts_with(&start), "{said:?}");
        assert!(said.text.len() < 2000, "{}", said.text);
    }
}

#[test]
fn monsters_are_refused_unread() {
    let limit = "where at most 32 MiB of YAML are read\n";
    for (path, imports) in [
        ("picloud.yaml", ""),
        ("inventory/lab.yaml", ""),
        ("states/top.sls", ""),
        ("states/site.sls", ""),
        ("pillar/data.sls", ""),
        ("states/map.yaml", "{% import_yaml 'map.yaml' as map %}\n"),
        ("states/map.jinja", "{% from 'map.jinja' import map with context %}\n"),
    ] {
        let program = project();
        if !imports.is_empty() {
            program.file("states/site.sls", imports);
        }
        program.file(path, "");
        // Without holes it would be read in the same way; this one takes no room on the disk.
        let file = std::fs::File::options()
            .write(true)
            .open(program.folder().join(path))
            .unwrap();
        file.set_len(100 << 20).unwrap();
        let said = bounded(&program, 200 << 20);
        assert_eq!(said.code, 1, "{path}: {said:?}");
        let expected = format!("error: the file is too large: 100 MiB, {limit}");
        assert!(said.text.contains(&expected), "{path}: {}", said.text);
        assert!(said.text.contains(&format!("--> {path}:1:1\n")), "{path}: {}", said.text);
    }
}

/// `picloud check` in at most so many bytes of memory.
fn bounded(program: &Program, bytes: u64) -> Said {
    use std::os::unix::process::CommandExt as _;
    let mut command = program.command(&["check"]);
    let limit = rustix::process::Rlimit {
        current: Some(bytes),
        maximum: Some(bytes),
    };
    // SAFETY: `setrlimit` is one system call, and as such safe between `fork` and `exec`.
    unsafe {
        command.pre_exec(move || Ok(rustix::process::setrlimit(rustix::process::Resource::Data, limit)?));
    }
    program.said(&mut command)
}

#[test]
fn what_is_no_file_is_not_waited_for() {
    let program = project();
    let fifo = program.folder().join("inventory/pipe.yaml");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    program
        .run(&["check"])
        .fails_with(1, "--- stderr\nerror: cannot read inventory/pipe.yaml: it is not a file\n");
}

#[test]
fn targets_that_are_none_are_explained() {
    let program = project();
    for (arguments, expected) in [
        (
            &["check", "G@os:Debian and ("][..],
            "error: the expression ends where a term was expected\n  --> target:1:18\n   |\n 1 | G@os:Debian and (\n   |                  ^\n",
        ),
        (
            &["check", "-E", "pi["],
            "error: `pi[` is not a regular expression: invalid character class\n  --> target:1:1\n   |\n 1 | pi[\n   | ^^\n",
        ),
        (
            &["check", "-S", "10.0.0/40"],
            "error: `10.0.0/40` is neither an IP address nor a subnet\n  --> target:1:1\n   |\n 1 | 10.0.0/40\n   | ^^^^^^^^^\nhint: a subnet is written `192.168.1.0/24`\n",
        ),
        (
            &["check", "X@a:b"],
            "error: unknown matcher `X@`\n  --> target:1:1\n   |\n 1 | X@a:b\n   | ^\nhint: G@ grain, P@ grain by regex, I@ pillar, J@ pillar by regex, E@ id by\n  regex, L@ list, S@ subnet, N@ nodegroup, R@ range\n",
        ),
        (
            &["check", "pi9"],
            "error: no minion is called `pi9`\nhint: did you mean `pi0`?\nhint: the inventory has pi0\n",
        ),
    ] {
        program.run(arguments).fails_with(1, &format!("--- stderr\n{expected}"));
    }
}

/// The project's minion at a port of this machine, with what else its inventory entry says.
fn at(program: &Program, port: u16, more: &str) {
    program.file(
        "inventory/lab.yaml",
        &format!(
            "minions:\n  pi0: {{address: 127.0.0.1, port: {port}, user: {}{more}}}\n",
            user()
        ),
    );
}

/// A port at which nobody listens.
fn closed_port() -> u16 {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    socket.local_addr().unwrap().port()
}

#[test]
fn a_closed_port_is_told_by_all_commands() {
    let program = project();
    let port = closed_port();
    at(&program, port, "");
    let reason = format!("127.0.0.1:{port}: connection refused (5 attempts)");
    let error =
        format!("error: {reason}\n  = minion: pi0\nhint: the machine is up, but no sshd listens there: is the port right?\n");
    for (arguments, said) in [
        (
            &["ping"][..],
            format!("minion  as  host name  connect  round trip  system\npi0     not reached: {reason}\n--- stderr\n{error}"),
        ),
        (&["run", "pi0", "--", "true"], format!("--- stderr\n(no answer)\n{error}")),
        (&["grains", "pi0"], format!("{{}}\n--- stderr\n{error}")),
    ] {
        program.run(arguments).fails_with(3, &said);
    }
    let applied = program.run(&["apply", "--no-progress"]);
    assert_eq!(applied.code, 3, "{applied:?}");
    assert!(applied.text.contains(&error), "{applied:?}");
}

#[test]
fn an_unknown_host_key_stops_with_its_fingerprint() {
    let Some(server) = Sshd::start("") else { return };
    let program = project();
    at(&program, server.port, "");
    let print = sshd::run(
        std::process::Command::new("ssh-keygen")
            .arg("-lf")
            .arg(server.path("host_key.pub")),
    );
    let print = print.split(' ').nth(1).unwrap();
    let said = program.run(&["run", "pi0", "--", "true"]);
    assert_eq!(said.code, 3, "{said:?}");
    let flat = said.text.replace("\n  ", " ");
    let expected = format!(
        "error: the host key of pi0 ([127.0.0.1]:{}) is not known: {print} (ssh-ed25519)",
        server.port
    );
    assert!(flat.contains(&expected), "{}", said.text);
    assert!(
        flat.contains("hint: compare the fingerprint, then `picloud trust pi0` accepts it"),
        "{}",
        said.text
    );
}

#[test]
fn an_unknown_jump_host_is_named() {
    let program = project();
    program.file(
        "inventory/lab.yaml",
        "minions:\n  pi0: {address: 10.9.8.1, jump: bastoin}\n  bastion: {address: 10.9.8.2}\n",
    );
    let warning = "\
warning: the jump host `bastoin` is no minion of the inventory
  --> inventory/lab.yaml:2:3
   |
 2 |   pi0: {address: 10.9.8.1, jump: bastoin}
   |   ^^^
hint: did you mean `bastion`? Else it is looked up as SSH does
";
    program
        .run(&["check", "pi0"])
        .shows(&format!("no mistakes: 1 minion, 1 state\n--- stderr\n{warning}{GUESSED}"));
    program.file(
        "inventory/lab.yaml",
        "minions:\n  pi0: {address: 10.9.8.1, jump: gate.invalid}\n",
    );
    let said = program.run(&["ping"]);
    assert_eq!(said.code, 3, "{said:?}");
    assert!(said.text.contains("error: gate.invalid:22: "), "{}", said.text);
    assert!(
        said.text.ends_with("hint: `gate.invalid` is the jump host on the way\n"),
        "{}",
        said.text
    );
}
