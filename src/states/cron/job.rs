//! `cron.present` and `cron.absent`.

use super::tab::{Job, When};
use super::{check_user, read, write};
use crate::error::{Error, Result};
use crate::probe::{Observed, Probe};
use crate::states::{Change, Context, Decision, StateFunction};
use crate::yaml::Value;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value as Json;
use sha2::{Digest, Sha256};

/// Ensures that a job is in a user's crontab.
///
/// The job is known by its `identifier`, or by its command where that is not given. Times that are not said are `*`: with `hour: 5`
/// alone it runs every minute from 5:00 to 5:59. Jobs stand below the line `# Lines below here are managed by Salt, do not edit`,
/// as Salt puts them; all other lines are left as they are.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Present {
    /// The command. Cron takes `%` for the end of a line: write `\%`.
    name: String,
    /// Whose crontab it is.
    user: String,
    /// The minutes, `random` (a minute of the minion's own that stays the same), or `5:20` (such a one between these).
    minute: String,
    /// The hours; `random` and ranges as for `minute`.
    hour: String,
    /// The days of the month; `random` and ranges as for `minute`.
    daymonth: String,
    /// The months; `random` and ranges as for `minute`.
    month: String,
    /// The days of the week, 0 or 7 being Sunday; `random` and ranges as for `minute`.
    dayweek: String,
    /// A comment above the job.
    comment: Option<String>,
    /// The job stands there switched off.
    commented: bool,
    /// The name under which the job is found again when its command changes; `False`: the command.
    identifier: Option<String>,
    /// `@reboot`, `@daily` and the like, instead of times.
    special: Option<String>,
}

impl Default for Present {
    fn default() -> Present {
        let any = || "*".to_owned();
        Present {
            name: String::new(),
            user: "root".to_owned(),
            minute: any(),
            hour: any(),
            daymonth: any(),
            month: any(),
            dayweek: any(),
            comment: None,
            commented: false,
            identifier: None,
            special: None,
        }
    }
}

/// Ensures that a job is not in a user's crontab. Only jobs below Salt's line are looked at.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Absent {
    /// The command.
    name: String,
    /// Whose crontab it is.
    user: String,
    /// The name of the job; `False`: the command.
    identifier: Option<String>,
    /// Remove the job only if it runs at `@reboot`, `@daily` or the like.
    special: Option<String>,
    /// Accepted, and without effect as in Salt.
    #[schemars(with = "Option<Json>")]
    minute: Option<Value>,
    /// Accepted, and without effect as in Salt.
    #[schemars(with = "Option<Json>")]
    hour: Option<Value>,
    /// Accepted, and without effect as in Salt.
    #[schemars(with = "Option<Json>")]
    daymonth: Option<Value>,
    /// Accepted, and without effect as in Salt.
    #[schemars(with = "Option<Json>")]
    month: Option<Value>,
    /// Accepted, and without effect as in Salt.
    #[schemars(with = "Option<Json>")]
    dayweek: Option<Value>,
    /// Accepted, and without effect as in Salt.
    #[schemars(with = "Option<Json>")]
    comment: Option<Value>,
    /// Accepted, and without effect as in Salt.
    #[schemars(with = "Option<Json>")]
    commented: Option<Value>,
}

impl Default for Absent {
    fn default() -> Absent {
        Absent {
            name: String::new(),
            user: "root".to_owned(),
            identifier: None,
            special: None,
            minute: None,
            hour: None,
            daymonth: None,
            month: None,
            dayweek: None,
            comment: None,
            commented: None,
        }
    }
}

/// The identifier that is meant: the command where none, or `False`, was given.
fn identifier<'a>(given: Option<&'a str>, command: &'a str) -> &'a str {
    given
        .filter(|given| !given.eq_ignore_ascii_case("false") && !given.is_empty())
        .unwrap_or(command)
}

/// The ranges of the five times. A day that every month has is asked of `random`.
const RANGES: [(u64, u64); 5] = [(0, 59), (0, 23), (1, 28), (1, 12), (0, 6)];

/// A number from `low` to `high` that `seed` decides.
fn chosen(seed: &str, low: u64, high: u64) -> u64 {
    let digest = Sha256::digest(seed.as_bytes());
    let number = digest[..8].iter().fold(0u64, |number, byte| number << 8 | u64::from(*byte));
    low + number % (high - low + 1)
}

