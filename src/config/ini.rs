//! The INI dialect of oslo.config, one file at a time.
//!
//! It differs from what INI crates read, and in ways that operators' files rely on, so the parser
//! is our own: a line that starts with white space continues the value above it (even when its
//! first visible character is `#`), `#` and `;` start a comment only in the first column, the
//! first of `=` and `:` ends a name, one pair of quotes around a value is dropped, and a name may
//! be assigned more than once.
//!
//! What an option means, `$name` references and which of several files wins are left to
//! `super::reader`.  Messages name the line but never quote it: it may hold a password.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// Where in which file something was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file as it was named.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

/// One `name = value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// The section, in lower case save for `DEFAULT` (oslo.config compares them so).
    pub section: String,
    /// The name as written; oslo.config minds its case.
    pub name: String,
    /// The value's lines, without the white space around each.
    pub lines: Vec<String>,
    /// Whether the value stood in quotes, which protect a `#` inside.
    pub quoted: bool,
    /// Where the assignment starts.
    pub place: Place,
}

/// Reads the file at `path`.
///
/// # Errors
/// `Config` when it cannot be read, or has a line that oslo.config would not take either.
pub fn read(path: &Path) -> Result<Vec<Assignment>> {
    let bytes = fs::read(path).map_err(|error| {
        Error::Config(format!("cannot read the configuration file {}: {error}", path.display()))
    })?;
    let text = String::from_utf8(bytes).map_err(|_| {
        Error::Config(format!(
            "{} is not UTF-8 text: convert it, for example with iconv -f latin1 -t utf-8",
            path.display()
        ))
    })?;
    parse(path, &text)
}

/// Parses `text`; `path` is for messages only.
///
/// # Errors
/// As [`read`].
pub fn parse(path: &Path, text: &str) -> Result<Vec<Assignment>> {
    let mut parser = Parser { path, section: None, open: None, done: Vec::new() };
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (index, line) in text.lines().enumerate() {
        parser.line(index + 1, line.trim_end())?;
    }
    parser.close();
    Ok(parser.done)
}

struct Parser<'a> {
    path: &'a Path,
    section: Option<String>,
    /// The assignment that a continuation line would belong to.
    open: Option<Assignment>,
    done: Vec<Assignment>,
}

impl Parser<'_> {
    fn line(&mut self, number: usize, line: &str) -> Result<()> {
        if line.starts_with([' ', '\t']) {
            return match &mut self.open {
                Some(assignment) => {
                    assignment.lines.push(line.trim_start().to_owned());
                    Ok(())
                }
                None => Err(self.error(
                    number,
                    "starts with white space, but there is no value above it to continue: \
                     remove the white space (a blank line or a comment ends a value)",
                )),
            };
        }
        self.close();
        if line.is_empty() || line.starts_with(['#', ';']) {
            Ok(())
        } else if let Some(rest) = line.strip_prefix('[') {
            self.start_section(number, rest)
        } else {
            self.assign(number, line)
        }
    }

    fn close(&mut self) {
        self.done.extend(self.open.take());
    }

    fn start_section(&mut self, number: usize, rest: &str) -> Result<()> {
        match rest.strip_suffix(']') {
            None => Err(self
                .error(number, "a section must end with `]` and nothing after it: write `[name]`")),
            Some("") => Err(self.error(number, "the section has no name: write `[DEFAULT]`")),
            Some("DEFAULT") => {
                self.section = Some("DEFAULT".to_owned());
                Ok(())
            }
            Some(name) => {
                self.section = Some(name.to_lowercase());
                Ok(())
            }
        }
    }

    fn assign(&mut self, number: usize, line: &str) -> Result<()> {
        let Some((name, value)) = line.split_once(['=', ':']) else {
            return Err(self.error(
                number,
                "has neither `=` nor `:`: write `name = value`, or start the line with `#`",
            ));
        };
        let name = name.trim();
        if name.is_empty() {
            return Err(self.error(number, "has no name before the `=`: write `name = value`"));
        }
        let Some(section) = self.section.clone() else {
            return Err(self.error(
                number,
                &format!("`{name}` comes before any section: write `[DEFAULT]` above it"),
            ));
        };
        let (value, quoted) = unquote(value.trim());
        self.open = Some(Assignment {
            section,
            name: name.to_owned(),
            lines: vec![value.to_owned()],
            quoted,
            place: Place { file: self.path.to_owned(), line: number },
        });
        Ok(())
    }

    fn error(&self, number: usize, what: &str) -> Error {
        Error::Config(format!("{}:{number}: {what}", self.path.display()))
    }
}

