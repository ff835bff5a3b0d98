//! Who may see and do what: Glance's rules, as an operator's files change them.
//!
//! - [`rules`]: the one table of actions and their default rules;
//! - [`language`]: what a rule may say, `target`: what it is said of;
//! - [`file`](mod@file): `policy.yaml` and the directories beside it;
//! - [`protections`]: who may see and set which property.
//!
//! An image that an identity may not see does not exist for it.  Glance decides that twice: its
//! database knows owners, members and visibility ([`sees`], which no file changes), and then there
//! is the rule `get_image`; who is refused anything else and may not see the image either is told
//! that there is none ([`Error::Hidden`]).

pub mod file;
pub mod language;
pub mod protections;
pub mod rules;
mod target;

use std::collections::HashMap;

use crate::catalog::Catalog;
use crate::catalog::model::{Image, Row, Status, Visibility};
use crate::catalog::query::Viewer;
use crate::error::{Error, Result};
use crate::identity::{ProjectId, RequestContext};
use language::{Check, Part, Text};
use protections::{Operation, Protections};
pub use rules::Action;
use rules::{ACTIONS, CONTEXT_IS_ADMIN, SHARED, WITHOUT_EFFECT};
use target::{NewImage, OF_A_ROW, SeenRow};
pub use target::{Nothing, Own, Seen, Target};

/// All rules, ready to be asked.
#[derive(Debug)]
pub struct Policy {
    /// Those of [`ACTIONS`] first, in their order; a rule that others refer to is named by its place.
    checks: Vec<Check<usize>>,
    places: HashMap<String, usize>,
    protections: Option<Protections>,
    /// Whether all that `get_image` asks about is in a [`Row`].
    rows_suffice: bool,
}

impl Default for Policy {
    fn default() -> Self {
        // The table is a constant, which a test reads: without it nobody may do anything.
        Self::with_rules(Vec::new()).unwrap_or_else(|_| Self {
            checks: vec![Check::Never; ACTIONS.len() + SHARED.len()],
            places: HashMap::new(),
            protections: None,
            rows_suffice: false,
        })
    }
}

/// A rule of the operator's: its name, and where it was written (for messages).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnRule {
    /// The name of an [`Action`], or one for others to refer to.
    pub name: String,
    /// What it says.
    pub check: Check<String>,
    /// File and line.
    pub place: String,
}

impl Policy {
    /// The default rules, save for those that are given here; later ones win.
    ///
    /// # Errors
    /// `Config` for a rule that refers to one that does not exist, or to itself.
    pub fn with_rules(own: Vec<OwnRule>) -> Result<Self> {
        let mut named = Vec::new();
        let mut places = HashMap::new();
        for (name, check) in ACTIONS.iter().chain(SHARED).chain(WITHOUT_EFFECT) {
            let wrong = |error| Error::Config(format!("the default rule {name}: {error}"));
            let check = language::parse(check).map_err(wrong)?;
            places.insert((*name).to_string(), named.len());
            named.push((check, format!("the default rule {name}")));
        }
        for OwnRule { name, check, place } in own {
            let rule = (check, format!("{place}: the rule {name}"));
            match places.get(&name) {
                // A place is an index of `named`.
                Some(known) => named[*known] = rule,
                None => {
                    places.insert(name, named.len());
                    named.push(rule);
                }
            }
        }
        let mut checks = Vec::with_capacity(named.len());
        for (check, place) in named {
            let linked = check.link(&mut |name: String| {
                places.get(&name).copied().ok_or_else(|| {
                    Error::Config(format!(
                        "{place} refers to rule:{name}, which there is not: define it, or correct \
                         the name (Glance would ask the rule `default` instead, which allows \
                         everybody everything)"
                    ))
                })
            })?;
            checks.push(linked);
        }
        refuse_circles(&checks, &places)?;
        let mut policy = Self { checks, places, protections: None, rows_suffice: false };
        policy.rows_suffice = policy.asks_only(Action::GetImage as usize, OF_A_ROW);
        Ok(policy)
    }

    /// The same rules, with properties protected.
    pub fn protecting(mut self, protections: Protections) -> Self {
        self.protections = Some(protections);
        self
    }

