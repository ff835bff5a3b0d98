//! What is configured about whom the mount acts as: roles, and the map of this machine's users.
//!
//! Names of users and groups become numbers here, once, at start: afterwards no request has to wait
//! for a user database that may be at the other end of a network.

use nix::unistd::{Group, User};

use super::options;
use super::reader::{Reader, bad_value};
use crate::error::Result;
use crate::identity::local::{Entry, UidMap, Unmapped, Who};
use crate::identity::{ProjectId, RequestContext};

/// The user database: the number of a name; `Err` says why it cannot be asked.
struct Database {
    user: fn(&str) -> std::result::Result<Option<u32>, String>,
    group: fn(&str) -> std::result::Result<Option<u32>, String>,
}

/// The system's, with all that nsswitch.conf(5) names.
const SYSTEM: Database = Database {
    user: |name| match User::from_name(name) {
        Ok(user) => Ok(user.map(|user| user.uid.as_raw())),
        Err(error) => Err(error.to_string()),
    },
    group: |name| match Group::from_name(name) {
        Ok(group) => Ok(group.map(|group| group.gid.as_raw())),
        Err(error) => Err(error.to_string()),
    },
};

/// Whom the mount and the API act as without a map.
pub(super) fn identity(reader: &mut Reader, project: Option<&ProjectId>) -> Result<RequestContext> {
    let roles = reader.list(&options::MOUNT_ROLES)?;
    let found = reader.text(&options::MOUNT_ROLES)?;
    let wrong = |wanted: &str| Err(bad_value(&options::MOUNT_ROLES, found.as_ref(), wanted));
    if let Some(reason) = roles.iter().find_map(|role| bad_role(role)) {
        return wrong(&reason);
    }
    match project {
        Some(project) if roles.is_empty() => Ok(RequestContext::member_of(project.clone())),
        None if roles.is_empty() => Ok(RequestContext::operator()),
        project => {
            let identity = RequestContext::with_roles(project.cloned(), &roles);
            if identity.project.is_none() && !identity.admin {
                return wrong("roles other than admin are roles in a project: set mount_project");
            }
            Ok(identity)
        }
    }
}

/// Whom each user of this machine acts as; `None` without a map.
pub(super) fn uid_map(reader: &mut Reader) -> Result<Option<UidMap>> {
    let unmapped = unmapped(reader)?;
    let Some(found) = reader.text(&options::UID_MAP)? else { return Ok(None) };
    match entries(&found.text, &SYSTEM) {
        Ok(entries) if entries.is_empty() => Ok(None),
        Ok(entries) => Ok(Some(UidMap { entries, unmapped })),
        Err(reason) => Err(bad_value(&options::UID_MAP, Some(&found), &reason)),
    }
}

fn unmapped(reader: &mut Reader) -> Result<Unmapped> {
    let found = reader.text(&options::UNMAPPED)?;
    match found.as_ref().map_or("", |found| found.text.trim()) {
        "public" => Ok(Unmapped::Public),
        "deny" => Ok(Unmapped::Deny),
        _ => Err(bad_value(&options::UNMAPPED, found.as_ref(), "write public or deny")),
    }
}

fn entries(text: &str, database: &Database) -> std::result::Result<Vec<Entry>, String> {
    let mut entries: Vec<Entry> = Vec::new();
    for text in text.split([',', '\n']).map(str::trim).filter(|text| !text.is_empty()) {
        let entry = entry(text, database).map_err(|reason| format!("entry {text:?}: {reason}"))?;
        if entries.iter().any(|earlier| earlier.who == entry.who) {
            return Err(format!(
                "entry {text:?}: an earlier entry is about the same one, and the first counts"
            ));
        }
        entries.push(entry);
    }
    Ok(entries)
}

