//! What a call costs does not grow with the queue. `USO_TEST_VOLUME=1` makes it one of a million jobs, and prints how
//! long the slowest calls take.

use std::collections::BTreeMap;
use std::fmt;

use uso_queue::{Claim, Class, JobId, ListFilter, State, WorkerId, WorkerLora, WorkerReport};

use crate::fixture::{Fixture, bulk};

/// Commands that a function may make on average, whatever the size of the queue.
const MOST_COMMANDS: u64 = 700;

/// Commands that read a key as a whole, however large it is.
const WHOLE: [&str; 5] = ["hgetall", "hkeys", "smembers", "lpos", "keys"];

/// Calls that take longer are named.
const SLOW_US: u64 = 1000;

/// Writes records and backlogs as `submit` does, of some tenants, with limits for each.
const FILL: &str = "
local root, spec, each = KEYS[1], ARGV[1], tonumber(ARGV[2])
for t = 3, #ARGV do
  local tenant, ids = ARGV[t], {}
  for j = 1, each do
    ids[j] = string.format('%08d%08d', string.match(tenant, '%d+'), j)
    local record = {
      state = 'queued', tenant = tenant, class = 'bulk', priority = 0, spec = spec, submitted = 1, version = 1,
      event = '1-0',
    }
    redis.call('SET', root .. ':j:' .. ids[j], cmsgpack.pack(record))
  end
  redis.call('RPUSH', root .. ':backlog:bulk:' .. tenant .. ':0', unpack(ids))
  redis.call('RPUSH', root .. ':all:' .. tenant, unpack(ids))
  redis.call('HSET', root .. ':shed', tenant, 0)
  redis.call('ZADD', root .. ':levels:bulk:' .. tenant, 0, 0)
  redis.call('ZADD', root .. ':ring:bulk', 0, tenant)
  redis.call('HSET', root .. ':counts', 'queued:bulk:' .. tenant, each)
  redis.call('SET', root .. ':limits:' .. tenant, cmsgpack.pack({ weight = 2, max_running = 100, rate = 50 }))
  redis.call('SADD', root .. ':tenants', tenant)
end
";

/// How much there is.
struct Volume {
    tenants: usize,
    jobs_each: usize,
    workers: usize,
}

impl Volume {
    fn wanted() -> Self {
        if std::env::var_os("USO_TEST_VOLUME").is_some() {
            Self { tenants: 1000, jobs_each: 1000, workers: 500 }
        } else {
            Self { tenants: 400, jobs_each: 5, workers: 40 }
        }
    }

    async fn fill(&self, fixture: &Fixture) {
        let spec = serde_json::to_string(&bulk()).unwrap();
        let tenants: Vec<String> = (1..=self.tenants).map(|number| format!("tenant-{number}")).collect();
        for some in tenants.chunks((1000 / self.jobs_each).max(1)) {
            let each = self.jobs_each.to_string();
            let mut words = vec!["EVAL", FILL, "1", "{uso:0}", &spec, &each];
            words.extend(some.iter().map(String::as_str));
            fixture.raw::<redis::Value>(&words).await.unwrap();
        }
        for number in 0..self.workers {
            let worker = WorkerId::new();
            let loras =
                (0..5).map(|lora| WorkerLora { name: format!("lora-{lora}"), digest: "ab".repeat(32) });
            let report = WorkerReport {
                capacity: Some(1000 + number as u64),
                loras: loras.collect(),
                ..Default::default()
            };
            fixture.queue.register(&worker, &report).await.unwrap();
            let lease = fixture.queue.claim(&Claim::one(&worker)).await.unwrap().pop().unwrap();
            lease.progress(1, 2).await.unwrap();
        }
    }
}

/// What an operation made Redis do.
struct Cost {
    functions: u64,
    commands: u64,
    whole: BTreeMap<String, u64>,
    slowest_us: u64,
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let each = self.commands / self.functions.max(1);
        write!(f, "{} functions of {each} commands, the slowest call took ", self.functions)?;
        match self.slowest_us {
            0 => f.write_str("less than a millisecond"),
            us => write!(f, "{:.1} ms", us as f64 / 1000.0),
        }
    }
}

