//! Whom the users of this machine act as, where several of them use one mount.
//!
//! An entry gives a user or a group a project and roles; the first entry that fits counts.  Names
//! have become numbers before ([`crate::config`]): here nothing waits for a user database.

use super::{ProjectId, RequestContext};

/// Keystone: what a role brings along, in the order of its bootstrap.
const IMPLIED: [&str; 4] = ["admin", "manager", "member", "reader"];

/// Whom an entry is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// A user's number.
    User(u32),
    /// A group's number: all that have it as their primary or as a supplementary group.
    Group(u32),
}

/// One entry of a map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Whom it is about.
    pub who: Who,
    /// Whom that one acts as.
    pub context: RequestContext,
}

/// What those see who are in no entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unmapped {
    /// What is there for everybody, and nothing can be changed.
    #[default]
    Public,
    /// Nothing at all.
    Deny,
}

/// Whom the users of this machine act as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UidMap {
    /// The entries, the most important first.
    pub entries: Vec<Entry>,
    /// Everybody else.
    pub unmapped: Unmapped,
}

impl UidMap {
    /// The place of the first entry that fits a user.  `groups` tells the supplementary groups; it is
    /// asked only if the answer depends on them.
    pub fn position(&self, uid: u32, gid: u32, groups: impl FnOnce() -> Vec<u32>) -> Option<usize> {
        let mut ask = Some(groups);
        let mut known = Vec::new();
        self.entries.iter().position(|entry| match entry.who {
            Who::User(user) => user == uid,
            Who::Group(group) if group == gid => true,
            Who::Group(group) => {
                if let Some(groups) = ask.take() {
                    known = groups();
                }
                known.contains(&group)
            }
        })
    }
}

impl RequestContext {
    /// Somebody with these roles in a project, and with what they imply.  Without a project only an
    /// administrator has anything to do.
    pub fn with_roles(project: Option<ProjectId>, roles: &[String]) -> Self {
        let mut all: Vec<String> = Vec::new();
        for role in roles.iter().map(|role| role.to_lowercase()) {
            let implied = IMPLIED.iter().position(|known| *known == role);
            let implied = implied.map_or(&[][..], |at| &IMPLIED[at + 1..]);
            all.extend(implied.iter().map(|role| (*role).to_owned()));
            all.push(role);
        }
        all.sort_unstable();
        all.dedup();
        let admin = all.iter().any(|role| role == "admin");
        Self { project, roles: all, admin, ..Self::operator() }
    }

    /// Somebody without a project, who may look at what is there for everybody.
    pub fn public() -> Self {
        Self::with_roles(None, &["member".to_owned()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(who: &[Who]) -> UidMap {
        let entry = |who: &Who| Entry { who: *who, context: RequestContext::public() };
        UidMap { entries: who.iter().map(entry).collect(), unmapped: Unmapped::Public }
    }

    #[test]
    fn the_first_entry_that_fits_counts() {
        let map = map(&[Who::User(1), Who::Group(20), Who::User(2), Who::Group(30)]);
        let find = |uid, gid, groups: &[u32]| map.position(uid, gid, || groups.to_vec());
        assert_eq!(find(1, 20, &[]), Some(0));
        assert_eq!(find(2, 5, &[]), Some(2));
        assert_eq!(find(2, 20, &[]), Some(1), "by the primary group");
        assert_eq!(find(2, 5, &[7, 20]), Some(1), "by a supplementary group");
        assert_eq!(find(3, 5, &[30]), Some(3));
        assert_eq!(find(3, 5, &[]), None);
        assert_eq!(find(30, 1, &[2]), None, "a user's number is no group's");
    }

    #[test]
    fn groups_are_asked_for_only_where_they_matter() {
        let map = map(&[Who::User(1), Who::Group(20)]);
        let never = || -> Vec<u32> { panic!("asked") };
        assert_eq!(map.position(1, 5, never), Some(0));
        assert_eq!(map.position(9, 20, never), Some(1));
    }

    #[test]
    fn roles_bring_others_along() {
        let roles = |names: &[&str]| {
            let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
            let context = RequestContext::with_roles(None, &names);
            (context.roles.join(" "), context.admin)
        };
        assert_eq!(roles(&["reader"]), ("reader".to_owned(), false));
        assert_eq!(roles(&["Member", "auditor"]), ("auditor member reader".to_owned(), false));
        assert_eq!(roles(&["admin"]), ("admin manager member reader".to_owned(), true));
    }
}
