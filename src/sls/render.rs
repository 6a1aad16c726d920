//! What the language asks of a template engine: text with variables filled in. The template room implements [`Render`].
//!
//! Knows no template syntax; hands over what Salt gives every SLS to know about its own place.

use crate::error::{Pos, Result};
use crate::tree::TreeFile;
use crate::yaml::Map;

/// A template engine with its `grains`, `pillar` and `salt` objects already set up for one minion.
pub trait Render {
    /// The text of `file` with everything filled in, one line for each line of the file where that can be.
    ///
    /// # Errors
    /// What the template's author got wrong, at its place in the template.
    fn render(&self, file: &TreeFile, locals: &Locals) -> Result<Rendered>;

    /// Where what stands at `at` in the text that `at.file` was last rendered to was written. By default at the same place.
    fn origin(&self, at: Pos) -> Pos {
        at
    }
}

/// What became of a template.
#[derive(Clone, PartialEq, Debug)]
pub enum Rendered {
    Text(String),
    /// The template asks what only the minion can tell. The renderer has noted the questions; the caller renders the other files,
    /// to collect theirs too, and then returns [`Compiled::Asks`](super::Compiled::Asks).
    Asks,
}

/// The variables that tell an SLS where it is, under Salt's names; computed as Salt's `generate_sls_context` does.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Locals {
    /// The SLS's name: `web.nginx`; empty for a top file.
    pub sls: String,
    pub saltenv: String,
    /// The folder of the SLS below its root, with `/`: `web` for `web/init.sls` and for `web/nginx.sls`.
    pub slspath: String,
    /// `slspath` with dots.
    pub slsdotpath: String,
    /// `slspath` with colons.
    pub slscolonpath: String,
    /// `slspath` with underscores.
    pub sls_path: String,
    /// The file as messages show it.
    pub tplpath: String,
    /// The file below its root: `web/init.sls`.
    pub tplfile: String,
    /// The folder of the file below its root; `.` for the root itself. Changes while another template is imported.
    pub tpldir: String,
    /// `slspath` with dots.
    pub tpldot: String,
    /// Further variables: the `defaults` of a pillar's include.
    pub extra: Map,
}

impl Locals {
    /// The variables of the SLS called `sls` (empty for a top file), read from `file`.
    pub fn of(sls: &str, saltenv: &str, file: &TreeFile) -> Locals {
        let folder = match file.path.rsplit_once('/') {
            Some((folder, _)) if !sls.is_empty() => folder,
            _ => "",
        };
        let name = file.path.rsplit('/').next().unwrap_or_default();
        Locals {
            sls: sls.to_owned(),
            saltenv: saltenv.to_owned(),
            slspath: folder.to_owned(),
            slsdotpath: folder.replace('/', "."),
            slscolonpath: folder.replace('/', ":"),
            sls_path: folder.replace('/', "_"),
            tplpath: file.id.name().to_owned(),
            tplfile: if sls.is_empty() { name } else { &file.path }.to_owned(),
            tpldir: if folder.is_empty() { "." } else { folder }.to_owned(),
            tpldot: folder.replace('/', "."),
            extra: Map::new(),
        }
    }

    /// The variables by name, without [`Locals::extra`].
    pub fn variables(&self) -> [(&'static str, &str); 10] {
        [
            ("sls", &self.sls),
            ("saltenv", &self.saltenv),
            ("slspath", &self.slspath),
            ("slsdotpath", &self.slsdotpath),
            ("slscolonpath", &self.slscolonpath),
            ("sls_path", &self.sls_path),
            ("tplpath", &self.tplpath),
            ("tplfile", &self.tplfile),
            ("tpldir", &self.tpldir),
            ("tpldot", &self.tpldot),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::FileId;
    use crate::tree::Place;

    #[test]
    fn an_sls_knows_its_place() {
        let cases = [
            // sls, path, slspath, slsdotpath, tplfile, tpldir
            ("web", "web/init.sls", "web", "web", "web/init.sls", "web"),
            ("web.nginx", "web/nginx.sls", "web", "web", "web/nginx.sls", "web"),
            ("a.b.c", "a/b/c/init.sls", "a/b/c", "a.b.c", "a/b/c/init.sls", "a/b/c"),
            ("motd", "motd.sls", "", "", "motd.sls", "."),
            ("", "top.sls", "", "", "top.sls", "."),
        ];
        for (sls, path, slspath, dots, tplfile, tpldir) in cases {
            let file = TreeFile {
                path: path.to_owned(),
                id: FileId::of(path),
                place: Place::Embedded(b""),
            };
            let locals = Locals::of(sls, "base", &file);
            assert_eq!(
                (&*locals.slspath, &*locals.slsdotpath, &*locals.tplfile, &*locals.tpldir),
                (slspath, dots, tplfile, tpldir),
                "{path}"
            );
        }
    }
}
