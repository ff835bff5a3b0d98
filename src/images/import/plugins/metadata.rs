//! The plugin `inject_image_metadata`: properties that every imported image gets.
//! Glance: section `[inject_metadata_properties]`.

use std::collections::BTreeMap;

use tracing::warn;

use crate::catalog::model::Image;
use crate::identity::RequestContext;
use crate::images::fields;

/// What is set, and for whom it is not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InjectMetadata {
    /// Images of whoever has one of these roles are left as they are.
    pub ignore_user_roles: Vec<String>,
    /// The properties.
    pub properties: BTreeMap<String, String>,
}

impl InjectMetadata {
    /// Sets the properties.  Names that are fields of every image, or the server's own, are left
    /// out (Glance: the latter).
    pub fn run(&self, ctx: &RequestContext, image: &mut Image) {
        if self.ignore_user_roles.iter().any(|role| ctx.has_role(role)) {
            return;
        }
        for (name, value) in &self.properties {
            if fields::find(name).is_some() || fields::is_reserved(name) {
                warn!(image = %image.id, name, "is not injected: the name is reserved");
            } else {
                image.properties.insert(name.clone(), value.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::model::ImageId;
    use crate::identity::ProjectId;

    fn injected(ctx: &RequestContext) -> BTreeMap<String, String> {
        let pairs = [("a", "1"), ("b", "2"), ("os_glance_x", "3"), ("status", "active")];
        let inject = InjectMetadata {
            ignore_user_roles: vec!["Admin".into()],
            properties: pairs.map(|(name, value)| (name.into(), value.into())).into(),
        };
        let mut image = Image::new(ImageId::random(), None);
        image.properties.insert("a".into(), "0".into());
        inject.run(ctx, &mut image);
        image.properties.into_iter().collect()
    }

    #[test]
    fn properties_are_set_but_for_ignored_roles_and_reserved_names() {
        let member = RequestContext::member_of(ProjectId::new("p"));
        let expected = [("a", "1"), ("b", "2")].map(|(n, v)| (n.to_owned(), v.to_owned()));
        assert_eq!(injected(&member), expected.into());
        assert_eq!(injected(&RequestContext::operator()), [("a".into(), "0".into())].into());
    }
}
