//! One connection to one broker, and what was made there.

use std::collections::HashSet;
use std::sync::Arc;

use lapin::options::{
    BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions, QueueBindOptions,
    QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::uri::{AMQPAuthority, AMQPQueryString, AMQPScheme, AMQPUri, AMQPUserInfo};
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, ExchangeKind,
};
use thiserror::Error;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tracing::{info, warn};

use super::line::{self, Cut};
use super::{CLOSE_TIMEOUT, CONNECT_TIMEOUT};
use crate::config::notifications::Format;
use crate::config::notifications::bus::{Broker, Bus, Queues};
use crate::notifications::message::Message;

/// AMQP: goes to the disk where its queue does.
const PERSISTENT: u8 = 2;
/// AMQP: there is something of this name, made otherwise; it may not be made by us.
const PRECONDITION_FAILED: u16 = 406;
const ACCESS_REFUSED: u16 = 403;

/// Why a broker is of no use now.
#[derive(Debug, Error)]
pub(super) enum Failure {
    #[error("it does not answer in time")]
    Late,
    #[error("{0}")]
    Line(#[from] std::io::Error),
    #[error("{0}")]
    Amqp(#[from] lapin::Error),
    #[error("it does not take a message")]
    Refused,
}

/// A connection to a broker.
pub(super) struct Session {
    place: String,
    connection: Connection,
    channel: Channel,
    /// Queues that are there.
    declared: HashSet<String>,
    /// Whatever the library waits for, it ends with this.
    _cut: Cut,
}

impl Session {
    /// Connects, and has the broker confirm what it will be sent.
    pub(super) async fn open(
        bus: &Bus,
        broker: &Broker,
        tls: Option<&TlsConnector>,
    ) -> Result<Self, Failure> {
        let connecting = line::connect(broker, tls);
        let (line, cut) =
            timeout(CONNECT_TIMEOUT, connecting).await.map_err(|_| Failure::Late)??;
        let name = format!("glancefs:{}", std::process::id());
        let properties = ConnectionProperties::default().with_connection_name(name.into());
        let (runtime, hand_over) = (line::runtime(), line::handing_over(line));
        let connecting = Connection::connector(uri(bus, broker), runtime, hand_over, properties);
        // Dropped with the time: then `cut` ends what the library does meanwhile.
        let entering = async {
            let connection = connecting.await?;
            let channel = connection.create_channel().await?;
            channel.confirm_select(ConfirmSelectOptions::default()).await?;
            Ok::<_, lapin::Error>((connection, channel))
        };
        let entered = timeout(CONNECT_TIMEOUT, entering).await.map_err(|_| Failure::Late)?;
        let (connection, channel) = entered?;
        let place = format!("{}:{}", broker.host, broker.port);
        let session = Self { place, connection, channel, declared: HashSet::new(), _cut: cut };
        timeout(CONNECT_TIMEOUT, session.declare_exchange(bus))
            .await
            .map_err(|_| Failure::Late)??;
        Ok(session)
    }

    /// Which broker it is.
    pub(super) fn place(&self) -> &str {
        &self.place
    }

    /// Whether it is open, as far as is known.
    pub(super) fn is_open(&self) -> bool {
        self.connection.status().connected() && self.channel.status().connected()
    }

    /// Sends messages, and waits until the broker has them; `arrived` is how many it has.
    pub(super) async fn publish(
        &mut self,
        bus: &Bus,
        batch: &[Arc<Message>],
        arrived: &mut usize,
    ) -> Result<(), Failure> {
        let mut confirmations = Vec::with_capacity(batch.len());
        for message in batch {
            let mut copies = Vec::new();
            for topic in &bus.topics {
                let key = format!("{topic}.{}", message.priority.as_str());
                self.declare_queue(bus, &key).await?;
                for format in &bus.formats {
                    copies.push(self.send(bus, &key, *format, message).await?);
                }
            }
            confirmations.push(copies);
        }
        for copies in confirmations {
            for confirmation in copies {
                if let Confirmation::Nack(_) = confirmation.await? {
                    return Err(Failure::Refused);
                }
            }
            *arrived += 1;
        }
        Ok(())
    }

    async fn send(
        &self,
        bus: &Bus,
        key: &str,
        format: Format,
        message: &Message,
    ) -> Result<lapin::PublisherConfirm, Failure> {
        let body = match format {
            Format::Bare => message.bare(),
            Format::Enveloped => message.enveloped(),
        };
        // oslo.messaging: as kombu sends what it has made into JSON.
        let properties = BasicProperties::default()
            .with_content_type("application/json".into())
            .with_content_encoding("utf-8".into())
            .with_headers(FieldTable::default())
            .with_delivery_mode(PERSISTENT)
            .with_priority(0);
        let exchange = bus.exchange.as_str().into();
        let options = BasicPublishOptions::default();
        let sent =
            self.channel.basic_publish(exchange, key.into(), options, body.as_bytes(), properties);
        Ok(sent.await?)
    }

    async fn declare_exchange(&self, bus: &Bus) -> Result<(), Failure> {
        let options = ExchangeDeclareOptions {
            durable: bus.queues.durable,
            auto_delete: bus.queues.auto_delete,
            ..ExchangeDeclareOptions::default()
        };
        // On a channel of its own, which ends when it is refused.
        let channel = self.connection.create_channel().await?;
        let (exchange, arguments) = (bus.exchange.as_str().into(), FieldTable::default());
        let declared =
            channel.exchange_declare(exchange, ExchangeKind::Topic, options, arguments).await;
        self.unless_it_is_there(declared, "exchange", &bus.exchange)
    }

    /// Makes the queue of a routing key, so that nothing is lost before somebody listens.
    async fn declare_queue(&mut self, bus: &Bus, key: &str) -> Result<(), Failure> {
        if self.declared.contains(key) {
            return Ok(());
        }
        let options = QueueDeclareOptions {
            durable: bus.queues.durable,
            auto_delete: bus.queues.auto_delete,
            ..QueueDeclareOptions::default()
        };
        let channel = self.connection.create_channel().await?;
        let declared = channel.queue_declare(key.into(), options, arguments(&bus.queues)).await;
        self.unless_it_is_there(declared.map(drop), "queue", key)?;
        let channel = self.connection.create_channel().await?;
        let (exchange, options) = (bus.exchange.as_str().into(), QueueBindOptions::default());
        let bound =
            channel.queue_bind(key.into(), exchange, key.into(), options, FieldTable::default());
        self.unless_it_is_there(bound.await, "binding", key)?;
        self.declared.insert(key.to_owned());
        Ok(())
    }

    /// What others have made otherwise, or made for us, does as well.
    fn unless_it_is_there(
        &self,
        declared: lapin::Result<()>,
        what: &str,
        name: &str,
    ) -> Result<(), Failure> {
        let Err(error) = declared else { return Ok(()) };
        let code = match error.kind() {
            lapin::ErrorKind::ProtocolError(refusal) => refusal.get_id(),
            _ => 0,
        };
        if !matches!(code, PRECONDITION_FAILED | ACCESS_REFUSED) {
            return Err(error.into());
        }
        info!(broker = self.place, name, %error, "the {what} is used as it is");
        Ok(())
    }

    /// Takes leave.
    pub(super) async fn close(self) {
        let closing = self.connection.close(200, "OK".into());
        if !matches!(timeout(CLOSE_TIMEOUT, closing).await, Ok(Ok(()))) {
            warn!(broker = self.place, "the connection was cut");
        }
    }
}

fn uri(bus: &Bus, broker: &Broker) -> AMQPUri {
    let userinfo = AMQPUserInfo {
        username: broker.user.clone(),
        password: broker.password.expose().to_owned(),
    };
    AMQPUri {
        // The line speaks TLS by itself.
        scheme: AMQPScheme::AMQP,
        authority: AMQPAuthority { userinfo, host: broker.host.clone(), port: broker.port },
        vhost: bus.virtual_host.clone(),
        query: AMQPQueryString { heartbeat: Some(bus.heartbeat), ..AMQPQueryString::default() },
    }
}

fn arguments(queues: &Queues) -> FieldTable {
    let mut arguments = FieldTable::default();
    for (name, word) in &queues.words {
        arguments.insert((*name).into(), AMQPValue::LongString((*word).into()));
    }
    for (name, number) in &queues.numbers {
        arguments.insert((*name).into(), AMQPValue::LongLongInt(*number));
    }
    arguments
}
