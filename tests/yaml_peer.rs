//! Our YAML beside an independent reader and writer of it: what we write others read as we meant it, and the other way round.
//!
//! The two differ on purpose where Salt's YAML 1.1 and theirs, 1.2, do (`yes`, `010`, `1:30`): such words are left out here and
//! stand in the tests of `src/yaml/`.

use picloud::error::FileId;
use picloud::yaml::{Value, emit, parse};
use proptest::prelude::*;
use serde_json::{Map, Value as Json, json};

fn ours(text: &str) -> Json {
    Json::from(&parse(FileId::of("t.yaml"), text).unwrap_or_else(|e| panic!("{e}\n{text}")))
}

fn theirs(text: &str) -> Json {
    serde_yaml::from_str(text).unwrap_or_else(|e| panic!("{e}\n{text}"))
}

#[test]
fn documents_mean_the_same_to_both() {
    for text in [
        "a: 1\nb: [x, 'y', \"z\\n\"]\nc: {d: null, e: ~, f: }\n",
        "a:\n- b\n- c:\n    d\nf: -1.5\ng: true\n",
        "text: |\n  one\n   two\n\n  three\nkept: |+\n  one\n\nfolded: >-\n  one\n  two\n\n  three\nend: x\n",
        "base: &b {x: 1}\nagain: *b\nlist: [*b, *b]\n",
        "'it''s': \"\\u00e9\\x41\\t\"\n? long\n: value\n",
        "# nothing but\n# comments\na: b # and one\nc: 'x # y'\nd: x#y\n",
        "plain: several words\n  on two lines\nurl: http://example.org:80/x?y=z\n",
        "quoted: 'on\n  two\n\n  lines'\nother: \"on \\\n  one\"\n",
        "- - a\n  - b\n- - c\n- []\n- {}\n",
        "--- \na: 1\n...\n",
    ] {
        assert_eq!(ours(text), theirs(text), "{text}");
    }
}

#[test]
fn our_own_files_mean_the_same_to_both() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut read = 0;
    for folder in ["images", "states/base", "states/docker", "states/haproxy", "states/swap"] {
        for entry in std::fs::read_dir(root.join(folder)).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|end| end == "yaml" || end == "example") {
                let text = std::fs::read_to_string(&path).unwrap();
                assert_eq!(ours(&text), theirs(&text), "{}", path.display());
                read += 1;
            }
        }
    }
    assert!(read > 0);
}

/// Data of which `text` makes the strings.
fn data(text: &'static str) -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(Json::from),
        any::<i32>().prop_map(Json::from),
        (-1_000_000..1_000_000i32).prop_map(|n| json!(f64::from(n) / 64.0)),
        text.prop_map(Json::from),
    ];
    leaf.prop_recursive(4, 24, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Json::from),
            prop::collection::vec((text, inner), 0..4).prop_map(|entries| Json::Object(Map::from_iter(entries))),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn what_we_write_they_read(data in data("[ -~é\n]{0,12}")) {
        let text = emit(&Value::from(&data));
        prop_assert_eq!(theirs(&text), data, "{}", text);
    }

    // Without digits: plain words of theirs such as `1:30` are numbers to Salt.
    #[test]
    fn what_they_write_we_read(data in data("[ -/:-~é\n]{0,12}")) {
        let text = serde_yaml::to_string(&data).unwrap();
        prop_assert_eq!(ours(&text), data, "{}", text);
    }
}
