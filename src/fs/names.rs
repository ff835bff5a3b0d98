//! Image names as file names.
//!
//! An image's name is any text and need not be unique; a file's name has no `/` and is unique in
//! its directory.  [`encode`] makes a file name of one image's name; [`Names`] tells images of the
//! same name apart.  Both are reversible: what is shown can be looked up again.

use std::collections::BTreeMap;

use crate::catalog::model::{ImageId, Timestamp};

/// Bytes in a file name at most (Linux: `NAME_MAX`).
pub const NAME_MAX: usize = 255;

/// Names that the root directory has for itself.
pub const RESERVED: [&str; 2] = [".by-id", ".by-project"];

/// The file name for an image's name, before equal names are told apart.  Empty for a name that
/// cannot be a file's: the image shows under its id then.
pub fn encode(name: &str) -> String {
    if matches!(name, "." | "..") {
        return String::new();
    }
    let mut encoded = String::with_capacity(name.len());
    for (at, character) in name.char_indices() {
        match character {
            '/' => encoded.push_str("%2F"),
            '\0' => encoded.push_str("%00"),
            '%' if is_escape(&name.as_bytes()[at..]) => encoded.push_str("%25"),
            other => encoded.push(other),
        }
    }
    encoded
}

/// The image name that a file name stands for: the inverse of [`encode`].
pub fn decode(file_name: &str) -> String {
    let mut decoded = String::with_capacity(file_name.len());
    let mut rest = file_name;
    while let Some(at) = rest.find('%') {
        let (before, escape) = rest.split_at(at);
        decoded.push_str(before);
        let (character, length) = match escape.get(..3) {
            Some("%2F") => ('/', 3),
            Some("%00") => ('\0', 3),
            // Only an escape of what would otherwise look like an escape.
            Some("%25") if is_escape_tail(&escape.as_bytes()[3..]) => ('%', 3),
            _ => ('%', 1),
        };
        decoded.push(character);
        rest = &escape[length..];
    }
    decoded.push_str(rest);
    decoded
}

/// Whether bytes start with a `%` and two hex digits.
fn is_escape(bytes: &[u8]) -> bool {
    bytes.first() == Some(&b'%') && is_escape_tail(&bytes[1..])
}

fn is_escape_tail(bytes: &[u8]) -> bool {
    bytes.len() >= 2 && bytes[..2].iter().all(u8::is_ascii_hexdigit)
}

/// What decides which of several images of one name keeps it: listed ones come before those that
/// are only found when asked for, then the older one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Claim {
    unlisted: bool,
    created_at: Timestamp,
    id: ImageId,
}

/// The file names of one directory.
#[derive(Default)]
pub struct Names {
    /// Encoded name (without what tells equal ones apart) → claims in order.
    groups: BTreeMap<Box<str>, Vec<Claim>>,
    reserve: bool,
}

/// A name in a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The file's name.
    pub name: Box<str>,
    /// The image.
    pub id: ImageId,
}

impl Names {
    /// No names yet.  The root directory keeps [`RESERVED`] names for itself.
    pub fn new(root: bool) -> Self {
        Self { groups: BTreeMap::new(), reserve: root }
    }

    fn base(&self, name: Option<&str>, id: ImageId) -> Box<str> {
        let encoded = encode(name.unwrap_or_default());
        if encoded.is_empty() {
            return id.as_str().into();
        }
        if encoded.len() <= NAME_MAX {
            return encoded.into();
        }
        // Cut at a character, and say which image it is.
        let mut end = NAME_MAX - 9;
        while !encoded.is_char_boundary(end) {
            end -= 1;
        }
        format!("{}~{}", &encoded[..end], id.short()).into()
    }

    /// Adds an image.
    pub fn insert(&mut self, name: Option<&str>, id: ImageId, created_at: Timestamp, listed: bool) {
        let claim = Claim { unlisted: !listed, created_at, id };
        let group = self.groups.entry(self.base(name, id)).or_default();
        let at = group.partition_point(|other| *other < claim);
        group.insert(at, claim);
    }

    /// Removes an image that was inserted under this name.
    pub fn remove(&mut self, name: Option<&str>, id: ImageId) {
        let base = self.base(name, id);
        if let Some(group) = self.groups.get_mut(&base) {
            group.retain(|claim| claim.id != id);
            if group.is_empty() {
                self.groups.remove(&base);
            }
        }
    }

    /// The image that a file name stands for.
    pub fn find(&self, file_name: &str) -> Option<ImageId> {
        if self.is_reserved(file_name) {
            return None;
        }
        self.find_exact(file_name).or_else(|| {
            // A name as it was typed: `100%25` for an image that shows as `100%2525`.
            let group = self.groups.get(encode(file_name).as_str())?;
            group.first().map(|claim| claim.id)
        })
    }

    fn find_exact(&self, file_name: &str) -> Option<ImageId> {
        if let Some(first) = self.groups.get(file_name).and_then(|group| group.first()) {
            return Some(first.id);
        }
        let (base, suffix) = file_name.rsplit_once('~')?;
        let group = self.groups.get(base)?;
        let claim = group.iter().find(|claim| {
            claim.id.as_str().starts_with(suffix) && *self.name_in(base, group, claim) == *file_name
        })?;
        Some(claim.id)
    }

    /// The file name of an image that was inserted under this name.
    pub fn file_name(&self, name: Option<&str>, id: ImageId) -> Option<Box<str>> {
        let base = self.base(name, id);
        let group = self.groups.get(&base)?;
        let claim = group.iter().find(|claim| claim.id == id)?;
        Some(self.name_in(&base, group, claim))
    }

