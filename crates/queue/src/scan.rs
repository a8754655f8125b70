//! Hashes and sets of any size, read in parts, so that no call takes long.

use std::collections::BTreeMap;

use crate::{Error, Queue};

/// Members that one call reads.
const PART: usize = 500;

impl Queue {
    /// All members of a key that `scan` is for: `HSCAN` gives names and values, `ZSCAN` members and scores, `SSCAN`
    /// members. Those that are there all the time are found, and some perhaps twice.
    pub(crate) async fn members_of(&self, scan: &str, key: &str) -> Result<Vec<Vec<u8>>, Error> {
        let (mut cursor, mut all) = ("0".to_owned(), Vec::new());
        loop {
            let mut command = redis::cmd(scan);
            command.arg(key).arg(&cursor).arg("COUNT").arg(PART);
            let (next, members): (String, Vec<Vec<u8>>) = self.0.connection.call(&command).await?;
            all.extend(members);
            if next == "0" {
                return Ok(all);
            }
            cursor = next;
        }
    }

    /// A shard's counters: `<state>:<class>:<tenant>` for jobs, and some that are not jobs.
    pub(crate) async fn counters(&self, shard: u16) -> Result<BTreeMap<String, i64>, Error> {
        let counters = self.members_of("HSCAN", &self.key(shard, "counts")).await?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok(counters
            .chunks_exact(2)
            .map(|pair| (text(&pair[0]), text(&pair[1]).parse().unwrap_or(0)))
            .collect())
    }
}
