//! The dictionary form of `unless` and `onlyif`: an execution function, called as templates call it, whose value is the condition.
//!
//! All functions that templates can ask are there. What they must see is found out by calling them once before anything was seen.

use super::engine::Subject;
use crate::error::{Error, Pos, Result};
use crate::probe::{Observed, Probe};
use crate::template::{Renderer, Setup, known};
use crate::yaml::{Map, Value};
use std::sync::Arc;

/// A function with its arguments.
pub struct Query {
    fun: String,
    args: Vec<Value>,
    kwargs: Map,
    get_return: Option<String>,
    at: Pos,
    /// Whom it is about. Filled by [`Query::look`].
    setup: Setup,
    /// What it must see. Filled by [`Query::look`].
    pub probes: Vec<Probe>,
}

impl Query {
    /// A call of `fun`, written at `at`. `get_return` picks a key of the value, as Salt's does.
    ///
    /// # Errors
    /// A function that is not known, with the nearest name.
    pub fn new(fun: &str, args: &[Value], kwargs: &Map, get_return: Option<&str>, at: Pos) -> Result<Query> {
        known(fun).map_err(|error| error.at(at))?;
        Ok(Query {
            fun: fun.to_owned(),
            args: args.to_vec(),
            kwargs: kwargs.clone(),
            get_return: get_return.map(str::to_owned),
            at,
            setup: Setup::default(),
            probes: Vec::new(),
        })
    }

    /// Settles what must be seen.
    ///
    /// # Errors
    /// Arguments that the function does not take, a value of the wrong kind.
    pub fn look(&mut self, subject: &Subject) -> Result<()> {
        self.setup = Setup {
            tree: subject.tree.clone(),
            id: subject.id.clone(),
            saltenv: "base".to_owned(),
            grains: subject.grains.clone(),
            pillar: subject.pillar.clone(),
            observed: Arc::default(),
            groups: subject.groups.clone(),
        };
        let renderer = Renderer::new(self.setup.clone());
        self.ask(&renderer)?;
        self.probes = renderer.asks();
        Ok(())
    }

    /// Whether the answer counts as true, in Python's sense.
    ///
    /// # Errors
    /// What was seen is nothing that the function can answer from.
    pub fn holds(&self, seen: &Observed) -> Result<bool> {
        let renderer = Renderer::new(Setup {
            observed: Arc::new(seen.of(&self.probes)),
            ..self.setup.clone()
        });
        self.ask(&renderer)?.ok_or_else(|| {
            Error::usage(format!(
                "`{}` cannot be asked in a condition: what it asks depends on an answer",
                self.fun
            ))
            .at(self.at)
            .hint("ask it in the template: `{% if salt['module.function'](...) %}`")
        })
    }

