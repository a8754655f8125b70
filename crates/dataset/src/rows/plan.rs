//! What rows will cost, added up before one is queued.

mod times;

use std::collections::{BTreeMap, HashSet};
use std::hash::{BuildHasher, Hash, RandomState};

use jiff::Timestamp;
use serde::Serialize;
use uso_queue::{Gate, Rejection};

use super::chunk::CHUNK_ROWS;
use super::row::Row;
use times::Load;
pub use times::{Fleet, Size, Wall, WorkersNeeded};

/// Bytes of a PNG for each pixel of it where nobody has measured any: 24 bits of which photographs keep about two thirds.
pub const BYTES_PER_PIXEL: f64 = 2.0;
/// S3 requests of a picture beside reading its references: picture and sidecar are written, both are read for their
/// shard, and both are deleted in lists of 1000.
pub const REQUESTS_PER_PICTURE: f64 = 4.0 + 2.0 / 1000.0;
/// Sizes without a known time that a plan lists.
const LISTED: usize = 20;

/// Adds up what rows will cost. It keeps 8 bytes and room to grow for each different reference, prompt and encoding:
/// below 80 MB for a million rows that share nothing.
#[derive(Debug, Default)]
pub struct Planner {
    hasher: RandomState,
    rows: u64,
    bad_rows: u64,
    steps: u64,
    gated: u64,
    steps_most: u64,
    references: HashSet<u64>,
    prompts: HashSet<u64>,
    contents: HashSet<u64>,
    styles: HashSet<u64>,
    /// References of all rows together.
    named: u64,
    from_reference: u64,
    sizes: BTreeMap<Size, Load>,
    finish_by: Option<FinishBy>,
}

/// Rows that must be done by a time: they end without a picture if they are not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct FinishBy {
    /// How many there are.
    pub rows: u64,
    /// The first of their times.
    pub first: Timestamp,
    /// The last of their times.
    pub last: Timestamp,
    /// Whether the workers there are finish all rows before the first of these times; null if nobody knows.
    pub in_time: Option<bool>,
}

/// What rows will cost.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    /// Rows that can be queued.
    pub rows: u64,
    /// Rows that cannot.
    pub bad_rows: u64,
    /// Different reference images.
    pub references: u64,
    /// Different prompts: how often text is encoded at least.
    pub prompts: u64,
    /// Different content references and sizes of them: how often one is encoded at least.
    pub content_encodes: u64,
    /// Different style references: how often one is encoded at least.
    pub style_encodes: u64,
    /// Sampling steps in all, with one try for each row: all times and costs are for these.
    pub steps: u64,
    /// Rows that are sampled again while they do not reach their gate.
    pub gated_rows: u64,
    /// Sampling steps in all if these take all of their tries.
    pub steps_most: u64,
    /// Rows that take their proportions from the content reference; they are counted with their `width` and `height`.
    pub rows_sized_by_reference: u64,
    /// Bytes of all pictures.
    pub bytes: u64,
    /// Bytes a pixel that this comes from.
    pub bytes_per_pixel: f64,
    /// Whether that was measured; otherwise it is [`BYTES_PER_PIXEL`].
    pub bytes_measured: bool,
    /// Bytes of the largest pictures that lie in the store before they are packed, at most.
    pub staged_bytes: u64,
    /// S3 requests a row if each worker had all references already, to begin with.
    pub requests_per_row_least: f64,
    /// S3 requests a row if no reference were kept between rows.
    pub requests_per_row_most: f64,
    /// Seconds of a device for all rows; null if a time is not known.
    pub device_seconds: Option<f64>,
    /// Hours of a GPU for all rows; null if a time is not known.
    pub gpu_hours: Option<f64>,
    /// Sizes without a known time, at most 20 of them.
    pub sizes_without_time: Vec<Size>,
    /// How long it takes with the workers there are; null if a time is not known, or there is no worker.
    pub live: Option<Wall>,
    /// How long it takes with the workers you asked about; null as `live`.
    pub asked: Option<Wall>,
    /// Workers that end it in time; null if a time is not known.
    pub workers_needed: Option<WorkersNeeded>,
    /// Rows with a `finish_by` of their own; null without any.
    pub finish_by: Option<FinishBy>,
}

