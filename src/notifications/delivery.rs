//! The one place where notifications cross from the threads that do the work to those that wait for a
//! network: a bounded queue for each place, and the task that empties it.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tracing::{info, warn};

use super::message::Message;
use crate::config::notifications::bus::Pauses;
use crate::telemetry::metrics;

/// Notifications that are handed over at once.
const BATCH: usize = 64;

/// A place that notifications go to.
pub(super) trait Outlet: Send + 'static {
    /// Delivers, from the first on; returns how many have arrived, and what kept the others from it.
    /// Takes a bounded time.
    fn send(
        &mut self,
        batch: &[Arc<Message>],
    ) -> impl Future<Output = (usize, Result<(), Refusal>)> + Send;

    /// Takes leave.
    fn close(self) -> impl Future<Output = ()> + Send;
}

/// Why a notification did not arrive.
#[derive(Debug)]
pub(super) enum Refusal {
    /// For a reason that may pass.
    Passing(String),
    /// This one will never be taken.
    Final(String),
}

/// How often it is tried to deliver a notification, and with which pauses.
#[derive(Clone, Copy, Debug)]
pub(super) struct Persistence {
    /// After the first time; `None`: for ever.
    pub(super) retry: Option<u32>,
    pub(super) pauses: Pauses,
}

impl Persistence {
    /// Whether so many failures in a row are enough.
    fn is_over(&self, failures: u32) -> bool {
        self.retry.is_some_and(|retry| failures > retry)
    }

    fn pause(&self, failures: u32) -> Duration {
        let Pauses { first, step, longest } = self.pauses;
        first.saturating_add(step.saturating_mul(failures.saturating_sub(1))).min(longest)
    }
}

/// The near end of a queue.
#[derive(Clone)]
pub(super) struct Outbox {
    count: Arc<Count>,
    sender: mpsc::Sender<Arc<Message>>,
}

/// The far end.
pub(super) struct Queue {
    count: Arc<Count>,
    receiver: mpsc::Receiver<Arc<Message>>,
}

/// Keeps count of what waits, and of what becomes of it.
struct Count {
    to: &'static str,
    waiting: AtomicU64,
}

/// A queue to a place, for so many.
pub(super) fn queue(to: &'static str, length: usize) -> (Outbox, Queue) {
    let (sender, receiver) = mpsc::channel(length);
    let count = Arc::new(Count { to, waiting: AtomicU64::new(0) });
    metrics::notifications_left(to, 0, 0);
    metrics::notifications_waiting(to, 0);
    (Outbox { count: Arc::clone(&count), sender }, Queue { count, receiver })
}

impl Outbox {
    /// The place that it leads to.
    pub(super) fn to(&self) -> &'static str {
        self.count.to
    }

    /// Leaves a notification to be delivered; drops it when there is no room.  Never waits.
    pub(super) fn put(&self, message: &Arc<Message>) {
        self.count.come();
        if self.sender.try_send(Arc::clone(message)).is_err() {
            self.count.go(0, 1);
            warn!(
                to = self.count.to,
                "a notification is dropped: too many wait (notification_backlog)"
            );
        }
    }

    /// Counts what still waits as dropped; returns how many.
    pub(super) fn lose_rest(&self) -> u64 {
        let lost = self.count.waiting.load(Ordering::Relaxed);
        self.count.go(0, lost);
        lost
    }
}

impl Count {
    fn come(&self) {
        let waiting = self.waiting.fetch_add(1, Ordering::Relaxed) + 1;
        metrics::notifications_waiting(self.to, waiting);
    }

    fn go(&self, sent: u64, dropped: u64) {
        let gone = sent + dropped;
        let waiting = self.waiting.fetch_sub(gone, Ordering::Relaxed).saturating_sub(gone);
        metrics::notifications_left(self.to, sent, dropped);
        metrics::notifications_waiting(self.to, waiting);
    }
}

/// Empties a queue until it is told to end, and then until it is empty or nothing more arrives.
pub(super) async fn deliver(
    mut outlet: impl Outlet,
    mut queue: Queue,
    persistence: Persistence,
    mut ending: watch::Receiver<bool>,
) {
    let mut batch: Vec<Arc<Message>> = Vec::new();
    let mut failures = 0;
    loop {
        if batch.is_empty() && !queue.fill(&mut batch, &mut ending).await {
            break;
        }
        let (arrived, outcome) = outlet.send(&batch).await;
        batch.drain(..arrived);
        queue.count.go(arrived as u64, 0);
        if failures > 0 && arrived > 0 {
            failures = 0;
            info!(to = queue.count.to, "notifications arrive again");
        }
        match outcome {
            Ok(()) => {}
            Err(Refusal::Final(why)) => {
                warn!(to = queue.count.to, why, "a notification is dropped");
                queue.drop_some(&mut batch, 1);
            }
            Err(Refusal::Passing(why)) => {
                failures += 1;
                warn!(to = queue.count.to, why, "notifications do not arrive");
                if *ending.borrow() {
                    break;
                }
                if persistence.is_over(failures) {
                    queue.drop_some(&mut batch, BATCH);
                }
                let is_over = tokio::select! {
                    () = tokio::time::sleep(persistence.pause(failures)) => false,
                    // At the end it is tried once more.
                    ended = ending.wait_for(|ending| *ending) => ended.is_err(),
                };
                if is_over {
                    break;
                }
            }
        }
    }
    queue.drop_all(batch);
    outlet.close().await;
}

