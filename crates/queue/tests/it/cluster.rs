//! The queue on a cluster of three nodes, its shards spread over all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use uso_queue::{Backoff, Config, Durability, Error, JobEvent, JobId, Queue, State, WorkerId};

use crate::fixture::{bulk, events, failure, output};
use crate::server::{Server, free_port, until};

/// Slots of each node. With eight shards each has some.
const RANGES: [(u16, u16); 3] = [(0, 5460), (5461, 10922), (10923, 16383)];
const SHARDS: u16 = 8;

struct Cluster {
    nodes: Vec<Server>,
    buses: Vec<u16>,
    queue: Queue,
}

impl Cluster {
    async fn start() -> Self {
        let (mut nodes, mut buses) = (Vec::new(), Vec::new());
        for (first, last) in RANGES {
            let (node, bus) = start_node().await;
            node.ask::<()>(&format!("CLUSTER SET-CONFIG-EPOCH {}", nodes.len() + 1)).await.unwrap();
            node.ask::<()>(&format!("CLUSTER ADDSLOTSRANGE {first} {last}")).await.unwrap();
            nodes.push(node);
            buses.push(bus);
        }
        for (node, bus) in nodes[1..].iter().zip(&buses[1..]) {
            nodes[0].ask::<()>(&format!("CLUSTER MEET 127.0.0.1 {} {bus}", node.port)).await.unwrap();
        }
        for node in &nodes {
            is_whole(node, 3).await;
        }
        let queue = Queue::connect(config(&nodes[1])).await.unwrap();
        queue.migrate().await.unwrap();
        Self { nodes, buses, queue }
    }

    /// Which node has a shard.
    async fn home(&self, shard: u16) -> usize {
        let slot: u16 = self.nodes[0].ask(&format!("CLUSTER KEYSLOT {{uso:{shard}}}")).await.unwrap();
        RANGES.iter().position(|(first, last)| (*first..=*last).contains(&slot)).unwrap()
    }

    /// A tenant of each shard.
    async fn tenants(&self) -> Vec<String> {
        let mut tenants = BTreeMap::new();
        for i in 0.. {
            let name = format!("tenant-{i}");
            let batch = self.queue.new_batch(&name).unwrap().to_string();
            tenants.entry(batch.split('-').next().unwrap().parse::<u16>().unwrap()).or_insert(name);
            if tenants.len() == usize::from(SHARDS) {
                break;
            }
        }
        tenants.into_values().collect()
    }
}

async fn start_node() -> (Server, u16) {
    let bus = free_port();
    let bus_setting = format!("cluster-port {bus}");
    let settings = ["cluster-enabled yes", "cluster-node-timeout 1000", &bus_setting];
    (Server::start(&settings).await, bus)
}

/// Waits until a node knows the whole cluster.
async fn is_whole(node: &Server, nodes: u32) {
    until("a whole cluster", async || {
        let state = node.line("CLUSTER INFO", "cluster_state").await?;
        let known = node.line("CLUSTER INFO", "cluster_known_nodes").await?;
        (state == "ok" && known == nodes.to_string()).then_some(())
    })
    .await;
}

fn config(node: &Server) -> Config {
    let backoff = Backoff { base: Duration::ZERO, cap: Duration::ZERO };
    let url = format!("redis+cluster://{}", node.address());
    Config { shards: SHARDS, backoff, ..Config::new(url) }
}

#[tokio::test]
async fn to_ask_whether_all_answer_makes_no_connections() {
    let mut cluster = Cluster::start().await;
    cluster.queue.ping().await.unwrap();
    let made = async |node: &Server| -> u32 {
        node.line("INFO stats", "total_connections_received").await.unwrap().parse().unwrap()
    };
    let mut before = Vec::new();
    for node in &cluster.nodes {
        before.push(made(node).await);
    }
    for _ in 0..10 {
        cluster.queue.ping().await.unwrap();
    }
    for (node, before) in cluster.nodes.iter().zip(before) {
        // Nodes of the cluster speak to each other over others, and this one is the test's.
        assert_eq!(made(node).await, before + 1);
    }
    cluster.nodes[2].kill().await;
    assert!(cluster.queue.ping().await.is_err());
}

