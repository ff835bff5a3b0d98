//! Rules put to the question.

use super::language::parse;
use super::*;
use crate::catalog::model::ImageId;

fn rule(name: &str, text: &str) -> OwnRule {
    let check = parse(text).unwrap();
    OwnRule { name: name.to_string(), check, place: "policy.yaml:1".to_string() }
}

fn policy(rules: &[(&str, &str)]) -> Policy {
    Policy::with_rules(rules.iter().map(|(name, text)| rule(name, text)).collect()).unwrap()
}

fn identity(project: &str, roles: &[&str]) -> RequestContext {
    RequestContext {
        roles: roles.iter().map(ToString::to_string).collect(),
        ..RequestContext::member_of(ProjectId::new(project))
    }
}

fn image(owner: &str, visibility: Visibility) -> Image {
    let mut image = Image::new(ImageId::random(), Some(ProjectId::new(owner)));
    image.visibility = visibility;
    image
}

#[test]
fn the_default_rules_can_be_read() {
    assert!(Policy::with_rules(Vec::new()).is_ok());
    let names: std::collections::HashSet<_> =
        ACTIONS.iter().chain(SHARED).chain(WITHOUT_EFFECT).map(|(name, _)| name).collect();
    assert_eq!(names.len(), ACTIONS.len() + SHARED.len() + WITHOUT_EFFECT.len());
    assert_eq!(SHARED[0].0, CONTEXT_IS_ADMIN);
    assert_eq!(ACTIONS[Action::CopyImage as usize].0, Action::CopyImage.name());
}

#[test]
fn readers_see_members_change_and_others_learn_of_nothing() {
    let policy = Policy::default();
    let private = image("a", Visibility::Private);
    let check = |ctx: &RequestContext, action| policy.check_image(ctx, action, &private);
    let [member, reader, stranger] =
        [("a", "member"), ("a", "reader"), ("b", "member")].map(|(project, role)| {
            let roles = if role == "member" { vec!["member", "reader"] } else { vec![role] };
            identity(project, &roles)
        });
    assert!(check(&member, Action::ModifyImage).is_ok());
    assert!(check(&reader, Action::GetImage).is_ok());
    assert!(matches!(check(&reader, Action::ModifyImage), Err(Error::Forbidden(_))));
    assert!(matches!(check(&stranger, Action::ModifyImage), Err(Error::Hidden)));
    assert!(matches!(check(&stranger, Action::GetImage), Err(Error::Hidden)));
}

#[test]
fn a_rule_of_the_operators_takes_the_place_of_the_default_one() {
    let policy = policy(&[
        ("get_image", "rule:mine and not role:blind"),
        ("mine", "project_id:%(owner)s"),
        ("delete_image", "!"),
        ("upload_image", "@"),
    ]);
    let mine = image("a", Visibility::Public);
    assert!(policy.shows(&identity("a", &[]), &mine));
    assert!(!policy.shows(&identity("a", &["Blind"]), &mine), "roles have no case");
    assert!(!policy.shows(&identity("b", &[]), &mine));
    assert!(policy.check_image(&identity("b", &[]), Action::UploadImage, &mine).is_ok());
    let operator = RequestContext::operator();
    assert!(policy.check_image(&operator, Action::DeleteImage, &mine).is_err());
}

#[test]
fn rules_may_ask_about_everything_that_an_image_has() {
    let policy = policy(&[(
        "modify_image",
        "True:%(protected)s and 'None':%(disk_format)s and 'queued':%(status)s \
         and 'x-queued':x-%(status)s and 'debian':%(os_distro)s and user_id:u and is_admin:False \
         and roles:member and tenant:%(project_id)s",
    )]);
    let mut target = image("a", Visibility::Private);
    let ctx = RequestContext { user: Some("u".to_string()), ..identity("a", &["member"]) };
    assert!(policy.check_image(&ctx, Action::ModifyImage, &target).is_err());
    target.protected = true;
    target.properties.insert("os_distro".to_string(), "debian".to_string());
    assert!(policy.check_image(&ctx, Action::ModifyImage, &target).is_ok());
}

#[test]
fn nobody_is_the_owner_of_what_nobody_owns() {
    let policy = Policy::default();
    let mut ownerless = image("a", Visibility::Private);
    ownerless.owner = None;
    let nobody = RequestContext { project: None, ..identity("a", &["member", "reader"]) };
    assert!(!policy.shows(&nobody, &ownerless));
    assert!(policy.check(&nobody, Action::GetImages, &Own(&nobody)).is_ok());
}

#[test]
fn who_is_an_administrator_can_be_said() {
    let policy = policy(&[("context_is_admin", "role:cloud_admin")]);
    assert!(!policy.is_admin(&identity("a", &["admin"])));
    assert!(policy.is_admin(&identity("a", &["cloud_admin"])));
    let claimed = RequestContext { admin: true, ..identity("a", &["admin"]) };
    assert!(!policy.is_admin(&claimed));
    // The operator is one whatever the roles are called.
    let operator = RequestContext::operator();
    assert!(policy.shows(&operator, &image("a", Visibility::Private)));
}

#[test]
fn rules_that_lead_nowhere_are_refused() {
    let refused = |rules: &[(&str, &str)]| {
        let own = rules.iter().map(|(name, text)| rule(name, text)).collect();
        Policy::with_rules(own).unwrap_err().to_string()
    };
    let error = refused(&[("get_image", "rule:gone")]);
    assert!(error.contains("policy.yaml:1") && error.contains("rule:gone"), "{error}");
    let error = refused(&[("a", "rule:b"), ("b", "not rule:a")]);
    assert!(error.contains("refers to itself"), "{error}");
}

#[test]
fn a_directory_asks_the_catalog_only_where_a_row_does_not_say() {
    assert!(Policy::default().rows_suffice);
    assert!(policy(&[("get_image", "rule:x"), ("x", "'a':%(visibility)s")]).rows_suffice);
    assert!(!policy(&[("get_image", "rule:x"), ("x", "'a':%(os_distro)s")]).rows_suffice);
}
