//! Commands to the primary that has their keys, over connections that all callers share.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Arg, Cmd, FromRedisValue, RedisError, Value};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use super::address::Address;
use super::cluster::Cluster;
use super::durability::Durability;
use super::link::{Lane, Link};
use super::node::{Endpoint, Node};
use super::refusal::{is_demoted, is_elsewhere, is_function_missing};
use super::sentinel::Sentinels;
use super::slots::{slot_of, slot_of_key};
use crate::{Config, Error};

/// Most callers of a process that wait for replicas at once, each on a connection of its own.
const WAITING: usize = 64;

/// Times that one command is sent anew to where it belongs.
const REDIRECTS: u32 = 3;

/// The functions that commands call, for servers that do not have them.
pub(crate) struct Library {
    /// Their text.
    pub(crate) text: &'static str,
    /// The name of one that writes something and may be repeated.
    pub(crate) mark: String,
}

/// The connections to Redis that all callers of a process share.
pub(crate) struct Connection {
    primaries: Primaries,
    library: Library,
    timeout: Duration,
    replicas: u32,
    waiting: Semaphore,
    /// Whether a call was ever answered: before, credentials that are refused are a mistake in the settings.
    has_worked: AtomicBool,
}

enum Primaries {
    /// One server, or the one that sentinels name.
    One(Arc<Node>),
    Many(Cluster),
}

impl Connection {
    /// Connects to all primaries, and refuses those that would lose what they accept.
    pub(crate) async fn open(config: &Config, library: Library) -> Result<Self, Error> {
        let one = |endpoint| Primaries::One(Arc::new(Node::new(endpoint)));
        let primaries = match Address::read(&config.url, config.ca.as_deref())? {
            Address::Single(info) => one(Endpoint::Fixed(info)),
            Address::Sentinel { sentinels, service, server } => {
                one(Endpoint::Watched(Sentinels::new(sentinels, service, server)))
            }
            Address::Cluster(seeds) => Primaries::Many(Cluster::new(seeds)),
        };
        let Config { timeout, replicas, .. } = *config;
        let waiting = Semaphore::new(WAITING);
        let has_worked = AtomicBool::new(false);
        let connection = Self { primaries, library, timeout, replicas, waiting, has_worked };
        connection.ping().await?;
        Ok(connection)
    }

    /// Whether every primary answers.
    pub(crate) async fn ping(&self) -> Result<(), Error> {
        for node in self.primaries().await? {
            self.ask::<String>(&node, &redis::cmd("PING")).await?;
        }
        Ok(())
    }

    /// What an accepted job survives.
    pub(crate) fn durability(&self) -> Durability {
        let nodes = match &self.primaries {
            Primaries::One(node) => vec![node.clone()],
            Primaries::Many(cluster) => cluster.known(),
        };
        match self.replicas {
            0 => nodes.iter().filter_map(|node| node.durability()).reduce(Durability::or_weaker),
            replicas => Some(Durability::Replicas(replicas)),
        }
        .unwrap_or(Durability::Unknown)
    }

    /// Reads the primaries' settings again: they may have been changed.
    ///
    /// # Errors
    /// [`Error::Unreachable`]; [`Error::Unsafe`] with what to change.
    pub(crate) async fn inspect(&self) -> Result<(), Error> {
        for node in self.primaries().await? {
            node.inspect().await?;
        }
        Ok(())
    }

    /// Whether keys of different shards must not be in one command.
    pub(crate) fn splits_shards(&self) -> bool {
        matches!(self.primaries, Primaries::Many(_))
    }

    /// All primaries there are now.
    pub(crate) async fn primaries(&self) -> Result<Vec<Arc<Node>>, Error> {
        match &self.primaries {
            Primaries::One(node) => Ok(vec![node.clone()]),
            Primaries::Many(cluster) => cluster.primaries().await,
        }
    }

    /// A connection of its own to the primary that has `key`. It may wait for an answer as long as it
    /// likes: on the shared one a blocked command would hold up everybody behind it.
    pub(crate) async fn waiting(&self, key: &str) -> Result<MultiplexedConnection, Error> {
        let node = match &self.primaries {
            Primaries::One(node) => node.clone(),
            Primaries::Many(cluster) => {
                // It is often opened because the one before broke: things may have moved.
                cluster.refresh().await?;
                cluster.primary(slot_of_key(key.as_bytes())).await?
            }
        };
        Ok(node.connect().await?.0)
    }