#[tokio::test]
async fn jobs_of_all_shards_live_their_whole_lives() {
    let cluster = Cluster::start().await;
    let queue = &cluster.queue;
    let mut homes = BTreeSet::new();
    for shard in queue.shards() {
        homes.insert(cluster.home(shard).await);
    }
    assert_eq!(homes.len(), 3, "every node has a shard");

    let mut tails = Vec::new();
    for shard in queue.shards() {
        tails.push(queue.tail(shard, None).await.unwrap());
    }
    let tenants = cluster.tenants().await;
    let mut jobs: Vec<JobId> = Vec::new();
    for tenant in tenants.iter().chain(&tenants) {
        jobs.push(queue.submit(tenant, &bulk()).await.unwrap().id);
    }
    assert_eq!(jobs.iter().map(JobId::shard).collect::<BTreeSet<_>>().len(), usize::from(SHARDS));
    assert_eq!(queue.stats().await.unwrap().bulk.queued, 2 * u64::from(SHARDS), "added up");
    assert_eq!(queue.tenants().await.unwrap().len(), tenants.len());

    // Half of them succeed, half fail for good and go to the dead letters.
    let worker = WorkerId::new();
    queue.register(&worker, &Default::default()).await.unwrap();
    let mut leases = BTreeMap::new();
    while let Some(lease) = queue.claim_one(&worker).await.unwrap() {
        let whole = leases.insert(lease.id, lease.id.shard()).is_none();
        assert!(whole, "claimed twice");
        lease.progress(1, 2).await.unwrap();
        lease.renew().await.unwrap();
        if jobs[..usize::from(SHARDS)].contains(&lease.id) {
            lease.complete(&output("a")).await.unwrap();
        } else {
            lease.fail(&failure(false)).await.unwrap();
        }
    }
    assert_eq!(leases.len(), jobs.len());
    for (id, expected) in jobs.iter().zip((0..).map(|i| i < SHARDS)) {
        let expected = if expected { State::Succeeded } else { State::Failed };
        assert_eq!(queue.view(id).await.unwrap().unwrap().state, expected);
    }
    for tail in &mut tails {
        let seen = events(tail, 8).await;
        assert!(seen.iter().filter(|event| event.is_terminal()).count() == 2, "{seen:?}");
        assert!(seen.is_sorted_by_key(|event: &JobEvent| event.id));
    }

    let again = queue.retry(&jobs[0]).await.unwrap();
    assert!(matches!(again, Some(uso_queue::Retried::As(new)) if new.shard() == jobs[0].shard()));
    queue.cancel(&jobs[1]).await.unwrap();
    queue.reap(&worker).await.unwrap();
    let audit = queue.audit().await.unwrap();
    assert_eq!((audit.jobs, audit.faults), (1 + jobs.len() as u64, vec![]));
    queue.ping().await.unwrap();
    assert_eq!(queue.durability(), Durability::Fsync);
}

#[tokio::test]
async fn what_no_attempt_could_finish_is_found_on_its_shard() {
    let cluster = Cluster::start().await;
    let queue = &cluster.queue;
    for tenant in cluster.tenants().await {
        queue.submit(&tenant, &bulk()).await.unwrap();
    }
    let worker = WorkerId::new();
    while let Some(lease) = queue.claim_one(&worker).await.unwrap() {
        lease.fail(&failure(true)).await.unwrap();
    }
    let letters = queue.dead_letters(10).await.unwrap();
    assert_eq!(letters.len(), usize::from(SHARDS));
    assert_eq!(queue.stats().await.unwrap().dead, u64::from(SHARDS));
    for letter in &letters {
        assert_eq!(queue.dead_letter(&letter.id).await.unwrap().as_ref(), Some(letter));
    }
    assert!(queue.retry_dead_letter(&letters[0].id).await.unwrap().is_some());
    assert!(queue.drop_dead_letter(&letters[1].id).await.unwrap());
    assert_eq!(queue.dead_letters(10).await.unwrap().len(), usize::from(SHARDS) - 2);
}

#[tokio::test]
async fn an_idle_worker_is_woken_by_a_job_of_any_shard() {
    let cluster = Cluster::start().await;
    let longest = Duration::from_secs(8);
    for tenant in cluster.tenants().await {
        let mut wakeups = cluster.queue.wakeups();
        let waits = tokio::spawn(async move {
            let began = Instant::now();
            wakeups.wait(longest).await;
            (wakeups, began.elapsed())
        });
        // All of its connections listen.
        until("eight listeners", async || {
            let mut blocked = 0;
            for node in &cluster.nodes {
                blocked += node.line("INFO clients", "blocked_clients").await?.parse::<u16>().unwrap();
            }
            (blocked == SHARDS).then_some(())
        })
        .await;
        cluster.queue.submit(&tenant, &bulk()).await.unwrap();
        let (_wakeups, waited) = waits.await.unwrap();
        assert!(waited < longest / 2, "{waited:?}");
    }
}

