//! A picture of the bundled model, end to end through a fleet, beside another build of it.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;
use uso_engine::EXAMPLE_PICTURES;

use super::folder::save;
use super::sizes::Sizes;
use super::task::threads;
use crate::figure::{Figure, Findings, Goal, Row};
use crate::sides::Sides;

/// Longest start of a fleet, picture, or end of a fleet.
const PATIENCE: Duration = Duration::from_secs(120);

pub(super) const FIGURE: Figure<Sizes> = Figure {
    name: "demo",
    about: "The bundled model's demo picture through a fleet, beside the build that --before names",
    rows: &[Row {
        name: |_| "demo picture end to end, against the build before".into(),
        unit: "ratio",
        goal: Goal::AtMost(0.8),
    }],
    measure: |sizes| Box::pin(measure(sizes)),
};

async fn measure(sizes: &Sizes) -> anyhow::Result<Findings> {
    let Some(before) = &sizes.before else {
        return Ok(Findings::of([None]).note("demo: --before names no build to compare with"));
    };
    let now = std::env::current_exe().context("where is this program?")?.with_file_name("uso");
    let folder = tempfile::tempdir()?;
    let references = ["content_heart.png", "style_sketch.png"].map(|name| folder.path().join(name));
    for path in &references {
        let picture = EXAMPLE_PICTURES.iter().find(|(name, _)| path.ends_with(name));
        let (_, bytes) = picture.context("the bundled model has no such picture")?;
        save(path, bytes)?;
    }
    let mut sides = Sides::default();
    for _ in 0..2 * sizes.rounds {
        for (name, program) in [("before", before), ("now", &now)] {
            sides.add(name, once(program, &references, folder.path()).await?);
        }
    }
    let note = format!("{}, {} threads", sides.describe("demo picture, seconds"), threads());
    Ok(Findings::of([sides.ratio("now", "before")]).note(note))
}

/// Seconds of the first picture of a fleet, from its submission until it is here.
async fn once(program: &Path, references: &[PathBuf; 2], folder: &Path) -> anyhow::Result<f64> {
    let fleet = Fleet::start(program).await?;
    let (begun, [content, style]) = (Instant::now(), references);
    let submit = Command::new(program)
        .args(["submit", "--prompt", "the heart is at the right on a sandy beach", "--seed", "103"])
        .arg("--content")
        .arg(content)
        .arg("--style")
        .arg(style)
        .arg("--out")
        .arg(folder.join("picture.png"))
        .env("USO_API", &fleet.url)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = timeout(PATIENCE, submit).await.context("no picture comes")??;
    let took = begun.elapsed().as_secs_f64();
    anyhow::ensure!(output.status.success(), "no picture: {}", String::from_utf8_lossy(&output.stderr));
    fleet.stop().await?;
    Ok(took)
}

/// A fleet of one worker.
struct Fleet {
    child: Child,
    url: String,
    _data: TempDir,
}

impl Fleet {
    async fn start(program: &Path) -> anyhow::Result<Self> {
        let data = tempfile::tempdir()?;
        let mut command = Command::new(program);
        command.args(["up", "--port", "0", "--data"]).arg(data.path());
        // Builds before had no option for it.
        for pool in ["RAYON_NUM_THREADS", "CANDLE_NUM_THREADS"] {
            command.env(pool, threads().to_string());
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
        let mut child = command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
        let mut lines = BufReader::new(child.stdout.take().context("it has no stdout")?).lines();
        let ready = async {
            while let Some(line) = lines.next_line().await? {
                if let Some((_, url)) = line.split_once("ready on ") {
                    let url = url.split_whitespace().next().unwrap_or_default();
                    return Ok(url.to_owned());
                }
            }
            anyhow::bail!("{} has ended", program.display())
        };
        let url = timeout(PATIENCE, ready).await.context("a fleet does not start")??;
        Ok(Self { child, url, _data: data })
    }

    async fn stop(mut self) -> anyhow::Result<()> {
        let pid = self.child.id().context("the fleet has ended")?;
        let told = Command::new("kill").arg("-TERM").arg(pid.to_string()).status().await?;
        anyhow::ensure!(told.success(), "cannot end the fleet");
        timeout(PATIENCE, self.child.wait()).await.context("a fleet does not end")??;
        Ok(())
    }
}
