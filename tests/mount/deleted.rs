//! A catalog with delayed delete: what `rm` leaves behind, its removal, and the way back.

use serde_json::{Value, json};

use crate::harness::{Glancefs, Start, eventually};

/// Data stays until somebody runs `glancefs scrub`.
const BY_HAND: &str = "[DEFAULT]\ndelayed_delete = true\n";

/// Data goes at once, nearly.
const AT_ONCE: &str = "[DEFAULT]\ndelayed_delete = true\nscrub_time = 0\nwakeup_time = 1\n";

fn mount(config: &str) -> Glancefs {
    let glancefs = Start::default().with_api().config(config).mount();
    glancefs.noise("a.raw", 3 << 20);
    glancefs.sh("cp a.raw $M/");
    glancefs
}

fn url(glancefs: &Glancefs, path: &str) -> String {
    format!("http://{}/v2/images/{path}", glancefs.api.unwrap())
}

/// What curl says that the API answers.
fn answer(glancefs: &Glancefs, arguments: &str) -> String {
    glancefs.sh(&format!("curl -sS -o answer -w '%{{http_code}}' {arguments}"))
}

/// Nobody sees an image of this id.
#[track_caller]
fn assert_unseen(glancefs: &Glancefs, id: &str) {
    assert!(!glancefs.sh("ls -a $M $M/.by-id").contains(id));
    glancefs.refused(&format!("cat $M/.by-id/{id}"), "No such file");
    glancefs.refused(&format!("cat $M/{id}"), "No such file");
    assert_eq!(answer(glancefs, &url(glancefs, id)), "404");
    assert_eq!(answer(glancefs, &url(glancefs, &format!("{id}/file"))), "404");
    assert!(
        !glancefs
            .sh(&format!("curl -sSf {}", url(glancefs, "").trim_end_matches('/')))
            .contains(id)
    );
}

#[test]
fn a_deleted_image_is_gone_for_all_and_its_data_when_it_is_scrubbed() {
    let glancefs = mount(BY_HAND);
    let by_mount = glancefs.image("a.raw").id;
    glancefs.sh("rm $M/a.raw && cp a.raw $M/ && cmp a.raw $M/a.raw");
    let by_api = glancefs.image("a.raw").id;
    assert_eq!(answer(&glancefs, &format!("-X DELETE {}", url(&glancefs, &by_api))), "204");
    for id in [&by_mount, &by_api] {
        assert_unseen(&glancefs, id);
        assert!(glancefs.is_pending(id) && glancefs.has_data(id));
    }
    assert_eq!(glancefs.sh("ls $M"), "");
    // Its id is not free.
    let again = format!(
        "-X POST -H 'Content-Type: application/json' -d '{{\"id\": \"{by_api}\"}}' {}",
        url(&glancefs, "").trim_end_matches('/')
    );
    assert_eq!(answer(&glancefs, &again), "409");
    let listed = glancefs.scrub("--list");
    assert!(listed.contains(&by_mount) && listed.contains("2 waiting"), "{listed}");
    let state = glancefs.state_dir().display().to_string();
    let status =
        glancefs.sh(&format!("{} status --state-dir {state}", env!("CARGO_BIN_EXE_glancefs")));
    assert!(status.contains("deleted  2 images wait to be scrubbed"), "{status}");

    let done = glancefs.scrub("--once");
    assert!(done.contains(&format!("scrubbed  {by_api}")), "{done}");
    assert!(done.contains("2 scrubbed\n"), "{done}");
    for id in [&by_mount, &by_api] {
        assert!(glancefs.is_scrubbed(id));
        eventually("its data is gone", || !glancefs.has_data(id));
        glancefs.scrub_refused(&format!("--restore {id}"), "cannot be brought back");
    }
    assert!(glancefs.scrub("--list").contains("0 waiting"));
    assert!(glancefs.scrub("--once").contains("0 scrubbed"));
}

/// All that the API shows of an image and its members, but when it was changed.
fn shown(glancefs: &Glancefs, id: &str) -> [Value; 2] {
    [id.to_owned(), format!("{id}/members")].map(|path| {
        let text = glancefs.sh(&format!("curl -sSf {}", url(glancefs, &path)));
        let mut value: Value = serde_json::from_str(&text).unwrap();
        value.as_object_mut().unwrap().remove("updated_at");
        for member in value["members"].as_array_mut().into_iter().flatten() {
            member.as_object_mut().unwrap().remove("updated_at");
        }
        value
    })
}

