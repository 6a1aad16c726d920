//! The language's tables: whole SLS files beside the low state, the error or the warning that they come to.

use super::*;
use crate::error::{Error, Pos, Result};
use crate::tree::{Tree, TreeFile};
use crate::yaml::{Map, Value, utf8};

/// Text as it is; a file with `ASK` in it asks.
struct AsIs;

impl Render for AsIs {
    fn render(&self, file: &TreeFile, _: &Locals) -> Result<Rendered> {
        let bytes = file.read()?;
        let text = utf8(file.id, &bytes)?;
        if text.contains("ASK") {
            return Ok(Rendered::Asks);
        }
        Ok(Rendered::Text(
            text.replace("{{ four }}", "4")
                .replace("{{ loop }}", "x: test.nop\ny: test.nop\nz: test.nop"),
        ))
    }

    fn origin(&self, at: Pos) -> Pos {
        let looped = TreeFile {
            path: String::new(),
            id: at.file,
            place: crate::tree::Place::Disk(at.file.name().into()),
        };
        let loops = looped.read().is_ok_and(|bytes| bytes.starts_with(b"{{ loop"));
        let line = if loops { at.line.saturating_sub(2).max(1) } else { at.line };
        Pos { line, ..at }
    }
}

/// Compiles `which` (`top`, or names of SLS) of files written as `# path` lines, each followed by its contents.
fn compiled(files: &str, which: &str, unresolved: Unresolved) -> Result<Compiled> {
    let folder = tempfile::tempdir().unwrap();
    let mut path = folder.path().join("main.sls");
    let mut text = String::new();
    for line in files.lines().chain(["# end.sls"]) {
        if let Some(name) = line.strip_prefix("# ").filter(|rest| rest.ends_with(".sls")) {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, std::mem::take(&mut text)).unwrap();
            path = folder.path().join(name);
        }
        text.push_str(line);
        text.push('\n');
    }
    let tree = Tree::folder(folder.path());
    let which = match which {
        "top" => Which::Top,
        names => Which::Sls(vec![names.to_owned()]),
    };
    let compiled = compile(&Input {
        tree: &tree,
        render: &AsIs,
        id: "pi0",
        saltenv: "base",
        which,
        matches: &|target, matcher| match (matcher, target) {
            ("compound" | "glob", target) => Ok(crate::inventory::Glob::fnmatch(target).matches("pi0")),
            ("grain", target) => Ok(target == "os:Debian"),
            (matcher, _) => Err(Error::usage(format!("no {matcher} here"))),
        },
        watches: &|module| matches!(module, "service" | "cmd"),
        takes: &|function, argument| {
            matches!(
                (function, argument),
                ("cmd.run", "runas") | ("file.managed", "check_cmd") | ("service.running", "listen")
            )
        },
        unresolved,
    });
    // The folder's name is another each time.
    let prefix = format!("{}/", folder.path().display());
    compiled.map_err(|e| {
        let renamed = |at: Pos| Pos {
            file: crate::error::FileId::of(&at.file.name().replace(&prefix, "")),
            ..at
        };
        let moved = e.moved(renamed);
        // Messages name files too.
        match moved.to_string().contains(&prefix) {
            true => Error::usage(moved.to_string().replace(&prefix, "")),
            false => moved,
        }
    })
}

fn ready(files: &str, which: &str) -> Ready {
    match compiled(files, which, Unresolved::Error) {
        Ok(Compiled::Ready(ready)) => *ready,
        Ok(Compiled::Asks) => panic!("it asks\n{files}"),
        Err(error) => panic!("{error}\n{files}"),
    }
}

fn low(files: &str, which: &str) -> LowState {
    ready(files, which).low
}

/// `order module.function id name`, with the name only where it is not the ID.
fn lines(low: &LowState) -> Vec<String> {
    low.chunks
        .iter()
        .map(|c| {
            let name = if c.name == c.id {
                String::new()
            } else {
                format!(" {}", c.name)
            };
            format!("{} {} {}{name}", c.order, c.function(), c.id)
        })
        .collect()
}

