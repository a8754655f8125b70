//! Deliveries under way, by tenant and endpoint: none of them gets more than its share.

use std::collections::HashMap;

use tokio::task::{Id, JoinSet};

/// Deliveries that a process sends at once.
const AT_ONCE: usize = 64;
/// To the endpoints of one tenant, as long as half of them are free; then one.
const TO_TENANT: usize = 8;
/// To one endpoint.
const TO_ENDPOINT: usize = 4;

/// Deliveries under way.
#[derive(Default)]
pub(super) struct Sending {
    tasks: JoinSet<()>,
    /// Tenant and endpoint of each.
    owners: HashMap<Id, [String; 2]>,
}

impl Sending {
    pub(super) fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    pub(super) fn has_capacity(&self) -> bool {
        self.owners.len() < AT_ONCE
    }

    pub(super) fn begin(
        &mut self,
        tenant: String,
        endpoint: String,
        delivery: impl Future<Output = ()> + Send + 'static,
    ) {
        let task = self.tasks.spawn(delivery);
        self.owners.insert(task.id(), [tenant, endpoint]);
    }

    /// Tenants and endpoints that have all of their share.
    pub(super) fn busy(&self) -> Vec<&str> {
        let to_tenant = if self.owners.len() < AT_ONCE / 2 { TO_TENANT } else { 1 };
        [to_tenant, TO_ENDPOINT]
            .into_iter()
            .enumerate()
            .flat_map(|(which, most)| self.more(which, most))
            .collect()
    }

    /// Names that at least so many have.
    fn more(&self, which: usize, most: usize) -> Vec<&str> {
        let mut counts: HashMap<&str, usize> = HashMap::new();
        for names in self.owners.values() {
            *counts.entry(names[which].as_str()).or_default() += 1;
        }
        counts.into_iter().filter(|(_, count)| *count >= most).map(|(name, _)| name).collect()
    }

    /// Waits until one has been made, or has failed.
    pub(super) async fn ended(&mut self) {
        let id = match self.tasks.join_next_with_id().await {
            Some(Ok((id, ()))) => id,
            Some(Err(error)) => error.id(),
            None => return,
        };
        self.owners.remove(&id);
    }

    pub(super) async fn shutdown(&mut self) {
        self.tasks.shutdown().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn busy(sending: &Sending) -> Vec<&str> {
        let mut busy = sending.busy();
        busy.sort_unstable();
        busy
    }

    #[tokio::test]
    async fn no_tenant_gets_more_than_a_share_and_each_gets_one() {
        let mut sending = Sending::default();
        let begin = |sending: &mut Sending, tenant: &str, endpoint: &str| {
            sending.begin(tenant.into(), format!("{tenant} {endpoint}"), std::future::pending());
        };
        (0..TO_ENDPOINT).for_each(|_| begin(&mut sending, "a", "x"));
        assert_eq!(busy(&sending), ["a x"]);
        (0..TO_TENANT - TO_ENDPOINT).for_each(|_| begin(&mut sending, "a", "y"));
        assert_eq!(busy(&sending), ["a", "a x", "a y"]);
        // The more there are, the less each may have.
        let others: Vec<String> = (0..AT_ONCE / 2 - TO_TENANT).map(|number| format!("t{number}")).collect();
        others.iter().for_each(|tenant| begin(&mut sending, tenant, "x"));
        assert!(others.iter().all(|tenant| sending.busy().contains(&tenant.as_str())));
        assert!(sending.has_capacity());
        sending.shutdown().await;
    }

    #[tokio::test]
    async fn what_has_ended_takes_nothing_however_it_ended() {
        let mut sending = Sending::default();
        for _ in 0..TO_ENDPOINT {
            sending.begin("a".into(), "a x".into(), async { panic!("a delivery") });
        }
        assert_eq!(busy(&sending), ["a x"]);
        sending.ended().await;
        assert!(busy(&sending).is_empty());
    }
}
