//! The arguments by which a command says which minions it means.

use super::app::App;
use crate::error::Result;
use crate::inventory::{Facts, Inventory, Minion, Selection, Target, TargetKind};
use crate::project::Project;
use clap::Args;

/// How the target is to be read; a compound expression, of which a glob is the simple case, unless one of these is given.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Target options")]
#[group(multiple = false)]
pub struct TargetArgs {
    /// The target is a list of ids: pi0,pi1
    #[arg(short = 'L', long)]
    list: bool,
    /// The target is a regular expression over ids: 'pi[0-3]'
    #[arg(short = 'E', long)]
    regex: bool,
    /// The target is a grain and its value: os:Debian
    #[arg(short = 'G', long)]
    grain: bool,
    /// The target is a pillar key and its value: role:web
    #[arg(short = 'I', long)]
    pillar: bool,
    /// The target is a nodegroup of the inventory
    #[arg(short = 'N', long)]
    nodegroup: bool,
    /// The target is an address or a subnet: 192.168.1.0/24
    #[arg(short = 'S', long)]
    subnet: bool,
    /// The target is a compound expression: 'G@os:Debian and not pi0' (the default)
    #[arg(short = 'C', long)]
    compound: bool,
}

/// What `[TARGET]` means, for help texts.
pub const TARGET_HELP: &str = "\
Which minions: an id, a glob (pi*), a range (pi[0-13]), a list (pi0,pi1) or a \
compound expression ('G@os:Debian and not pi0'); all where it is left out";

impl TargetArgs {
    fn kind(&self) -> TargetKind {
        let kinds = [
            (self.list, TargetKind::List),
            (self.regex, TargetKind::Regex),
            (self.grain, TargetKind::Grain),
            (self.pillar, TargetKind::Pillar),
            (self.nodegroup, TargetKind::Nodegroup),
            (self.subnet, TargetKind::Subnet),
        ];
        kinds
            .into_iter()
            .find(|(given, _)| *given)
            .map_or(TargetKind::Compound, |(_, kind)| kind)
    }

    /// The minions of `inventory` that `target` means; all where there is none. Says so when some may be missing.
    ///
    /// # Errors
    /// The target is wrong, or means nobody.
    pub fn select(
        &self,
        app: &App,
        project: &Project,
        inventory: &Inventory,
        target: Option<&str>,
        mut pillar: impl FnMut(&Minion) -> Result<Option<crate::yaml::Value>>,
    ) -> Result<Vec<Minion>> {
        let target = match target {
            Some(text) => Target::parse(self.kind(), text, inventory.groups())?,
            None => Target::all(),
        };
        let uses_pillar = target.uses_pillar();
        let Selection { minions, unknown } = inventory.select(&target, |minion| {
            let grains = project.cache.grains(&minion.id);
            Ok(Facts {
                grains,
                pillar: if uses_pillar { pillar(minion)? } else { None },
            })
        })?;
        if !unknown.is_empty() {
            let names: Vec<&str> = unknown.iter().map(|id| id.as_str()).collect();
            let warning = crate::error::Error::usage(format!(
                "no grains are cached of {}: whether the target means {} is not known, so {} left out",
                names.join(", "),
                if names.len() == 1 { "it" } else { "them" },
                if names.len() == 1 { "it is" } else { "they are" },
            ));
            app.warn(&warning.hint("`picloud grains` collects them"));
        }
        Ok(minions.iter().filter_map(|id| inventory.get(id.as_str())).cloned().collect())
    }
}
