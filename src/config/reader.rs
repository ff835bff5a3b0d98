//! Values out of several configuration files: which file wins, old names, `$name`, types.
//!
//! Everything that is read is remembered, so that what nobody asked for can be named afterwards.
//! What the values mean together is left to [`super::Config`].

use std::collections::HashSet;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use super::ineffective::known_to_glance;
use super::ini::{self, Assignment, Place};
use super::options::{ConfigOption, OPTIONS};
use super::secrets;
use super::settings::{Origin, Setting};
use crate::error::{Error, Result};

/// How deep `$name` may refer to values with further `$name`s: beyond it there is a circle.
const MAX_REFERENCES: usize = 16;

/// An option in a file that changes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnusedOption {
    /// Its section.
    pub section: String,
    /// Its name.
    pub name: String,
    /// Where it was set last.
    pub place: Place,
    /// Whether Glance has it; else it may be a misspelling.
    pub known_to_glance: bool,
}

/// The files, and what was noticed while reading them.
pub(super) struct Reader {
    /// One list for each file, in order; later files win.
    files: Vec<Vec<Assignment>>,
    /// The files' own names, in the same order.
    paths: Vec<PathBuf>,
    asked: HashSet<(String, String)>,
    /// Things to tell the operator once.
    pub(super) notes: Vec<String>,
    /// What was asked for, and what the answer was.
    pub(super) settings: Vec<Setting>,
}

/// A value with where it came from (`None`: the default).
pub(super) struct Found {
    pub(super) text: String,
    pub(super) place: Option<Place>,
    /// `[section] name`, as it is written there.
    spelled: String,
}

impl Found {
    /// A value that was found otherwise: from other options, or as a part of one.
    pub(super) fn derived(option: &ConfigOption, text: String, place: Option<Place>) -> Self {
        Self { text, place, spelled: option.to_string() }
    }
}

impl Reader {
    pub(super) fn open(paths: &[PathBuf]) -> Result<Self> {
        let files = paths.iter().map(|path| ini::read(path)).collect::<Result<Vec<_>>>()?;
        let notes = secrets::readable_by_all(&files);
        Ok(Self { notes, paths: paths.to_vec(), ..Self::of(files) })
    }

    pub(super) fn of(files: Vec<Vec<Assignment>>) -> Self {
        Self {
            files,
            paths: Vec::new(),
            asked: HashSet::new(),
            notes: Vec::new(),
            settings: Vec::new(),
        }
    }

