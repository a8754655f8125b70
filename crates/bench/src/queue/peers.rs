//! Other job queues, where `ops/bench/setup.sh` has put them.

use std::path::{Path, PathBuf};

use tokio::process::Command;

use crate::cores::Cores;
use crate::machine::{Machine, version};

/// Where they are looked for if nobody says.
const USUAL: &str = "target/bench";

/// What there is to compare with.
pub(super) struct Peers {
    bullmq: Option<BullMq>,
    apalis: Option<Apalis>,
}

struct BullMq {
    script: PathBuf,
    version: String,
    node: String,
}

struct Apalis {
    program: PathBuf,
    version: String,
}

impl Peers {
    pub(super) async fn find(folder: Option<&Path>) -> Self {
        let folder = folder.unwrap_or(Path::new(USUAL));
        Self {
            bullmq: BullMq::find(&folder.join("bullmq")).await,
            apalis: Apalis::find(&folder.join("apalis")),
        }
    }

    /// A BullMQ client; `words` follow the server's URL and the payload.
    pub(super) fn bullmq(
        &self,
        cores: Cores,
        url: &str,
        payload: &Path,
        words: &[String],
    ) -> Option<Command> {
        let mut command = cores.client("node");
        command.arg(&self.bullmq.as_ref()?.script).arg(url).arg(payload).args(words);
        Some(command)
    }

    /// An apalis client, likewise.
    pub(super) fn apalis(
        &self,
        cores: Cores,
        url: &str,
        payload: &Path,
        words: &[String],
    ) -> Option<Command> {
        let mut command = cores.client(&self.apalis.as_ref()?.program);
        command.arg(url).arg(payload).args(words);
        Some(command)
    }

    pub(super) fn describe(&self, machine: &mut Machine) {
        let none = || "not there: see ops/bench/setup.sh".to_owned();
        let bullmq = self.bullmq.as_ref();
        machine.add("node", bullmq.map_or_else(none, |bullmq| bullmq.node.clone()));
        machine.add("bullmq", bullmq.map_or_else(none, |bullmq| bullmq.version.clone()));
        machine.add("apalis", self.apalis.as_ref().map_or_else(none, |apalis| apalis.version.clone()));
    }
}

impl BullMq {
    async fn find(folder: &Path) -> Option<Self> {
        let script = folder.join("app.js");
        let package = std::fs::read(folder.join("node_modules/bullmq/package.json")).ok()?;
        let package: serde_json::Value = serde_json::from_slice(&package).ok()?;
        let version_of_bullmq = package["version"].as_str()?.to_owned();
        let node = version("node").await?;
        script.is_file().then_some(Self { script, version: version_of_bullmq, node })
    }
}

impl Apalis {
    fn find(folder: &Path) -> Option<Self> {
        let program = folder.join("apalis-bench");
        let version = std::fs::read_to_string(folder.join("version")).ok()?.trim().to_owned();
        program.is_file().then_some(Self { program, version })
    }
}
