//! schemathesis: thousands of requests made from the description of the API, none of which may be
//! answered by an error of the server's, or not at all.

use serde_json::{Value, json};

use crate::harness::Start;
use crate::program;

const DESCRIPTION: &str = include_str!("../../src/api/openapi.json");

/// Images that are there when it begins.
const IMAGES: usize = 40;

/// What it has to try at least.
const CASES: u64 = 5000;

/// The description, with names of things that are there beside those that are made up.
fn description(ids: &[String]) -> String {
    let mut description: Value = serde_json::from_str(DESCRIPTION).unwrap();
    let parameters = &mut description["components"]["parameters"];
    let known = |names: &[String]| json!({"anyOf": [{"enum": names}, {"type": "string"}]});
    parameters["id"]["schema"] = json!({"enum": ids});
    parameters["marker"]["schema"] = known(ids);
    parameters["namespace"]["schema"] = known(&["A".to_string(), "B".to_string()]);
    parameters["name"]["schema"] = known(&["a".to_string(), "b".to_string()]);
    let namespace = &mut description["components"]["schemas"]["Namespace"]["properties"];
    namespace["namespace"] = json!({"enum": ["A", "B"]});
    description.to_string()
}

#[test]
#[ignore = "needs schemathesis"]
fn no_request_makes_the_server_fail() {
    let mut glancefs = Start::default().with_api().config("").prepare();
    let cache = glancefs.directory().join("cache").display().to_string();
    glancefs.configure(&format!("[DEFAULT]\nenable_v1_api = True\nimage_cache_dir = {cache}\n"));
    glancefs.start_again();
    glancefs.noise("data", 20_000);
    // Every other one cannot be deleted, and so is there to the end.
    glancefs.sh(&format!(
        "for i in $(seq {IMAGES}); do cp data $M/i$i;
         [ $((i % 2)) = 0 ] || setfattr -n user.glance.protected -v true $M/i$i; done"
    ));
    let ids = glancefs.sh("ls $M/.by-id");
    let ids: Vec<String> = ids.lines().map(str::to_owned).collect();
    assert_eq!(ids.len(), IMAGES);
    std::fs::write(glancefs.scratch().join("openapi.json"), description(&ids)).unwrap();

    let script = format!(
        "exec timeout 480 {} run openapi.json --url http://{} --checks not_a_server_error --continue-on-failure \
         --phases coverage,fuzzing --max-examples 45 --seed 20261121 --request-timeout 20 \
         --suppress-health-check all --workers 1 --warnings off --no-color",
        program("GLANCEFS_TEST_SCHEMATHESIS", "st").display(),
        glancefs.api.unwrap()
    );
    let hooks = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/patch_bodies.py");
    let mut command = glancefs.script(&script);
    command.env("HOME", glancefs.scratch()).env("SCHEMATHESIS_HOOKS", hooks);
    let done = command.output().unwrap();
    let summary = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success(), "{summary}");
    let cases = cases(&summary);
    println!("{cases} cases");
    assert!(cases >= CASES, "{summary}");
    // It is as it was.
    glancefs.sh("cp data $M/last && cmp data $M/last");
}

/// How many test cases its summary counts.
fn cases(summary: &str) -> u64 {
    let line = summary.lines().find(|line| line.contains("generated")).expect(summary);
    let (count, _) = line.trim().split_once(' ').expect(line);
    count.parse().expect(line)
}