#[tokio::test]
async fn a_node_that_lost_its_functions_is_given_them_again() {
    let cluster = Cluster::start().await;
    let tenants = cluster.tenants().await;
    for lost in &cluster.nodes {
        lost.ask::<()>("FUNCTION FLUSH").await.unwrap();
        for tenant in &tenants {
            cluster.queue.submit(tenant, &bulk()).await.unwrap();
        }
        let libraries: Vec<redis::Value> = lost.ask("FUNCTION LIST").await.unwrap();
        assert_eq!(libraries.len(), 1);
    }
}

#[tokio::test]
async fn the_weakest_node_is_what_counts() {
    let cluster = Cluster::start().await;
    cluster.nodes[2].ask::<()>("CONFIG SET appendfsync everysec").await.unwrap();
    let queue = Queue::connect(config(&cluster.nodes[0])).await.unwrap();
    assert_eq!(queue.durability(), Durability::EverySecond);

    cluster.nodes[2].ask::<()>("CONFIG SET maxmemory-policy allkeys-lru").await.unwrap();
    let Err(error) = Queue::connect(config(&cluster.nodes[0])).await else { panic!("it was accepted") };
    let text = error.to_string();
    assert!(text.contains("allkeys-lru") && text.contains(&cluster.nodes[2].address()), "{text}");
}

#[tokio::test]
async fn a_shard_on_its_way_to_another_node_is_out_of_reach_until_it_is_there() {
    let cluster = Cluster::start().await;
    let (queue, shard) = (&cluster.queue, 0);
    let tenant = &cluster.tenants().await[usize::from(shard)];
    let first = queue.submit(tenant, &bulk()).await.unwrap().id;
    let slot: u16 = cluster.nodes[0].ask("CLUSTER KEYSLOT {uso:0}").await.unwrap();
    let from = &cluster.nodes[cluster.home(shard).await];
    let to = &cluster.nodes[(cluster.home(shard).await + 1) % 3];
    let (from_id, to_id): (String, String) =
        (from.ask("CLUSTER MYID").await.unwrap(), to.ask("CLUSTER MYID").await.unwrap());

    to.ask::<()>(&format!("CLUSTER SETSLOT {slot} IMPORTING {from_id}")).await.unwrap();
    from.ask::<()>(&format!("CLUSTER SETSLOT {slot} MIGRATING {to_id}")).await.unwrap();
    for _ in 0..2 {
        let error = queue.submit(tenant, &bulk()).await.unwrap_err();
        assert!(matches!(error, Error::Unreachable(_)) && error.retryable(), "{error}");
    }
    let other = &cluster.tenants().await[1];
    queue.submit(other, &bulk()).await.unwrap();

    let names: Vec<Vec<u8>> = from.ask(&format!("CLUSTER GETKEYSINSLOT {slot} 100")).await.unwrap();
    assert!(names.len() > 4);
    let client = redis::Client::open(from.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let mut migrate = redis::cmd("MIGRATE");
    migrate.arg("127.0.0.1").arg(to.port).arg("").arg(0).arg(5000).arg("KEYS").arg(&names);
    migrate.query_async::<()>(&mut connection).await.unwrap();
    for node in [to, from] {
        node.ask::<()>(&format!("CLUSTER SETSLOT {slot} NODE {to_id}")).await.unwrap();
    }
    assert_eq!(queue.view(&first).await.unwrap().unwrap().state, State::Queued);
    queue.submit(tenant, &bulk()).await.unwrap();
    assert_eq!(queue.audit().await.unwrap().faults, []);
}

#[tokio::test]
async fn a_replica_that_takes_over_is_found() {
    let mut cluster = Cluster::start().await;
    let home = cluster.home(0).await;
    let (replica, _) = start_node().await;
    let meet = format!("CLUSTER MEET 127.0.0.1 {} {}", cluster.nodes[home].port, cluster.buses[home]);
    replica.ask::<()>(&meet).await.unwrap();
    is_whole(&replica, 4).await;
    let id: String = cluster.nodes[home].ask("CLUSTER MYID").await.unwrap();
    replica.ask::<()>(&format!("CLUSTER REPLICATE {id}")).await.unwrap();
    until("a replica", async || {
        let up = replica.line("INFO replication", "master_link_status").await? == "up";
        up.then_some(())
    })
    .await;

    let tenant = &cluster.tenants().await[0];
    let config = Config { replicas: 1, ..config(&cluster.nodes[home]) };
    let queue = Queue::connect(config).await.unwrap();
    let job = queue.submit(tenant, &bulk()).await.unwrap().id;
    cluster.nodes[home].kill().await;
    let view = until("a successor", async || cluster.queue.view(&job).await.ok()).await.unwrap();
    assert_eq!(view.state, State::Queued);
    let worker = WorkerId::new();
    until("a claim", async || cluster.queue.claim_one(&worker).await.ok().flatten())
        .await
        .renew()
        .await
        .unwrap();
}
