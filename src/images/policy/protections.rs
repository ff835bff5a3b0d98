//! Who may see and set which property: `property_protection_file`.
//!
//! A section is an expression for names of properties; the first one that a name matches decides,
//! and a name that none matches is nobody's.  Glance reads the file as Python's configparser does,
//! and so does this: a line that begins with white space continues the one above it, `#` and `;`
//! begin a comment, and what `[DEFAULT]` says holds where a section says nothing.

use std::path::Path;

use regex::Regex;
use tracing::warn;

use super::{Nothing, Policy};
use crate::error::{Error, Result};
use crate::identity::RequestContext;
use crate::images::TIME_PROPERTY;

/// Something done to a property.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Give it to an image that does not have it.
    Create,
    /// See it.
    Read,
    /// Give it another value.
    Update,
    /// Take it away.
    Delete,
}

const OPERATIONS: [(Operation, &str); 4] = [
    (Operation::Create, "create"),
    (Operation::Read, "read"),
    (Operation::Update, "update"),
    (Operation::Delete, "delete"),
];

/// What stands after an operation: `property_protection_rule_format`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Names of roles, between commas.
    #[default]
    Roles,
    /// The name of a rule in the policy file.
    Policies,
}

/// Who may do one thing to the properties of a section.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Allowed {
    Everybody,
    Nobody,
    Roles(Vec<String>),
    Rule(String),
}

/// The sections of a file, in its order.
#[derive(Clone, Debug)]
pub struct Protections {
    sections: Vec<(Regex, [Allowed; 4])>,
}

impl Protections {
    /// Reads a file.
    ///
    /// # Errors
    /// `Config`, with the line and what is wrong there.
    pub fn read(path: &Path, format: Format) -> Result<Self> {
        let shown = path.display();
        let unreadable =
            |error| Error::Config(format!("property_protection_file {shown}: {error}"));
        let text = std::fs::read_to_string(path).map_err(unreadable)?;
        Self::parse(&text, format)
            .map_err(|(line, wrong)| Error::Config(format!("{shown}:{line}: {wrong}")))
    }

    /// Reads the text of a file; an error has its line, from 1.
    fn parse(text: &str, format: Format) -> Result<Self, (usize, String)> {
        let written = sections(text)?;
        let defaults = written.iter().find(|section| section.name == "DEFAULT");
        let mut sections = Vec::new();
        for section in written.iter().filter(|section| section.name != "DEFAULT") {
            if section.name.starts_with("os_glance") {
                warn!(section = section.name, "protects properties of the server's own: left out");
                continue;
            }
            let wrong = |error| (section.line, format!("'{}': {error}", section.name));
            let names = Regex::new(&section.name).map_err(|error| wrong(error.to_string()))?;
            let mut allowed = Vec::new();
            for (_, operation) in OPERATIONS {
                let said = section.get(operation);
                let said = said.or_else(|| defaults.and_then(|section| section.get(operation)));
                let (line, value) =
                    said.ok_or_else(|| wrong(format!("it does not say who may {operation}")))?;
                allowed.push(read_allowed(value, format).map_err(|error| (line, error))?);
                if value.is_empty() {
                    warn!(section = section.name, operation, "nobody is allowed to");
                }
            }
            // Four operations make four of them.
            if let Ok(allowed) = allowed.try_into() {
                sections.push((names, allowed));
            }
        }
        Ok(Self { sections })
    }

    /// The rules of the policy that the file names and the policy does not have: nobody is allowed
    /// what they stand for.
    pub fn unknown_rules(&self, policy: &Policy) -> Vec<String> {
        let all = self.sections.iter().flat_map(|(_, allowed)| allowed);
        let mut unknown: Vec<String> = all
            .filter_map(|allowed| match allowed {
                Allowed::Rule(rule) if !policy.knows(rule) => Some(rule.clone()),
                _ => None,
            })
            .collect();
        unknown.sort_unstable();
        unknown.dedup();
        unknown
    }

    pub(super) fn allow(
        &self,
        policy: &Policy,
        ctx: &RequestContext,
        to: Operation,
        name: &str,
    ) -> bool {
        // Those are the server's: others are kept from them by other means.  The time of a file is
        // what its owner may set, as the file's name.
        if name.starts_with("os_glance_") || name == TIME_PROPERTY {
            return true;
        }
        let section = self.sections.iter().find(|(names, _)| names.is_match(name));
        let Some((_, allowed)) = section else { return false };
        match &allowed[to as usize] {
            Allowed::Everybody => true,
            Allowed::Nobody => false,
            Allowed::Roles(roles) => {
                roles.iter().any(|role| ctx.has_role(role) || ctx.is_served_by(role))
            }
            Allowed::Rule(rule) => policy.allows_rule(ctx, rule, &Nothing),
        }
    }
}

/// What is said to one who may not set a property.  Glance: the very words.
pub(in crate::images) fn refused(name: &str) -> Error {
    Error::Forbidden(format!("Attribute '{name}' is reserved."))
}

fn read_allowed(value: &str, format: Format) -> Result<Allowed, String> {
    let words: Vec<&str> =
        value.split(',').map(str::trim).filter(|word| !word.is_empty()).collect();
    match (words.contains(&"@"), words.contains(&"!")) {
        (true, true) => return Err("@ (everybody) and ! (nobody) exclude each other".to_string()),
        (true, false) => return Ok(Allowed::Everybody),
        (false, true) => return Ok(Allowed::Nobody),
        (false, false) => {}
    }
    match (words.as_slice(), format) {
        ([], _) => Ok(Allowed::Nobody),
        (roles, Format::Roles) => Ok(Allowed::Roles(roles.iter().map(|r| r.to_string()).collect())),
        ([rule], Format::Policies) => Ok(Allowed::Rule(rule.to_string())),
        (_, Format::Policies) => {
            Err("there may be one policy only: combine several in the policy \
                                      file"
                .to_string())
        }
    }
}

