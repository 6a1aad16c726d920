//! The references in `docs/` say what the program says.

#[test]
fn the_references_are_up_to_date() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let update = std::env::var_os("UPDATE_DOCS").is_some();
    for (name, expected) in picloud::cli::references() {
        let path = folder.join(name);
        if update {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(&path, &expected).unwrap();
        }
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            found == expected,
            "docs/{name} is out of date: UPDATE_DOCS=1 cargo test --test docs"
        );
    }
}
