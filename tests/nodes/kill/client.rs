//! A client that does one thing after the other, and remembers what it was answered.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};
use ureq::Agent;

use super::expected::{Data, Expected, Outcome, Random, There, change, data_of};
use crate::Site;
use crate::harness::database::Raw;
use crate::harness::{DEADLINE, Finished, Running};

const PATCH: &str = "application/openstack-images-v2.1-json-patch";

/// One of them.
pub struct Client {
    number: usize,
    agent: Agent,
    /// `/v2/images` behind HAProxy.
    images_url: String,
    mounts: [PathBuf; 2],
    scratch: PathBuf,
    catalog: Raw,
    random: Random,
    /// What it made.
    pub images: Vec<Expected>,
    /// Names of files of which nobody said whether they were written, and what their data is of.
    pub unanswered: Vec<(String, u64)>,
    outcomes: BTreeMap<(&'static str, Outcome), usize>,
}

impl Client {
    pub fn new(number: usize, site: &Site, proxy: SocketAddr) -> Self {
        let scratch = site.zeus.directory().join(format!("client-{number}"));
        fs::create_dir(&scratch).unwrap();
        let config = Agent::config_builder()
            .timeout_global(Some(DEADLINE))
            .http_status_as_error(false)
            .max_idle_connections(0);
        Self {
            number,
            agent: config.build().into(),
            images_url: format!("http://{proxy}/v2/images"),
            mounts: [site.zeus.mountpoint(), site.hades.mountpoint()],
            scratch,
            catalog: site.zeus.database(),
            random: Random(uuid::Uuid::new_v4().as_u64_pair().0),
            images: Vec::new(),
            unanswered: Vec::new(),
            outcomes: BTreeMap::new(),
        }
    }

    /// How often what ended how.
    pub fn tally(&self) -> impl Iterator<Item = (String, usize)> {
        let told = |((what, outcome), count): (&(&str, Outcome), &usize)| {
            (format!("{what}: {outcome:?}"), *count)
        };
        self.outcomes.iter().map(told)
    }

    /// Does something.
    pub fn act(&mut self) {
        let (what, outcome) = match self.random.below(20) {
            0..=2 => self.create(),
            3..=6 => self.upload(),
            7..=8 => self.rename(),
            9 => self.note(),
            10..=11 => self.download(),
            12 => self.list(),
            13 => self.delete(),
            14..=15 => self.copy_in(),
            16 => self.compare(),
            17..=18 => self.move_file(),
            _ => self.unlink(),
        };
        *self.outcomes.entry((what, outcome)).or_default() += 1;
    }

    fn new_name(&mut self) -> String {
        format!("{}-{:016x}", self.number, self.random.next())
    }

    /// Some image that is there, and of which this is so.
    fn some(&mut self, condition: impl Fn(&Expected) -> bool) -> Option<usize> {
        let wanted = |e: &&Expected| e.there == There::Certain && condition(e);
        let count = self.images.iter().filter(wanted).count();
        let nth = self.random.below(count.max(1));
        let fitting = self.images.iter().enumerate().filter(|(_, e)| wanted(e));
        fitting.map(|(at, _)| at).nth(nth)
    }

    fn create(&mut self) -> (&'static str, Outcome) {
        let (id, name) = (uuid::Uuid::new_v4().to_string(), self.new_name());
        let fields = json!({
            "id": id, "name": name, "disk_format": "raw", "container_format": "bare",
        });
        let outcome = outcome(self.agent.post(&self.images_url).send_json(&fields));
        let there = match outcome {
            Outcome::Done => There::Certain,
            Outcome::Refused => panic!("{fields} was refused"),
            Outcome::Unanswered => There::Maybe,
        };
        self.images.push(Expected::new(id, name, Data::None, there));
        ("create", outcome)
    }

    fn upload(&mut self) -> (&'static str, Outcome) {
        let Some(at) = self.some(|e| !matches!(e.data, Data::Certain(_))) else {
            return self.create();
        };
        // What was not answered is sent once more.
        let seed = match self.images[at].data {
            Data::Maybe(seed) => seed,
            _ => self.random.next(),
        };
        let url = format!("{}/{}/file", self.images_url, self.images[at].id);
        let request = self.agent.put(url).content_type("application/octet-stream");
        let outcome = outcome(request.send(&data_of(seed)[..]));
        let image = &mut self.images[at];
        match (outcome, image.data) {
            (Outcome::Done, _) => image.data = Data::Certain(seed),
            (Outcome::Refused, Data::None) => panic!("data was refused: {image:?}"),
            (Outcome::Refused, _) => {}
            (Outcome::Unanswered, _) => image.data = Data::Maybe(seed),
        }
        ("upload", outcome)
    }

    fn rename(&mut self) -> (&'static str, Outcome) {
        let Some(at) = self.some(|_| true) else { return self.create() };
        let name = self.new_name();
        let outcome = self.patch(at, &json!([{"op": "replace", "path": "/name", "value": name}]));
        change(&mut self.images[at].names, name, outcome);
        ("rename", outcome)
    }

    fn note(&mut self) -> (&'static str, Outcome) {
        let Some(at) = self.some(|_| true) else { return self.create() };
        let note = self.new_name();
        let outcome = self.patch(at, &json!([{"op": "add", "path": "/note", "value": note}]));
        change(&mut self.images[at].notes, Some(note), outcome);
        ("note", outcome)
    }

    fn patch(&mut self, at: usize, patch: &Value) -> Outcome {
        let url = format!("{}/{}", self.images_url, self.images[at].id);
        outcome(self.agent.patch(url).content_type(PATCH).send(patch.to_string()))
    }