    fn ask(&self, renderer: &Renderer) -> Result<Option<bool>> {
        renderer
            .holds(&self.fun, &self.args, &self.kwargs, self.get_return.as_deref())
            .map_err(|error| error.at(self.at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::FileId;
    use crate::inventory::Nodegroups;
    use crate::probe::{Fact, ShellSeen};
    use crate::states::Resolved;
    use crate::states::testing::file;
    use crate::yaml::{Key, parse};

    fn subject() -> Subject {
        let data = |text: &str| Arc::new(parse(FileId::default(), text).unwrap());
        let groups = [(Key::from("edge"), Value::from("web*"))];
        Subject {
            id: "web1".to_owned(),
            grains: data("{os: Debian, roles: [web, db], ipv4: [10.0.0.7], deep: {on: true}}"),
            pillar: data("{app: {port: 80, off: false}}"),
            resolved: Resolved::default(),
            run: String::new(),
            groups: Arc::new(Nodegroups::parse(&groups).unwrap()),
            tree: Arc::default(),
        }
    }

    /// The question `written`, `{fun: ..., args: [...], ...}`, looked at.
    fn query(written: &str) -> Result<Query> {
        let value = parse(FileId::of("t.sls"), written).unwrap();
        let mut map = value.as_map().unwrap().clone();
        let mut take = |key: &str| map.shift_remove(&Key::from(key));
        let fun = take("fun").and_then(|fun| fun.scalar_text()).unwrap();
        let args = take("args").map(|args| args.as_list().unwrap().to_vec()).unwrap_or_default();
        let key = take("get_return").and_then(|key| key.scalar_text());
        let mut query = Query::new(&fun, &args, &map, key.as_deref(), value.at)?;
        query.look(&subject())?;
        Ok(query)
    }

    #[test]
    fn what_is_known_here_is_answered_here() {
        for (written, expected) in [
            ("{fun: test.true}", true),
            ("{fun: test.false}", false),
            (
                "{fun: match.compound, args: ['web* and G@os:Debian and not I@app:port:81']}",
                true,
            ),
            ("{fun: match.compound, args: ['N@edge']}", true),
            ("{fun: match.grain, tgt: 'roles:db'}", true),
            ("{fun: match.glob, args: ['db*']}", false),
            ("{fun: match.list, args: ['web1,web2']}", true),
            ("{fun: match.pcre, args: ['web[0-9]']}", true),
            ("{fun: match.ipcidr, args: [10.0.0.0/24]}", true),
            ("{fun: match.pillar, args: ['app:port:80']}", true),
            ("{fun: grains.get, args: [os]}", true),
            ("{fun: grains.get, args: ['no:such']}", false),
            ("{fun: grains.equals, args: [os, Arch]}", false),
            ("{fun: grains.item, args: [deep], get_return: 'deep:on'}", true),
            ("{fun: pillar.get, args: ['app:off']}", false),
            ("{fun: pillar.get, args: ['app:none', 5]}", true),
        ] {
            let query = query(written).unwrap_or_else(|e| panic!("{written}: {e}"));
            assert_eq!(
                (query.probes.len(), query.holds(&Observed::default())),
                (0, Ok(expected)),
                "{written}"
            );
        }
    }

    #[test]
    fn what_the_minion_knows_is_asked() {
        let there = |path: &str| file(path, "port = 80\n# end\n");
        let none = |path: &str| Fact::nothing(&Probe::meta(path));
        for (written, fact, expected) in [
            (
                "{fun: file.search, args: [/c, '^port *= *8[0-9]$'], multiline: true}",
                there("/c"),
                true,
            ),
            ("{fun: file.search, args: [/c, 'port = 81']}", there("/c"), false),
            ("{fun: file.contains, args: [/c, '# end']}", there("/c"), true),
            ("{fun: file.file_exists, path: /c}", there("/c"), true),
            ("{fun: file.file_exists, path: /c}", none("/c"), false),
            ("{fun: file.directory_exists, args: [/c]}", there("/c"), false),
        ] {
            let query = query(written).unwrap_or_else(|e| panic!("{written}: {e}"));
            assert_eq!(query.probes.len(), 1, "{written}");
            assert_eq!(query.holds(&Observed::default().with([fact])), Ok(expected), "{written}");
        }
        let query = query("{fun: cmd.run_all, args: [uptime], get_return: stdout}").unwrap();
        let [Probe::Shell(probe)] = query.probes.as_slice() else {
            panic!("{:?}", query.probes)
        };
        let answer = |stdout: &[u8]| ShellSeen {
            stdout: stdout.to_vec(),
            ..ShellSeen::default()
        };
        let seen = |stdout: &[u8]| Observed::default().with([Fact::Shell(probe.clone(), answer(stdout))]);
        assert_eq!((query.holds(&seen(b"up\n")), query.holds(&seen(b""))), (Ok(true), Ok(false)));
    }

    #[test]
    fn mistakes_are_named_at_their_place() {
        for (written, expected) in [
            (
                "{fun: file.serch, args: [/c]}",
                "t.sls:1:1: there is no function `file.serch`",
            ),
            (
                "{fun: file.search, args: [/c]}",
                "t.sls:1:1: `file.search` needs the argument `pattern`",
            ),
            ("{fun: match.compound, args: ['G@']}", "t.sls:1:1: "),
        ] {
            let error = query(written).err().unwrap().to_string();
            assert!(error.starts_with(expected), "{written}: {error}");
        }
    }
}
