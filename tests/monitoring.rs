//! What monitoring is told: the figures, the dashboard and the alerts that use them, health, the log.

// Also outside of the test functions themselves a panic is a failed test.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod harness;

use std::collections::BTreeSet;

use glancefs::telemetry::metrics::{COUNTED, Kind, LEVELS};
use serde_json::Value;

use crate::harness::{Glancefs, Running, Start, eventually};

const DASHBOARD: &str = include_str!("../packaging/monitoring/grafana-dashboard.json");
const RULES: &str = include_str!("../packaging/monitoring/prometheus-rules.yml");

/// All names of figures in a text.
fn figures(text: &str) -> BTreeSet<String> {
    let word = |c: char| !(c.is_ascii_alphanumeric() || c == '_');
    text.split(word).filter(|word| word.starts_with("glancefs_")).map(str::to_owned).collect()
}

#[test]
fn dashboard_and_alerts_use_figures_that_exist() {
    let mut known: BTreeSet<_> = LEVELS.iter().map(|level| level.0.to_owned()).collect();
    for (name, kind, _) in COUNTED {
        known.insert((*name).to_owned());
        if *kind == Kind::Histogram {
            known.extend(["bucket", "sum", "count"].map(|part| format!("{name}_{part}")));
        }
    }
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    assert!(dashboard["panels"].as_array().unwrap().len() > 10);
    for text in [DASHBOARD, RULES] {
        let used = figures(text);
        assert!(used.len() > 5, "{used:?}");
        let unknown: Vec<_> = used.difference(&known).collect();
        assert!(unknown.is_empty(), "{unknown:?}");
    }
}

fn get(url: &str) -> (u16, String) {
    let agent: ureq::Agent =
        ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let mut answer = agent.get(url).call().unwrap();
    (answer.status().as_u16(), answer.body_mut().read_to_string().unwrap())
}

fn api(fs: &Glancefs, path: &str) -> (u16, String) {
    get(&format!("http://{}{path}", fs.api.unwrap()))
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn metrics_show_what_the_page_says() {
    let port = free_port();
    let config =
        format!("[glancefs]\nmetrics_listen = 127.0.0.1:{port}\nnotification_file = /dev/null\n");
    let fs = Start::default().with_api().config(&config).mount();
    fs.sh("echo a >$M/a; cat $M/a");
    assert_eq!(api(&fs, "/v2/images").0, 200);
    let shown = get(&format!("http://127.0.0.1:{port}/metrics")).1;
    for line in [
        "glancefs_images 1",
        "glancefs_imports_running 0",
        "glancefs_unfinished 0",
        "glancefs_uploads_total{store=",
        "glancefs_http_requests_total{method=\"GET\",status=\"200\"}",
        "glancefs_store_up{store=",
        "glancefs_build_info{version=\"",
    ] {
        assert!(shown.contains(line), "{line}: {shown}");
    }
    let known: BTreeSet<_> = figures(&shown);
    for (name, kind, _) in COUNTED {
        assert!(
            shown.contains(&format!("# TYPE {name} ")) || *kind != Kind::Gauge,
            "{name}: {known:?}"
        );
    }
}

#[test]
fn health_has_details_when_they_are_asked_for() {
    let fs = Start::default().with_api().mount();
    assert_eq!(api(&fs, "/healthcheck"), (200, "OK".to_owned()));
    let (status, body) = api(&fs, "/healthcheck?detailed");
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &body["detailed"]), (200, &Value::Bool(true)));
    assert_eq!(body["reasons"][0]["reason"], "OK");
    let store = body["reasons"][1]["details"].as_str().unwrap();
    assert!(store.starts_with("store ") && store.ends_with(" answers"), "{body}");
}

#[test]
fn each_line_about_a_request_has_its_id() {
    let fs = Start::default().with_api().prepare();
    let mut command = fs.command();
    command.args(["--verbose", "--log-format", "json"]);
    let log = fs.directory().join("log");
    let text = format!("[DEFAULT]\nlog_file = {}\n", log.display());
    std::fs::write(fs.directory().join("log.conf"), text).unwrap();
    command.arg("--config-file").arg(fs.directory().join("log.conf"));
    let daemon = Running::start(&mut command);
    eventually("it runs", || daemon.printed().contains("http://"));
    let printed = daemon.printed();
    let url = printed.split_whitespace().last().unwrap();
    let agent = ureq::Agent::new_with_defaults();
    let asked = agent.get(format!("{url}/v2/images")).header("X-OpenStack-Request-ID", "req-mine");
    asked.call().unwrap();
    let lines = || std::fs::read_to_string(&log).unwrap_or_default();
    eventually("it is logged", || lines().contains("answered"));
    let lines: Vec<Value> =
        lines().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let answered = lines.iter().find(|line| line["fields"]["message"] == "answered").unwrap();
    assert_eq!(answered["span"]["id"], "req-mine");
    assert_eq!(answered["fields"]["path"], "/v2/images");
    daemon.signal(rustix::process::Signal::TERM);
    assert!(daemon.wait().ok());
}

#[test]
fn status_can_be_watched() {
    let fs = Glancefs::mount();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_glancefs"));
    command.args(["status", "--watch", "--json", "--state-dir"]).arg(fs.state_dir());
    let watching = Running::start(&mut command);
    eventually("it was printed again", || watching.printed().lines().count() >= 2);
    let first: Value = serde_json::from_str(watching.printed().lines().next().unwrap()).unwrap();
    assert_eq!(first["images"], 0);
    drop(fs);
    let done = watching.wait();
    assert!(
        done.stderr.contains("no glancefs is running") || done.stderr.contains("hung up"),
        "{done:?}"
    );
}

#[test]
fn every_shell_gets_its_completions() {
    for (shell, words) in
        [("bash", "complete -F"), ("zsh", "#compdef glancefs"), ("fish", "complete -c")]
    {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_glancefs"));
        let done = Running::start(command.args(["completions", shell])).wait();
        assert!(done.ok() && done.stdout.contains(words), "{shell}");
        assert!(done.stdout.contains("prefetch"), "{shell}");
    }
}