/// `user:project:roles` or `@group:project:roles`.  A project's id may have a colon in it, the others
/// have none.
fn entry(text: &str, database: &Database) -> std::result::Result<Entry, String> {
    const SHAPE: &str = "write user:project:roles or @group:project:roles, \
                         with + between several roles";
    let (who, rest) = text.split_once(':').ok_or(SHAPE)?;
    let (project, roles) = rest.rsplit_once(':').ok_or(SHAPE)?;
    let roles: Vec<String> = roles.split('+').map(|role| role.trim().to_owned()).collect();
    if let Some(reason) = roles.iter().find_map(|role| bad_role(role)) {
        return Err(reason);
    }
    let project = match project.trim() {
        "" => return Err("it names no project; all of them are *, for administrators".to_owned()),
        "*" => None,
        project => Some(ProjectId::new(project)),
    };
    let context = RequestContext::with_roles(project, &roles);
    if context.project.is_none() && !context.admin {
        return Err("only the role admin is a role in all projects (*)".to_owned());
    }
    Ok(Entry { who: who_of(who.trim(), database)?, context })
}

fn bad_role(role: &str) -> Option<String> {
    let fine = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
    (role.is_empty() || !role.chars().all(fine))
        .then(|| format!("{role:?} is no role: write for example member, or member+auditor"))
}

fn who_of(who: &str, database: &Database) -> std::result::Result<Who, String> {
    let (kind, name, look) = match who.strip_prefix('@') {
        Some(name) => ("group", name, database.group),
        None => ("user", who, database.user),
    };
    let number = match name.parse::<u32>() {
        // The highest number means "nobody in particular" to the kernel.
        Ok(u32::MAX) => return Err(format!("{name} is no {kind}'s number")),
        Ok(number) => number,
        Err(_) if name.is_empty() => return Err(format!("it names no {kind}")),
        Err(_) => look(name)
            .map_err(|error| format!("{kind} {name} cannot be looked up: {error}"))?
            .ok_or_else(|| format!("there is no {kind} {name} on this machine"))?,
    };
    Ok(if kind == "group" { Who::Group(number) } else { Who::User(number) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FEW: Database = Database {
        user: |name| Ok((name == "alice").then_some(1001)),
        group: |name| match name {
            "ops" => Ok(Some(50)),
            "far" => Err("it does not answer".to_owned()),
            _ => Ok(None),
        },
    };

    #[test]
    fn users_and_groups_get_projects_and_roles() {
        let map = entries("alice:red:member, 7:a:b:reader+auditor\n @ops:*:admin,", &FEW).unwrap();
        let who: Vec<_> = map.iter().map(|entry| entry.who).collect();
        assert_eq!(who, [Who::User(1001), Who::User(7), Who::Group(50)]);
        let seen = |entry: &Entry| {
            let project = entry.context.project.as_ref().map(ToString::to_string);
            (project, entry.context.roles.join(" "), entry.context.admin)
        };
        assert_eq!(seen(&map[0]), (Some("red".into()), "member reader".into(), false));
        assert_eq!(seen(&map[1]), (Some("a:b".into()), "auditor reader".into(), false));
        assert_eq!(seen(&map[2]), (None, "admin manager member reader".into(), true));
    }

    #[test]
    fn a_wrong_entry_is_named_with_what_is_wrong_about_it() {
        for (text, reason) in [
            ("alice", "write user:project:roles"),
            ("alice:red", "write user:project:roles"),
            (":red:member", "it names no user"),
            ("@:red:member", "it names no group"),
            ("alice::member", "it names no project"),
            ("alice:red:", "\"\" is no role"),
            ("alice:red:member+", "\"\" is no role"),
            ("alice:red:mem ber", "\"mem ber\" is no role"),
            ("alice:*:member", "only the role admin"),
            ("bob:red:member", "there is no user bob"),
            ("@nobody:red:member", "there is no group nobody"),
            ("@far:red:member", "cannot be looked up: it does not answer"),
            ("4294967295:red:member", "no user's number"),
            ("1001:blue:member", "the first counts"),
        ] {
            let error = entries(&format!("alice:red:member\n{text}"), &FEW).expect_err(text);
            // The first line is fine, and `alice` is in it already.
            let named = error.starts_with(&format!("entry {text:?}: "));
            assert!(named && error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn the_system_knows_root() {
        assert_eq!((SYSTEM.user)("root"), Ok(Some(0)));
        assert_eq!((SYSTEM.group)("root"), Ok(Some(0)));
        assert_eq!((SYSTEM.user)("no such user"), Ok(None));
    }
}