    fn download(&mut self) -> (&'static str, Outcome) {
        let Some(at) = self.some(|e| matches!(e.data, Data::Certain(_))) else {
            return self.upload();
        };
        let url = format!("{}/{}/file", self.images_url, self.images[at].id);
        let answer = self.agent.get(url).call();
        let status = answer.as_ref().map_or(0, |answer| answer.status().as_u16());
        assert!([0, 200, 502, 503, 504].contains(&status), "{status}: {:?}", self.images[at]);
        let body = answer.and_then(|mut answer| answer.body_mut().read_to_vec());
        let (200, Ok(body)) = (status, body) else { return ("download", Outcome::Unanswered) };
        let image = &self.images[at];
        assert!(body == data_of(seed_of(image)), "{image:?}");
        ("download", Outcome::Done)
    }

    fn list(&mut self) -> (&'static str, Outcome) {
        let answer = self.agent.get(format!("{}?limit=1000", self.images_url)).call();
        let Some(mut answer) = answer.ok().filter(|answer| answer.status() == 200) else {
            return ("list", Outcome::Unanswered);
        };
        let Ok(list) = answer.body_mut().read_json::<Value>() else {
            return ("list", Outcome::Unanswered);
        };
        let listed: Vec<_> =
            list["images"].as_array().unwrap().iter().map(|image| &image["id"]).collect();
        for image in &self.images {
            let there = listed.iter().any(|id| **id == image.id.as_str());
            assert!(there || image.there != There::Certain, "not listed: {image:?}");
            assert!(!there || image.there != There::Gone, "listed: {image:?}");
        }
        ("list", Outcome::Done)
    }

    fn delete(&mut self) -> (&'static str, Outcome) {
        let Some(at) = self.some(|_| true) else { return self.create() };
        let url = format!("{}/{}", self.images_url, self.images[at].id);
        let outcome = outcome(self.agent.delete(url).call());
        self.images[at].removed(outcome);
        ("delete", outcome)
    }

    /// Runs something with one of the mounts as `$M`.  By this path there is no way to what is below
    /// a mount that is not there.
    fn shell(&mut self, script: &str, arguments: &[&str]) -> Finished {
        let mount = self.random.below(2);
        let mut command = Command::new("sh");
        command
            .args(["-euc", script, "sh"])
            .args(arguments)
            .current_dir(&self.scratch)
            .env("M", self.mounts[mount].join(".by-id/.."));
        Running::start(&mut command).wait()
    }

    fn copy_in(&mut self) -> (&'static str, Outcome) {
        let (name, seed) = (self.new_name(), self.random.next());
        fs::write(self.scratch.join("data"), data_of(seed)).unwrap();
        let outcome = told(&self.shell(r#"cp data "$M/$1""#, &[&name]));
        if outcome == Outcome::Done {
            let sql = "SELECT id FROM images WHERE name = ? AND deleted = 0";
            let found = self.catalog.rows(sql, &[Some(&name)]);
            let id = found.into_iter().flatten().flatten().next().expect("it was written");
            self.images.push(Expected::new(id, name, Data::Certain(seed), There::Certain));
        } else {
            self.unanswered.push((name, seed));
        }
        ("cp", outcome)
    }

    fn compare(&mut self) -> (&'static str, Outcome) {
        let Some(at) = self.some(|e| matches!(e.data, Data::Certain(_))) else {
            return self.copy_in();
        };
        let image = self.images[at].clone();
        fs::write(self.scratch.join("data"), data_of(seed_of(&image))).unwrap();
        let finished = self.shell(r#"cmp data "$M/.by-id/$1""#, &[&image.id]);
        assert_ne!(finished.status.code(), Some(1), "{image:?}: {finished:?}");
        ("cmp", told(&finished))
    }

    fn move_file(&mut self) -> (&'static str, Outcome) {
        let Some((at, old)) = self.some_file() else { return self.copy_in() };
        let new = self.new_name();
        let outcome = told(&self.shell(r#"mv -T "$M/$1" "$M/$2""#, &[&old, &new]));
        change(&mut self.images[at].names, new, outcome);
        ("mv", outcome)
    }

    fn unlink(&mut self) -> (&'static str, Outcome) {
        let Some((at, name)) = self.some_file() else { return self.copy_in() };
        let outcome = told(&self.shell(r#"unlink "$M/$1""#, &[&name]));
        self.images[at].removed(outcome);
        ("unlink", outcome)
    }

    fn some_file(&mut self) -> Option<(usize, String)> {
        let at = self.some(|e| matches!(e.data, Data::Certain(_)) && e.name().is_some())?;
        Some((at, self.images[at].name()?.to_owned()))
    }
}

fn seed_of(image: &Expected) -> u64 {
    match image.data {
        Data::Certain(seed) | Data::Maybe(seed) => seed,
        Data::None => panic!("{image:?} has no data"),
    }
}

/// Of a change by the API.
#[track_caller]
fn outcome(answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Outcome {
    match answer.map(|answer| answer.status().as_u16()) {
        Ok(200..=299) => Outcome::Done,
        // In use, or being put right: not now.
        Ok(409) => Outcome::Refused,
        Ok(502..=504) | Err(_) => Outcome::Unanswered,
        Ok(other) => panic!("status {other}"),
    }
}

/// Of a program that works in a mount: the other controller may have shown less than a second ago
/// what is not seen in this one yet.
fn told(finished: &Finished) -> Outcome {
    if finished.ok() {
        return Outcome::Done;
    }
    match finished.stderr.contains("No such file") {
        true => Outcome::Refused,
        false => Outcome::Unanswered,
    }
}