    /// The files that were read, in order.
    pub(super) fn paths(&self) -> std::slice::Iter<'_, PathBuf> {
        self.paths.iter()
    }

    /// The option's text: from the last file that has it under any of its names, else its default,
    /// else `None`.
    pub(super) fn text(&mut self, option: &ConfigOption) -> Result<Option<Found>> {
        let names: Vec<_> = option.names().collect();
        let found = self.first_of(&names)?.or_else(|| default_of(option));
        self.remember(option.section, option, found.as_ref());
        Ok(found)
    }

    /// The text of an option in a section that only this configuration has (a store's own).
    pub(super) fn text_in(
        &mut self,
        section: &str,
        option: &ConfigOption,
    ) -> Result<Option<Found>> {
        let found = self.first_of(&[(&section.to_lowercase(), option.name)])?;
        let found = found.or_else(|| default_of(option));
        self.remember(section, option, found.as_ref());
        Ok(found)
    }

    fn remember(&mut self, section: &str, option: &ConfigOption, found: Option<&Found>) {
        let own = format!("[{}] {}", section_key(section), option.name);
        let origin = found.and_then(|found| {
            let spelled = (found.spelled != own).then(|| found.spelled.clone());
            found.place.clone().map(|place| Origin::File { place, spelled })
        });
        self.settings
            .retain(|other| (other.section.as_str(), other.name) != (section, option.name));
        self.settings.push(Setting {
            section: section.to_owned(),
            name: option.name,
            value: found.map(|found| found.text.clone()),
            origin: origin.unwrap_or(Origin::Default),
        });
    }

    fn first_of(&mut self, names: &[(&str, &str)]) -> Result<Option<Found>> {
        self.asked.extend(names.iter().map(|(s, n)| ((*s).to_owned(), (*n).to_owned())));
        let Some(assignment) = find(&self.files, names).cloned() else {
            return Ok(None);
        };
        let raw = self.without_comment(&assignment);
        let text = self.expand(&raw, &assignment, MAX_REFERENCES)?;
        // As in oslo.config, a value that is empty is one: it takes the default away.
        let spelled = format!("[{}] {}", assignment.section, assignment.name);
        Ok(Some(Found { text, place: Some(assignment.place), spelled }))
    }

    /// The value, cut where white space and `#` follow it.  oslo.config would take the comment as
    /// part of the value, which is never what was meant; seen in published instructions.
    fn without_comment(&mut self, assignment: &Assignment) -> String {
        if assignment.quoted {
            return assignment.lines.join("\n");
        }
        let mut cut = false;
        let lines: Vec<&str> = assignment
            .lines
            .iter()
            .map(|line| {
                let comment = line
                    .match_indices('#')
                    .find(|(at, _)| *at == 0 || line[..*at].ends_with([' ', '\t']));
                cut |= comment.is_some();
                comment.map_or(line.as_str(), |(at, _)| line[..at].trim_end())
            })
            .collect();
        let value = lines.join("\n");
        if !cut {
            return value;
        }
        let note = format!(
            "{}: the comment after the value of {} is ignored; Glance would take it as part of the \
             value: put it on a line of its own",
            assignment.place, assignment.name
        );
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
        ini::unquote(&value).0.to_owned()
    }

    /// Replaces `$name`, `${name}` and `$section.name` by the values of those options; `$$` and
    /// `\$` stand for a dollar sign, and a `$` before anything else for itself.
    fn expand(&mut self, text: &str, owner: &Assignment, depth: usize) -> Result<String> {
        let text = text.replace("\\$", "$$");
        let mut expanded = String::with_capacity(text.len());
        let mut rest = text.as_str();
        while let Some((before, after)) = rest.split_once('$') {
            expanded.push_str(before);
            if let Some(after) = after.strip_prefix('$') {
                expanded.push('$');
                rest = after;
            } else if let Some((name, after)) = reference(after) {
                expanded.push_str(&self.referenced(name, owner, depth)?);
                rest = after;
            } else {
                expanded.push('$');
                rest = after;
            }
        }
        expanded.push_str(rest);
        Ok(expanded)
    }

    fn referenced(&mut self, name: &str, owner: &Assignment, depth: usize) -> Result<String> {
        let fail = |what: &str| {
            Err(Error::Config(format!("{}: {} refers to ${name}, {what}", owner.place, owner.name)))
        };
        if depth == 0 {
            return fail("which refers back to itself: write the value out");
        }
        let mut names = Vec::new();
        if let Some((section, option)) = name.split_once('.') {
            names.push((section_key(section), option.to_owned()));
        } else {
            names.push((owner.section.clone(), name.to_owned()));
        }
        names.push(("DEFAULT".to_owned(), name.to_owned()));
        let pairs: Vec<_> = names.iter().map(|(s, n)| (s.as_str(), n.as_str())).collect();
        if let Some(target) = find(&self.files, &pairs).cloned() {
            self.asked.insert((target.section.clone(), target.name.clone()));
            let raw = self.without_comment(&target);
            return self.expand(&raw, &target, depth - 1);
        }
        let default = OPTIONS.iter().find(|option| {
            option.has_fixed_default() && pairs.contains(&(option.section, option.name))
        });
        match default {
            Some(option) => Ok(option.default.to_owned()),
            None => fail("which is set nowhere: set it, or write $$ for a dollar sign"),
        }
    }

    /// A truth value, in oslo.config's spellings.
    pub(super) fn boolean(&mut self, option: &ConfigOption) -> Result<bool> {
        let found = self.text(option)?;
        Self::as_boolean(option, found)
    }

    pub(super) fn as_boolean(option: &ConfigOption, found: Option<Found>) -> Result<bool> {
        let text = found.as_ref().map_or("", |found| found.text.trim());
        match text.to_lowercase().as_str() {
            "true" | "1" | "on" | "yes" => Ok(true),
            "false" | "0" | "off" | "no" => Ok(false),
            _ => Err(bad_value(option, found.as_ref(), "write true or false")),
        }
    }

    /// A whole number; an empty value means the default, as in oslo.config.
    pub(super) fn integer(
        &mut self,
        option: &ConfigOption,
        range: RangeInclusive<i64>,
    ) -> Result<i64> {
        let found = self.text(option)?;
        Self::as_integer(option, found, range)
    }

    pub(super) fn as_integer(
        option: &ConfigOption,
        found: Option<Found>,
        range: RangeInclusive<i64>,
    ) -> Result<i64> {
        let text = match found.as_ref().map(|found| found.text.trim()) {
            None | Some("") => option.default,
            Some(text) => text,
        };
        text.parse().ok().filter(|number| range.contains(number)).ok_or_else(|| {
            let (low, high) = (range.start(), range.end());
            let wanted = match (*low, *high) {
                (i64::MIN, i64::MAX) => "write a whole number".to_owned(),
                (_, i64::MAX) => format!("write a whole number of at least {low}"),
                _ => format!("write a whole number from {low} to {high}"),
            };
            bad_value(option, found.as_ref(), &wanted)
        })
    }

    /// A list: items between commas or on lines of their own.
    pub(super) fn list(&mut self, option: &ConfigOption) -> Result<Vec<String>> {
        let found = self.text(option)?;
        let text = found.map_or_else(String::new, |found| found.text);
        Ok(items_of(&text).collect())
    }

    /// Items between commas, of every line in every file that sets the option (oslo.config: an option that
    /// may be given several times).
    pub(super) fn every(&mut self, option: &ConfigOption) -> Result<Vec<String>> {
        let Some(last) = self.text(option)? else { return Ok(Vec::new()) };
        let is_meant = |a: &&Assignment| option.names().any(|name| name == (&a.section, &a.name));
        let assignments: Vec<_> = self.files.iter().flatten().filter(is_meant).cloned().collect();
        let mut items: Vec<String> = Vec::new();
        for assignment in &assignments {
            let raw = self.without_comment(assignment);
            let text = self.expand(&raw, assignment, MAX_REFERENCES)?;
            items.extend(items_of(&text));
        }
        if !assignments.is_empty() {
            self.remember(option.section, option, Some(&Found { text: items.join(","), ..last }));
        }
        Ok(items)
    }

    /// Text without white space around it; `None` when there is none or it is empty.
    pub(super) fn word(&mut self, option: &ConfigOption) -> Result<Option<String>> {
        Ok(Self::as_word(self.text(option)?))
    }

    pub(super) fn as_word(found: Option<Found>) -> Option<String> {
        found.map(|found| found.text.trim().to_owned()).filter(|text| !text.is_empty())
    }

    /// Whether a file sets an option of this section.
    pub(super) fn has_section(&self, section: &str) -> bool {
        self.files.iter().flatten().any(|assignment| assignment.section == section)
    }

    /// What is in the files and was never asked for, each option once, in the order of the files.
    pub(super) fn unused(&self) -> Vec<UnusedOption> {
        let mut unused: Vec<UnusedOption> = Vec::new();
        for assignment in self.files.iter().flatten() {
            let key = (assignment.section.clone(), assignment.name.clone());
            if self.asked.contains(&key) {
                continue;
            }
            let (section, name) = key;
            let known_to_glance = known_to_glance(&section, &name)
                || OPTIONS.iter().any(|o| o.names().any(|known| known == (&section, &name)));
            unused.retain(|other| (&other.section, &other.name) != (&section, &name));
            let place = assignment.place.clone();
            unused.push(UnusedOption { section, name, place, known_to_glance });
        }
        unused
    }
}

