//! Metadata definitions in the database, and loading them from files.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use glancefs::catalog::metadefs::{
    Association, Belongings, Namespace, NamespaceColumn, NamespaceQuery, Object, Page, Property,
    Tag,
};
use glancefs::catalog::query::{Direction, Viewer};
use glancefs::error::Error;
use serde_json::{Value, json};

use crate::{Fixture, now, project};

fn namespace(name: &str) -> Namespace {
    Namespace {
        name: name.to_string(),
        display_name: None,
        description: None,
        public: true,
        protected: false,
        owner: project("p"),
        created_at: now(),
        updated_at: None,
    }
}

fn tag(name: &str) -> Tag {
    Tag { name: name.to_string(), created_at: now(), updated_at: None }
}

fn association(resource_type: &str) -> Association {
    Association {
        resource_type: resource_type.to_string(),
        prefix: None,
        properties_target: None,
        created_at: now(),
        updated_at: None,
    }
}

fn object(name: &str) -> Object {
    Object {
        name: name.to_string(),
        description: Some("größer".to_string()),
        required: vec!["a".to_string(), "b".to_string()],
        properties: json!({"a": {"title": "A", "type": "string"}}).as_object().unwrap().clone(),
        created_at: now(),
        updated_at: Some(now()),
    }
}

fn belongings() -> Belongings {
    Belongings {
        associations: vec![association("T2"), association("T1")],
        properties: Vec::new(),
        objects: vec![object("o")],
        tags: vec![tag("t")],
    }
}

fn tag_names(fixture: &Fixture, namespace: &str) -> Vec<String> {
    let tags: Vec<Tag> = fixture.catalog.all(namespace).unwrap();
    tags.into_iter().map(|tag| tag.name).collect()
}

#[test]
fn a_namespace_comes_back_as_it_was_given() {
    let fixture = Fixture::new();
    let given = Namespace { display_name: Some("N".into()), protected: true, ..namespace("n") };
    fixture.catalog.add_namespace(&given, &belongings()).unwrap();
    assert_eq!(fixture.catalog.namespace("n").unwrap(), Some(given));
    let found: Vec<Object> = fixture.catalog.all("n").unwrap();
    assert_eq!((&*found[0].name, &found[0].required), ("o", &vec!["a".into(), "b".into()]));
    let types = fixture.catalog.associations("n").unwrap();
    assert_eq!(types.iter().map(|known| &*known.resource_type).collect::<Vec<_>>(), ["T2", "T1"]);
}

#[test]
fn a_namespace_is_recorded_with_all_it_has_or_not_at_all() {
    let fixture = Fixture::new();
    let twice = Belongings { tags: vec![tag("t"), tag("t")], ..belongings() };
    let refused = fixture.catalog.add_namespace(&namespace("n"), &twice);
    assert!(matches!(refused, Err(Error::Conflict(_))), "{refused:?}");
    assert_eq!(fixture.catalog.namespace("n").unwrap(), None);
    assert_eq!(fixture.number("SELECT count(*) FROM metadef_resource_types"), 0);
}

#[test]
fn what_replaces_all_tags_replaces_none_when_a_name_occurs_twice() {
    let fixture = Fixture::new();
    fixture.catalog.add_namespace(&namespace("n"), &belongings()).unwrap();
    let refused = fixture.catalog.add("n", &[tag("a"), tag("a")], true);
    assert!(matches!(refused, Err(Error::Conflict(_))));
    assert_eq!(tag_names(&fixture, "n"), ["t"]);
    fixture.catalog.add("n", &[tag("a"), tag("b")], true).unwrap();
    fixture.catalog.add("n", &[tag("c")], false).unwrap();
    assert_eq!(tag_names(&fixture, "n"), ["a", "b", "c"]);
}

#[test]
fn a_change_keeps_what_it_does_not_name_and_takes_no_name_of_others() {
    let fixture = Fixture::new();
    fixture.catalog.add_namespace(&namespace("n"), &belongings()).unwrap();
    fixture.catalog.add("n", &[object("other")], false).unwrap();
    let old: Object = fixture.catalog.find("n", "o").unwrap().unwrap();
    let new = Object { created_at: old.created_at, description: None, ..object("renamed") };
    assert!(fixture.catalog.change("n", "o", &new).unwrap());
    assert_eq!(fixture.catalog.find("n", "renamed").unwrap(), Some(new));
    let taken = fixture.catalog.change("n", "renamed", &object("other"));
    assert!(matches!(taken, Err(Error::Conflict(_))));
    assert!(!fixture.catalog.change("n", "o", &object("o")).unwrap());
    assert!(!fixture.catalog.change("elsewhere", "renamed", &object("o")).unwrap());
}

#[test]
fn removing_a_namespace_leaves_the_others_and_the_types() {
    let fixture = Fixture::new();
    for name in ["n", "m"] {
        fixture.catalog.add_namespace(&namespace(name), &belongings()).unwrap();
    }
    assert!(fixture.catalog.remove_namespace("n").unwrap());
    assert!(!fixture.catalog.remove_namespace("n").unwrap());
    assert_eq!(tag_names(&fixture, "m"), ["t"]);
    assert_eq!(fixture.number("SELECT count(*) FROM metadef_objects"), 1);
    assert_eq!(fixture.catalog.associations("m").unwrap().len(), 2);
    assert_eq!(fixture.catalog.resource_types().unwrap().len(), 2);
}

