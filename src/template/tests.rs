//! Templates beside what they come to: the idioms that formulas are made of. What Salt 3006 gives was asked of Salt itself.

use super::*;
use crate::probe::{Fact, ShellSeen};
use crate::tree::{Place, Root};
use crate::yaml;

const GRAINS: &str = "
id: pi0
os: Debian
os_family: Debian
osfinger: Debian-12
nodename: pi0
roles: [web, db]
num_cpus: 4
ip4_interfaces: {lo: [127.0.0.1], eth0: [10.0.0.5]}
";

const PILLAR: &str = "
nginx: {port: 80, sites: [a, b], cfg: {x: 1}}
list: [{k: v}, two]
'80': eighty
users: {bob: {uid: 1000}}
";

fn data(text: &str) -> Value {
    yaml::parse(FileId::of("data"), text).unwrap()
}

/// A tree of files in a folder that lives as long as the test.
fn tree(files: &[(&str, &str)]) -> (tempfile::TempDir, Arc<Tree>) {
    let folder = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let tree = Tree {
        roots: vec![Root::Folder(folder.path().to_owned())],
    };
    (folder, Arc::new(tree))
}

fn renderer(tree: Arc<Tree>, observed: Observed) -> Renderer {
    Renderer::new(Setup {
        tree,
        id: "pi0".to_owned(),
        saltenv: "base".to_owned(),
        grains: data(GRAINS).into(),
        pillar: data(PILLAR).into(),
        observed: Arc::new(observed),
        groups: Arc::default(),
    })
}

fn inline(text: &str) -> TreeFile {
    TreeFile {
        path: "web/test.sls".to_owned(),
        id: FileId::of("test.sls"),
        place: Place::Embedded(if text.is_empty() { b"" } else { b" " }),
    }
}

/// What is told of an error: place, message, hints, and the way there; without the folder of the test.
fn told(error: &Error, folder: &str) -> String {
    let first = &error.diagnostics()[0];
    let mut lines = vec![format!("{}: {}", first.at, first.message)];
    lines.extend(first.hints.iter().map(|hint| format!("hint: {hint}")));
    lines.extend(first.trail.iter().map(|(how, at)| format!("{how} {at}")));
    lines.join("\n").replace(&format!("{folder}/"), "")
}

/// Renders one text without a tree.
fn text(template: &str) -> String {
    let renderer = renderer(Arc::default(), Observed::default());
    let context = data("{d: {a: 1, b: [1, null, true, x], c: {z: 1.0}}, l: [3, 1, 2], s: Hello World, n: null, t: true}");
    match renderer.render_text(&inline(template), template, context.as_map().unwrap()) {
        Ok(Rendered::Text(text)) => text,
        Ok(Rendered::Asks) => format!("{:?}", renderer.asks()),
        Err(error) => told(&error, ""),
    }
}

/// Renders the SLS `a/init.sls` of a tree.
fn sls(files: &[(&str, &str)]) -> String {
    let (folder, tree) = tree(files);
    let renderer = renderer(tree.clone(), Observed::default());
    let file = tree.find("a/init.sls").unwrap();
    match renderer.render(&file, &Locals::of("a", "base", &file)) {
        Ok(Rendered::Text(text)) => text,
        Ok(Rendered::Asks) => format!("{:?}", renderer.asks()),
        Err(error) => told(&error, &folder.path().to_string_lossy()),
    }
}

fn check(table: &[(&str, &str)]) {
    for (template, expected) in table {
        assert_eq!(text(template), *expected, "{template}");
    }
}