    /// Gives a node the library, in place of an older text of it. Several processes may do so at once: each
    /// replacement is atomic and all write the same text.
    pub(crate) async fn load_library(&self, node: &Arc<Node>) -> Result<(), Error> {
        let mut load = redis::cmd("FUNCTION");
        load.arg("LOAD").arg("REPLACE").arg(self.library.text);
        let loaded: String = self.ask(node, &load).await?;
        tracing::info!(library = loaded, "loaded the function library {loaded}");
        Ok(())
    }

    /// Runs a command on one node.
    pub(crate) async fn ask<T: FromRedisValue>(&self, node: &Arc<Node>, command: &Cmd) -> Result<T, Error> {
        let deadline = Instant::now() + self.timeout;
        let link = timeout_at(deadline, Link::open(node.clone(), Lane::Shared)).await;
        let link = link.map_err(|_| self.silence())?.map_err(|error| self.judged(error))?;
        let (value, _) = self.query(link, command, deadline).await.map_err(|failed| failed.error)?;
        read(value)
    }

    /// Sends a command to the primary that has its key. If it calls a function that the primary does not have, the
    /// primary is given the library first. A command whose answer was lost is not repeated: it may have been
    /// carried out.
    pub(crate) async fn call<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, Error> {
        let (value, _) = self.send(command, Lane::Shared).await?;
        read(value)
    }

    /// The same for a command that may be carried out twice, within `limit`. If the shared connection is silent for a part of
    /// that, a second one is tried beside it: a silent link is often one connection's.
    pub(crate) async fn call_within<T: FromRedisValue>(
        &self,
        command: &Cmd,
        limit: Duration,
    ) -> Result<T, Error> {
        let patience = limit / 3;
        let second = async {
            tokio::time::sleep(patience).await;
            let answer = self.send(command, Lane::New).await;
            if let Ok((_, link)) = &answer {
                link.node.forget_shared();
            }
            answer
        };
        let first = async {
            match self.send(command, Lane::Shared).await {
                // The second may have more luck; its failure says as much.
                Err(Error::Unreachable(_)) => std::future::pending().await,
                answer => answer,
            }
        };
        let either = async {
            tokio::select! {
                answer = first => answer,
                answer = second => answer,
            }
        };
        let silence = || Error::Unreachable(format!("no answer within {} ms", limit.as_millis()));
        let (value, _) = tokio::time::timeout(limit, either).await.map_err(|_| silence())??;
        read(value)
    }

    /// The same for a command that changes something, and does not answer before as many replicas as the settings
    /// ask for have what it wrote, and all that was written before.
    ///
    /// # Errors
    /// [`Error::NotDurable`] if they do not say so in time; it has been carried out all the same.
    pub(crate) async fn accept<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, Error> {
        if self.replicas == 0 {
            return self.call(command).await;
        }
        let turn = tokio::time::timeout(self.timeout, self.waiting.acquire()).await;
        let _turn = turn.map_err(|_| Error::Unreachable("too many callers wait for replicas".into()))?;
        let (value, link) = self.send(command, Lane::Alone).await?;
        self.confirm(link, command).await?;
        read(value)
    }

    /// Waits for replicas. `WAIT` counts from the last write of its connection, and the command may have
    /// written nothing, say because it repeats one whose answer was lost: so something is written first.
    async fn confirm(&self, mut link: Link, command: &Cmd) -> Result<(), Error> {
        let Some(Arg::Simple(root)) = command.args_iter().nth(3) else { return Ok(()) };
        let mut pipeline = redis::pipe();
        pipeline.cmd("FCALL").arg(&self.library.mark).arg(1).arg(root).ignore();
        pipeline.cmd("WAIT").arg(self.replicas).arg(self.timeout.as_millis() as u64);
        let mut answer = self.in_time(pipeline.query_async(&mut link.connection)).await;
        // An older text of this version's library may have taken its place meanwhile.
        if let Err(Error::Refused(error)) = &answer
            && is_function_missing(error)
        {
            self.load_library(&link.node).await?;
            answer = self.in_time(pipeline.query_async(&mut link.connection)).await;
        }
        let (confirmed,): (u32,) = answer?;
        link.put_back();
        let wanted = self.replicas;
        if confirmed >= wanted { Ok(()) } else { Err(Error::NotDurable { confirmed, wanted }) }
    }

    /// The answer to something for which Redis itself may take as long as any answer may.
    async fn in_time<T>(&self, answer: impl Future<Output = redis::RedisResult<T>>) -> Result<T, Error> {
        tokio::time::timeout(2 * self.timeout, answer).await.map_err(|_| self.silence())?.map_err(Error::from)
    }

