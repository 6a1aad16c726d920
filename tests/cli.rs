//! The program as its user sees it: whole inputs beside whole outputs.

mod program;

use program::Program;

#[test]
fn a_new_project_is_made_once() {
    let program = Program::new();
    program.run(&["init", "lab"]).shows(
        "\
picloud.yaml  settings, all with their defaults
  inventory/    the minions pi0 to pi2: put your addresses here
  states/       what they should be: top.sls assigns, hello.sls is an example
  pillar/       data that states are given
  images/       OS images for cards
--- stderr
next: cd lab && picloud check && picloud ping && picloud apply --test
",
    );
    program.run(&["init", "lab"]).fails_with(
        1,
        "\
--- stderr
error: lab/picloud.yaml exists already
hint: nothing was written; `picloud init NAME` makes a project in a new folder
",
    );
}

#[test]
fn a_host_authority_is_made_once() {
    let program = Program::new();
    program.run(&["init", "."]);
    program.run(&["ca", "show"]).fails_with(
        1,
        "--- stderr\nerror: the project has no host authority\nhint: `picloud ca init` makes one\n",
    );
    let made = program.run(&["ca", "init", "--out", "json"]).text;
    let (made, note) = made.split_once("--- stderr\n").unwrap();
    assert_eq!(note, "minions that are flashed from now on get a host certificate\n");
    let made: serde_json::Value = serde_json::from_str(made).unwrap();
    assert_eq!((&made["known_hosts"], &made["minions"]), (&"known_hosts".into(), &3.into()));
    let (public, print) = (made["public"].as_str().unwrap(), made["fingerprint"].as_str().unwrap());
    program.run(&["ca", "show"]).shows(&format!("{public}\n{print}\n"));
    program.run(&["ca", "init"]).fails_with(
        1,
        "\
--- stderr
error: the project has a host authority already: ca/host_ca
hint: minions that it certified would be trusted no more; `picloud ca show`
  shows it
hint: to begin anew all the same, move the folder `ca` away
",
    );
}

#[test]
fn without_a_project_there_is_advice() {
    let program = Program::new();
    program.run(&["ping"]).fails_with(
        1,
        "\
--- stderr
error: there is no picloud.yaml in [DIR] or above it
hint: `picloud init NAME` makes a project; `-C DIR` names one
hint: `--root TREE` with `--local` works without one
",
    );
    program
        .run(&["-C", "nowhere", "runs"])
        .fails_with(1, "--- stderr\nerror: nowhere is not a folder\n");
}

#[test]
fn what_is_written_wrong_is_named_with_its_place() {
    let program = Program::new();
    program.file("picloud.yaml", "name: lab\nfork: 3\n");
    program.run(&["runs"]).fails_with(
        1,
        "\
--- stderr
error: unknown argument `fork`
  --> picloud.yaml:2:1
   |
 2 | fork: 3
   | ^^^^
hint: did you mean `forks`?
hint: known are `name`, `states`, `pillar`, `inventory`, `images`, `forks`,
  `known_hosts`, `unresolved_requisites`, `failhard`, `through_master` and
  `state_output`
",
    );
}

#[test]
fn a_wrong_command_line_exits_with_1() {
    let program = Program::new();
    let wrong = program.run(&["aply"]);
    assert_eq!(wrong.code, 1, "{wrong:?}");
    assert!(wrong.text.contains("unrecognized subcommand 'aply'"), "{wrong:?}");
    assert_eq!(program.run(&["--version"]).code, 0);
}

#[test]
fn unknown_functions_have_near_names() {
    let program = Program::new();
    program.run(&["doc", "test.nopp"]).fails_with(
        1,
        "\
--- stderr
error: unknown state function `test.nopp`
hint: did you mean `test.nop`?
hint: `picloud doc` lists the state functions that picloud knows
",
    );
}

