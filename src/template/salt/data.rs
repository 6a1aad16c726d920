//! `slsutil.*`, `defaults.*`, `jinja.*`, `cp.*` and `state.*`: data and files of the tree.

use super::{Call, Function, merge};
use crate::error::{FileId, Pos};
use crate::template::failures::from_error;
use crate::template::filters::data::{Flow, load_json, load_yaml, to_json, to_yaml, traverse};
use crate::template::filters::hash::{bytes, digest};
use crate::template::value::{deep_copy, dict, fail, is_mapping, items, list, pairs, text};
use crate::tree::{Place, TreeFile};
use indexmap::IndexMap;
use minijinja::{Error, Value};

pub const FUNCTIONS: &[(&str, Function)] = &[
    ("slsutil.update", |call| {
        let (dest, upd) = (call.args.need("dest")?, call.args.need("upd")?);
        let recursive = call.args.flag("recursive_update", true)?;
        let merge_lists = call.args.flag("merge_lists", false)?;
        merge::update(&dest, &upd, recursive, merge_lists)?;
        Ok(dest)
    }),
    ("slsutil.merge", |call| {
        let (a, b) = (call.args.need("obj_a")?, call.args.need("obj_b")?);
        let (strategy, merge_lists) = strategy(call)?;
        merge::merge(&a, &b, &strategy, merge_lists)
    }),
    ("slsutil.merge_all", |call| {
        let all = items(&call.args.need("lst")?)?;
        let (strategy, merge_lists) = strategy(call)?;
        all.iter()
            .try_fold(dict([]), |merged, next| merge::merge(&merged, next, &strategy, merge_lists))
    }),
    ("slsutil.serialize", serialize),
    ("slsutil.deserialize", deserialize),
    ("slsutil.renderer", renderer),
    ("slsutil.boolstr", |call| {
        let value = call.args.need("value")?;
        let (yes, no) = (call.args.text_or("true", "true")?, call.args.text_or("false", "false")?);
        Ok(if value.is_true() { yes } else { no }.into())
    }),
    ("slsutil.banner", banner),
    ("slsutil.file_exists", |call| {
        let path = path_in_tree(call)?;
        Ok(call.shared.tree.find(&path).is_some().into())
    }),
    ("slsutil.dir_exists", |call| {
        let path = path_in_tree(call)?;
        Ok(call.shared.tree.is_folder(&path).into())
    }),
    ("slsutil.path_exists", |call| {
        let path = path_in_tree(call)?;
        Ok((call.shared.tree.find(&path).is_some() || call.shared.tree.is_folder(&path)).into())
    }),
    ("slsutil.findup", findup),
    ("defaults.merge", |call| {
        let (dest, src) = (call.args.take("dest"), call.args.take("upd"));
        let src = src.or_else(|| call.args.keyword("src"));
        let merge_lists = call.args.flag("merge_lists", false)?;
        let in_place = call.args.flag("in_place", true)?;
        call.args.flag("convert_none", true)?;
        let or_empty = |value: Option<Value>| {
            value
                .filter(|value| !value.is_none() && !value.is_undefined())
                .unwrap_or_else(|| dict([]))
        };
        let (dest, src) = (or_empty(dest), or_empty(src));
        let merged = if in_place { dest } else { deep_copy(&dest) };
        merge::update(&merged, &src, true, merge_lists)?;
        Ok(merged)
    }),
    ("defaults.deepcopy", |call| Ok(deep_copy(&call.args.need("source")?))),
    ("defaults.update", |call| {
        let (dest, defaults) = (call.args.need("dest")?, call.args.need("defaults")?);
        let merge_lists = call.args.flag("merge_lists", true)?;
        let in_place = call.args.flag("in_place", true)?;
        call.args.flag("convert_none", true)?;
        let nodes = if in_place { dest } else { deep_copy(&dest) };
        for (name, own) in pairs(&nodes).unwrap_or_default() {
            let merged = deep_copy(&defaults);
            if is_mapping(&own) {
                merge::update(&merged, &own, true, merge_lists)?;
            }
            merge::update(&nodes, &dict([(name, merged)]), false, false)?;
        }
        Ok(nodes)
    }),
    ("defaults.get", |call| {
        let key = call.args.text("key")?;
        let default = call.args.take("default").unwrap_or_else(|| "".into());
        let (formula, path) = match key.split_once(':') {
            Some((formula, path)) => (formula, Some(path)),
            None => (key.as_str(), None),
        };
        let folder = formula.replace('.', "/");
        let file = ["yaml", "json"]
            .iter()
            .find_map(|suffix| call.shared.tree.find(&format!("{folder}/defaults.{suffix}")));
        let Some(file) = file else { return Ok(default) };
        let written = read(&file)?;
        let data = match file.path.ends_with("json") {
            true => load_json(&written, Some(&file.path))?,
            false => load_yaml(&written, Some(&file.path), None)?,
        };
        match path {
            Some(path) => Ok(traverse(&data, &path.into(), ":")?.unwrap_or(default)),
            None => Ok(data),
        }
    }),
    ("jinja.load_map", |call| {
        let path = call.args.text("path")?;
        let variable = call.args.text("variable")?;
        let quoted = path.replace('\\', "\\\\").replace('\'', "\\'");
        if !variable.chars().all(|c| c == '_' || c.is_alphanumeric()) {
            return Err(fail(format!("{variable:?} is no variable")));
        }
        let template =
            format!("{{% from '{quoted}' import {variable} with context %}}{{{{ {variable}|json(sort_keys=false) }}}}");
        load_json(&render(call, &inline(&path), &template, IndexMap::new())?, Some(&path))
    }),
    ("jinja.import_yaml", |call| {
        let (file, written) = tree_text(call)?;
        load_yaml(&render(call, &file, &written, IndexMap::new())?, Some(&file.path), None)
    }),
    ("jinja.import_json", |call| {
        let (file, written) = tree_text(call)?;
        load_json(&render(call, &file, &written, IndexMap::new())?, Some(&file.path))
    }),
    ("cp.get_file_str", |call| {
        let path = path_in_tree(call)?;
        match call.shared.tree.find(&path) {
            Some(file) => Ok(read(&file)?.into()),
            None => Ok(false.into()),
        }
    }),
    ("cp.list_master", |call| {
        call.args.text_or_none("saltenv")?;
        let prefix = call.args.text_or("prefix", "")?;
        let all = call.shared.tree.list("").into_iter().filter(|path| path.starts_with(&prefix));
        Ok(list(all.map(Value::from).collect()))
    }),
    ("cp.list_master_dirs", |call| {
        call.args.text_or_none("saltenv")?;
        let prefix = call.args.text_or("prefix", "")?;
        let mut folders: Vec<String> = Vec::new();
        for path in call.shared.tree.list("") {
            let folder = path.rsplit_once('/').map_or(String::new(), |(folder, _)| folder.to_owned());
            if folder.starts_with(&prefix) && !folders.contains(&folder) {
                folders.push(folder);
            }
        }
        Ok(list(folders.into_iter().map(Value::from).collect()))
    }),
    ("cp.list_states", |call| {
        call.args.text_or_none("saltenv")?;
        let all = call.shared.tree.list("");
        let names = all
            .iter()
            .filter_map(|path| path.strip_suffix(".sls"))
            .filter(|name| *name != "top");
        Ok(list(
            names
                .map(|name| name.strip_suffix("/init").unwrap_or(name).replace('/', ".").into())
                .collect(),
        ))
    }),
    ("cp.hash_file", |call| {
        let path = path_in_tree(call)?;
        let Some(file) = call.shared.tree.find(&path) else {
            return Ok(dict([]));
        };
        let contents = file.read().map_err(from_error)?;
        let sum = digest("sha256", &contents)?;
        Ok(dict([("hsum".into(), sum.into()), ("hash_type".into(), "sha256".into())]))
    }),
    ("cp.envs", |call| Ok(list(vec![call.shared.saltenv.as_str().into()]))),
    ("state.sls_exists", |call| {
        let names = call.args.need("mods")?;
        call.args.text_or_none("test")?;
        call.args.text_or_none("queue")?;
        let names = if crate::template::value::is_list(&names) {
            items(&names)?
        } else {
            vec![names]
        };
        let tree = &call.shared.tree;
        Ok(names
            .iter()
            .map(|name| text(name).replace('.', "/"))
            .all(|path| tree.find(&format!("{path}.sls")).is_some() || tree.find(&format!("{path}/init.sls")).is_some())
            .into())
    }),
];