struct Section {
    name: String,
    line: usize,
    /// Line, name and value.
    options: Vec<(usize, String, String)>,
}

impl Section {
    fn get(&self, option: &str) -> Option<(usize, &str)> {
        let found = self.options.iter().find(|(_, name, _)| name == option);
        found.map(|(line, _, value)| (*line, value.as_str()))
    }
}

/// A file as configparser takes it apart.
fn sections(text: &str) -> Result<Vec<Section>, (usize, String)> {
    let mut sections: Vec<Section> = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let content = line.trim();
        if content.is_empty() || content.starts_with(['#', ';']) {
            continue;
        }
        let indented = line.starts_with([' ', '\t']);
        let option = sections.last_mut().and_then(|section| section.options.last_mut());
        if let (true, Some((_, _, value))) = (indented, option) {
            value.push(',');
            value.push_str(content);
            continue;
        }
        if let Some(name) = content.strip_prefix('[').and_then(|rest| rest.rsplit_once(']')) {
            let name = name.0.to_string();
            if name != "DEFAULT" && sections.iter().any(|section| section.name == name) {
                return Err((number, format!("there is a section [{name}] already")));
            }
            sections.push(Section { name, line: number, options: Vec::new() });
            continue;
        }
        let (name, value) = content
            .split_once(['=', ':'])
            .ok_or_else(|| (number, "this is neither [expression] nor operation = who".into()))?;
        let section = sections
            .last_mut()
            .ok_or_else(|| (number, "a line before the first [expression]".to_string()))?;
        let name = name.trim().to_lowercase();
        if section.get(&name).is_some() {
            return Err((number, format!("{name} is there already")));
        }
        section.options.push((number, name, value.trim().to_string()));
    }
    Ok(sections)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::ProjectId;

    const FILE: &str = "# a comment\n[DEFAULT]\nread = @\n[^x_owner_.*]\ncreate = admin, Member\n\
                        update = member\ndelete = !\n[^billing[0-9]]\ncreate: admin\nread: admin\n\
                        update:\ndelete: admin\n[.*]\ncreate = @\nupdate = @\ndelete = @\n";

    fn allows(protections: &Protections, to: Operation, name: &str) -> bool {
        let ctx = RequestContext::member_of(ProjectId::new("p"));
        protections.allow(&Policy::default(), &ctx, to, name)
    }

    #[test]
    fn the_first_section_that_matches_decides() {
        let protections = Protections::parse(FILE, Format::Roles).unwrap();
        assert!(allows(&protections, Operation::Create, "x_owner_a"));
        assert!(allows(&protections, Operation::Read, "x_owner_a"), "[DEFAULT] says so");
        assert!(!allows(&protections, Operation::Delete, "x_owner_a"));
        assert!(!allows(&protections, Operation::Read, "billing7"));
        assert!(!allows(&protections, Operation::Update, "billing7"));
        assert!(allows(&protections, Operation::Delete, "other"));
    }

    #[test]
    fn what_no_section_names_is_nobodys_but_the_servers_own_is() {
        let text = "[^a$]\ncreate=@\nread=@\nupdate=@\ndelete=@\n";
        let protections = Protections::parse(text, Format::Roles).unwrap();
        assert!(!allows(&protections, Operation::Read, "b"));
        assert!(allows(&protections, Operation::Update, "os_glance_import_task"));
        assert!(allows(&protections, Operation::Update, TIME_PROPERTY));
    }

    #[test]
    fn a_policy_may_say_who() {
        let text = "[a]\ncreate=metadef_default\nread=context_is_admin\nupdate=@\ndelete=gone\n";
        let protections = Protections::parse(text, Format::Policies).unwrap();
        assert!(allows(&protections, Operation::Create, "a"));
        assert!(!allows(&protections, Operation::Read, "a"));
        assert!(!allows(&protections, Operation::Delete, "a"));
        assert_eq!(protections.unknown_rules(&Policy::default()), ["gone"]);
    }

    #[test]
    fn a_bad_file_is_refused_with_line_and_reason() {
        for (text, line, reason) in [
            ("[a]\ncreate=@\nread=@\nupdate=@\n", 1, "does not say who may delete"),
            ("create=@\n", 1, "before the first"),
            ("[a]\nnothing\n", 2, "neither"),
            ("[(]\ncreate=@\nread=@\nupdate=@\ndelete=@\n", 1, "unclosed group"),
            ("[a]\ncreate=@,!\nread=@\nupdate=@\ndelete=@\n", 2, "exclude each other"),
            ("[a]\ncreate=@\ncreate=@\n", 3, "there already"),
            ("[a]\nread=@\n[a]\n", 3, "already"),
        ] {
            let (at, error) = Protections::parse(text, Format::Roles).unwrap_err();
            assert!(at == line && error.contains(reason), "{text}: {at}: {error}");
        }
        let two = "[a]\ncreate=x,y\nread=@\nupdate=@\ndelete=@\n";
        assert_eq!(Protections::parse(two, Format::Policies).unwrap_err().0, 2);
    }
}
