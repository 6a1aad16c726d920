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
fn without_a_project_there_is_advice() {
    let program = Program::new();
    program.run(&["runs"]).fails_with(
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