async fn cost<T>(fixture: &Fixture, operation: impl Future<Output = T>) -> (Cost, T) {
    let slow = SLOW_US.to_string();
    fixture.raw::<redis::Value>(&["CONFIG", "SET", "slowlog-log-slower-than", &slow]).await.unwrap();
    fixture.raw::<redis::Value>(&["SLOWLOG", "RESET"]).await.unwrap();
    fixture.raw::<redis::Value>(&["CONFIG", "RESETSTAT"]).await.unwrap();
    let answer = operation.await;
    let stats: String = fixture.raw(&["INFO", "commandstats"]).await.unwrap();
    let mut cost = Cost { functions: 0, commands: 0, whole: BTreeMap::new(), slowest_us: 0 };
    for line in stats.lines() {
        let Some((name, values)) = line.strip_prefix("cmdstat_").and_then(|line| line.split_once(":calls="))
        else {
            continue;
        };
        let calls: u64 = values.split(',').next().unwrap().parse().unwrap();
        match name {
            "fcall" => cost.functions += calls,
            name if WHOLE.contains(&name) => {
                cost.whole.insert(name.to_owned(), calls);
            }
            _ => cost.commands += calls,
        }
    }
    let slowest: Vec<Vec<redis::Value>> = fixture.raw(&["SLOWLOG", "GET", "1000"]).await.unwrap();
    for call in slowest {
        cost.slowest_us = cost.slowest_us.max(redis::from_redis_value(call[2].clone()).unwrap());
    }
    (cost, answer)
}

/// A job of the first tenant that waits for more room than there is.
async fn blocked_job(fixture: &Fixture, worker: &WorkerId) -> JobId {
    let lease = fixture.queue.claim(&Claim::one(worker)).await.unwrap().pop().unwrap();
    let id = lease.id;
    lease.release_too_big(1_000_000_000).await.unwrap();
    id
}

#[tokio::test]
async fn no_call_looks_at_the_whole_queue() {
    let fixture = Fixture::start().await;
    let volume = Volume::wanted();
    volume.fill(&fixture).await;
    let blocked = blocked_job(&fixture, &fixture.worker).await;
    let queue = &fixture.queue;
    let check = |what: &str, cost: &Cost| {
        eprintln!("{what}: {cost}");
        assert!(cost.whole.is_empty(), "{what}: {:?}", cost.whole);
        assert!(cost.commands <= MOST_COMMANDS * cost.functions.max(1), "{what}: {cost}");
    };

    let (used, stats) = cost(&fixture, queue.stats()).await;
    check("stats", &used);
    let jobs = (volume.tenants * volume.jobs_each) as u64;
    let depth = stats.unwrap().bulk;
    assert_eq!((depth.queued + depth.running, depth.running), (jobs, volume.workers as u64));

    let (used, tenants) = cost(&fixture, queue.tenants()).await;
    check("tenants", &used);
    assert_eq!(tenants.unwrap().len(), volume.tenants);

    let running = ListFilter {
        tenant: Some("tenant-1".into()),
        state: Some(State::Running),
        class: Some(Class::Bulk),
        enough: 100,
        ..ListFilter::default()
    };
    let (used, page) = cost(&fixture, queue.list(&running)).await;
    check("one tenant's running jobs", &used);
    assert_eq!(page.unwrap().jobs.len(), 1);

    let (used, view) = cost(&fixture, queue.view(&blocked)).await;
    check("a blocked job", &used);
    assert!(view.unwrap().unwrap().blocked.is_some());

    let (used, audit) = cost(&fixture, queue.audit()).await;
    // Names of LoRAs and of parked lists are few.
    let used =
        Cost { whole: used.whole.into_iter().filter(|(name, _)| name != "smembers").collect(), ..used };
    check("audit", &used);
    let audit = audit.unwrap();
    assert_eq!((audit.jobs, audit.faults), (jobs, vec![]));
}