    /// Whether there is a rule of this name.
    pub fn knows(&self, rule: &str) -> bool {
        self.places.contains_key(rule)
    }

    /// Whether any other rule refers to the one of this name.
    fn is_referred_to(&self, rule: &str) -> bool {
        let Some(place) = self.places.get(rule) else { return false };
        let mut found = false;
        for check in &self.checks {
            check.visit(&mut |part| found |= *part == Check::Rule(*place));
        }
        found
    }

    /// Whether `ctx` may do something to `target`.
    pub fn allows(&self, ctx: &RequestContext, action: Action, target: &dyn Target) -> bool {
        self.holds(action as usize, ctx, target)
    }

    /// Whether a rule holds of which only the name is known; one that does not exist never does.
    pub fn allows_rule(&self, ctx: &RequestContext, rule: &str, target: &dyn Target) -> bool {
        self.places.get(rule).is_some_and(|place| self.holds(*place, ctx, target))
    }

    /// Checks that `ctx` may do something to `target`.
    ///
    /// # Errors
    /// `Forbidden`, in Glance's words.
    pub fn check(&self, ctx: &RequestContext, action: Action, target: &dyn Target) -> Result<()> {
        if self.allows(ctx, action, target) {
            return Ok(());
        }
        Err(Error::Forbidden(format!(
            "You are not authorized to complete {} action.",
            action.name()
        )))
    }

    /// Checks that `ctx` may do something that is about nothing in particular (`cache_list`, …).
    ///
    /// # Errors
    /// `Forbidden`
    pub fn check_service(&self, ctx: &RequestContext, action: Action) -> Result<()> {
        self.check(ctx, action, &Nothing)
    }

    /// Checks that `ctx` may do something to an image that [`sees`] shows it.
    ///
    /// # Errors
    /// `Forbidden`; `Hidden` for one who may not see it either.
    pub fn check_image(&self, ctx: &RequestContext, action: Action, image: &Image) -> Result<()> {
        let seen = Seen { image, by: ctx };
        self.check(ctx, action, &seen).map_err(|refused| {
            let hidden = action == Action::GetImage || !self.allows(ctx, Action::GetImage, &seen);
            if hidden { Error::Hidden } else { refused }
        })
    }

    /// Checks that `ctx` may do something to the members of an image, which only those may who see
    /// the image.
    ///
    /// # Errors
    /// `Hidden`, `Forbidden`
    pub fn check_members(&self, ctx: &RequestContext, action: Action, image: &Image) -> Result<()> {
        self.check_image(ctx, Action::GetImage, image)?;
        self.check(ctx, action, &Seen { image, by: ctx })
    }

    /// Checks that `ctx` may read an image's data.
    ///
    /// # Errors
    /// `Forbidden`, also for an image that is out of use; `Hidden`.
    pub fn check_download(&self, ctx: &RequestContext, image: &Image) -> Result<()> {
        if image.status == Status::Deactivated && !ctx.admin {
            return Err(Error::Forbidden(
                "The requested image has been deactivated. Image data download is forbidden."
                    .to_string(),
            ));
        }
        self.check_image(ctx, Action::DownloadImage, image)
    }

    /// Checks that `ctx` may make this record.
    ///
    /// # Errors
    /// `Forbidden`; `Refused` for a property that is protected, and for an owner that may not be.
    pub fn check_new(&self, ctx: &RequestContext, image: &Image) -> Result<()> {
        let target = NewImage(image);
        self.check(ctx, Action::AddImage, &target).map_err(|refused| {
            if image.owner == ctx.project {
                return refused;
            }
            let owner = image.owner.as_ref().map_or("None", ProjectId::as_str);
            Error::Refused(format!("You are not permitted to create images owned by '{owner}'"))
        })?;
        self.check_visibility(ctx, image.visibility, &target)?;
        let mut properties = image.properties.keys();
        let refused = properties.find(|name| !self.allows_property(ctx, Operation::Create, name));
        refused.map_or(Ok(()), |name| Err(protections::refused(name)))
    }

