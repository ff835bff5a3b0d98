//! Inode numbers.
//!
//! An image's number is computed from its id, so that it is the same in every mount and after
//! every restart (a file handle of an NFS client stays valid); the few directories have small
//! numbers.  Should two ids ever share a number, the later one is given the next free one for as
//! long as the kernel remembers it.

use std::collections::HashMap;

use parking_lot::RwLock;

use crate::catalog::model::ImageId;

/// An inode number as the kernel knows it.
pub type Ino = u64;

/// The root directory.
pub const ROOT: Ino = 1;
/// `/.by-id`
pub const BY_ID: Ino = 2;
/// `/.by-project`
pub const BY_PROJECT: Ino = 3;
/// Numbers from here on are images.
const FIRST_IMAGE: Ino = 1 << 32;

/// What an inode number stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// The root directory.
    Root,
    /// The directory of all images by id.
    ById,
    /// The directory of projects.
    ByProject,
    /// The directory of one project's images.
    Project(Box<str>),
    /// A file.
    Image(ImageId),
}

/// The numbers that the kernel holds.
#[derive(Default)]
pub struct Inodes {
    table: RwLock<Table>,
}

#[derive(Default)]
struct Table {
    nodes: HashMap<Ino, Known>,
    projects: HashMap<Box<str>, Ino>,
}

struct Known {
    node: Node,
    /// How often the kernel was told of it and has not forgotten.
    lookups: u64,
}

/// The number that an image has unless another one has taken it.
pub fn of_image(id: ImageId) -> Ino {
    let hex = id.as_str().bytes().filter(u8::is_ascii_hexdigit);
    let bits = hex.fold(0u128, |bits, digit| {
        (bits << 4) | u128::from((digit as char).to_digit(16).unwrap_or_default())
    });
    // A UUID's random bits, with the fixed version and variant bits folded away.
    let folded = (bits >> 64) as u64 ^ (bits as u64).rotate_left(32);
    (folded & (i64::MAX as u64)) | FIRST_IMAGE
}

impl Inodes {
    /// The number of a node that the kernel is told of now; it counts until it is forgotten.
    pub fn remember(&self, node: Node) -> Ino {
        let mut table = self.table.write();
        let ino = table.number(&node);
        table.nodes.entry(ino).or_insert(Known { node, lookups: 0 }).lookups += 1;
        ino
    }

    /// The number of a node that the kernel need not remember.
    pub fn peek(&self, node: &Node) -> Ino {
        match node {
            Node::Image(id) => of_image(*id),
            other => self.table.write().number(other),
        }
    }

    /// The kernel has dropped `count` of what it was told.
    pub fn forget(&self, ino: Ino, count: u64) {
        let mut table = self.table.write();
        if let Some(known) = table.nodes.get_mut(&ino) {
            known.lookups = known.lookups.saturating_sub(count);
            if known.lookups == 0 && matches!(known.node, Node::Image(_)) {
                table.nodes.remove(&ino);
            }
        }
    }

    /// What a number stands for.
    pub fn node(&self, ino: Ino) -> Option<Node> {
        match ino {
            ROOT => Some(Node::Root),
            BY_ID => Some(Node::ById),
            BY_PROJECT => Some(Node::ByProject),
            _ => self.table.read().nodes.get(&ino).map(|known| known.node.clone()),
        }
    }

    /// The number under which the kernel knows an image, if it does.
    pub fn known(&self, id: ImageId) -> Option<Ino> {
        let table = self.table.read();
        table.candidates(id).find(|ino| table.holds(*ino, id))
    }
}

impl Table {
    fn number(&mut self, node: &Node) -> Ino {
        match node {
            Node::Root => ROOT,
            Node::ById => BY_ID,
            Node::ByProject => BY_PROJECT,
            Node::Project(name) => {
                let next = BY_PROJECT + 1 + self.projects.len() as Ino;
                let ino = *self.projects.entry(name.clone()).or_insert(next);
                let known = Known { node: node.clone(), lookups: 0 };
                self.nodes.entry(ino).or_insert(known);
                ino
            }
            Node::Image(id) => {
                let free = |ino: &Ino| !self.nodes.contains_key(ino) || self.holds(*ino, *id);
                self.candidates(*id).find(free).unwrap_or_else(|| of_image(*id))
            }
        }
    }

    /// Numbers that an image may have, the usual one first.
    fn candidates(&self, id: ImageId) -> impl Iterator<Item = Ino> + use<> {
        let usual = of_image(id);
        (0..16).map(move |step| usual.wrapping_add(step) | FIRST_IMAGE)
    }

    fn holds(&self, ino: Ino, id: ImageId) -> bool {
        self.nodes.get(&ino).is_some_and(|known| known.node == Node::Image(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_lasts_until_the_kernel_forgets_it_and_is_the_same_again() {
        let inodes = Inodes::default();
        let id = ImageId::random();
        let ino = inodes.remember(Node::Image(id));
        assert_eq!(inodes.remember(Node::Image(id)), ino);
        inodes.forget(ino, 1);
        assert_eq!(inodes.node(ino), Some(Node::Image(id)));
        inodes.forget(ino, 1);
        assert_eq!(inodes.node(ino), None);
        assert_eq!(inodes.remember(Node::Image(id)), ino);
    }

    #[test]
    fn two_ids_with_one_number_stay_apart() {
        let one: ImageId = "00000000-0000-0000-0000-000000000001".parse().unwrap();
        let two: ImageId = "00000001-0000-0000-0000-000000000000".parse().unwrap();
        let inodes = Inodes::default();
        let first = inodes.remember(Node::Image(one));
        assert_eq!(of_image(one), of_image(two));
        assert_ne!(inodes.remember(Node::Image(two)), first);
        assert_eq!(inodes.known(one), Some(first));
    }

    #[test]
    fn projects_have_small_numbers_that_stay() {
        let inodes = Inodes::default();
        let ino = inodes.remember(Node::Project("p".into()));
        inodes.forget(ino, 1);
        assert_eq!(inodes.node(ino), Some(Node::Project("p".into())));
        assert!(ino < FIRST_IMAGE);
    }
}