fn strategy(call: &mut Call) -> Result<(String, bool), Error> {
    let strategy = call.args.text_or("strategy", "smart")?;
    call.args.text_or("renderer", "yaml")?;
    Ok((strategy, call.args.flag("merge_lists", false)?))
}

/// A path of the tree, from `salt://a/b` or `a/b`.
fn path_in_tree(call: &mut Call) -> Result<String, Error> {
    let path = call.args.text("path")?;
    call.args.text_or_none("saltenv")?;
    let path = path.strip_prefix("salt://").unwrap_or(&path);
    Ok(path.split('?').next().unwrap_or(path).trim_matches('/').to_owned())
}

fn read(file: &TreeFile) -> Result<String, Error> {
    let bytes = file.read().map_err(from_error)?;
    crate::yaml::utf8(file.id, &bytes).map(str::to_owned).map_err(from_error)
}

fn tree_text(call: &mut Call) -> Result<(TreeFile, String), Error> {
    let path = path_in_tree(call)?;
    match call.shared.tree.find(&path) {
        Some(file) => {
            let written = read(&file)?;
            Ok((file, written))
        }
        None => Err(from_error(call.shared.engine.files.missing(&path))),
    }
}

/// A text that stands for no file.
fn inline(name: &str) -> TreeFile {
    TreeFile {
        path: String::new(),
        id: FileId::of(name),
        place: Place::Embedded(b""),
    }
}