#[test]
fn no_line_of_help_is_wider_than_80_columns() {
    let program = Program::new();
    let help = program.run(&["help"]).text;
    let commands = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty());
    let mut texts = vec![("picloud".to_owned(), help.clone())];
    for line in commands.filter(|line| line.starts_with("  ") && !line.starts_with("   ")) {
        let name = line.split_whitespace().next().unwrap();
        texts.push((name.to_owned(), program.run(&[name, "--help"]).text));
    }
    assert!(texts.len() > 5, "{help}");
    for (name, text) in texts {
        for line in text.lines() {
            assert!(line.chars().count() <= 80, "{name} --help: {line}");
        }
    }
}

/// A project whose states say something and change nothing but a file of its own folder.
fn project() -> Program {
    let program = Program::new();
    let here = program.folder().display().to_string();
    program
        .file("picloud.yaml", "")
        .file(
            "inventory/lab.yaml",
            "minions:\n  pi[0-2]: {address: '10.9.8.{n+1}', pillar: {word: 'w{n}'}}\nnodegroups: {pair: 'pi[1-2]'}\n",
        )
        .file("states/top.sls", "base:\n  pi0: [note]\n  N@pair: [quiet]\n")
        .file(
            "states/note.sls",
            &format!(
                "note:\n  file.managed:\n    - name: {here}/note\n    - contents: {{{{ pillar['word'] }}}}\n    - mode: '0600'\n"
            ),
        )
        .file("states/quiet.sls", "quiet:\n  test.nop: []\n");
    program
}

#[test]
fn targets_that_mean_nobody_are_explained() {
    let program = project();
    for (arguments, expected) in [
        (
            &["show", "top", "pi9"][..],
            "error: no minion is called `pi9`\nhint: did you mean `pi0`?\nhint: the inventory has pi0, pi1, pi2\n",
        ),
        (
            &["show", "top", "-N", "pairs"],
            "error: no nodegroup is called `pairs`\n  --> target:1:1\n   |\n 1 | pairs\n   | ^^^^^\nhint: did you mean `pair`?\nhint: the nodegroups are pair\n",
        ),
        (
            &["show", "top", "pi0 and and pi1"],
            "error: expected a term, not `and`\n  --> target:1:9\n   |\n 1 | pi0 and and pi1\n   |         ^^^\nhint: terms are joined by `and` and `or`: `web* and not web1`\n",
        ),
        (
            &["apply", "quiet"],
            "error: no minion is called `quiet`\nhint: the inventory has pi0, pi1, pi2\nhint: `quiet` is an SLS: write `'*' quiet` for all minions\n",
        ),
    ] {
        program.run(arguments).fails_with(1, &format!("--- stderr\n{expected}"));
    }
}

#[test]
fn what_minions_get_is_shown_without_connecting() {
    let program = project();
    let guessed = "--- stderr\nno grains are cached of pi0, taken for a Debian 12; `picloud grains` collects them\n";
    program
        .run(&["show", "top", "pi0"])
        .shows(&format!("base:\n- note\n{guessed}"));
    program.run(&["pillar", "pi0"]).shows(&format!("pi0:\n  word: w0\n{guessed}"));
    let low = program.run(&[
        "show",
        "low",
        "quiet",
        "--root",
        "states",
        "--id",
        "web",
        "--grains-file",
        "inventory/none.yaml",
        "--out",
        "json",
    ]);
    assert_eq!(low.code, 1, "{low:?}");
    program.file("grains.yaml", "os: Debian\n").file("pillar.yaml", "{}\n");
    let offline = [
        "--root",
        "states",
        "--id",
        "web",
        "--grains-file",
        "grains.yaml",
        "--pillar-file",
        "pillar.yaml",
        "--out",
        "json",
    ];
    program.run(&[&["show", "low", "quiet"][..], &offline].concat()).shows(
        r#"[
  {
    "state": "test",
    "name": "quiet",
    "__sls__": "quiet",
    "__env__": "base",
    "__id__": "quiet",
    "order": 10000,
    "fun": "nop"
  }
]
"#,
    );
}