impl Planner {
    /// Counts a row.
    pub fn add(&mut self, row: &Row) {
        let job = &row.job;
        self.rows += 1;
        self.steps += u64::from(job.steps);
        // Without a threshold a picture is only scored.
        let may_miss = |gate: &&Gate| gate.tries > 1 && (!gate.min.is_empty() || gate.early.is_some());
        let gate = job.gate.as_ref().filter(may_miss);
        self.gated += u64::from(gate.is_some());
        self.steps_most += u64::from(job.steps) * gate.map_or(1, |gate| u64::from(gate.tries));
        self.prompts.insert(self.hasher.hash_one(&job.prompt));
        if let Some(content) = &job.content {
            let content = self.name(content);
            self.contents.insert(self.hasher.hash_one((content, job.content_size, job.keep_size)));
            self.from_reference += u64::from(job.keep_size);
        }
        for style in &job.styles {
            let style = self.name(style);
            self.styles.insert(style);
        }
        let content_size = if job.content.is_some() { job.content_size } else { 0 };
        let size =
            Size { width: job.width, height: job.height, content_size, styles: job.styles.len() as u32 };
        self.sizes.entry(size).or_default().add(job.steps);
        if let Some(time) = job.finish_by {
            let before =
                self.finish_by.unwrap_or(FinishBy { rows: 0, first: time, last: time, in_time: None });
            let (first, last) = (before.first.min(time), before.last.max(time));
            self.finish_by = Some(FinishBy { rows: before.rows + 1, first, last, in_time: None });
        }
    }

    /// Counts a row that cannot be queued.
    pub fn add_bad(&mut self) {
        self.bad_rows += 1;
    }

    /// The plan for a fleet.
    ///
    /// # Errors
    /// As [`Window::next`](uso_queue::Window::next).
    pub fn plan(&self, fleet: &Fleet<'_>) -> Result<Plan, Rejection> {
        let per_pixel = fleet.bytes_per_pixel.unwrap_or(BYTES_PER_PIXEL);
        let bytes = |pixels: u64| (pixels as f64 * per_pixel).ceil() as u64;
        let times = times::of(&self.sizes, fleet)?;
        let finish_by = self.finish_by.map(|by| FinishBy { in_time: times.by(by.first), ..by });
        let (per_row, named) = (self.per_row(fleet), self.named as f64);
        let staged = fleet.staged_rows.min(self.rows);
        Ok(Plan {
            rows: self.rows,
            bad_rows: self.bad_rows,
            references: self.references.len() as u64,
            prompts: self.prompts.len() as u64,
            content_encodes: self.contents.len() as u64,
            style_encodes: self.styles.len() as u64,
            steps: self.steps,
            gated_rows: self.gated,
            steps_most: self.steps_most,
            rows_sized_by_reference: self.from_reference,
            bytes: bytes(self.sizes.iter().map(|(size, load)| size.pixels() * load.rows).sum()),
            bytes_per_pixel: per_pixel,
            bytes_measured: fleet.bytes_per_pixel.is_some(),
            staged_bytes: bytes(self.largest(staged)),
            requests_per_row_least: per_row(self.references.len() as f64),
            requests_per_row_most: per_row(named),
            device_seconds: times.device_seconds,
            gpu_hours: times.device_seconds.map(|seconds| seconds / 3600.0),
            sizes_without_time: times.unknown.into_iter().take(LISTED).collect(),
            finish_by,
            live: times.live,
            asked: times.asked,
            workers_needed: times.needed,
        })
    }

    fn name<T: Hash>(&mut self, reference: &T) -> u64 {
        let hash = self.hasher.hash_one(reference);
        self.named += 1;
        self.references.insert(hash);
        hash
    }

    /// Requests a row if references are read this often: a chunk is written and read too.
    fn per_row(&self, fleet: &Fleet<'_>) -> impl Fn(f64) -> f64 {
        let chunks = self.rows.div_ceil(CHUNK_ROWS as u64) as f64;
        let (rows, per_picture) = (self.rows as f64, fleet.requests_per_picture);
        move |reads| if rows == 0.0 { 0.0 } else { per_picture + (reads + 2.0 * chunks) / rows }
    }

    /// Pixels of the `rows` largest pictures.
    fn largest(&self, rows: u64) -> u64 {
        let mut sizes: Vec<(u64, u64)> =
            self.sizes.iter().map(|(size, load)| (size.pixels(), load.rows)).collect();
        sizes.sort_unstable_by(|a, b| b.cmp(a));
        let mut left = rows;
        let take = |(pixels, rows): (u64, u64)| {
            let taken = rows.min(left);
            left -= taken;
            pixels * taken
        };
        sizes.into_iter().map(take).sum()
    }
}