#[test]
fn values_print_as_python_prints_them() {
    check(&[
        ("{{ d }}", "{'a': 1, 'b': [1, None, True, 'x'], 'c': {'z': 1.0}}"),
        ("{{ [1, 'it\\'s', none, (1,), {}] }}", "[1, \"it's\", None, (1,), {}]"),
        (
            "{{ d.keys() }} {{ d.items()|list }}",
            "dict_keys(['a', 'b', 'c']) [('a', 1), ('b', [1, None, True, 'x']), ('c', {'z': 1.0})]",
        ),
        ("{{ range(3) }} {{ range(1, 10, 3)|list }}", "range(0, 3) [1, 4, 7]"),
        (
            "{{ 1e16 }} {{ 0.1 + 0.2 }} {{ 10 / 5 }} {{ -7 // 2 }} {{ -7 % 3 }}",
            "1e+16 0.30000000000000004 2.0 -4 2",
        ),
        ("{{ true }} {{ none }} {{ n }}", "True None None"),
        ("a: {{ l }}\n", "a: [3, 1, 2]\n"),
    ]);
}

#[test]
fn lists_and_dictionaries_change_for_all_who_hold_them() {
    check(&[
        (
            "{% set a = {'x': {'y': [1]}} %}{% set b = a.x %}{% do b.update({'z': 2}) %}{% do a.x.y.append(3) %}{{ a }}",
            "{'x': {'y': [1, 3], 'z': 2}}",
        ),
        (
            "{% set l = [] %}{% do l.append(1) %}{% do l.extend([3, 2]) %}{% do l.insert(0, 'x') %}{% do l.remove('x') %}{% do l.sort() %}{{ l }}{{ l.pop() }}{{ l.index(2) }}",
            "[1, 2, 3]31",
        ),
        (
            "{% set a = [1] %}{% set b = a + [2] %}{% set c = b[1:] %}{% do a.append(9) %}{% do b.append(3) %}{{ a }}{{ b }}{{ c }}",
            "[1, 9][1, 2, 3][2]",
        ),
        (
            "{% set o = {} %}{% for i in l %}{% do o.update({i: loop.index}) %}{% endfor %}{{ o }} {{ o.pop(3) }} {{ o.setdefault('q', []) }} {{ o.get('zz', 5) }}",
            "{3: 1, 1: 2, 2: 3} 1 [] 5",
        ),
        (
            "{% do l.append(9) if false %}{{ l }} {{ d['get']('a') }} {{ 'get' in d }}",
            "[3, 1, 2] 1 False",
        ),
        ("{% for i in l %}{% do l.append(i) %}{% endfor %}{{ l|length }}", "6"),
        (
            "{{ d == d.copy() }} {{ [1] == (1,) }} {{ 1 in l }} {{ 'a' in d }} {{ d is mapping }} {{ l is sequence }} {{ [] or 'empty' }}",
            "True False True True True True empty",
        ),
    ]);
}

#[test]
fn strings_are_formatted_as_python_does() {
    check(&[
        (
            "{{ '%s-%05d|%.2f' % ('a', 42, 1.5) }} {{ '%(x)s' % {'x': 1} }}",
            "a-00042|1.50 1",
        ),
        (
            "{{ '{0}:{1:>4}|{x}'.format('a', 1, x=2) }} {{ '%s %s'|format('a', 1) }}",
            "a:   1|2 a 1",
        ),
        (
            "{{ 'a,b,c'.rsplit(',', 1) }} {{ 'a-b-c'.rpartition('-') }} {{ ' x '.strip() }}|{{ '5'.zfill(3) }}",
            "['a,b', 'c'] ('a-b', '-', 'c') x|005",
        ),
        (
            "{{ s[1:4] }} {{ s[::-1] }} {{ s[-1] }} {{ ','.join(['a', 'b']) }} {{ 'a' ~ 1 ~ none }}",
            "ell dlroW olleH d a,b a1None",
        ),
    ]);
}

