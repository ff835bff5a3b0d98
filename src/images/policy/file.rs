//! `policy.yaml`, `policy.json` (which is YAML, too) and the directories beside them.
//!
//! A file maps names to rules: a text in the policy's language, or a list of lists of checks, the
//! old form.  oslo.policy takes a file at its word as far as it can and says the rest in its log;
//! here a mistake is found at start, with its line.

use std::path::{Path, PathBuf};

use saphyr_parser::{Event, Parser, ScalarStyle};
use tracing::{info, warn};

use super::language::{self, Check};
use super::protections::{Format, Protections};
use super::{OwnRule, Policy};
use crate::error::{Error, Result};

/// Where an operator's rules are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    /// `[oslo_policy] policy_file`, where there is one.
    pub file: Option<PathBuf>,
    /// `[oslo_policy] policy_dirs`, those that exist.
    pub directories: Vec<PathBuf>,
    /// `property_protection_file`
    pub protections: Option<(PathBuf, Format)>,
}

impl Policy {
    /// The rules of these files, and the default ones where they say nothing.
    ///
    /// # Errors
    /// `Config`, with file, line and what is wrong there.
    pub fn load(sources: &Sources) -> Result<Self> {
        let mut files: Vec<PathBuf> = sources.file.iter().cloned().collect();
        for directory in &sources.directories {
            files.extend(files_in(directory)?);
        }
        let mut own = Vec::new();
        for file in &files {
            own.extend(read(file)?);
            info!(file = %file.display(), "policy rules are taken from");
        }
        let named: Vec<(String, String)> =
            own.iter().map(|rule| (rule.name.clone(), rule.place.clone())).collect();
        let policy = Self::with_rules(own)?;
        let default = Self::default();
        for (name, place) in named {
            if !default.knows(&name) && !policy.is_referred_to(&name) {
                warn!("{place}: there is no action {name}, and no rule refers to it: no effect");
            } else if super::WITHOUT_EFFECT.iter().any(|(known, _)| *known == name) {
                warn!("{place}: the rule {name} has no effect: nothing asks for it");
            }
        }
        let Some((file, format)) = &sources.protections else { return Ok(policy) };
        let protections = Protections::read(file, *format)?;
        for rule in protections.unknown_rules(&policy) {
            warn!("{}: there is no rule {rule}: nobody is allowed to", file.display());
        }
        Ok(policy.protecting(protections))
    }
}

/// The files of a directory in the order of their names, hidden ones left out.
fn files_in(directory: &Path) -> Result<Vec<PathBuf>> {
    let failed = |error| {
        Error::Config(format!("[oslo_policy] policy_dirs {}: {error}", directory.display()))
    };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        if !hidden && entry.path().is_file() {
            files.push(entry.path());
        }
    }
    files.sort_unstable();
    Ok(files)
}

/// The rules of a file.
fn read(path: &Path) -> Result<Vec<OwnRule>> {
    let shown = path.display();
    let text = std::fs::read_to_string(path)
        .map_err(|error| Error::Config(format!("the policy file {shown}: {error}")))?;
    let wrong = |wrong: Wrong| Error::Config(format!("{shown}:{}: {}", wrong.line, wrong.what));
    let rules = parse(&text).map_err(wrong)?;
    let own = |(line, name, check)| OwnRule { name, check, place: format!("{shown}:{line}") };
    Ok(rules.into_iter().map(own).collect())
}

#[derive(Debug)]
struct Wrong {
    /// From 1.
    line: usize,
    what: String,
}

fn wrong<T>(line: usize, what: impl Into<String>) -> Result<T, Wrong> {
    Err(Wrong { line, what: what.into() })
}

/// The rules of a text: line, name and what it says.
fn parse(text: &str) -> Result<Vec<(usize, String, Check<String>)>, Wrong> {
    let mut events = Events::of(text)?;
    let mut rules = Vec::new();
    match events.next() {
        // Nothing but comments, perhaps.
        None => return Ok(rules),
        Some((_, Event::MappingStart(..))) => {}
        Some((_, Event::Scalar(text, ScalarStyle::Plain, ..))) if is_null(&text) => {
            return Ok(rules);
        }
        Some((line, _)) => return wrong(line, "a policy file has lines like \"name\": \"rule\""),
    }
    loop {
        match events.next() {
            Some((line, Event::Scalar(name, ..))) => {
                let check = value(&mut events, line, &name)?;
                rules.push((line, name.into_owned(), check));
            }
            Some((_, Event::MappingEnd)) | None => return Ok(rules),
            Some((line, _)) => return wrong(line, "a rule's name is a text"),
        }
    }
}

