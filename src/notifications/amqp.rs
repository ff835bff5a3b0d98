//! Notifications on a message bus, as oslo.messaging puts them there: a topic exchange, a queue for each
//! topic and priority that is made if nobody has made it yet, and a confirmation for each message.
//!
//! One connection is kept.  When it breaks, or a broker does not answer in time, the next broker is
//! asked; what was not confirmed is sent once more, so that a consumer may see it twice, by the same
//! `_unique_id`.

mod line;
mod session;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tracing::info;

use super::delivery::{Outlet, Refusal};
use super::message::Message;
use crate::config::notifications::bus::Bus;
use crate::error::Result;
use session::Session;

/// How long one broker may take to let us in, each step of it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a broker may take to confirm what it was sent.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(10);
/// How long taking leave may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// The brokers of a bus, one of which is used.
pub(super) struct Brokers {
    bus: Bus,
    tls: Option<TlsConnector>,
    /// Which one is asked next.
    next: usize,
    session: Option<Session>,
}

impl Brokers {
    /// # Errors
    /// `Config` for files of TLS that cannot be used.
    pub(super) fn new(bus: Bus) -> Result<Self> {
        let tls = bus.tls.as_ref().map(line::connector).transpose()?;
        Ok(Self { bus, tls, next: 0, session: None })
    }

    /// Sends what it can by the connection that there is, which is given up when that fails.
    async fn send_by(
        &mut self,
        mut session: Session,
        batch: &[Arc<Message>],
    ) -> (usize, std::result::Result<(), String>) {
        let mut arrived = 0;
        let sending = session.publish(&self.bus, batch, &mut arrived);
        let outcome = match timeout(CONFIRM_TIMEOUT, sending).await {
            Ok(outcome) => outcome.map_err(|error| error.to_string()),
            Err(_) => Err(format!("{} does not confirm in time", session.place())),
        };
        if outcome.is_ok() {
            self.session = Some(session);
        }
        (arrived, outcome)
    }

    /// Connects to one of the brokers, beginning with the one whose turn it is.
    async fn connect(&mut self) -> std::result::Result<Session, String> {
        let mut failures = Vec::new();
        for _ in 0..self.bus.brokers.len() {
            let index = self.next % self.bus.brokers.len();
            let Some(broker) = self.bus.brokers.get(index) else { break };
            let place = format!("{}:{}", broker.host, broker.port);
            match Session::open(&self.bus, broker, self.tls.as_ref()).await {
                Ok(session) => {
                    info!(broker = place, "notifications go there");
                    return Ok(session);
                }
                Err(error) => failures.push(format!("{place}: {error}")),
            }
            self.next = index + 1;
        }
        Err(failures.join("; "))
    }
}

impl Outlet for Brokers {
    async fn send(&mut self, batch: &[Arc<Message>]) -> (usize, std::result::Result<(), Refusal>) {
        let mut arrived = 0;
        // It may have broken long ago, which nobody noticed: that is no failure yet.
        if let Some(session) = self.session.take().filter(Session::is_open) {
            let (sent, outcome) = self.send_by(session, batch).await;
            let Err(why) = outcome else { return (sent, Ok(())) };
            info!(why, "the connection is given up");
            arrived = sent;
        }
        let rest = batch.get(arrived..).unwrap_or_default();
        let (sent, outcome) = match self.connect().await {
            Ok(session) => self.send_by(session, rest).await,
            Err(why) => (0, Err(why)),
        };
        (arrived + sent, outcome.map_err(Refusal::Passing))
    }

    async fn close(self) {
        if let Some(session) = self.session {
            session.close().await;
        }
    }
}