#[test]
fn filters_do_what_those_of_jinja2_and_salt_do() {
    check(&[
        ("{{ x|default('y') }} {{ d.q|default('y') }} {{ n|d('y', true) }}", "y y y"),
        ("{{ d|json }}", r#"{"a": 1, "b": [1, null, true, "x"], "c": {"z": 1.0}}"#),
        ("{{ d|yaml }}", "{a: 1, b: [1, null, true, x], c: {z: 1.0}}"),
        ("{{ d|yaml(False) }}", "a: 1\nb:\n- 1\n- null\n- true\n- x\nc:\n  z: 1.0"),
        (
            "{{ '1'|yaml }} {{ 'a: b'|yaml }} {{ 1|yaml }} {{ none|yaml }} {{ 'yes'|yaml }}",
            "'1' 'a: b' 1 null 'yes'",
        ),
        (
            "{{ 'a\"b'|yaml_dquote }} {{ \"it's\"|yaml_squote }} {{ 'x: y'|yaml_encode }} {{ true|yaml_encode }}",
            "\"a\\\"b\" 'it''s' \"x: y\" true",
        ),
        ("{{ \"<a href='x'>\"|tojson }}", "\"\\u003ca href=\\u0027x\\u0027\\u003e\""),
        (
            "{{ 'foo123'|regex_search('([a-z]+)([0-9]+)') }} {{ 'foo'|regex_match('o') }} {{ 'a-b'|regex_replace('(\\w)-(\\w)', '\\\\2-\\\\1') }}",
            "('foo', '123') None b-a",
        ),
        (
            "{{ d|traverse('c:z') }} {{ d|traverse('b:0') }} {{ d|traverse('x:y', 'def') }}",
            "1.0 1 def",
        ),
        (
            "{{ [1, 2]|union([2, 3]) }} {{ [1, 2]|difference([2]) }} {{ [1, 1]|unique }} {{ 'x'|sequence }}",
            "[1, 2, 3] [1] [1] ['x']",
        ),
        (
            "{{ ['b', 'A']|sort }} {{ l|sort(reverse=true) }} {{ {'b': 1, 'A': 2}|dictsort }}",
            "['A', 'b'] [3, 2, 1] [('A', 2), ('b', 1)]",
        ),
        (
            "{{ [{'n': 1, 'x': {'y': 2}}, {'n': 3}]|selectattr('x', 'defined')|map(attribute='x.y')|list }}",
            "[2]",
        ),
        (
            "{% for g, i in [{'k': 1, 'v': 'a'}, {'k': 1, 'v': 'b'}]|groupby('k') %}{{ g }}={{ i|map(attribute='v')|join }}{% endfor %}",
            "1=ab",
        ),
        (
            "{{ '42'|int }} {{ 'x'|int(7) }} {{ '3.9'|int }} {{ 2.5|round }} {{ 2.567|round(2) }}",
            "42 7 3 2.0 2.57",
        ),
        ("{{ 'a\nb'|indent(2) }} {{ 'a\nb'|indent(2, true) }}", "a\n  b   a\n  b"),
        (
            "{{ '::1'|ipwrap }} {{ '10.0.0.1'|is_ipv4 }} {{ '/etc'|path_join('x') }} {{ \"it's\"|quote }}",
            "[::1] True /etc/x 'it'\"'\"'s'",
        ),
        (
            "{{ 'abc'|md5 }} {{ 'abc'|base64_encode }} {{ 'abc'|uuid }}",
            "900150983cd24fb0d6963f7d28e17f72 YWJj 3c2ec1f9-32eb-522f-9269-82ee3f929675",
        ),
        (
            "{{ 'yes'|to_bool }} {{ [0]|to_bool }} {{ 0|to_bool }} {{ '8'|load_yaml + 1 }} {{ '{\"a\": 1}'|load_json }}",
            "True True False 9 {'a': 1}",
        ),
    ]);
}

#[test]
fn statements_do_what_those_of_jinja2_do() {
    check(&[
        (
            "{% set ns = namespace(x=1) %}{% for i in l %}{% set ns.x = ns.x + i %}{% endfor %}{{ ns.x }}",
            "7",
        ),
        (
            "{% for i in l if i > 1 %}{{ loop.index }}{{ i }}{{ '' if loop.last else ',' }}{% else %}none{% endfor %}",
            "13,22",
        ),
        (
            "{% for i in l %}{% if i == 1 %}{% continue %}{% endif %}{{ i }}{% endfor %}{% for i in l %}{% if i == 1 %}{% break %}{% endif %}{{ i }}{% endfor %}",
            "323",
        ),
        (
            "{% for i in [{'n': 1, 'c': [{'n': 2, 'c': []}]}] recursive %}{{ i.n }}{% if i.c %}[{{ loop(i.c) }}]{% endif %}{% endfor %}",
            "1[2]",
        ),
        (
            "{% macro m(a, b='x') %}{{ a }}{{ b }}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, 3, z=4) }}",
            "12(3,){'z': 4}",
        ),
        (
            "{% macro m(a) %}<{{ caller(a) }}>{% endmacro %}{% call(x) m('q') %}in {{ x }}{% endcall %}",
            "<in q>",
        ),
        (
            "{% set x %}a {{ s }}{% endset %}[{{ x }}]{% filter upper %}b{% endfilter %}{% set y | upper %}c{% endset %}{{ y }}",
            "[a Hello World]BC",
        ),
        (
            "{% load_yaml as y %}\na: {{ s }}\nb: [x]\n{% endload %}{{ y }}",
            "{'a': 'Hello World', 'b': ['x']}",
        ),
        ("{% if n, t %}yes{% endif %}{% set a, b = 1, 2 %}{{ a + b }}", "yes3"),
        ("a\n{%- if t %}\n  b\n{%- endif %}\nc\n", "a\n  b\nc\n"),
        ("{% set x = 1 -%}\n", "\n"),
        ("{% raw %}{{ x }}{% endraw %}{# {{ y }} #}", "{{ x }}"),
        (
            "#jinja2: {\"trim_blocks\": true, \"lstrip_blocks\": true}\n  {% if t %}\na\n  {% endif %}\n",
            "#jinja2: {\"trim_blocks\": true, \"lstrip_blocks\": true}\na\n\n",
        ),
        ("{{ 'a' if n }}{{ 'b' if t }}", "b"),
        ("{{ dict(a=1) }}{% set j = joiner('|') %}{{ j() }}x{{ j() }}y", "{'a': 1}x|y"),
    ]);
}

#[test]
fn salts_functions_answer() {
    check(&[
        (
            "{{ salt['pillar.get']('nginx:port') }} {{ salt.pillar.get('nginx:nope', 'd') }} {{ salt['pillar.get']('list:0:k') }} {{ salt['pillar.get']('80') }}",
            "80 d v eighty",
        ),
        (
            "{{ salt['pillar.get']('nginx', {'a': 1, 'cfg': {'y': 2}}, merge=True) }}",
            "{'a': 1, 'cfg': {'y': 2, 'x': 1}, 'port': 80, 'sites': ['a', 'b']}",
        ),
        (
            "{{ salt['grains.get']('ip4_interfaces:eth0:0') }} {{ salt['grains.has_value']('nope') }} {{ grains.os }}",
            "10.0.0.5 False Debian",
        ),
        (
            "{{ salt['grains.filter_by']({'Deb*': {'a': 1}, 'default': {'b': 2}}, merge={'c': 3}) }}",
            "{'a': 1, 'c': 3}",
        ),
        (
            "{{ salt['grains.filter_by']({'RedHat': 1, 'default': 2}) }} {{ salt['grains.filter_by']({'db': 'D', 'web': 'W'}, grain='roles') }}",
            "2 W",
        ),
        (
            "{{ salt['grains.filter_by']({'base': {'a': {'x': 1}}, 'Debian': {'a': {'y': 2}}}, base='base') }}",
            "{'a': {'x': 1, 'y': 2}}",
        ),
        (
            "{{ salt['config.get']('nginx:port') }} {{ salt['config.get']('os') }} {{ salt['config.get']('id') }} {{ salt['config.get']('nope', 'd') }}",
            "80 Debian pi0 d",
        ),
        (
            "{{ salt['slsutil.serialize']('json', {'a': [1]}) }} {{ salt['slsutil.merge']({'a': {'b': 1}}, {'a': {'c': 2}}) }}",
            "{\"a\": [1]} {'a': {'b': 1, 'c': 2}}",
        ),
        (
            "{{ salt['file.dirname']('/a/b') }} {{ salt['file.basename']('/a/b') }} {{ salt['file.join']('/a', 'b') }}",
            "/a b /a/b",
        ),
        (
            "{{ salt['pkg.version_cmp']('1.0~rc1', '1.0') }} {{ salt['network.ip_addrs']() }} {{ salt['test.ping']() }}",
            "-1 ['10.0.0.5'] True",
        ),
        (
            "{{ 'cmd.run' in salt }} {{ salt.get('nope.x') }} {{ salt['random.get_str'](8) == salt['random.get_str'](8) }}",
            "True None False",
        ),
        (
            "{% set n = salt['pillar.get']('nginx') %}{% do n.update({'new': 1}) %}{{ pillar.nginx.new }}",
            "1",
        ),
    ]);
}

#[test]
fn errors_say_what_is_wrong_and_where() {
    check(&[
        (
            "a\n  {{ pillar.nginx.prot }}",
            "test.sls:2:19: `pillar.nginx.prot` is not defined: there is no `prot` in `pillar.nginx`\nhint: did you mean `port`?",
        ),
        (
            "{{ grains['os_famly'] }}",
            "test.sls:1:12: `grains['os_famly']` is not defined: there is no `os_famly` in `grains`\nhint: did you mean `os_family`?",
        ),
        (
            "{{ d.nope }}",
            "test.sls:1:6: `d.nope` is not defined: there is no `nope` in `d`\nhint: there are: `a`, `b`, `c`",
        ),
        (
            "{% set port = 1 %}{{ prot }}",
            "test.sls:1:22: the variable `prot` is not defined\nhint: did you mean `port`?",
        ),
        (
            "{{ salt['pillar.gte']('x') }}",
            "test.sls:1:10: there is no function `pillar.gte`\nhint: did you mean `pillar.get`?",
        ),
        (
            "{{ salt['http.query']('x') }}",
            "test.sls:1:10: `http.query` is not supported while rendering\nhint: rendering does not reach for the network; let a state fetch it (`file.managed` with a URL), or put the data into pillar",
        ),
        (
            "{{ salt['pillar.get']('x', defalt=1) }}",
            "test.sls:1:8: `pillar.get` has no argument `defalt` (it has: key, default, merge, merge_nested_lists, delimiter, pillarenv, saltenv); did you mean `default`?",
        ),
        (
            "{{ 'a' + 1 }}",
            "test.sls:1:9: `+` does not work between 'a' (str) and 1 (int); `~` joins anything to a string",
        ),
        (
            "{{ s|uper }}",
            "test.sls:1:6: there is no filter `uper`\nhint: did you mean `upper`?",
        ),
        (
            "{% for x in n %}{% endfor %}",
            "test.sls:1:16: a value of type NoneType is not iterable",
        ),
        ("{% if t %}x", "test.sls:1:4: `if` is never closed by `{% endif %}`"),
        ("{{ raise('no good') }}", "test.sls:1:4: no good"),
        (
            "{% macro m(a) %}{{ a }}{% endmacro %}\n{{ m() }}",
            "test.sls:1:20: `a` has no value: it is an argument that was not given, or names nothing\nhint: `|default(...)` gives a value to what is not defined\nin the macro `m`, called from test.sls:2:4",
        ),
        (
            "{{ 'x: [' | load_yaml }}",
            "test.sls:1:13: this is not YAML: this `[` is never closed by a `]`\nhint: in line 1: `x: [`",
        ),
    ]);
}

#[test]
fn imports_find_their_way() {
    let map = "{% import_yaml 'a/defaults.yaml' as d with context %}{% import_yaml './osmap.yaml' as osmap %}\
               {% do d.nginx.update(salt['grains.filter_by'](osmap) or {}) %}\
               {% set nginx = salt['pillar.get']('nginx', default=d.nginx, merge=True) %}";
    let files = [
        ("a/map.jinja", map),
        ("a/defaults.yaml", "nginx:\n  port: 1\n  name: {{ grains.id }}\n"),
        ("a/osmap.yaml", "Debian:\n  name: deb\nRedHat:\n  name: rh\n"),
        (
            "lib/macros.jinja",
            "{% macro hello(n) %}Hello {{ n }} {{ tpldir }}{% endmacro %}{% set v = 5 %}",
        ),
        ("a/inc.txt", "[{{ sls }} {{ tpldir }}{% set leak = 1 %}]\n"),
        ("a/broken.jinja", "{% macro m() %}\n{{ grains.nope.x }}\n{% endmacro %}"),
        ("a/data.json", "{\"k\": {{ 1 + 1 }}}"),
    ];
    let table = [
        (
            "{% from 'a/map.jinja' import nginx with context %}{{ nginx|json }}",
            r#"{"cfg": {"x": 1}, "name": "deb", "port": 80, "sites": ["a", "b"]}"#,
        ),
        (
            "{% set tplroot = tpldir.split('/')[0] %}{% from tplroot ~ '/map.jinja' import nginx with context %}{{ nginx.name }}",
            "deb",
        ),
        (
            "{% from 'lib/macros.jinja' import hello, v with context %}{{ hello('x') }} {{ v }} {{ tpldir }}",
            "Hello x a 5 a",
        ),
        (
            "{% from 'lib/macros.jinja' import hello as h %}{{ h('x') }} {{ tpldir }}",
            "Hello x lib a",
        ),
        (
            "{% import 'lib/macros.jinja' as m %}{{ m.v }} {{ m.nope is defined }}",
            "5 False",
        ),
        (
            "{% include './inc.txt' %}{{ leak is defined }}{% include 'nope' ignore missing %}{% include ['nope', 'a/inc.txt'] %}",
            "[a a]False[a a]",
        ),
        (
            "{% import_json 'a/data.json' as x %}{{ x.k }}{% import_text 'a/inc.txt' as t with context %}{{ t }}",
            "2[a a]",
        ),
        (
            "{{ sls }} {{ slspath }} {{ tplfile }} {{ saltenv }}\n",
            "a a a/init.sls base\n",
        ),
        (
            "{{ salt['slsutil.renderer']('salt://a/defaults.yaml') }}",
            "{'nginx': {'port': 1, 'name': 'pi0'}}",
        ),
        (
            "x\n{% from 'a/broken.jinja' import m %}\n  {{ m() }}",
            "a/broken.jinja:2:11: `grains.nope` is not defined: there is no `nope` in `grains`\n\
             hint: there are: `id`, `os`, `os_family`, `osfinger`, `nodename`, `roles`, `num_cpus`, `ip4_interfaces`\n\
             in the macro `m`, called from a/init.sls:3:6",
        ),
        (
            "{% from 'a/mpa.jinja' import nginx %}",
            "a/init.sls:1:4: there is no file `a/mpa.jinja` to be imported\nhint: did you mean `a/map.jinja`?",
        ),
        (
            "{% include 'a/init.sls' %}",
            "a/init.sls:1:4: the template imports, includes or calls itself without end",
        ),
    ];
    for (template, expected) in table {
        let mut all = files.to_vec();
        all.push(("a/init.sls", template));
        let outcome = sls(&all);
        // An endless chain has a long way to tell of.
        let shown: Vec<&str> = outcome.split("\nincluded from").take(1).collect();
        assert_eq!(shown.concat(), expected, "{template}");
    }
}

#[test]
fn questions_to_the_minion_are_collected_and_answered() {
    let template = "{% set kernel = salt['cmd.run']('uname -r') %}{% set arch = salt['cmd.shell']('uname -m | cat') %}\
                    {% if salt['file.file_exists']('/etc/motd') %}{{ kernel.split('-')[0] }} {{ arch }}{{ salt['cmd.run']('rm -r /') }}{% endif %}\
                    {{ salt['user.info']('bob').home }}";
    let ask = |observed: Observed| {
        let renderer = renderer(Arc::default(), observed);
        let outcome = renderer.render_text(&inline(template), template, &Map::new()).unwrap();
        (outcome, renderer.asks())
    };
    let (outcome, questions) = ask(Observed::default());
    assert_eq!(outcome, Rendered::Asks);
    // The branch was not taken, as it is not known yet; what is behind it is harmless all the same.
    let [Probe::Shell(kernel), Probe::Shell(arch), motd, bob] = questions.as_slice() else {
        panic!("{questions:?}")
    };
    assert_eq!(
        (kernel.script.as_str(), arch.script.as_str()),
        ("exec 2>&1\nuname -r", "exec 2>&1\nuname -m | cat")
    );
    assert_eq!(*motd, Probe::meta("/etc/motd"));
    let said = |text: &str| ShellSeen {
        stdout: text.as_bytes().to_vec(),
        ..ShellSeen::default()
    };
    let observed = Observed::default().with([
        Fact::Shell(kernel.clone(), said("6.1.0-rpi\n")),
        Fact::Shell(arch.clone(), said("aarch64\n")),
        Fact::Path("/etc/motd".to_owned(), Default::default()),
        Fact::User("bob".to_owned(), Default::default()),
    ]);
    assert_eq!(*bob, Probe::User { name: "bob".to_owned() });
    let failed = {
        let renderer = renderer(Arc::default(), observed);
        renderer.render_text(&inline(template), template, &Map::new()).unwrap_err()
    };
    assert!(told(&failed, "").contains("there is no `home`"), "{failed}");
}

#[test]
fn a_command_behind_an_open_decision_is_not_asked() {
    let table = [
        (
            "{% if salt['file.file_exists']('/x') %}a{% else %}{{ salt['cmd.run']('b') }}{% endif %}",
            1,
        ),
        (
            "{% for line in salt['cmd.run']('a').splitlines() %}x{% endfor %}{{ salt['cmd.run']('b') }}",
            1,
        ),
        ("{{ salt['cmd.run']('a') }}{{ salt['cmd.run']('b') }}", 2),
        ("{{ salt['cmd.run']('rm ' ~ salt['cmd.run']('a')) }}", 1),
        (
            "{% set x %}{{ salt['cmd.run']('a') }}{% endset %}{% if x == 'b' %}{% endif %}{{ salt['cmd.run']('b') }}",
            1,
        ),
        (
            "{% macro m() %}{{ salt['cmd.run']('a') }}{% endmacro %}{% if m()|trim %}{% endif %}{{ salt['cmd.run']('b') }}",
            1,
        ),
    ];
    for (template, expected) in table {
        let renderer = renderer(Arc::default(), Observed::default());
        assert_eq!(
            renderer.render_text(&inline(template), template, &Map::new()).unwrap(),
            Rendered::Asks
        );
        assert_eq!(renderer.asks().len(), expected, "{template}");
    }
}

#[test]
fn places_in_what_was_rendered_lead_back() {
    let template = "a: 1\n{% for s in ['x', 'y'] %}\n{{ s }}:\n  - port: bad\n{% endfor %}\nz: {{ grains.id }} end\n";
    let renderer = renderer(Arc::default(), Observed::default());
    let file = inline(template);
    let Rendered::Text(text) = renderer.render_text(&file, template, &Map::new()).unwrap() else {
        panic!()
    };
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[5..], ["y:", "  - port: bad", "", "z: pi0 end"]);
    let origin = |line, column| renderer.origin(Pos::new(file.id, line, column)).to_string();
    assert_eq!(origin(1, 1), "test.sls:1:1");
    assert_eq!(origin(4, 5), "test.sls:4:5");
    assert_eq!(origin(7, 5), "test.sls:4:5");
    assert_eq!(origin(9, 1), "test.sls:6:1");
    assert_eq!(origin(9, 4), "test.sls:6:4");
    assert_eq!(origin(9, 8), "test.sls:6:20");
}