impl Queue {
    /// Waits for something to deliver; `false`: it is the end.
    async fn fill(
        &mut self,
        batch: &mut Vec<Arc<Message>>,
        ending: &mut watch::Receiver<bool>,
    ) -> bool {
        loop {
            if *ending.borrow() {
                self.receiver.close();
                return self.receiver.recv_many(batch, BATCH).await > 0;
            }
            tokio::select! {
                taken = self.receiver.recv_many(batch, BATCH) => return taken > 0,
                gone = ending.wait_for(|ending| *ending) => if gone.is_err() { return false },
            }
        }
    }

    fn drop_some(&self, batch: &mut Vec<Arc<Message>>, most: usize) {
        let dropped = most.min(batch.len());
        batch.drain(..dropped);
        self.count.go(0, dropped as u64);
    }

    fn drop_all(&mut self, batch: Vec<Arc<Message>>) {
        self.receiver.close();
        let mut dropped = batch.len() as u64;
        while self.receiver.try_recv().is_ok() {
            dropped += 1;
        }
        if dropped > 0 {
            warn!(to = self.count.to, lost = dropped, "notifications are lost: they do not arrive");
            self.count.go(0, dropped);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use parking_lot::Mutex;
    use serde_json::Value;

    use super::super::message::Priority;
    use super::*;

    /// Takes so many of what it is sent, and then says this; at the end of the list it takes all.
    struct Place {
        outcomes: VecDeque<(usize, Result<(), Refusal>)>,
        taken: Arc<Mutex<Vec<String>>>,
    }

    impl Outlet for Place {
        async fn send(&mut self, batch: &[Arc<Message>]) -> (usize, Result<(), Refusal>) {
            let (count, outcome) = self.outcomes.pop_front().unwrap_or((batch.len(), Ok(())));
            let taken = batch.iter().take(count).map(|message| message.event_type.clone());
            self.taken.lock().extend(taken);
            (count, outcome)
        }

        async fn close(self) {}
    }

    fn message(name: &str) -> Arc<Message> {
        Arc::new(Message::new("", name, Priority::Info, Value::Null))
    }

    /// What arrives of three messages, when they wait at the end.
    fn arriving(retry: Option<u32>, outcomes: Vec<(usize, Result<(), Refusal>)>) -> Vec<String> {
        let none = Duration::ZERO;
        let persistence =
            Persistence { retry, pauses: Pauses { first: none, step: none, longest: none } };
        let taken = Arc::default();
        let place = Place { outcomes: outcomes.into(), taken: Arc::clone(&taken) };
        let (outbox, queue) = queue("bus", 10);
        ["a", "b", "c"].iter().for_each(|name| outbox.put(&message(name)));
        let ending = watch::Sender::new(false);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let delivering = deliver(place, queue, persistence, ending.subscribe());
            let until_all_went = async {
                while outbox.count.waiting.load(Ordering::Relaxed) > 0 {
                    tokio::task::yield_now().await;
                }
                ending.send_replace(true);
            };
            tokio::join!(delivering, until_all_went);
        });
        taken.lock().clone()
    }

    fn passing() -> Result<(), Refusal> {
        Err(Refusal::Passing("away".to_owned()))
    }

    #[test]
    fn what_did_not_arrive_is_sent_again_in_order() {
        let outcomes = vec![(0, passing()), (1, passing()), (0, passing())];
        assert_eq!(arriving(None, outcomes), ["a", "b", "c"]);
    }

    #[test]
    fn what_will_never_be_taken_is_left_out() {
        let never = Err(Refusal::Final("too large".to_owned()));
        assert_eq!(arriving(None, vec![(1, never)]), ["a", "c"]);
    }

    #[test]
    fn after_so_many_attempts_it_is_given_up() {
        assert_eq!(arriving(Some(1), vec![(0, passing())]), ["a", "b", "c"]);
        assert!(arriving(Some(0), vec![(0, passing())]).is_empty());
    }

    #[test]
    fn a_full_queue_drops_what_comes() {
        let (outbox, queue) = queue("bus", 2);
        ["a", "b", "c"].iter().for_each(|name| outbox.put(&message(name)));
        assert_eq!(outbox.count.waiting.load(Ordering::Relaxed), 2);
        drop(queue);
        assert_eq!(outbox.lose_rest(), 2);
    }

    #[test]
    fn pauses_grow_up_to_a_bound() {
        let seconds = Duration::from_secs;
        let pauses = Pauses { first: seconds(1), step: seconds(2), longest: seconds(4) };
        let persistence = Persistence { retry: None, pauses };
        assert_eq!(
            [1, 2, 3, 9].map(|failures| persistence.pause(failures)),
            [1, 3, 4, 4].map(seconds)
        );
    }
}