    /// Checks that `ctx` may give an image this visibility.
    ///
    /// # Errors
    /// `Forbidden`: whoever asks has seen the image, as far as owners and members matter.
    pub fn check_shown(&self, ctx: &RequestContext, to: Visibility, image: &Image) -> Result<()> {
        self.check_visibility(ctx, to, &Seen { image, by: ctx })
    }

    fn check_visibility(
        &self,
        ctx: &RequestContext,
        to: Visibility,
        target: &dyn Target,
    ) -> Result<()> {
        match to {
            Visibility::Public => self.check(ctx, Action::PublicizeImage, target),
            Visibility::Community => self.check(ctx, Action::CommunitizeImage, target),
            Visibility::Private | Visibility::Shared => Ok(()),
        }
    }

    /// Whether an image that is listed is shown, too.
    pub fn shows(&self, ctx: &RequestContext, image: &Image) -> bool {
        self.allows(ctx, Action::GetImage, &Seen { image, by: ctx })
    }

    /// Whether an image in a directory is shown.
    ///
    /// # Errors
    /// The catalog's, which is asked when the operator's rule wants to know more.
    pub fn shows_row(&self, ctx: &RequestContext, row: &Row, from: &dyn Catalog) -> Result<bool> {
        if self.rows_suffice {
            return Ok(self.allows(ctx, Action::GetImage, &SeenRow { row, by: ctx }));
        }
        Ok(from.get(row.id)?.is_some_and(|image| self.shows(ctx, &image)))
    }

    /// Whether whoever has these roles is an administrator.
    pub fn is_admin(&self, ctx: &RequestContext) -> bool {
        // Whether it was said to be one already does not count.
        let asked = RequestContext { admin: false, ..ctx.clone() };
        self.allows_rule(&asked, CONTEXT_IS_ADMIN, &Own(ctx))
    }

    /// Whether `ctx` may do something to a property.
    pub fn allows_property(&self, ctx: &RequestContext, to: Operation, name: &str) -> bool {
        self.protections.as_ref().is_none_or(|rules| rules.allow(self, ctx, to, name))
    }

    /// Takes the properties out of a record that `ctx` may not see; returns them.
    pub fn hide_properties(
        &self,
        ctx: &RequestContext,
        image: &mut Image,
    ) -> Vec<(String, String)> {
        if self.protections.is_none() {
            return Vec::new();
        }
        let hidden = |name: &String| !self.allows_property(ctx, Operation::Read, name);
        let names: Vec<String> = image.properties.keys().filter(|n| hidden(n)).cloned().collect();
        names.iter().filter_map(|name| image.properties.remove_entry(name)).collect()
    }

    fn holds(&self, place: usize, ctx: &RequestContext, target: &dyn Target) -> bool {
        if place == ADMIN && ctx.admin {
            return true;
        }
        self.checks.get(place).is_some_and(|check| self.met(check, ctx, target))
    }

    fn met(&self, check: &Check<usize>, ctx: &RequestContext, target: &dyn Target) -> bool {
        match check {
            Check::Always => true,
            Check::Never => false,
            Check::Rule(place) => self.holds(*place, ctx, target),
            Check::Not(check) => !self.met(check, ctx, target),
            Check::All(checks) => checks.iter().all(|check| self.met(check, ctx, target)),
            Check::Any(checks) => checks.iter().any(|check| self.met(check, ctx, target)),
            Check::Role(text) => text.with(target, |role| ctx.has_role(role)),
            Check::Literal(word, text) => text.with(target, |text| text == word),
            Check::Credential(name, text) => text.with(target, |text| has(ctx, name, text)),
        }
    }

    /// Whether a rule asks about nothing but these fields.
    fn asks_only(&self, place: usize, fields: &[&str]) -> bool {
        let mut only = true;
        if let Some(check) = self.checks.get(place) {
            check.visit(&mut |part| {
                only &= part.fields().all(|field| fields.contains(&field));
                if let Check::Rule(other) = part {
                    only &= self.asks_only(*other, fields);
                }
            });
        }
        only
    }
}

/// The place of [`CONTEXT_IS_ADMIN`]: the first one after the actions.
const ADMIN: usize = ACTIONS.len();