#[test]
fn check_finds_all_mistakes_at_once() {
    let program = project();
    program.run(&["check"]).shows(
        "no mistakes: 3 minions, 3 states\n--- stderr\nno grains are cached of pi0, pi1, pi2, taken for a Debian 12; `picloud grains` collects them\n",
    );
    program.file(
        "states/quiet.sls",
        "quiet:\n  test.nopp: []\nnote:\n  file.managed:\n    - nam: /x\n",
    );
    let said = program.run(&["check"]);
    assert_eq!(said.code, 1);
    let expected = "\
error: unknown state function `test.nopp`
  --> states/quiet.sls:2:3
   |
 2 |   test.nopp: []
   |   ^^^^^^^^^
   = minions: pi1, pi2
hint: did you mean `test.nop`?
";
    assert!(said.text.contains(expected), "{}", said.text);
    assert!(
        said.text
            .contains("error: unknown argument `nam`\n  --> states/quiet.sls:5:7\n"),
        "{}",
        said.text
    );
}

#[test]
fn check_looks_for_sources_and_uses_no_network() {
    let program = project();
    program.file(
        "states/quiet.sls",
        "here:\n  file.managed:\n    - name: /x\n    - source: salt://missing.conf\n\
         far:\n  file.managed:\n    - name: /y\n    - source: https://picloud.invalid/y\n    - source_hash: https://picloud.invalid/y.sha256\n",
    );
    let said = program.run(&["check", "pi1"]);
    assert_eq!(said.code, 1);
    assert!(said.text.contains("missing.conf"), "{}", said.text);
    assert!(!said.text.contains("picloud.invalid"), "{}", said.text);
}

#[test]
fn this_machine_is_brought_to_a_state_and_a_second_run_changes_nothing() {
    let program = project();
    program.file("pillar.yaml", "word: hello\n");
    let apply = ["apply", "--local", "note", "--pillar-file", "pillar.yaml", "--no-progress"];
    let dry = program.run(&[&apply[..], &["--test"]].concat());
    assert_eq!(dry.code, 0, "{dry:?}");
    assert!(
        dry.text
            .contains("would change  file.managed [DIR]/note (note)\n      @@ -0,0 +1 @@\n      +hello\n"),
        "{}",
        dry.text
    );
    assert!(!program.folder().join("note").exists());

    let first = program.run(&apply);
    assert_eq!(first.code, 0, "{first:?}");
    assert!(first.text.contains("1 minion in [TIME]: 1 changed\n"), "{}", first.text);
    assert_eq!(std::fs::read_to_string(program.folder().join("note")).unwrap(), "hello\n");

    let second = program.run(&apply);
    assert!(second.text.contains("1 minion in [TIME]: 1 unchanged\n"), "{}", second.text);

    let runs = program.run(&["runs"]).text;
    let what: Vec<&str> = runs
        .lines()
        .skip(1)
        .filter_map(|line| line.split("[TIME]").nth(1))
        .map(str::trim)
        .collect();
    assert_eq!(
        what,
        ["apply --local note --test", "apply --local note", "apply --local note"],
        "{runs}"
    );
    let undone = program.run(&["undo", "2", "--local"]);
    assert!(undone.text.contains("  removed [DIR]/note\n"), "{}", undone.text);
    assert!(!program.folder().join("note").exists());
    let shown = program.run(&["runs", "show", "2", "--out", "json"]);
    assert!(shown.text.contains("\"__sls__\": \"note\""), "{}", shown.text);
}

#[test]
fn an_unreachable_minion_has_a_line_and_a_reason() {
    let program = Program::new();
    // A port at which nobody listens.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    program.file("picloud.yaml", "").file(
        "inventory/lab.yaml",
        &format!("minions: {{pi0: {{address: 127.0.0.1, port: {port}, user: x}}}}\n"),
    );
    let said = program.run(&["run", "pi0", "--out", "json", "--", "true"]);
    assert_eq!(said.code, 3, "{said:?}");
    assert!(said.text.contains("\"kind\": \"unreachable\""), "{}", said.text);
}