    /// Sends a command to the primary that has its key, and again as long as it is certain that it was not
    /// carried out and there is somewhere better to go. A node without our functions, new or restarted
    /// without its data, is given them once.
    ///
    /// Boxed, because its type would be part of that of every future that talks to the queue.
    fn send<'a>(&'a self, command: &'a Cmd, lane: Lane) -> BoxFuture<'a, Result<(Value, Link), Error>> {
        Box::pin(self.send_to_primary(command, lane))
    }

    async fn send_to_primary(&self, command: &Cmd, lane: Lane) -> Result<(Value, Link), Error> {
        let deadline = Instant::now() + self.timeout;
        let (mut redirects, mut loaded) = (0, false);
        loop {
            let link = timeout_at(deadline, self.link(command, lane)).await.map_err(|_| self.silence())?;
            let link = link.map_err(|error| self.judged(error))?;
            let failed = match self.query(link, command, deadline).await {
                Ok(answer) => return Ok(answer),
                Err(failed) => failed,
            };
            let Some(cause) = failed.refusal.as_ref() else { return Err(failed.error) };
            if is_function_missing(cause) && !loaded {
                loaded = true;
                self.load_library(&failed.node).await?;
            } else if is_elsewhere(cause) && redirects < REDIRECTS {
                redirects += 1;
                if let (Primaries::Many(cluster), Some((address, slot))) =
                    (&self.primaries, cause.redirect_node())
                {
                    cluster.note_moved(slot, address, &failed.node);
                }
            } else {
                return Err(failed.error);
            }
        }
    }

    /// A connection to the primary that has the command's key.
    async fn link(&self, command: &Cmd, lane: Lane) -> Result<Link, Error> {
        let cluster = match &self.primaries {
            Primaries::One(node) => return Link::open(node.clone(), lane).await,
            Primaries::Many(cluster) => cluster,
        };
        let slot = slot_of(command);
        let node = cluster.primary(slot).await?;
        match Link::open(node.clone(), lane).await {
            Ok(link) => Ok(link),
            Err(error) => {
                // Perhaps a replica of the lost node has taken its place.
                cluster.refresh().await?;
                let successor = cluster.primary(slot).await?;
                if Arc::ptr_eq(&node, &successor) { Err(error) } else { Link::open(successor, lane).await }
            }
        }
    }

    /// Sends a command over a connection, which is not used again if it breaks.
    async fn query(&self, mut link: Link, command: &Cmd, deadline: Instant) -> Result<(Value, Link), Failed> {
        let node = link.node.clone();
        let refusal = match timeout_at(deadline, command.query_async(&mut link.connection)).await {
            Ok(Ok(value)) => {
                // Whoever may say PING need not be allowed anything else.
                if matches!(command.args_iter().next(), Some(Arg::Simple(b"FCALL"))) {
                    self.has_worked.store(true, Ordering::Relaxed);
                }
                return Ok((value, link));
            }
            Ok(Err(refusal)) => Some(refusal),
            Err(_) => None,
        };
        match &refusal {
            Some(refusal)
                if !refusal.is_io_error() && !refusal.is_unrecoverable_error() && !is_demoted(refusal) =>
            {
                link.put_back();
            }
            // A server that says nothing may be gone without a word: a new connection asks again where it is.
            _ => link.give_up(),
        }
        let error = refusal.clone().map_or_else(|| self.silence(), |refusal| self.judged(refusal.into()));
        Err(Failed { node, refusal, error })
    }

    /// The same error, named a mistake in the settings if it is one.
    fn judged(&self, error: Error) -> Error {
        match error {
            Error::Denied(reason) if !self.has_worked.load(Ordering::Relaxed) => Error::Settings(format!(
                "redis denies access: {reason}; look at the user and the password in the URL, and at the user's ACL"
            )),
            error => error,
        }
    }

    fn silence(&self) -> Error {
        Error::Unreachable(format!("no answer within {} ms", self.timeout.as_millis()))
    }
}

type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A command that got no good answer.
struct Failed {
    node: Arc<Node>,
    /// What came instead; nothing if nothing came.
    refusal: Option<RedisError>,
    error: Error,
}

fn read<T: FromRedisValue>(value: Value) -> Result<T, Error> {
    redis::from_redis_value(value).map_err(|error| Error::Unreadable(error.to_string()))
}
