//! Which configuration files hold secrets, and whether others on this machine can read them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::ini::Assignment;

/// Words in the names of options whose values are secrets, in Glance and the libraries it uses.
const SECRET_WORDS: &[&str] =
    &["password", "secret", "admin_token", "encryption_key", "access_key", "store_key"];

/// The mode's bits for everybody else, and those for the group besides.
const OTHERS: u32 = 0o007;
const GROUP_AND_OTHERS: u32 = 0o077;

/// Something to say of each file that has a secret in it and that everybody may read.  The secret is
/// not in it, nor what it is for.
pub(super) fn readable_by_all(files: &[Vec<Assignment>]) -> Vec<String> {
    let mut notes = Vec::new();
    for file in files {
        let Some(path) = file.first().map(|assignment| assignment.place.file.as_path()) else {
            continue;
        };
        if file.iter().any(is_secret) {
            notes.extend(file_open_to_all(path, "holds passwords"));
        }
    }
    notes
}

/// What to say of the private key of the API, if everybody may read it.
pub(super) fn private_key(path: &Path) -> Option<String> {
    file_open_to_all(path, "is a private key")
}

/// What to say of a state directory that was made by somebody else, and is not for its owner alone.
pub(super) fn state_dir(path: &Path) -> Option<String> {
    let shown = path.display();
    (mode(path)? & GROUP_AND_OTHERS != 0).then(|| {
        format!("others on this machine may look into the state directory: chmod 700 {shown}")
    })
}

fn file_open_to_all(path: &Path, what: &str) -> Option<String> {
    let shown = path.display();
    (mode(path)? & OTHERS != 0).then(|| {
        format!("{shown} {what}, and is open to everybody on this machine: chmod o= {shown}")
    })
}

fn mode(path: &Path) -> Option<u32> {
    Some(fs::metadata(path).ok()?.permissions().mode())
}

fn is_secret(assignment: &Assignment) -> bool {
    let name = assignment.name.to_lowercase();
    let has_value = assignment.lines.iter().any(|line| !line.is_empty());
    has_value
        && (SECRET_WORDS.iter().any(|word| name.contains(word))
            || assignment.lines.iter().any(|line| has_password(line)))
}

/// Whether a value is a URL with a password in it (`mysql://user:password@host`,
/// `rabbit://user:password@host,user:…`).
fn has_password(value: &str) -> bool {
    let Some((_, rest)) = value.split_once("://") else { return false };
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let mut hosts = authority.split(',').filter_map(|host| host.rsplit_once('@'));
    // A password may have a slash in it that should have been encoded.
    let sloppy = rest.rsplit_once('@').filter(|(user, _)| !user.contains('/'));
    hosts.any(|(user, _)| has_second_part(user)) || sloppy.is_some_and(|(u, _)| has_second_part(u))
}

fn has_second_part(user: &str) -> bool {
    user.split_once(':').is_some_and(|(_, password)| !password.is_empty())
}

#[cfg(test)]
mod tests {
    use super::super::ini;
    use super::*;

    fn secret(line: &str) -> bool {
        let file = ini::parse(Path::new("x"), &format!("[a]\n{line}\n")).unwrap();
        file.iter().any(is_secret)
    }

    #[test]
    fn passwords_are_known_by_name_and_in_urls() {
        for line in [
            "password = x",
            "admin_password = x",
            "memcache_secret_key = x",
            "connection = mysql+pymysql://glance:x@db/glance?charset=utf8",
            "transport_url = rabbit://a@b:1,stack:x@c:5672/",
        ] {
            assert!(secret(line), "{line}");
        }
        for line in [
            "password =",
            "connection = sqlite:////var/lib/glance/glance.sqlite",
            "auth_url = http://controller:5000/v3",
            "transport_url = rabbit://stack@host:5672/",
            "username = glance",
            "public_endpoint = https://host:443/a@b",
        ] {
            assert!(!secret(line), "{line}");
        }
    }

    #[test]
    fn a_file_with_a_secret_that_all_may_read_is_named_with_what_to_do() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("glance-api.conf");
        fs::write(&path, "[keystone_authtoken]\npassword = hunter2\n").unwrap();
        let notes = |mode| {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            readable_by_all(&[ini::read(&path).unwrap()])
        };
        assert_eq!(notes(0o640), [""; 0]);
        let said = notes(0o644).join("\n");
        assert!(said.contains("chmod o= ") && said.contains("glance-api.conf"), "{said}");
        assert!(!said.contains("hunter2"), "{said}");
        fs::write(&path, "[DEFAULT]\ndebug = true\n").unwrap();
        assert_eq!(notes(0o644), [""; 0], "nothing to hide");
    }
}
