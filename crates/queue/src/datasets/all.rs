//! All data sets there are.

use std::collections::BTreeSet;

use crate::{BatchId, Error, Queue};

impl Queue {
    /// The data sets of all tenants, each with its tenant.
    ///
    /// # Errors
    /// [`Error::Unreachable`].
    pub async fn all_datasets(&self) -> Result<Vec<(String, BatchId)>, Error> {
        let mut tenants = BTreeSet::new();
        for shard in self.shards() {
            let found = self.members_of("SSCAN", &self.key(shard, "dataset_tenants")).await?;
            tenants.extend(found.iter().map(|name| String::from_utf8_lossy(name).into_owned()));
        }
        let mut all = Vec::new();
        for tenant in tenants {
            let named = self.datasets(&tenant).await?;
            all.extend(named.into_iter().map(|(_, id)| (tenant.clone(), id)));
        }
        Ok(all)
    }
}
