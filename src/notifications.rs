//! Notifications: what happens to images and definitions, in Glance's words, on the operator's message bus.
//!
//! ```text
//!   images, metadefs ──events──► Notifier ──bounded queues──► delivery ──► amqp · file · webhook
//!     (any thread)                (words)                      (async)
//! ```
//!
//! - [`message`]: a notification, and oslo's envelope around it;
//! - [`payload`]: what Glance says of images, members, tasks and definitions;
//! - `delivery`: one queue and one task for each place, so that none waits for another;
//! - `amqp`, `file`, `webhook`: the places.
//!
//! Whoever tells of an event never waits: a queue that is full drops what comes, and that is counted.

mod amqp;
mod delivery;
mod file;
pub mod message;
pub mod payload;
mod webhook;

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::{error, info, warn};

use crate::config::notifications::Notifications;
use crate::config::notifications::bus::Pauses;
use crate::error::Result;
use crate::images::events::{Change, Event, Listener, Step};
use crate::metadefs::events::{self as metadefs, Contents, Definition};
use delivery::{Outbox, Outlet, Persistence};
use message::{Message, Priority};

/// How long what waits may take to go at the end.
const LAST_DELIVERY: Duration = Duration::from_secs(5);

/// How long to wait before a file or a URL is tried again.
const PAUSES: Pauses = Pauses {
    first: Duration::from_secs(1),
    step: Duration::from_secs(2),
    longest: Duration::from_secs(30),
};

/// Puts what happens into words, and hands it to those who deliver it.
pub struct Notifier {
    publisher_id: String,
    disabled: Vec<String>,
    log: bool,
    outboxes: Vec<Outbox>,
}

/// What delivers, until it is told to end.
pub struct Deliveries {
    ending: watch::Sender<bool>,
    tasks: Vec<(Outbox, JoinHandle<()>)>,
}

/// Starts delivering notifications; `None` where nobody wants any.
///
/// # Errors
/// `Config` for files that cannot be used.
pub fn start(
    config: &Notifications,
    runtime: &Runtime,
) -> Result<Option<(Arc<Notifier>, Deliveries)>> {
    let mut deliveries = Deliveries { ending: watch::Sender::new(false), tasks: Vec::new() };
    if let Some(bus) = &config.bus {
        let persistence = Persistence { retry: bus.retry, pauses: bus.pauses };
        let outlet = amqp::Brokers::new(bus.clone())?;
        deliveries.add(runtime, "bus", config.backlog, persistence, outlet);
    }
    let persistence = Persistence { retry: None, pauses: PAUSES };
    if let Some(path) = &config.file {
        let outlet = file::Lines::open(path.clone())?;
        deliveries.add(runtime, "file", config.backlog, persistence, outlet);
    }
    if let Some(url) = &config.webhook {
        let outlet = webhook::Webhook::new(url.clone());
        deliveries.add(runtime, "webhook", config.backlog, persistence, outlet);
    }
    if deliveries.tasks.is_empty() && !config.log {
        return Ok(None);
    }
    let notifier = Notifier {
        publisher_id: config.publisher_id.clone(),
        disabled: config.disabled.clone(),
        log: config.log,
        outboxes: deliveries.tasks.iter().map(|(outbox, _)| outbox.clone()).collect(),
    };
    Ok(Some((Arc::new(notifier), deliveries)))
}

impl Deliveries {
    fn add(
        &mut self,
        runtime: &Runtime,
        to: &'static str,
        backlog: usize,
        persistence: Persistence,
        outlet: impl Outlet,
    ) {
        let (outbox, queue) = delivery::queue(to, backlog);
        let ending = self.ending.subscribe();
        let delivery = delivery::deliver(outlet, queue, persistence, ending);
        self.tasks.push((outbox, runtime.spawn(delivery)));
    }

    /// Delivers what waits, as far as that is possible in a short time, and ends.
    pub fn finish(self, runtime: &Runtime) {
        self.ending.send_replace(true);
        // Made inside the runtime, which its timer needs.
        runtime.block_on(async {
            let end = tokio::time::Instant::now() + LAST_DELIVERY;
            for (outbox, task) in self.tasks {
                let abort = task.abort_handle();
                if tokio::time::timeout_at(end, task).await.is_err() {
                    abort.abort();
                    let lost = outbox.lose_rest();
                    warn!(
                        to = outbox.to(),
                        lost, "notifications are lost: they would not go in time"
                    );
                }
            }
        });
    }
}

impl Notifier {
    /// Sends a notification, unless the operator wants none of its kind.
    fn notify(&self, event_type: &str, priority: Priority, payload: impl FnOnce() -> Value) {
        if self.is_disabled(event_type) {
            return;
        }
        let message = Message::new(&self.publisher_id, event_type, priority, payload());
        let message = Arc::new(message);
        if self.log {
            log(&message);
        }
        for outbox in &self.outboxes {
            outbox.put(&message);
        }
    }