/// Renders a template within a template.
fn render(call: &Call, file: &TreeFile, written: &str, variables: IndexMap<String, Value>) -> Result<String, Error> {
    let engine = call.shared.engine.clone();
    let (name, template) = engine.files.add_text(file, written).map_err(from_error)?;
    let (sink, _) = engine.render(&name, call.shared, variables, true).map_err(from_error)?;
    let mut made = String::from_utf8(sink.text).map_err(|_| fail("the template's text is not UTF-8"))?;
    if template.ends_with_newline {
        made.push('\n');
    }
    Ok(made)
}

fn serialize(call: &mut Call) -> Result<Value, Error> {
    let serializer = call.args.text("serializer")?;
    let data = call.args.need("obj")?;
    let indent = call.args.keyword("indent");
    let sort = call.args.keyword("sort_keys").map(|sort| sort.is_true());
    let flow = call.args.keyword("default_flow_style").map(|flow| flow.is_true());
    for name in ["ensure_ascii", "allow_unicode", "width", "encoding", "default_style"] {
        call.args.keyword(name);
    }
    match serializer.as_str() {
        "json" => Ok(to_json(&data, sort.unwrap_or(false), indent.as_ref(), false)?.into()),
        "yaml" | "yamlex" => {
            let flow = match flow {
                Some(true) => Flow::All,
                Some(false) => Flow::None,
                None => Flow::Leaves,
            };
            Ok(to_yaml(&data, flow)?.into())
        }
        "python" => Ok(crate::template::value::repr(&data).into()),
        "plist" | "msgpack" | "toml" | "configparser" => {
            Err(fail(format!("the serializer `{serializer}` is not supported here")))
        }
        other => Err(fail(format!(
            "there is no serializer `{other}`; there are json, yaml and python"
        ))),
    }
}

fn deserialize(call: &mut Call) -> Result<Value, Error> {
    let serializer = call.args.text("serializer")?;
    let written = call.args.need("stream_or_string")?;
    let written = String::from_utf8(bytes(&written)).map_err(|_| fail("the text is not UTF-8"))?;
    match serializer.as_str() {
        "json" => load_json(&written, None),
        "yaml" | "yamlex" => load_yaml(&written, None, None),
        other => Err(fail(format!("there is no deserializer `{other}`; there are json and yaml"))),
    }
}

/// Renders a file of the tree, or a text, by a pipe of renderers.
fn renderer(call: &mut Call) -> Result<Value, Error> {
    let path = call.args.text_or_none("path")?;
    let string = call.args.text_or_none("string")?;
    let mut pipe = call.args.text_or("default_renderer", "jinja|yaml")?;
    let variables: IndexMap<String, Value> = call.args.keywords().into_iter().collect();
    let (file, written) = match (path, string) {
        (Some(path), None) => {
            let bare = path
                .strip_prefix("salt://")
                .unwrap_or(&path)
                .split('?')
                .next()
                .unwrap_or_default()
                .to_owned();
            match call.shared.tree.find(&bare) {
                Some(file) => {
                    let written = read(&file)?;
                    (file, written)
                }
                None => return Err(from_error(call.shared.engine.files.missing(&bare))),
            }
        }
        (None, Some(string)) => (inline("<string>"), string),
        _ => return Err(fail("`slsutil.renderer` needs either `path` or `string`")),
    };
    if let Some(shebang) = written.strip_prefix("#!") {
        let line = shebang.lines().next().unwrap_or_default().trim();
        if !line.starts_with('/') {
            pipe = line.to_owned();
        }
    }
    let mut data = Value::from(written);
    for renderer in pipe.split('|').map(str::trim) {
        data = match renderer.split_whitespace().next().unwrap_or_default() {
            "jinja" => render(call, &file, &text(&data), variables.clone())?.into(),
            "yaml" => {
                let parsed = crate::yaml::parse(file.id, &text(&data)).map_err(from_error)?;
                match crate::template::value::to_template(&parsed) {
                    empty if empty.is_none() => dict([]),
                    data => data,
                }
            }
            "json" => load_json(&text(&data), Some(&file.path))?,
            "text" => data,
            other => {
                let error = crate::error::Error::usage(format!("the renderer `{other}` is not supported"));
                return Err(from_error(
                    error.at(Pos::new(file.id, 1, 1)).hint("there are jinja, yaml, json and text"),
                ));
            }
        };
    }
    Ok(data)
}