    /// All file names that images of this name have now: those that a change of one may alter.
    pub fn names_like(&self, name: Option<&str>, id: ImageId) -> Vec<Box<str>> {
        let base = self.base(name, id);
        let Some(group) = self.groups.get(&base) else { return Vec::new() };
        group.iter().map(|claim| self.name_in(&base, group, claim)).collect()
    }

    /// Every listed name, in order of the names.
    pub fn list(&self) -> Vec<Listed> {
        let claims = self.groups.iter().flat_map(|(base, group)| {
            let listed = group.iter().filter(|claim| !claim.unlisted);
            listed.map(move |claim| Listed { name: self.name_in(base, group, claim), id: claim.id })
        });
        claims.collect()
    }

    fn name_in(&self, base: &str, group: &[Claim], claim: &Claim) -> Box<str> {
        let first = group.first().is_some_and(|first| first.id == claim.id);
        if first && !self.is_reserved(base) {
            return base.into();
        }
        let short = claim.id.short();
        let told_apart = with_suffix(base, short);
        let twin = |other: &Claim| other.id != claim.id && other.id.short() == short;
        if self.groups.contains_key(told_apart.as_str()) || group.iter().any(twin) {
            // Somebody's real name looks just like that: the whole id is nobody's.
            return with_suffix(base, claim.id.as_str()).into();
        }
        told_apart.into()
    }

    fn is_reserved(&self, name: &str) -> bool {
        self.reserve && RESERVED.contains(&name)
    }
}

/// `base~suffix`.  A base that leaves no room is one that [`Names::base`] has cut already or is
/// within a few bytes of the limit; such a name is a little longer than other systems like, which
/// the kernel allows.
fn with_suffix(base: &str, suffix: &str) -> String {
    format!("{base}~{suffix}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id(n: u8) -> ImageId {
        format!("{n:02x}000000-0000-4000-8000-0000000000{n:02x}").parse().unwrap()
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_micros(second * 1_000_000)
    }

    #[test]
    fn names_show_byte_for_byte_but_for_what_a_file_cannot_be_called() {
        assert_eq!(encode("debian 12.qcow2"), "debian 12.qcow2");
        assert_eq!(encode("a/b"), "a%2Fb");
        assert_eq!(encode("100%"), "100%");
        assert_eq!(encode("100%25"), "100%2525");
        assert_eq!(encode("x%2Fy"), "x%252Fy");
        assert_eq!(encode("nul\0"), "nul%00");
        for cannot in [".", "..", ""] {
            assert_eq!(encode(cannot), "");
        }
    }

    #[test]
    fn images_of_one_name_are_told_apart_and_the_older_keeps_it() {
        let mut names = Names::new(true);
        names.insert(Some("x"), id(2), at(2), true);
        names.insert(Some("x"), id(1), at(1), true);
        assert_eq!(names.find("x"), Some(id(1)));
        assert_eq!(names.find("x~02000000"), Some(id(2)));
        assert_eq!(names.find("x~01000000"), None);
        names.remove(Some("x"), id(1));
        assert_eq!(names.find("x"), Some(id(2)));
        assert_eq!(names.find("x~02000000"), None);
    }

    #[test]
    fn a_hidden_image_gives_its_name_up_to_one_that_is_listed() {
        let mut names = Names::new(true);
        names.insert(Some("x"), id(1), at(1), false);
        assert_eq!((names.find("x"), names.list().len()), (Some(id(1)), 0));
        names.insert(Some("x"), id(2), at(2), true);
        assert_eq!(names.find("x"), Some(id(2)));
        assert_eq!(names.find("x~01000000"), Some(id(1)));
    }

    #[test]
    fn a_real_name_wins_over_one_made_up() {
        let mut names = Names::new(true);
        names.insert(Some("x"), id(1), at(1), true);
        names.insert(Some("x"), id(2), at(2), true);
        names.insert(Some("x~02000000"), id(3), at(3), true);
        assert_eq!(names.find("x~02000000"), Some(id(3)));
        assert_eq!(names.find(&format!("x~{}", id(2))), Some(id(2)));
    }

    #[test]
    fn reserved_names_belong_to_the_root_alone() {
        let mut root = Names::new(true);
        root.insert(Some(".by-id"), id(1), at(1), true);
        assert_eq!(root.find(".by-id"), None);
        assert_eq!(root.find(".by-id~01000000"), Some(id(1)));
        let mut project = Names::new(false);
        project.insert(Some(".by-id"), id(1), at(1), true);
        assert_eq!(project.find(".by-id"), Some(id(1)));
    }

    #[test]
    fn a_name_is_found_as_it_was_typed() {
        let mut names = Names::new(true);
        names.insert(Some(&decode("50%20off")), id(1), at(1), true);
        assert_eq!(names.find("50%20off"), Some(id(1)));
        assert_eq!(names.list()[0].name.as_ref(), "50%2520off");
    }

    proptest! {
        #[test]
        fn decoding_undoes_encoding(name in ".*") {
            let encoded = encode(&name);
            prop_assume!(!encoded.is_empty());
            prop_assert!(!encoded.contains('/') && !encoded.contains('\0'));
            prop_assert_eq!(decode(&encoded), name);
        }

        #[test]
        fn every_listed_name_is_unique_and_found_again(
            images in prop::collection::vec(("[.x%2Fé~]{0,4}|\\.by-id|x{240,260}", 0i64..4), 0..24),
        ) {
            let mut names = Names::new(true);
            for (n, (name, created)) in images.iter().enumerate() {
                names.insert(Some(name), id(n as u8), at(*created), true);
            }
            let listed = names.list();
            prop_assert_eq!(listed.len(), images.len());
            for Listed { name, id } in &listed {
                prop_assert_eq!(names.find(name), Some(*id));
            }
        }
    }
}