    /// Glance: the event, or its group, which is its first word; here any beginning is a group.
    fn is_disabled(&self, event_type: &str) -> bool {
        self.disabled.iter().any(|disabled| {
            let rest = event_type.strip_prefix(disabled.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        })
    }

    fn info(&self, event_type: &str, payload: impl FnOnce() -> Value) {
        self.notify(event_type, Priority::Info, payload);
    }
}

impl Listener for Notifier {
    fn hear(&self, event: Event<'_>) {
        match event {
            Event::Created(image) => self.info("image.create", || payload::image(image)),
            Event::Updated(image) => self.info("image.update", || payload::image(image)),
            Event::Deleted(image) => {
                self.info("image.delete", || payload::gone(payload::image(image)));
            }
            Event::Prepared { image, store } => {
                self.info("image.prepare", || payload::prepared(image, store));
            }
            Event::Uploaded(image) => self.info("image.upload", || payload::uploaded(image)),
            Event::Activated(image) => self.info("image.activate", || payload::image(image)),
            Event::UploadFailed { image, why } => {
                let text = || json!(payload::upload_failed(image, why));
                self.notify("image.upload", Priority::Error, text);
            }
            Event::Sent { image, bytes, complete, to } => {
                let priority = if complete { Priority::Info } else { Priority::Error };
                self.notify("image.send", priority, || payload::sent(image, bytes, to));
            }
            Event::Member(change, image, member) => {
                let payload = || payload::member(image, member);
                match change {
                    Change::Created => self.info("image.member.create", payload),
                    Change::Updated => self.info("image.member.update", payload),
                    Change::Deleted => {
                        self.info("image.member.delete", || payload::gone(payload()))
                    }
                }
            }
            Event::Task(step, task) => self.info(of_step(step), || payload::task(task)),
        }
    }
}

impl metadefs::Listener for Notifier {
    fn hear(&self, event: metadefs::Event<'_>) {
        use payload::metadefs as payload;
        let (kind, change, told) = match event {
            metadefs::Event::Namespace(change, namespace, old_name) => {
                ("metadef_namespace", change, payload::namespace(namespace, old_name))
            }
            metadefs::Event::Cleared(namespace, contents) => {
                let told = || payload::namespace(namespace, &namespace.name);
                return self.info(of_contents(contents), told);
            }
            metadefs::Event::Definition { change, namespace, definition, old_name } => {
                let (kind, told) = match definition {
                    Definition::Object(object) => {
                        let gone = change == Change::Deleted;
                        ("metadef_object", payload::object(namespace, object, old_name, gone))
                    }
                    Definition::Property(property) => {
                        ("metadef_property", payload::property(namespace, property, old_name))
                    }
                    Definition::Tag(tag) => ("metadef_tag", payload::tag(namespace, tag, old_name)),
                    Definition::ResourceType(association) => {
                        ("metadef_resource_type", payload::resource_type(namespace, association))
                    }
                };
                (kind, change, told)
            }
        };
        match change {
            Change::Created => self.info(&format!("{kind}.create"), || told),
            Change::Updated => self.info(&format!("{kind}.update"), || told),
            Change::Deleted => {
                self.info(&format!("{kind}.delete"), || self::payload::gone(told));
            }
        }
    }
}

fn of_contents(contents: Contents) -> &'static str {
    match contents {
        Contents::Objects => "metadef_namespace.delete_objects",
        Contents::Properties => "metadef_namespace.delete_properties",
        Contents::Tags => "metadef_namespace.delete_tags",
    }
}

fn of_step(step: Step) -> &'static str {
    match step {
        Step::Created => "task.create",
        Step::Run => "task.run",
        Step::Processing => "task.processing",
        Step::Success => "task.success",
        Step::Failure => "task.failure",
    }
}

/// oslo.messaging: the driver `log`.
fn log(message: &Message) {
    let (event_type, text) = (&message.event_type, message.bare());
    match message.priority {
        Priority::Info => info!(target: "glancefs::notification", event_type, "{text}"),
        Priority::Error => error!(target: "glancefs::notification", event_type, "{text}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_disabled_one_by_one_or_by_group() {
        let notifier = Notifier {
            publisher_id: String::new(),
            disabled: vec!["image.send".into(), "task".into(), "image.member".into()],
            log: false,
            outboxes: Vec::new(),
        };
        for event in ["image.send", "task.run", "image.member.create"] {
            assert!(notifier.is_disabled(event), "{event}");
        }
        for event in ["image.sending", "image.create", "tasks.run"] {
            assert!(!notifier.is_disabled(event), "{event}");
        }
    }
}
