//! The arguments that every state takes, beside its function's own.

/// Name, what it takes, and what it means.
pub const GLOBALS: &[(&str, &str, &str)] = &[
    ("name", "string", "What the state is about; the ID where it is left out."),
    (
        "names",
        "list",
        "Several names: one state for each. An item may be a mapping of a name to arguments of its own.",
    ),
    (
        "require",
        "list of requisites",
        "Run after these, and only if they succeeded: `- file: /etc/motd`, `- sls: web`, or a bare ID.",
    ),
    (
        "require_any",
        "list of requisites",
        "As `require`, if at least one succeeded.",
    ),
    (
        "watch",
        "list of requisites",
        "As `require`; and when one changed, do what the function does then: `service.running` restarts.",
    ),
    ("watch_any", "list of requisites", "As `watch`, if at least one succeeded."),
    (
        "onchanges",
        "list of requisites",
        "Run only if at least one of these changed.",
    ),
    (
        "onchanges_any",
        "list of requisites",
        "As `onchanges`, even if others of them failed.",
    ),
    ("onfail", "list of requisites", "Run only if at least one of these failed."),
    ("onfail_any", "list of requisites", "The same as `onfail`."),
    ("onfail_all", "list of requisites", "Run only if all of these failed."),
    (
        "prereq",
        "list of requisites",
        "Run before these, and only if they are going to change something.",
    ),
    (
        "listen",
        "list of requisites",
        "As `watch`, but at the end of the run, and once.",
    ),
    (
        "use",
        "list of requisites",
        "Take over the arguments of these, where none are given here.",
    ),
    (
        "require_in, watch_in, onchanges_in, onfail_in, prereq_in, listen_in, use_in",
        "list of requisites",
        "The same, said from the other side: these states are given the requisite on this one.",
    ),
    (
        "onlyif",
        "string or list",
        "Run only if these commands succeed on the minion.",
    ),
    (
        "unless",
        "string or list",
        "Do not run if these commands succeed on the minion.",
    ),
    (
        "creates",
        "string or list of strings",
        "Do not run if these paths exist on the minion.",
    ),
    (
        "check_cmd",
        "string or list of strings",
        "Commands that must succeed after the state, or it has failed. `file.managed` checks the new file before it takes its place.",
    ),
    (
        "order",
        "number, `first` or `last`",
        "A place in the order of the run; negative numbers count from its end.",
    ),
    ("failhard", "true or false", "If this state fails, stop the minion's run."),
    (
        "retry",
        "true or mapping",
        "Try again while it fails: `{attempts: 5, interval: 10, until: true, splay: 0}`.",
    ),
    (
        "runas",
        "string",
        "The user that commands, and those of `onlyif` and `unless`, run as.",
    ),
    (
        "parallel",
        "true or false",
        "Run beside other states that are marked so and stand next to it.",
    ),
    (
        "fire_event, reload_grains, reload_modules, reload_pillar, aggregate, umask",
        "various",
        "Taken as in Salt.",
    ),
];