/// `5:20`: the ends, in order.
fn range(text: &str) -> Option<(u64, u64)> {
    let (a, b) = text.split_once(':')?;
    let (a, b): (u64, u64) = (a.parse().ok()?, b.parse().ok()?);
    Some((a.min(b), a.max(b)))
}

impl Present {
    fn command(&self) -> &str {
        self.name.trim()
    }

    fn identifier(&self) -> &str {
        identifier(self.identifier.as_deref(), self.command())
    }

    /// The five times; of the existing job's where those are good for what is said.
    fn times(&self, now: Option<&[String; 5]>, minion: &str) -> [String; 5] {
        let said = [&self.minute, &self.hour, &self.daymonth, &self.month, &self.dayweek];
        std::array::from_fn(|n| {
            let said = said[n].trim().to_lowercase();
            let now = now.map(|now| now[n].as_str());
            let seed = format!("{minion}\0{}\0{}\0{n}", self.user, self.identifier());
            if said == "random" {
                let (low, high) = RANGES[n];
                return match now {
                    Some(now) if now != "*" => now.to_owned(),
                    _ => chosen(&seed, low, high).to_string(),
                };
            }
            if let Some((low, high)) = range(&said) {
                return match now {
                    Some(now) if now.parse::<u64>().is_ok_and(|now| (low..=high).contains(&now)) => now.to_owned(),
                    _ => chosen(&seed, low, high).to_string(),
                };
            }
            said
        })
    }

    /// The job as it is to be; `now` is what stands there.
    fn wanted(&self, now: Option<&Job>, minion: &str) -> Job {
        let when = match &self.special {
            Some(special) => When::Special(special.clone()),
            None => {
                let times = match now.map(|now| &now.when) {
                    Some(When::Times(times)) => Some(times),
                    _ => None,
                };
                When::Times(self.times(times, minion))
            }
        };
        // A comment that nobody speaks of stays.
        let comment = self.comment.clone().or_else(|| now.and_then(|now| now.comment.clone()));
        Job {
            when,
            command: self.command().to_owned(),
            comment,
            identifier: Some(self.identifier().to_owned()),
            disabled: self.commented,
        }
    }
}

impl StateFunction for Present {
    fn check(&self) -> Result<()> {
        check_user(&self.user)?;
        let one_line = |what: &str, text: &str| {
            if text.is_empty() || text.contains('\n') {
                return Err(Error::usage(format!("the {what} of a cron job must be one line")));
            }
            Ok(())
        };
        one_line("command", self.command())?;
        one_line("identifier", self.identifier())?;
        if let Some(special) = self
            .special
            .as_deref()
            .filter(|special| !special.starts_with('@') || special.contains(char::is_whitespace))
        {
            return Err(Error::usage(format!("`special` is a word such as '@daily', not `{special}`")));
        }
        for (name, time) in [
            ("minute", &self.minute),
            ("hour", &self.hour),
            ("daymonth", &self.daymonth),
            ("month", &self.month),
            ("dayweek", &self.dayweek),
        ] {
            if time.trim().is_empty() || time.trim().contains(char::is_whitespace) {
                return Err(Error::usage(format!(
                    "`{name}` must be one word without spaces, not `{time}`"
                )));
            }
        }
        Ok(())
    }

    fn probes(&self, _: &Context) -> Result<Vec<Probe>> {
        Ok(vec![Probe::Crontab { user: self.user.clone() }])
    }