/// The value without one pair of quotes around it, and whether there was one.
pub(super) fn unquote(value: &str) -> (&str, bool) {
    for quote in ['"', '\''] {
        let inner = value.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
        if let Some(inner) = inner {
            return (inner, true);
        }
    }
    (value, false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<Vec<(String, String, String)>> {
        Ok(parse(Path::new("g.conf"), text)?
            .into_iter()
            .map(|a| (a.section, a.name, a.lines.join("\n")))
            .collect())
    }

    fn one(text: &str) -> String {
        let mut found = read_text(&format!("[DEFAULT]\n{text}")).unwrap();
        assert_eq!(found.len(), 1, "{found:?}");
        found.remove(0).2
    }

    fn failure(text: &str) -> String {
        read_text(text).unwrap_err().to_string()
    }

    #[test]
    fn equals_and_colon_both_assign_and_the_first_one_counts() {
        assert_eq!(one("a = b"), "b");
        assert_eq!(one("a: b"), "b");
        assert_eq!(one("connection = sqlite:////x"), "sqlite:////x");
        assert_eq!(one("a:b=c"), "b=c");
        assert_eq!(one("a ="), "");
    }

    #[test]
    fn indented_lines_continue_a_value_even_when_they_look_like_comments() {
        assert_eq!(one("a = raw,\n\tqcow2,\n  # iso\n\n"), "raw,\nqcow2,\n# iso");
    }

    #[test]
    fn blank_lines_and_comments_end_a_value() {
        assert!(failure("[DEFAULT]\na = 1\n# note\n  2\n").starts_with("g.conf:4: "));
        assert!(failure("[DEFAULT]\na = 1\n   \n  2\n").starts_with("g.conf:4: "));
    }

    #[test]
    fn one_pair_of_quotes_is_dropped() {
        assert_eq!(one("a = \" b \""), " b ");
        assert_eq!(one("a = 'b'"), "b");
        assert_eq!(one("a = 'b\""), "'b\"");
        assert_eq!(one("a = \""), "\"");
    }

    #[test]
    fn sections_ignore_case_save_default() {
        let found = read_text("[Glance_Store]\na=1\n[DEFAULT]\nb=2\n[default]\nc=3\n").unwrap();
        let sections: Vec<_> = found.iter().map(|f| f.0.as_str()).collect();
        assert_eq!(sections, ["glance_store", "DEFAULT", "default"]);
    }

    #[test]
    fn windows_line_ends_and_a_byte_order_mark_do_not_matter() {
        let found = read_text("\u{feff}[DEFAULT]\r\na = b\r\n").unwrap();
        assert_eq!(found, [("DEFAULT".into(), "a".into(), "b".into())]);
    }

    #[test]
    fn every_mistake_names_its_line_and_the_cure() {
        assert!(failure("a = 1").contains("g.conf:1: `a` comes before any section"));
        assert!(failure("[x\n").contains("write `[name]`"));
        assert!(failure("[]\n").contains("no name"));
        assert!(failure("[DEFAULT]\n\nnonsense\n").starts_with("g.conf:3: has neither"));
        assert!(failure("[DEFAULT]\n= 3\n").contains("no name before"));
    }

    #[test]
    fn messages_never_quote_a_line() {
        assert!(!failure("[DEFAULT]\ns3cret\n").contains("s3cret"));
        assert!(!failure("password = s3cret\n").contains("s3cret"));
    }
}