#[test]
fn pages_go_on_after_any_marker_and_over_null() {
    let fixture = Fixture::new();
    for (name, display_name) in [("a", None), ("b", Some("x")), ("c", None), ("d", Some("y"))] {
        let display_name = display_name.map(String::from);
        let public = name != "c";
        let namespace = Namespace { display_name, public, ..namespace(name) };
        fixture.catalog.add_namespace(&namespace, &Belongings::default()).unwrap();
    }
    let page = |viewer: Viewer, marker: Option<&str>, direction| {
        let sort = NamespaceColumn::DisplayName;
        let marker = marker.map(String::from);
        let page = Page { sort, direction, marker, limit: Some(2) };
        let query = NamespaceQuery { viewer, public: None, resource_types: None, page };
        let found = fixture.catalog.namespaces(&query).unwrap();
        found.into_iter().map(|(namespace, _)| namespace.name).collect::<Vec<_>>()
    };
    let (everybody, up) = (Viewer::Admin { project: None }, Direction::Ascending);
    assert_eq!(page(everybody.clone(), None, up), ["a", "c"]);
    assert_eq!(page(everybody.clone(), Some("c"), up), ["b", "d"]);
    assert_eq!(page(everybody, Some("b"), Direction::Descending), ["c", "a"]);
    // Nobody sees c; the page after it begins where it is all the same.
    assert_eq!(page(Viewer::Nobody, Some("c"), up), ["b", "d"]);
    assert_eq!(page(Viewer::Project(project("p")), None, up), ["a", "c"]);
}

/// Writes a definition in Glance's form, as its files have it.
fn write(directory: &Path, file: &str, title: &str, tags: &[&str]) {
    let tags: Value = tags.iter().map(|tag| json!({"name": tag})).collect();
    let name = file.trim_end_matches(".json");
    let document = json!({
        "namespace": format!("OS::{name}"),
        "display_name": title,
        "visibility": "public",
        "protected": true,
        "resource_type_associations": [{"name": "OS::Glance::Image", "prefix": "hw_"}],
        "properties": {"p": {"title": title, "type": "integer", "default": 1}},
        "objects": [{"name": "o", "description": title, "properties": {}}],
        "tags": tags,
    });
    fs::write(directory.join(file), document.to_string()).unwrap();
}

/// Runs `glancefs db load-metadefs` on the fixture's catalog.
fn load(fixture: &Fixture, options: &[&str], path: &Path) -> Output {
    let config = fixture.directory.path().join("glance-api.conf");
    fs::write(&config, format!("[database]\nconnection = {}\n", fixture.url())).unwrap();
    Command::new(env!("CARGO_BIN_EXE_glancefs"))
        .args(["db", "load-metadefs", "--state-dir"])
        .arg(fixture.directory.path())
        .arg("--config-file")
        .arg(config)
        .args(options)
        .arg(path)
        .output()
        .unwrap()
}

fn title(fixture: &Fixture) -> (String, String) {
    let namespace = fixture.catalog.namespace("OS::one").unwrap().unwrap();
    let property: Property = fixture.catalog.find("OS::one", "p").unwrap().unwrap();
    let title = property.schema["title"].as_str().unwrap().to_string();
    (namespace.display_name.unwrap(), title)
}

#[test]
fn files_are_loaded_and_again_as_the_options_say() {
    let fixture = Fixture::new();
    let files = tempfile::tempdir().unwrap();
    let both = |first: &str, second: &str| (first.to_string(), second.to_string());
    write(files.path(), "one.json", "old", &["a", "b"]);
    write(files.path(), "two.json", "old", &[]);
    fs::write(files.path().join("README"), "not one of them").unwrap();
    let done = load(&fixture, &[], files.path());
    let said = String::from_utf8(done.stdout).unwrap();
    assert!(done.status.success() && said.lines().count() == 2, "{said}");
    let loaded = fixture.catalog.namespace("OS::one").unwrap().unwrap();
    assert!(loaded.public && loaded.protected && loaded.updated_at.is_none());
    assert_eq!(loaded.owner, project("admin"));
    assert_eq!(title(&fixture), both("old", "old"));
    assert_eq!(tag_names(&fixture, "OS::one"), ["a", "b"]);

    write(files.path(), "one.json", "new", &["c"]);
    let one = files.path().join("one.json");
    for (options, titles, tags) in [
        (&[][..], both("old", "old"), &["a", "b"][..]),
        (&["--merge"], both("old", "old"), &["a", "b", "c"]),
        (&["--merge", "--prefer-new"], both("new", "new"), &["a", "b", "c"]),
        (&["--merge", "--overwrite"], both("new", "new"), &["c"]),
    ] {
        let done = load(&fixture, options, &one);
        assert!(done.status.success(), "{options:?}: {done:?}");
        assert_eq!(title(&fixture), titles, "{options:?}");
        assert_eq!(tag_names(&fixture, "OS::one"), tags, "{options:?}");
    }
    assert_eq!(fixture.number("SELECT count(*) FROM metadef_namespaces"), 2);
    assert_eq!(fixture.number("SELECT count(*) FROM metadef_resource_types WHERE protected"), 1);
}

#[test]
fn a_file_that_makes_no_sense_is_named_and_the_others_are_loaded() {
    let fixture = Fixture::new();
    let files = tempfile::tempdir().unwrap();
    fs::write(files.path().join("bad.json"), r#"{"namespace": 1}"#).unwrap();
    write(files.path(), "one.json", "t", &[]);
    let done = load(&fixture, &[], files.path());
    let said = String::from_utf8(done.stdout).unwrap();
    assert!(!done.status.success() && said.contains("bad.json: 'namespace' must be a text"));
    assert!(fixture.catalog.namespace("OS::one").unwrap().is_some());
    let alone = load(&fixture, &["--overwrite"], files.path());
    assert_eq!(alone.status.code(), Some(2), "an option of --merge");
}