impl Text {
    /// Hands over the text about `target`; `false` when it has no such field.
    fn with(&self, target: &dyn Target, test: impl FnOnce(&str) -> bool) -> bool {
        match self.0.as_slice() {
            [Part::Word(word)] => test(word),
            [Part::Field(name)] => target.field(name).is_some_and(|text| test(&text)),
            parts => {
                let mut whole = String::new();
                for part in parts {
                    match part {
                        Part::Word(word) => whole.push_str(word),
                        Part::Field(name) => match target.field(name) {
                            Some(text) => whole.push_str(&text),
                            None => return false,
                        },
                    }
                }
                test(&whole)
            }
        }
    }
}

/// Whether something known of an identity is this text, written as Python would.
fn has(ctx: &RequestContext, name: &str, text: &str) -> bool {
    let is = |value: Option<&str>| value.unwrap_or("None") == text;
    match name {
        "project_id" | "project" | "tenant" => is(ctx.project.as_ref().map(ProjectId::as_str)),
        "user_id" | "user" => is(ctx.user.as_deref()),
        "roles" => ctx.roles.iter().any(|role| role == text),
        "service_roles" => ctx.service_roles.iter().any(|role| role == text),
        "is_admin" => text == if ctx.admin { "True" } else { "False" },
        _ => false,
    }
}

/// A rule that leads back to itself has no answer.
fn refuse_circles(checks: &[Check<usize>], places: &HashMap<String, usize>) -> Result<()> {
    #[derive(Clone, Copy, PartialEq)]
    enum Mark {
        Unseen,
        Open,
        Done,
    }
    fn walk(place: usize, checks: &[Check<usize>], marks: &mut [Mark]) -> bool {
        match marks.get(place) {
            Some(Mark::Open) => return false,
            // Every place that a rule names is one of `checks`, of which each has its mark.
            Some(Mark::Unseen) => marks[place] = Mark::Open,
            _ => return true,
        }
        let mut others = Vec::new();
        checks[place].visit(&mut |part| {
            if let Check::Rule(other) = part {
                others.push(*other);
            }
        });
        let fine = others.into_iter().all(|other| walk(other, checks, marks));
        marks[place] = Mark::Done;
        fine
    }
    let mut marks = vec![Mark::Unseen; checks.len()];
    for place in 0..checks.len() {
        if !walk(place, checks, &mut marks) {
            let name = places.iter().find(|(_, known)| **known == place);
            let name = name.map_or("?", |(name, _)| name.as_str());
            return Err(Error::Config(format!("the policy rule {name} refers to itself")));
        }
    }
    Ok(())
}

/// Whether `ctx` may know of the image as far as owners, members and visibility matter.  Glance:
/// what its database decides, where an image without an owner is everybody's.
///
/// # Errors
/// When the catalog cannot be asked about memberships.
pub fn sees(ctx: &RequestContext, image: &Image, catalog: &dyn Catalog) -> Result<bool> {
    if ctx.admin
        || image.owner.is_none()
        || matches!(image.visibility, Visibility::Public | Visibility::Community)
        || owns(ctx, image.owner.as_ref())
    {
        return Ok(true);
    }
    match &ctx.project {
        Some(project) if image.visibility == Visibility::Shared => {
            catalog.is_member(image.id, project)
        }
        _ => Ok(false),
    }
}

/// Whether an image belongs into `ctx`'s listings unasked.  Glance: a community image of somebody
/// else is found by those who know of it, and listed for nobody but its owner.
pub fn lists(ctx: &RequestContext, row: &Row) -> bool {
    !row.os_hidden
        && (ctx.admin || row.visibility != Visibility::Community || owns(ctx, row.owner.as_ref()))
}

/// The view of the catalog that `ctx` has.
pub fn viewer(ctx: &RequestContext) -> Viewer {
    Viewer::of(ctx)
}

/// Whether the identity's project is the owner.
pub fn owns(ctx: &RequestContext, owner: Option<&ProjectId>) -> bool {
    owner.is_some() && ctx.project.as_ref() == owner
}

#[cfg(test)]
mod tests;