/// The rule after a name.
fn value(events: &mut Events<'_>, line: usize, name: &str) -> Result<Check<String>, Wrong> {
    let text_wanted = format!(
        "the rule {name} must be a text in quotes: \"\" or \"@\" allows everybody, \"!\" nobody"
    );
    let (line, parsed) = match events.next() {
        Some((line, Event::Scalar(text, style, _, None))) if is_text(&text, style) => {
            (line, language::parse(&text))
        }
        Some((line, Event::SequenceStart(..))) => (line, language::parse_lists(&lists(events)?)),
        Some((line, _)) => return wrong(line, text_wanted),
        None => return wrong(line, text_wanted),
    };
    parsed.or_else(|error| wrong(line, format!("the rule {name}: {error}")))
}

/// The old form: alternatives, each a check or a list of checks.
fn lists(events: &mut Events<'_>) -> Result<Vec<Vec<String>>, Wrong> {
    let mut alternatives = Vec::new();
    let mut inner: Option<Vec<String>> = None;
    while let Some((line, event)) = events.next() {
        match (event, &mut inner) {
            (Event::Scalar(text, style, _, None), inner) if is_text(&text, style) => match inner {
                Some(checks) => checks.push(text.into_owned()),
                None => alternatives.push(vec![text.into_owned()]),
            },
            (Event::SequenceStart(..), None) => inner = Some(Vec::new()),
            (Event::SequenceEnd, Some(_)) => alternatives.extend(inner.take()),
            (Event::SequenceEnd, None) => break,
            _ => return wrong(line, "a list of checks has texts, or lists of texts"),
        }
    }
    Ok(alternatives)
}

/// Whether YAML has a text there, and not a number or the like.
fn is_text(text: &str, style: ScalarStyle) -> bool {
    let other = is_null(text)
        || ["true", "false", "yes", "no", "on", "off"]
            .iter()
            .any(|word| text.eq_ignore_ascii_case(word))
        || text.parse::<f64>().is_ok();
    style != ScalarStyle::Plain || !other
}

fn is_null(text: &str) -> bool {
    text.is_empty() || text == "~" || text.eq_ignore_ascii_case("null")
}

/// What a document is made of, each with its line; an alias is an error, as nobody needs one.
struct Events<'t>(std::vec::IntoIter<(usize, Event<'t>)>);

impl<'t> Events<'t> {
    fn of(text: &'t str) -> Result<Self, Wrong> {
        let mut events = Vec::new();
        let mut documents = 0;
        for event in Parser::new_from_str(text) {
            let (event, span) = event.or_else(|error| {
                wrong(error.marker().line(), format!("this is not YAML: {}", error.info()))
            })?;
            let line = span.start.line();
            match event {
                Event::DocumentStart(_) => {
                    documents += 1;
                    if documents > 1 {
                        return wrong(line, "a policy file has one document only");
                    }
                }
                Event::Alias(_) => return wrong(line, "aliases are not understood here"),
                Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
                event => events.push((line, event)),
            }
        }
        Ok(Self(events.into_iter()))
    }

    fn next(&mut self) -> Option<(usize, Event<'t>)> {
        self.0.next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<(usize, String)> {
        let rules = parse(text).unwrap();
        rules.into_iter().map(|(line, name, _)| (line, name)).collect()
    }

    #[test]
    fn yaml_and_json_are_read_alike() {
        let expected = vec![(2, "a".to_string()), (3, "b".to_string())];
        assert_eq!(names("# rules\n\"a\": \"role:x\"\nb: role:y or @\n"), expected);
        assert_eq!(names("{\n\"a\": \"role:x\",\n\"b\": []\n}\n"), expected);
        assert_eq!(names("# nothing\n"), []);
        assert_eq!(names("{}"), []);
        assert_eq!(names("---\n"), []);
    }

    #[test]
    fn the_old_form_is_a_list_of_lists() {
        let text = "a: [[\"role:x\", \"project_id:%(owner)s\"], \"role:y\"]\nb: \"@\"\n";
        let rules = parse(text).unwrap();
        let Check::Any(alternatives) = &rules[0].2 else { panic!("{rules:?}") };
        assert_eq!(alternatives.len(), 2);
        assert_eq!(rules[1].2, Check::Always);
    }

    #[test]
    fn a_bad_file_is_refused_with_line_and_reason() {
        for (text, line, reason) in [
            ("a: \"@\"\nb: true\n", 2, "must be a text"),
            ("a:\n", 1, "must be a text"),
            ("a: !\n", 1, "must be a text"),
            ("a: 1\n", 1, "must be a text"),
            ("\na: \"nonsense\"\n", 2, "no check"),
            ("a: \"http://x/\"\n", 1, "asks another server"),
            ("- a\n", 1, "lines like"),
            ("just text\n", 1, "lines like"),
            ("a: {b: c}\n", 1, "must be a text"),
            ("a: [[[\"role:x\"]]]\n", 1, "texts, or lists"),
            ("a: \"role:x\n", 1, "not YAML"),
            ("a: @x\n", 1, "not YAML"),
            ("a: &x \"@\"\nb: *x\n", 2, "aliases"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.what.contains(reason) && error.line == line, "{text:?}: {error:?}");
        }
    }
}
