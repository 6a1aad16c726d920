//! What apt offers of packages that are not installed yet: asked only where one is missing, so that a run without changes pays
//! nothing for it. The answer makes a dry run say which version would come, and that a name is known to no index.

use super::wanted::Wanted;
use crate::error::Result;
use crate::probe::{Observed, Probe, Resource, ShellProbe};
use crate::shell::words;
use crate::states::PackageManager;

/// The question about `wanted`; `None` where the package manager is too slow to be asked.
pub fn probe(manager: PackageManager, wanted: &[Wanted]) -> Option<ShellProbe> {
    if manager != PackageManager::Apt || wanted.is_empty() {
        return None;
    }
    let names = words(wanted.iter().map(|package| package.name.as_str()));
    let script = format!(
        "set --
for p in {names}; do
  [ ! -e \"/var/lib/dpkg/info/$p.list\" ] || continue
  for f in \"/var/lib/dpkg/info/$p\":*.list; do [ ! -e \"$f\" ] || continue 2; done
  set -- \"$@\" \"$p\"
done
[ $# = 0 ] || {{ printf 'asked %s\\n' \"$*\"; apt-cache policy \"$@\" 2>/dev/null; }}"
    );
    Some(ShellProbe {
        script,
        reads: vec![Resource::Packages],
        ..ShellProbe::default()
    })
}

/// The probe itself, for [`StateFunction::probes`](crate::states::StateFunction::probes).
pub fn probes(manager: PackageManager, wanted: &[Wanted]) -> impl Iterator<Item = Probe> {
    probe(manager, wanted).map(Probe::Shell).into_iter()
}

/// What was answered about packages that are missing.
#[derive(Debug, Default, PartialEq)]
pub struct Offered {
    candidates: Vec<(String, String)>,
    /// Missing, and neither a package nor a virtual one.
    pub unknown: Vec<String>,
}

impl Offered {
    pub fn read(manager: PackageManager, wanted: &[Wanted], seen: &Observed) -> Result<Offered> {
        match probe(manager, wanted) {
            Some(probe) => Ok(Offered::parse(&seen.shell(&probe)?.text())),
            None => Ok(Offered::default()),
        }
    }

    /// A line `asked NAMES`, then what `apt-cache policy` prints.
    fn parse(text: &str) -> Offered {
        let mut offered = Offered::default();
        let Some((asked, policy)) = text.strip_prefix("asked ").and_then(|text| text.split_once('\n')) else {
            return offered;
        };
        for name in asked.split_whitespace() {
            let bare = name.split(':').next().unwrap_or(name);
            let heading = |line: &&str| line.strip_suffix(':').is_some_and(|head| head == name || head == bare);
            let mut block = policy.lines().skip_while(|line| !heading(line));
            if block.next().is_none() {
                offered.unknown.push(name.to_owned());
                continue;
            }
            let candidate = block
                .take_while(|line| line.starts_with(' '))
                .find_map(|line| line.strip_prefix("  Candidate: "))
                .filter(|version| *version != "(none)");
            offered
                .candidates
                .extend(candidate.map(|version| (name.to_owned(), version.to_owned())));
        }
        offered
    }

    /// The version that would be installed of a missing package.
    pub fn candidate(&self, name: &str) -> Option<&str> {
        let found = self.candidates.iter().find(|(known, _)| known == name);
        found.map(|(_, version)| version.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_read() {
        let text = "asked nginx mail-transport-agent ngnix
nginx:
  Installed: (none)
  Candidate: 1.22.1-9
  Version table:
     1.22.1-9 500
        500 http://deb.debian.org/debian bookworm/main amd64 Packages
mail-transport-agent:
  Installed: (none)
  Candidate: (none)
  Version table:
";
        let offered = Offered::parse(text);
        assert_eq!(offered.candidate("nginx"), Some("1.22.1-9"));
        assert_eq!(offered.candidate("mail-transport-agent"), None);
        assert_eq!(offered.unknown, ["ngnix"]);
        assert_eq!(Offered::parse(""), Offered::default());
    }
}