#[test]
fn a_deleted_image_comes_back_as_it_was() {
    let mut glancefs = mount(BY_HAND);
    let id = glancefs.image("a.raw").id;
    glancefs.sh("setfattr -n user.glance.property.gone -v before $M/a.raw
         setfattr -x user.glance.property.gone $M/a.raw
         setfattr -n user.glance.property.os_distro -v debian $M/a.raw");
    assert_eq!(
        answer(&glancefs, &format!("-X PUT {}", url(&glancefs, &format!("{id}/tags/x")))),
        "204"
    );
    let member = json!({"member": "other"});
    let member = format!(
        "-X POST -H 'Content-Type: application/json' -d '{member}' {}",
        url(&glancefs, &format!("{id}/members"))
    );
    assert_eq!(answer(&glancefs, &member), "200");
    let before = shown(&glancefs, &id);
    assert_eq!(before[0]["os_distro"], "debian");
    assert_eq!(before[1]["members"][0]["member_id"], "other");
    glancefs.scrub_refused(&format!("--restore {id}"), "its status is active");
    glancefs.sh("rm $M/a.raw");

    // While the daemon runs, and another one than deleted it: the mount shows it at once.
    glancefs.restart();
    assert_unseen(&glancefs, &id);
    let done = glancefs.scrub(&format!("--restore {id}"));
    assert!(done.contains("restored") && done.contains("a.raw"), "{done}");
    assert_eq!(glancefs.sh("ls $M; cmp a.raw $M/a.raw"), "a.raw\n");
    glancefs.assert_same("a.raw", "a.raw", "raw");
    let mut after = shown(&glancefs, &id);
    // Of the same second, it cannot be told from what the image had when it was deleted.
    if after[0]["gone"] == "before" && crate::harness::database::is_on_server() {
        after[0].as_object_mut().unwrap().remove("gone");
    }
    assert_eq!(after, before);
    glancefs.scrub_refused(&format!("--restore {id}"), "its status is active");
    assert!(glancefs.scrub("--once").contains("0 scrubbed"));

    // While none runs; and it can be cloned, read and deleted like any other.
    glancefs.sh("rm $M/a.raw");
    assert!(glancefs.terminate().success());
    assert!(glancefs.scrub("--list").contains(&id));
    glancefs.scrub(&format!("--restore {id}"));
    glancefs.start_again();
    assert_eq!(glancefs.sh("cmp a.raw $M/a.raw; ls $M"), "a.raw\n");
    glancefs.sh("rm $M/a.raw");
    assert!(glancefs.scrub("--once").contains("1 scrubbed"));
    assert!(glancefs.is_scrubbed(&id));
}

#[test]
fn what_cannot_be_brought_back_is_refused_and_says_why() {
    let glancefs = mount(BY_HAND);
    let id = glancefs.image("a.raw").id;
    glancefs.sh("rm $M/a.raw");
    glancefs.lose(&id);
    glancefs.scrub_refused(&format!("--restore {id}"), "its data is gone");
    assert!(glancefs.is_pending(&id), "nothing has changed");
    let never = "5a8d8b6c-4f9e-4a50-9f59-7a5c1d3f0e11";
    glancefs.scrub_refused(&format!("--restore {never}"), "there is no image");
    glancefs.scrub_refused("--restore a.raw", "not an image id");
    let no_wish = glancefs.try_scrub("");
    assert_eq!(no_wish.status.code(), Some(2), "{no_wish:?}");
    // What is gone already is scrubbed all the same.
    assert!(glancefs.scrub("--once").contains("1 scrubbed"));
    assert!(glancefs.is_scrubbed(&id));
}

#[test]
fn the_daemon_scrubs_by_itself_when_the_time_has_come() {
    let later = "[DEFAULT]\ndelayed_delete = true\nscrub_time = 86400\nwakeup_time = 1\n";
    let mut glancefs = mount(later);
    let id = glancefs.image("a.raw").id;
    glancefs.sh("rm $M/a.raw");
    assert!(glancefs.scrub("--once").contains("0 scrubbed"), "not due");
    let listed: Value = serde_json::from_str(&glancefs.scrub("--list --json")).unwrap();
    let waiting = &listed["waiting"][0];
    assert_eq!((&waiting["id"], &waiting["size"]), (&json!(id), &json!(3 << 20)));
    assert_ne!(waiting["due_at"], waiting["deleted_at"]);
    assert!(glancefs.is_pending(&id) && glancefs.has_data(&id));
    glancefs.restart_configured(AT_ONCE);
    eventually("it is scrubbed", || glancefs.is_scrubbed(&id) && !glancefs.has_data(&id));
    eventually("nothing is left to do", || glancefs.has_an_empty_journal());
    glancefs.sh("cp a.raw $M/ && rm $M/a.raw");
    eventually("so is the next one", || glancefs.scrub("--list").contains("0 waiting"));
    assert!(!glancefs.log().contains("WARN"), "{}", glancefs.log());
}

#[test]
fn who_reads_a_deleted_image_reads_on_when_it_is_scrubbed() {
    let glancefs = mount(BY_HAND);
    let id = glancefs.image("a.raw").id;
    let config = glancefs.directory().join("glance-api.conf");
    glancefs.sh(&format!(
        "exec 3<$M/a.raw && rm $M/a.raw && {} scrub --once --state-dir {} --config-file {} && cmp a.raw - <&3",
        env!("CARGO_BIN_EXE_glancefs"),
        glancefs.state_dir().display(),
        config.display()
    ));
    eventually("its data goes", || !glancefs.has_data(&id));
}

#[test]
fn only_who_was_told_when_scrubs_by_itself_and_never_a_read_only_mount() {
    let scrubs = |glancefs: &Glancefs| {
        let threads = glancefs.sh(&format!("cat /proc/{}/task/*/comm", glancefs.pid()));
        threads.lines().any(|name| name == "scrubber")
    };
    let mut glancefs = Start::default().config(AT_ONCE).mount();
    eventually("it does", || scrubs(&glancefs));
    glancefs.restart_configured(BY_HAND);
    assert!(!scrubs(&glancefs));
    assert!(glancefs.log().contains("does not remove the data"), "{}", glancefs.log());
    assert!(!scrubs(&Start::default().options("ro").config(AT_ONCE).mount()));
}