#[test]
fn runaway_templates_are_stopped() {
    for (template, expected) in [
        (
            "{% for a in range(1000) %}{% for b in range(1000) %}{% for c in range(1000) %}{% endfor %}{% endfor %}{% endfor %}",
            "the template takes too long",
        ),
        (
            "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
            "the template imports, includes or calls itself without end",
        ),
        ("{{ 'x' * 100000000 }}", "a string or list of 100000000 is too large"),
        ("{{ range(100000000) }}", "a range of 100000000 numbers is too large"),
        ("{% set l = [] %}{% do l.append(l) %}", "a list cannot contain itself"),
        (
            "{% set x = 'x' * 9000000 %}{% for i in range(100) %}{{ x }}{% endfor %}",
            "the template's text grows too large",
        ),
    ] {
        let outcome = text(template);
        assert!(outcome.contains(expected), "{template}: {outcome}");
    }
}

/// The heart of `libtofs.jinja`, which most formulas carry with them.
#[test]
fn the_formulas_own_library_works() {
    let libtofs = "\
{%- macro files_switch(source_files, lookup=None, default_files_switch=['id', 'os_family'], indent_width=6, use_subpath=False) %}
  {%- set path_prefix = salt['config.get'](tplroot ~ ':tofs:path_prefix', tplroot) %}
  {%- set files_dir = salt['config.get'](tplroot ~ ':tofs:dirs:files', 'files') %}
  {%- set files_switch_list = salt['config.get'](tplroot ~ ':tofs:files_switch', default_files_switch) %}
  {%- set src_files = source_files + salt['config.get'](tplroot ~ ':tofs:source_files:' ~ lookup, []) %}
  {%- set fsl = files_switch_list + ['default'] %}
  {%- set path_prefix_exts = [''] %}
  {%- if use_subpath and tplroot != tpldir %}
    {%- set path_prefix_ext = '/' ~ tpldir.split('/')[1:]|join('/') %}
    {%- do path_prefix_exts.append(path_prefix_ext) %}
  {%- endif %}
  {%- for path_prefix_ext in path_prefix_exts|reverse %}
    {%- set path_prefix_inc_ext = path_prefix ~ path_prefix_ext %}
    {%- for fs in fsl %}
      {%- if fs != 'default' %}
        {%- set fs_dirs = salt['config.get'](fs, fs) %}
      {%- else %}
        {%- set fs_dirs = 'default' %}
      {%- endif %}
      {%- set fs_dirs = fs_dirs|list if fs_dirs is string == false else [fs_dirs] %}
      {%- for fs_dir in fs_dirs %}
        {%- for src_file in src_files %}
          {%- set url = ['- salt:/', path_prefix_inc_ext.strip('/'), files_dir.strip('/'), fs_dir.strip('/'), src_file.lstrip('/')]|select|join('/') %}
{{ url | indent(indent_width, true) }}
        {%- endfor %}
      {%- endfor %}
    {%- endfor %}
  {%- endfor %}
{%- endmacro %}";
    let sls_text = "{%- set tplroot = tpldir.split('/')[0] %}
{%- from tplroot ~ '/libtofs.jinja' import files_switch with context %}
conf:
  file.managed:
    - source: {{ files_switch(['nginx.conf'], lookup='conf') }}
";
    assert_eq!(
        sls(&[("a/init.sls", sls_text), ("a/libtofs.jinja", libtofs)]),
        "
conf:
  file.managed:
    - source: 
      - salt://a/files/pi0/nginx.conf
      - salt://a/files/Debian/nginx.conf
      - salt://a/files/default/nginx.conf
"
    );
}

#[test]
fn managed_files_have_their_variables() {
    let renderer = renderer(Arc::default(), Observed::default());
    let file = TreeFile {
        path: "web/files/motd".to_owned(),
        id: FileId::of("states/web/files/motd"),
        place: Place::Embedded(b""),
    };
    let context = data("{who: world, list: [1]}");
    let template = "Hello {{ who }} from {{ grains.id }}, {{ source }}, {{ tpldir }} {{ list }}\n";
    let rendered = renderer
        .render_file(&file, template, context.as_map().unwrap(), "salt://web/files/motd")
        .unwrap();
    assert_eq!(
        rendered,
        Rendered::Text("Hello world from pi0, salt://web/files/motd, web/files [1]\n".to_owned())
    );
}