fn items_of(text: &str) -> impl Iterator<Item = String> {
    text.split([',', '\n']).map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned)
}

/// A section's name as files are compared by.
fn section_key(section: &str) -> String {
    if section == "DEFAULT" { section.to_owned() } else { section.to_lowercase() }
}

fn default_of(option: &ConfigOption) -> Option<Found> {
    let fixed = option.has_fixed_default() && !option.default.is_empty();
    fixed.then(|| Found { text: option.default.to_owned(), place: None, spelled: String::new() })
}

/// The winning assignment: the last file that has any of the names; in it the first of the names
/// that it has; of several assignments to that, the last.
fn find<'a>(files: &'a [Vec<Assignment>], names: &[(&str, &str)]) -> Option<&'a Assignment> {
    files.iter().rev().find_map(|file| {
        names.iter().find_map(|(section, name)| {
            file.iter().rev().find(|a| a.section == *section && a.name == *name)
        })
    })
}

/// The option's name at the start of what follows a `$`, and the text after it.
fn reference(text: &str) -> Option<(&str, &str)> {
    if let Some(braced) = text.strip_prefix('{') {
        let (name, rest) = braced.split_once('}')?;
        return (name_length(name) == name.len() && !name.is_empty()).then_some((name, rest));
    }
    let length = name_length(text);
    (length > 0).then(|| text.split_at(length))
}