/// The requisites of each chunk: `id: kind id id; ...`, without those that have none.
fn requisites(low: &LowState) -> Vec<String> {
    let of = |chunk: &Chunk| {
        let requisites = chunk.requisites.iter().map(|requisite| {
            let targets = requisite.references.iter().flat_map(|r| &r.targets);
            let names: Vec<&str> = targets.map(|t| &*low.chunks[*t].id).collect();
            format!("{:?} {}", requisite.kind, names.join(" "))
        });
        requisites.collect::<Vec<_>>().join("; ")
    };
    low.chunks
        .iter()
        .filter(|chunk| !chunk.requisites.is_empty())
        .map(|chunk| format!("{}: {}", chunk.id, of(chunk)))
        .collect()
}

fn json(map: &Map) -> String {
    serde_json::to_string(&Value::from(map.clone())).unwrap()
}

fn error(files: &str, which: &str) -> String {
    match compiled(files, which, Unresolved::Error) {
        Ok(_) => panic!("it compiles\n{files}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_state_can_be_declared_in_every_form() {
    let cases = [
        ("a: pkg.installed\n", vec!["10000 pkg.installed a"]),
        ("a:\n  pkg.installed\n", vec!["10000 pkg.installed a"]),
        ("a:\n  pkg.installed: []\n", vec!["10000 pkg.installed a"]),
        ("a:\n  pkg.installed:\n    - name: b\n", vec!["10000 pkg.installed a b"]),
        (
            "a:\n  pkg:\n    - installed\n    - name: b\n",
            vec!["10000 pkg.installed a b"],
        ),
        (
            "a:\n  pkg:\n    - name: b\n    - installed\n",
            vec!["10000 pkg.installed a b"],
        ),
        // Several modules under one ID: those with a dot come last, as in Salt.
        (
            "a:\n  pkg.installed: []\n  service:\n    - running\n  file.managed: []\n",
            vec!["10000 service.running a", "10001 pkg.installed a", "10002 file.managed a"],
        ),
        ("a:\n  pkg.installed:\n    - name: 5\n", vec!["10000 pkg.installed a"]),
        (
            "a:\n  pkg.installed:\n    - name: b\n    - state: c\n",
            vec!["10000 pkg.installed a b"],
        ),
        (
            "a:\n  pkg.installed:\n    - names: [x, y, x, {z: [{version: 1}]}]\n",
            vec![
                "10000.0001 pkg.installed a x",
                "10000.0002 pkg.installed a y",
                "10000.0003 pkg.installed a z",
            ],
        ),
        ("#!yaml\na: test.nop\n", vec!["10000 test.nop a"]),
        ("\n", vec![]),
    ];
    for (files, expected) in cases {
        assert_eq!(lines(&low(files, "main")), expected, "{files}");
    }
}

#[test]
fn names_have_arguments_of_their_own() {
    let low = low(
        "a:\n  file.managed:\n    - mode: 0644\n    - names:\n      - /x\n      - /y:\n        - mode: '0600'\n        - user: root\n",
        "main",
    );
    let all: Vec<String> = low.chunks.iter().map(|c| json(&c.all)).collect();
    assert_eq!(
        all,
        [
            r#"{"state":"file","name":"/x","__sls__":"main","__env__":"base","__id__":"a","mode":644,"order":10000.0001,"fun":"managed"}"#,
            r#"{"state":"file","name":"/y","__sls__":"main","__env__":"base","__id__":"a","mode":"0600","order":10000.0002,"user":"root","fun":"managed"}"#,
        ]
    );
    let arguments: Vec<String> = low.chunks[1].arguments.keys().map(|key| key.text()).collect();
    assert_eq!(arguments, ["name", "mode", "user"]);
    let mode = &low.chunks[0].arguments["mode"];
    assert_eq!((mode.raw.as_deref(), mode.at.line), (Some("0644"), 3));
}

#[test]
fn the_order_is_that_of_salt_3006() {
    let cases = [
        // What is given comes before what is not; equal orders by module, name and function written together.
        (
            "a: {test.nop: []}\nb: {test.nop: [order: last]}\nc: {test.nop: [order: first]}\nd: {test.nop: [order: 5]}\n",
            vec!["0 test.nop c", "5 test.nop d", "10000 test.nop a", "1010100 test.nop b"],
        ),
        (
            "testonen: {test.nop: [order: 1]}\ntestone_a: {test.nop: [order: 1]}\n",
            vec!["1 test.nop testone_a", "1 test.nop testonen"],
        ),
        (
            "a: {test.nop: [order: -1]}\nb: {test.nop: [order: -2]}\nc: {test.nop: [order: 7.5]}\nd: {test.nop: [order: x]}\n",
            vec!["1 test.nop d", "7.5 test.nop c", "999999 test.nop b", "1000000 test.nop a"],
        ),
        (
            "a: {test.nop: [order: last, names: [y, x]]}\n",
            vec!["1000001.0001 test.nop a y", "1000001.0002 test.nop a x"],
        ),
    ];
    for (files, expected) in cases {
        assert_eq!(lines(&low(files, "main")), expected, "{files}");
    }
}

#[test]
fn what_is_included_comes_first() {
    let files = "\
# main.sls
m: test.nop
include:
  - a
  - .web.site
  - lib.*
# a.sls
include: [b]
a: test.nop
# b.sls
#  Includes in a circle are fine.
include: [main, base: a]
b: test.nop
# web/site.sls
include: [..lib.y]
site: test.nop
# lib/init.sls
lib: test.nop
# lib/x.sls
x: test.nop
# lib/y.sls
include: [.x]
y: test.nop
";
    let expected = [
        "10000 test.nop b",
        "10001 test.nop a",
        "10002 test.nop x",
        "10003 test.nop y",
        "10004 test.nop site",
        "10005 test.nop m",
    ];
    assert_eq!(lines(&low(files, "main")), expected);
    assert_eq!(lines(&low(files, "lib, lib.y")).len(), 3);
}

#[test]
fn extend_changes_states_of_other_files() {
    let files = "\
# main.sls
include: [other]
extend:
  web:
    service.running:
      - enable: false
      - watch: [file: conf]
      - reload: true
    cmd.run: [{name: 'true'}]
  nginx-package:
    pkg: [{version: 2}]
conf: {file.managed: [name: /c]}
# other.sls
web:
  service.running:
    - enable: true
    - watch: [pkg: pkgs]
pkgs:
  pkg.installed:
    - name: nginx-package
";
    let ready = ready(files, "main");
    let low = &ready.low;
    assert_eq!(
        json(&low.chunks.iter().find(|c| c.function() == "service.running").unwrap().all),
        r#"{"state":"service","name":"web","__sls__":"other","__env__":"base","__id__":"web","enable":false,"watch":[{"pkg":"pkgs"},{"file":"conf"}],"order":10000,"reload":true,"fun":"running"}"#
    );
    assert_eq!(requisites(low), ["web: Watch pkgs conf"]);
    let package = low.chunks.iter().find(|c| c.id == "pkgs").unwrap();
    assert_eq!(package.all["version"].as_int(), Some(2));
    // A state that `extend` adds has no place of its own.
    assert!(lines(low).contains(&"10102 cmd.run web true".to_owned()), "{:?}", lines(low));
    assert_eq!(
        ready
            .high
            .to_value()
            .get("web")
            .unwrap()
            .get("__sls__")
            .and_then(|sls| sls.as_str()),
        Some("other")
    );
}

#[test]
fn requisites_refer_by_id_name_pattern_and_sls() {
    let files = "\
# main.sls
include: [other]
a:
  file.managed:
    - name: /a
    - require:
      - pkg: nginx
      - pkg: web-*
      - sls: other
      - b
b:
  cmd.run:
    - watch: [file: /f]
c:
  file.managed:
    - watch: [file: /f]
    - require: [cmd: b]
    - onchanges_any: [file: f]
d:
  test.nop:
    - listen: [file: a]
# other.sls
nginx: pkg.installed
web-1: pkg.installed
web-2: {pkg.installed: [name: second]}
f: {file.managed: [name: /f]}
";
    assert_eq!(
        requisites(&low(files, "main")),
        [
            "a: Require nginx web-1 web-2 nginx web-1 web-2 f b",
            "b: Watch f",
            // A module without `mod_watch` requires what it watches.
            "c: Require b f; OnchangesAny f",
            "d: Listen a",
        ]
    );
}

#[test]
fn a_state_does_not_wait_for_itself() {
    let files = "a: test.nop\nb: {test.nop: [require: [test: 'b*', test: a]]}\n";
    assert_eq!(requisites(&low(files, "main")), ["b: Require a"]);
    assert_eq!(
        requisites(&low("a: {test.nop: [require: [sls: main]]}\nb: test.nop\n", "main")),
        ["a: Require b"]
    );
}

#[test]
fn the_in_forms_are_requisites_of_the_other() {
    let cases = [
        ("a: {test.nop: [require_in: [test: b]]}\nb: test.nop\n", vec!["b: Require a"]),
        ("a: {test.nop: [require_in: {test: b}]}\nb: test.nop\n", vec!["b: Require a"]),
        ("a: {test.nop: [require_in: [b]]}\nb: test.nop\n", vec!["b: Require a"]),
        (
            "a: {test.nop: [onfail_in: [n]]}\nb: {test.nop: [name: n]}\n",
            vec!["b: Onfail a"],
        ),
        (
            "a: {test.nop: [onchanges_in: [test: n]]}\nb: {test.nop: [name: n]}\n",
            vec!["b: Onchanges a"],
        ),
        ("a: {test.nop: [prereq_in: [test: b]]}\nb: test.nop\n", vec!["b: Prereq a"]),
        ("a: {test.nop: [listen_in: [test: b]]}\nb: test.nop\n", vec!["b: Listen a"]),
        (
            "a: {file.managed: [watch_in: [service: b]]}\nb: service.running\n",
            vec!["b: Watch a"],
        ),
        // Salt notes the first of several twice.
        (
            "a: {test.nop: [require_in: [test: b, test: c]]}\nb: test.nop\nc: test.nop\n",
            vec!["b: Require a a", "c: Require a"],
        ),
        (
            "# main.sls\ninclude: [o]\na: {test.nop: [require_in: [sls: o]]}\n# o.sls\nb: test.nop\nc: cmd.run\n",
            vec!["b: Require a", "c: Require a"],
        ),
    ];
    for (files, expected) in cases {
        assert_eq!(requisites(&low(files, "main")), expected, "{files}");
    }
}

#[test]
fn use_copies_arguments_but_not_requisites() {
    let files = "\
a: {cmd.run: [name: x, cwd: /, shell: sh, require: [cmd: c]]}
b: {cmd.run: [cwd: /tmp, use: [cmd: a]]}
c: {cmd.run: [env: {A: b}, use_in: [cmd: b]]}
";
    let low = low(files, "main");
    let b = low.chunks.iter().find(|c| c.id == "b").unwrap();
    assert_eq!(
        json(&b.arguments),
        r#"{"name":"b","cwd":"/tmp","shell":"sh","env":{"A":"b"}}"#
    );
    assert_eq!(requisites(&low), ["a: Require c"]);
}

#[test]
fn exclude_takes_states_away() {
    let files = "\
# main.sls
include: [o, lib.x]
exclude: [o, id: c, sls: 'lib.*']
a: test.nop
c: test.nop
# o.sls
b: test.nop
# lib/x.sls
d: test.nop
";
    assert_eq!(lines(&low(files, "main")), ["10002 test.nop a"]);
}

#[test]
fn the_top_file_assigns_by_every_matcher() {
    let files = "\
# top.sls
base:
  '*': [a]
  'pi[0-3]':
    - b
    - a
  'os:Debian':
    - match: grain
    - c
  'other*': x
prod:
  '*': [x]
# a.sls
a: test.nop
# b.sls
b: test.nop
# c.sls
c: test.nop
";
    let ready = ready(files, "top");
    assert_eq!(
        lines(&ready.low),
        ["10000 test.nop a", "10001 test.nop b", "10002 test.nop c"]
    );
    assert_eq!(serde_json::to_string(&ready.top).unwrap(), r#"{"base":["a","b","a","c"]}"#);
    assert_eq!(ready.warnings.len(), 1);
}

#[test]
fn questions_of_all_files_are_collected() {
    let files = "# main.sls\ninclude: [a, b]\n# a.sls\nASK\n# b.sls\nASK\n";
    assert!(matches!(compiled(files, "main", Unresolved::Error), Ok(Compiled::Asks)));
    // What is wrong elsewhere is told before a minion is asked anything.
    let files = "# main.sls\ninclude: [a, b]\n# a.sls\nASK\n# b.sls\nb: 5\n";
    assert!(error(files, "main").contains("the ID `b` holds a number, not states"));
}

#[test]
fn what_means_something_for_every_state_is_told_from_arguments() {
    let low = low(
        "\
a:
  cmd.run:
    - runas: pi
    - umask: 022
    - unless: test -e /x
    - onlyif:
      - 'true'
      - fun: file.file_exists
        path: /y
        args: z
    - creates: [/a, /b]
    - check_cmd: 'true'
    - retry: {attempts: 5, interval: 2}
    - failhard: yes
    - parallel: 'True'
    - aggregate: [pkg, cmd]
    - fire_event: true
    - require_in: []
b:
  file.managed:
    - runas: pi
    - check_cmd: visudo -cf
    - retry: true
    - no_log: true
c:
  service.running:
    - listen: 8080
",
        "main",
    );
    let [a, b, c] = &low.chunks[..] else { panic!() };
    let arguments = |c: &Chunk| c.arguments.keys().map(|key| key.text()).collect::<Vec<_>>().join(" ");
    assert_eq!(
        (arguments(a), arguments(b), arguments(c)),
        ("name runas".into(), "name check_cmd".into(), "name listen".into())
    );
    assert_eq!((a.runas.as_deref(), a.umask.as_deref()), (Some("pi"), Some("0022")));
    assert_eq!((a.failhard, a.parallel, a.aggregate, b.no_log), (true, true, true, true));
    assert_eq!((a.check_cmd.len(), b.check_cmd.len()), (1, 0));
    let retry = |attempts, interval| Retry {
        attempts,
        until: true,
        interval,
        splay: 0.0,
    };
    assert_eq!((a.retry, b.retry), (Some(retry(5, 2.0)), Some(retry(2, 30.0))));
    assert_eq!(
        format!("{:?}", a.conditions.iter().map(kind).collect::<Vec<_>>()),
        r#"["unless test -e /x", "onlyif true file.file_exists(z, path)", "creates /a /b"]"#
    );
}

fn kind(condition: &Condition) -> String {
    let shown = |check: &Check| match check {
        Check::Command(command) => command.clone(),
        Check::Call { fun, args, kwargs, .. } => {
            let args = args.iter().filter_map(|arg| arg.scalar_text());
            let all: Vec<String> = args.chain(kwargs.keys().map(|key| key.text())).collect();
            format!("{fun}({})", all.join(", "))
        }
    };
    let (word, shown): (_, Vec<String>) = match condition {
        Condition::Onlyif(checks) => ("onlyif", checks.iter().map(shown).collect()),
        Condition::Unless(checks) => ("unless", checks.iter().map(shown).collect()),
        Condition::Creates(paths) => ("creates", paths.clone()),
    };
    format!("{word} {}", shown.join(" "))
}

#[test]
fn mistakes_lead_to_their_place() {
    let cases = [
        (
            "- a\n",
            "main.sls:1:1: the SLS `main` is a list, not a mapping of IDs to states",
        ),
        ("5: test.nop\n", "main.sls:1:1: the ID `5` is not a string"),
        ("a: installed\n", "main.sls:1:4: `installed` does not name a state function"),
        ("a: a.b.c\n", "main.sls:1:4: `a.b.c` does not name a state function"),
        ("a: 5\n", "main.sls:1:1: the ID `a` holds a number, not states"),
        (
            "a:\n  pkg.installed:\n",
            "main.sls:2:3: `pkg.installed` of the ID `a` ends with a colon, but nothing follows",
        ),
        (
            "a:\n  pkg.installed: x\n",
            "main.sls:2:18: the arguments of `pkg.installed` are a string, not a list",
        ),
        (
            "a:\n  pkg.installed:\n    -name: x\n",
            "main.sls:3:5: the arguments of `pkg.installed` are a mapping, not a list",
        ),
        (
            "a:\n  pkg.installed:\n    - name x\n",
            "main.sls:3:7: `name x` is neither a function nor an argument of `pkg.installed`",
        ),
        (
            "a:\n  pkg:\n    - name: x\n",
            "main.sls:2:3: the ID `a` names no function of the module `pkg`",
        ),
        (
            "a:\n  pkg.installed:\n    - latest\n",
            "main.sls:2:3: the ID `a` names several functions of the module `pkg`: latest, installed",
        ),
        (
            "a:\n  file.managed: []\n  file.absent: []\n",
            "main.sls:3:3: the ID `a` has several states of the module `file`: another is at 2:3",
        ),
        (
            "a:\n  pkg.installed:\n    - names: x\n",
            "main.sls:3:14: `names` of the ID `a` is a string, not a list",
        ),
        (
            "a:\n  pkg.installed:\n    - require: x\n",
            "main.sls:3:16: `require` of the ID `a` is a string, not a list",
        ),
        (
            "a:\n  test.nop:\n    - require:\n      - pkg.installed: x\n",
            "main.sls:4:9: `pkg.installed` in `require` names a function; references name only the module",
        ),
        (
            "a:\n  test.nop:\n    - require:\n      - pkg: x\n        file: y\n",
            "main.sls:4:9: a reference of `require` is one `module: ID`, but here are 2",
        ),
        (
            "a:\n  test.nop:\n    - require:\n      - pkg: [x]\n",
            "main.sls:4:14: expected an ID or a name for `pkg` in `require`, found a list",
        ),
        (
            "a:\n  test.nop:\n    - require:\n      - pkg: nginx\n",
            "main.sls:4:14: `require` refers to `pkg: nginx`, which no state declares",
        ),
        (
            "a:\n  test.nop:\n    - require_in:\n      - pkg: nginx\n",
            "main.sls:4:9: there is no state with the ID or the name `nginx` of the module `pkg`",
        ),
        (
            "a:\n  test.nop:\n    - require_in:\n      - sls: x\n",
            "main.sls:4:9: `require_in` refers to `sls: x`, which no state declares",
        ),
        (
            "a:\n  test.nop:\n    - require: [test: a]\n",
            "main.sls:3:23: `require` of `a` refers to itself",
        ),
        (
            "a:\n  test.nop:\n    - retry: {attemts: 3}\n",
            "main.sls:3:15: unknown argument `attemts`",
        ),
        (
            "a:\n  test.nop:\n    - failhard: maybe\n",
            "main.sls:3:17: `failhard`: expected a boolean, found `maybe`",
        ),
        (
            "a:\n  test.nop:\n    - unless: {path: x}\n",
            "main.sls:3:15: a mapping in `unless` calls a function, but names none",
        ),
        (
            "a:\n  test.nop:\n    - x: __slot__:salt:test.echo(a)\n",
            "main.sls:3:10: slots (`__slot__:`) are not supported",
        ),
        ("include: a\n", "main.sls:1:10: `include` is a string, not a list"),
        ("include:\n  - nothere\n", "main.sls:2:5: there is no SLS `nothere`"),
        (
            "include:\n  - ..x\n",
            "main.sls:2:5: `..x` leads out of the tree: `main` has 0 levels above it",
        ),
        (
            "include:\n  - dev: x\n",
            "main.sls:2:5: the include of `x` names the environment `dev`",
        ),
        (
            "extend:\n  b:\n    pkg: [{version: 1}]\n",
            "main.sls:2:3: there is no state with the ID or the name `b` of the module `pkg`",
        ),
        ("extend: []\n", "main.sls:1:9: `extend` is a list, not a mapping of IDs"),
        ("#!py\n", "main.sls:1:1: the py renderer is not supported"),
        ("a: test.nop\na: test.nop\n", "main.sls:2:1: found conflicting ID 'a'"),
        (
            "# main.sls\ninclude: [o]\na: test.nop\n# o.sls\na: test.nop\n",
            "o.sls:2:1: the ID `a` is declared twice: in `main` (main.sls:3:1) and in `o`",
        ),
    ];
    for (files, expected) in cases {
        assert_eq!(error(files, "main"), expected, "{files}");
    }
}

#[test]
fn several_mistakes_are_told_at_once() {
    let files = "# main.sls\ninclude: [nothere, o]\na: 5\nb: {pkg.installed: x}\n# o.sls\nc: [x]\n";
    assert_eq!(
        error(files, "main"),
        "main.sls:3:1: the ID `a` holds a number, not states\n\
         main.sls:4:20: the arguments of `pkg.installed` are a string, not a list\n\
         main.sls:2:11: there is no SLS `nothere`\n\
         o.sls:2:1: the ID `c` holds a list, not states"
    );
}

#[test]
fn a_cycle_is_shown_all_the_way_round() {
    let files = "\
a: {test.nop: [require: [test: b]]}
b: {test.nop: [watch: [test: c]]}
c: {test.nop: [prereq: [test: d]]}
d: {test.nop: [onchanges_in: [test: c]]}
e: {test.nop: [require: [test: a]]}
";
    assert_eq!(
        error(files, "main"),
        "main.sls:4:31: recursive requisites: `test: c` after `test: d` after `test: c`"
    );
    let files = "a: {test.nop: [prereq: [test: b]]}\nb: {test.nop: [prereq: [test: a]]}\n";
    assert!(error(files, "main").contains("recursive requisites"));
    // Looking at changes when all is done is no cycle.
    let files = "a: {test.nop: [listen: [test: b]]}\nb: {test.nop: [listen: [test: a]]}\n";
    assert_eq!(low(files, "main").chunks.len(), 2);
}

#[test]
fn unresolved_requisites_can_be_left_to_the_run() {
    let files = "a: {test.nop: [require: [pkg: x]]}\nb: {test.nop: [listen: [pkg: x]]}\n";
    let Ok(Compiled::Ready(ready)) = compiled(files, "main", Unresolved::Warn) else {
        panic!()
    };
    assert!(ready.low.chunks[0].requisites[0].references[0].targets.is_empty());
    assert_eq!(ready.warnings.len(), 2);
}

#[test]
fn what_was_rendered_leads_back_to_the_template() {
    // `{{ four }}` is replaced; `{{ loop }}` stands for three lines where the template has one.
    let files = "{{ loop }}\na:\n  test.nop:\n    - require: {{ four }}\n";
    let diagnostic = |error: Error| error.diagnostics()[0].clone();
    let Err(error) = compiled(files, "main", Unresolved::Error) else {
        panic!()
    };
    let told = diagnostic(error);
    assert_eq!(told.at.line, 4);
    assert_eq!(told.excerpt.as_deref(), Some("    - require: 4"));

    let Err(error) = compiled("{{ loop }}\na: 1\na: 2\n", "main", Unresolved::Error) else {
        panic!()
    };
    let told = diagnostic(error);
    assert_eq!((told.at.line, told.trail[0].1.line, told.excerpt), (3, 2, None));
}

#[test]
fn thousands_of_states_compile() {
    let files: String = (0..3500)
        .map(|n| {
            let before = n.max(1) - 1;
            let require = format!("[file: /f{before}, file: s{}, sls: o]", n / 2);
            let require = if n == 0 { "[sls: o]" } else { &require };
            format!("s{n}:\n  file.managed:\n    - name: /f{n}\n    - watch_in: [service: svc]\n    - require: {require}\n")
        })
        .collect();
    let files = format!("# main.sls\ninclude: [o]\nsvc: service.running\n{files}# o.sls\no: test.nop\n");
    let low = low(&files, "main");
    assert_eq!(low.chunks.len(), 3502);
}