    fn decide(&self, seen: &Observed, context: &Context) -> Result<Decision> {
        let (name, user) = (self.command(), &self.user);
        let mut tab = read(seen, user)?;
        let special = self.special.is_some();
        let mut others: Vec<(usize, Job)> = tab
            .jobs()
            .filter(|(_, job)| job.is(self.identifier(), name))
            .map(|(place, job)| (place, job.clone()))
            .collect();
        // The first of its kind stays where it stands; whatever else is called so goes: the same job with times where it is to have
        // a name, or the other way round.
        let first = others.iter().position(|(_, job)| job.is_special() == special);
        let kept = first.map(|first| others.remove(first));
        let wanted = self.wanted(kept.as_ref().map(|(_, job)| job), context.minion);
        let good = kept.as_ref().is_some_and(|(_, job)| same(job, &wanted));
        if good && others.is_empty() {
            return Ok(Decision::Holds(format!("Cron {name} already present")));
        }
        let change = match (&kept, others.as_slice()) {
            (None, []) => Change::new(
                format!("Cron {name} is set to be added"),
                format!("Cron {name} added to {user}'s crontab"),
            ),
            (None, _) => Change::new(
                format!("Cron {name} is set to be updated"),
                format!("Cron {name} time specification changed"),
            ),
            (Some(_), _) => Change::new(format!("Cron {name} is set to be updated"), format!("Cron {name} updated")),
        };
        let others: Vec<usize> = others.iter().map(|(place, _)| *place).collect();
        match kept {
            Some((place, _)) => {
                if !good {
                    tab.replace(place, wanted);
                }
                tab.remove(&others);
            }
            None => {
                tab.remove(&others);
                tab.add(wanted);
            }
        }
        Ok(write(change.change(user.as_str(), name), seen, user, &tab)?.into())
    }
}

impl Absent {
    fn command(&self) -> &str {
        self.name.trim()
    }
}

impl StateFunction for Absent {
    fn check(&self) -> Result<()> {
        check_user(&self.user)
    }

    fn probes(&self, _: &Context) -> Result<Vec<Probe>> {
        Ok(vec![Probe::Crontab { user: self.user.clone() }])
    }

    fn decide(&self, seen: &Observed, _: &Context) -> Result<Decision> {
        let (name, user) = (self.command(), &self.user);
        let identifier = identifier(self.identifier.as_deref(), name);
        let mut tab = read(seen, user)?;
        let at = |job: &Job| match (&self.special, &job.when) {
            (None, _) => true,
            (Some(special), When::Special(own)) => special == own,
            (Some(_), When::Times(_)) => false,
        };
        let ours: Vec<usize> = tab
            .jobs()
            .filter(|(_, job)| job.is(identifier, name) && at(job))
            .map(|(place, _)| place)
            .collect();
        if ours.is_empty() {
            return Ok(Decision::Holds(format!("Cron {name} already absent")));
        }
        tab.remove(&ours);
        let change = Change::new(
            format!("Cron {name} is set to be removed"),
            format!("Cron {name} removed from {user}'s crontab"),
        );
        Ok(write(change.change(user.as_str(), name), seen, user, &tab)?.into())
    }
}

/// Whether nothing is to be changed: an empty comment is none.
fn same(now: &Job, wanted: &Job) -> bool {
    let bare = |job: &Job| Job {
        comment: job.comment.clone().filter(|comment| !comment.is_empty()),
        ..job.clone()
    };
    bare(now) == bare(wanted)
}

#[cfg(test)]
mod tests {
    use crate::probe::Fact;
    use crate::states::testing::{Case, refusal, state};

    const MARK: &str = "# Lines below here are managed by Salt, do not edit\n";

    fn case(function: &str, arguments: &str, tab: Option<&str>) -> Case {
        let fact = Fact::Crontab("root".into(), tab.map(str::to_owned));
        state(function, arguments).sees([fact])
    }