/// How many bytes at the start can be an option's name: a letter or `_`, then also digits and dots.
fn name_length(text: &str) -> usize {
    if !text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
        return 0;
    }
    text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '.')).unwrap_or(text.len())
}

/// The error for a value that cannot be: says where, which option, and what to write.  It does not
/// repeat the value.
pub(super) fn bad_value(option: &ConfigOption, found: Option<&Found>, wanted: &str) -> Error {
    let place = found
        .and_then(|found| found.place.as_ref())
        .map_or_else(String::new, |place| format!("{place}: "));
    Error::Config(format!("{place}{option} has a value that cannot be used: {wanted}"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::options;
    use super::*;

    fn reader(texts: &[&str]) -> Reader {
        let files = texts
            .iter()
            .enumerate()
            .map(|(n, text)| ini::parse(Path::new(&format!("{n}.conf")), text).unwrap())
            .collect();
        Reader::of(files)
    }

    fn datadir(texts: &[&str]) -> Result<String> {
        Ok(reader(texts).text(&options::DATADIR)?.unwrap().text)
    }

    #[test]
    fn later_files_win_and_in_one_file_the_last_assignment() {
        let first = "[glance_store]\nfilesystem_store_datadir = /a\nfilesystem_store_datadir = /b";
        assert_eq!(datadir(&[first]).unwrap(), "/b");
        assert_eq!(datadir(&[first, "[glance_store]\nfilesystem_store_datadir=/c"]).unwrap(), "/c");
    }

    #[test]
    fn an_old_name_in_a_later_file_beats_the_new_name_in_an_earlier_one() {
        let new = "[glance_store]\nfilesystem_store_datadir = /new\n";
        let old = "[DEFAULT]\nfilesystem_store_datadir = /old\n";
        assert_eq!(datadir(&[new, old]).unwrap(), "/old");
        assert_eq!(datadir(&[&format!("{old}{new}")]).unwrap(), "/new");
    }

    #[test]
    fn dollar_names_are_replaced() {
        let text = "[DEFAULT]\nbase = /srv/$sub\nsub = one\n[glance_store]\n\
                    filesystem_store_datadir = $base/${sub}-$$5\\$/$glance_store.x/$7\nx=y";
        assert_eq!(datadir(&[text]).unwrap(), "/srv/one/one-$5$/y/$7");
    }

    #[test]
    fn a_default_can_be_referred_to() {
        let text = "[glance_store]\nfilesystem_store_datadir = /srv/$bind_port";
        assert_eq!(datadir(&[text]).unwrap(), "/srv/9292");
    }

    #[test]
    fn an_unknown_or_circular_reference_is_an_error_with_its_place() {
        let error = datadir(&["[glance_store]\nfilesystem_store_datadir = $nope"]).unwrap_err();
        assert!(error.to_string().starts_with("0.conf:2: "), "{error}");
        let circle = "[DEFAULT]\na = $b\nb = $a\n[glance_store]\nfilesystem_store_datadir = $a";
        assert!(datadir(&[circle]).unwrap_err().to_string().contains("back to itself"));
    }

    #[test]
    fn a_comment_after_a_value_is_cut_and_said_once() {
        let text = "[DEFAULT]\nfilesystem_store_datadir = /srv/images/\t# 檔案預設存放位置\n";
        let mut reader = reader(&[text]);
        for _ in 0..2 {
            assert_eq!(reader.text(&options::DATADIR).unwrap().unwrap().text, "/srv/images/");
        }
        assert_eq!(reader.notes.len(), 1);
        assert!(reader.notes[0].starts_with("0.conf:2: "));
    }

    #[test]
    fn a_hash_inside_a_word_or_quotes_is_part_of_the_value() {
        assert_eq!(datadir(&["[DEFAULT]\nfilesystem_store_datadir = /a#b"]).unwrap(), "/a#b");
        assert_eq!(datadir(&["[DEFAULT]\nfilesystem_store_datadir = '/a #b'"]).unwrap(), "/a #b");
        assert_eq!(datadir(&["[DEFAULT]\nfilesystem_store_datadir = '/a' # b"]).unwrap(), "/a");
    }

    #[test]
    fn lists_may_use_commas_and_lines() {
        let text = "[image_format]\ndisk_formats =\n  raw,\n  qcow2\n  iso, vmdk,\n";
        assert_eq!(
            reader(&[text]).list(&options::DISK_FORMATS).unwrap(),
            ["raw", "qcow2", "iso", "vmdk"]
        );
    }

    #[test]
    fn an_option_that_may_be_given_several_times_has_all_values() {
        let first = "[DEFAULT]\nnotification_driver = log\n";
        let second = "[oslo_messaging_notifications]\ndriver = messaging, noop\ndriver = log\n";
        let mut reader = reader(&[first, second]);
        let all = ["log", "messaging", "noop", "log"];
        assert_eq!(reader.every(&options::NOTIFICATION_DRIVER).unwrap(), all);
        assert_eq!(reader.settings[0].value.as_deref(), Some("log,messaging,noop,log"));
        assert_eq!(reader.every(&options::DISABLED_NOTIFICATIONS).unwrap(), [""; 0]);
    }

    #[test]
    fn numbers_and_truth_values_that_are_none_say_what_to_write() {
        let mut reader = reader(&["[DEFAULT]\nbind_port = ninety\ndebug = perhaps\n"]);
        let port = reader.integer(&options::BIND_PORT, 0..=65535).unwrap_err().to_string();
        assert!(port.starts_with("0.conf:2: [DEFAULT] bind_port") && port.contains("0 to 65535"));
        let debug = reader.boolean(&options::DEBUG).unwrap_err().to_string();
        assert!(debug.starts_with("0.conf:3: ") && debug.contains("true or false"));
    }

    #[test]
    fn what_nobody_asked_for_is_named_once_with_its_last_place() {
        let mut reader = reader(&[
            "[DEFAULT]\nworkers = 4\nbind_port = 1\nbind_prot = 2\n",
            "[DEFAULT]\nworkers = 5\n",
        ]);
        reader.text(&options::BIND_PORT).unwrap();
        let unused = reader.unused();
        let seen: Vec<_> = unused
            .iter()
            .map(|u| (u.name.as_str(), u.place.to_string(), u.known_to_glance))
            .collect();
        assert_eq!(
            seen,
            [("bind_prot", "0.conf:4".into(), false), ("workers", "1.conf:2".into(), true)]
        );
    }
}