/// The nearest file of a name, from a folder upwards.
fn findup(call: &mut Call) -> Result<Value, Error> {
    let start = call.args.text("startpath")?;
    let names = call.args.need("filenames")?;
    call.args.text_or_none("saltenv")?;
    let names: Vec<String> = match crate::template::value::is_list(&names) {
        true => items(&names)?.iter().map(text).collect(),
        false => vec![text(&names)],
    };
    let start = start.strip_prefix("salt://").unwrap_or(&start).trim_matches('/').to_owned();
    let mut folder = Some(start.as_str());
    while let Some(here) = folder {
        for name in &names {
            let path = if here.is_empty() {
                name.clone()
            } else {
                format!("{here}/{name}")
            };
            if call.shared.tree.find(&path).is_some() {
                return Ok(path.into());
            }
        }
        folder = match here.rsplit_once('/') {
            Some((above, _)) => Some(above),
            None if here.is_empty() => None,
            None => Some(""),
        };
    }
    Err(fail(format!("none of {} is found from `{start}` upwards", names.join(", "))))
}

/// A box of comment characters around a text.
fn banner(call: &mut Call) -> Result<Value, Error> {
    let width = usize::try_from(call.args.int("width", 72)?).unwrap_or(72).min(1000);
    let comment = call.args.text_or("commentchar", "#")?;
    let border = call.args.text_or("borderchar", "#")?;
    let (start, end) = (call.args.text_or_none("blockstart")?, call.args.text_or_none("blockend")?);
    let title = call.args.text_or("title", "THIS FILE IS MANAGED BY SALT - DO NOT EDIT")?;
    let body = call.args.text_or(
        "text",
        "The contents of this file are managed by Salt. Any changes to this file may be overwritten automatically and without warning.",
    )?;
    let newline = call.args.flag("newline", false)?;
    let (left, right) = (comment.trim_end().to_owned(), comment.trim().to_owned());
    let room = width.saturating_sub(left.chars().count() + right.chars().count() + 2);
    if room == 0 {
        return Err(fail("the width is too small for a banner"));
    }
    let fill = |character: char, count: usize| std::iter::repeat_n(character, count).collect::<String>();
    let rule = fill(
        border.chars().next().unwrap_or('#'),
        width.saturating_sub(left.chars().count() + right.chars().count()),
    );
    let border_line = format!("{comment}{rule}{right}");
    let spacer = format!(
        "{comment}{}{comment}",
        fill(' ', width.saturating_sub(2 * comment.chars().count()))
    );
    let wrapped = |body: &str| -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        for word in body.split_whitespace() {
            match lines.last_mut() {
                Some(line) if line.chars().count() + 1 + word.chars().count() <= room => {
                    line.push(' ');
                    line.push_str(word);
                }
                _ => lines.push(word.to_owned()),
            }
        }
        lines
    };
    let mut block: Vec<String> = start.into_iter().collect();
    block.extend([border_line.clone(), spacer.clone()]);
    for line in wrapped(&title) {
        block.push(format!(
            "{left} {} {right}",
            crate::template::methods::centered(&line, room as i64)?
        ));
    }
    block.push(spacer.clone());
    for line in wrapped(&body) {
        block.push(format!(
            "{left} {line}{} {right}",
            fill(' ', room - line.chars().count().min(room))
        ));
    }
    block.push(border_line);
    block.extend(end);
    let text = block.join("\n");
    Ok(if newline { text + "\n" } else { text }.into())
}