    #[test]
    fn jobs_come_and_go() {
        let dump = format!(
            "5 4 * * * mine\n{MARK}# nightly SALT_CRON_IDENTIFIER:dump\n0 3 * * * dump -a\n# SALT_CRON_IDENTIFIER:up\n@reboot up\n"
        );
        for (function, arguments, expected) in [
            (
                "cron.present",
                "{name: dump -a, identifier: dump, minute: 0, hour: 3}",
                Err("holds: Cron dump -a already present"),
            ),
            (
                "cron.present",
                "{name: up, identifier: up, special: '@reboot'}",
                Err("holds: Cron up already present"),
            ),
            (
                "cron.absent",
                "{name: other, minute: 5}",
                Err("holds: Cron other already absent"),
            ),
            (
                "cron.absent",
                "{name: up, identifier: up, special: '@daily'}",
                Err("holds: Cron up already absent"),
            ),
            (
                "cron.present",
                "{name: dump -b, identifier: dump, minute: '*/5', comment: often, commented: True}",
                Ok((
                    "Cron dump -b updated",
                    dump.replace("nightly", "often")
                        .replace("0 3 * * * dump -a", "#DISABLED#*/5 * * * * dump -b"),
                )),
            ),
            (
                "cron.present",
                "{name: new, identifier: False, hour: 7}",
                Ok((
                    "Cron new added to root's crontab",
                    dump.replace(
                        "# SALT_CRON_IDENTIFIER:up",
                        "# SALT_CRON_IDENTIFIER:new\n* 7 * * * new\n# SALT_CRON_IDENTIFIER:up",
                    ),
                )),
            ),
            (
                "cron.present",
                "{name: dump -a, identifier: dump, special: '@daily'}",
                Ok((
                    "Cron dump -a time specification changed",
                    dump.replace("# nightly SALT_CRON_IDENTIFIER:dump\n0 3 * * * dump -a\n", "")
                        + "# SALT_CRON_IDENTIFIER:dump\n@daily dump -a\n",
                )),
            ),
            (
                "cron.absent",
                "{name: x, identifier: dump}",
                Ok((
                    "Cron x removed from root's crontab",
                    dump.replace("# nightly SALT_CRON_IDENTIFIER:dump\n0 3 * * * dump -a\n", ""),
                )),
            ),
        ] {
            let case = case(function, arguments, Some(&dump));
            let shown = case.shows();
            match expected {
                Err(comment) => assert_eq!(shown, comment, "{arguments}"),
                Ok((did, text)) => {
                    let change = case.change();
                    assert_eq!(
                        (change.did.as_str(), change.diffs[0].new.as_str()),
                        (did, text.as_str()),
                        "{arguments}"
                    );
                }
            }
        }
    }

    #[test]
    fn the_first_job_makes_the_crontab() {
        assert_eq!(
            case("cron.present", "{name: echo 'hi', minute: 5, user: root}", None).shows(),
            "would: Cron echo 'hi' is set to be added\ndid: Cron echo 'hi' added to root's crontab\nchanges: {\"root\":\"echo 'hi'\"}\nsh crontab\n  \
             command -v crontab >/dev/null || { echo 'there is no crontab on this minion: install cron' >&2; exit 1; }\n  \
             if [ \"$(id -un)\" = root ]; then crontab -; else crontab -u root -; fi\n  \
             <<< \"# Lines below here are managed by Salt, do not edit\\n# SALT_CRON_IDENTIFIER:echo 'hi'\\n5 * * * * echo 'hi'\\n\"\n"
        );
    }

    #[test]
    fn an_unmanaged_line_is_not_taken_for_ours_but_an_old_one_without_identifier_is() {
        let old = format!("0 1 * * * job\n{MARK}0 1 * * * job\n");
        let change = case("cron.present", "{name: job, minute: 0, hour: 1}", Some(&old)).change();
        assert_eq!(
            change.diffs[0].new,
            format!("0 1 * * * job\n{MARK}# SALT_CRON_IDENTIFIER:job\n0 1 * * * job\n")
        );
    }

    #[test]
    fn random_times_stay() {
        let arguments = "{name: job, minute: random, hour: '2:4', daymonth: random}";
        let change = case("cron.present", arguments, None).change();
        let line = change.diffs[0].new.lines().last().unwrap().to_owned();
        let times: Vec<&str> = line.split(' ').collect();
        let number = |n: usize| times[n].parse::<u64>().unwrap();
        assert!(
            number(0) < 60 && (2..=4).contains(&number(1)) && (1..=28).contains(&number(2)),
            "{line}"
        );
        for (times, holds) in [("59 3 9 * *", true), ("* 3 9 * *", false), ("59 5 9 * *", false)] {
            let tab = format!("{MARK}# SALT_CRON_IDENTIFIER:job\n{times} job\n");
            let shown = case("cron.present", arguments, Some(&tab)).shows();
            assert_eq!(shown.starts_with("holds"), holds, "{times}");
        }
    }

    #[test]
    fn what_would_spoil_the_crontab_is_refused() {
        for (arguments, expected) in [
            ("{name: \"a\\nb\"}", "the command of a cron job must be one line"),
            (
                "{name: a, minute: '1 2'}",
                "`minute` must be one word without spaces, not `1 2`",
            ),
            (
                "{name: a, special: daily}",
                "`special` is a word such as '@daily', not `daily`",
            ),
            ("{name: a, user: 'a b'}", "`a b` cannot be a user's name"),
        ] {
            assert_eq!(refusal("cron.present", arguments), expected);
        }
    }
}
