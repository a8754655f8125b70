//! `plan_speed [ROWS] [THREADS]`: how fast a manifest is checked and planned, and how much memory that takes. It writes a
//! JSONL file in a temporary folder first.

#![expect(clippy::print_stdout, reason = "it prints what it measured")]

use std::error::Error;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::Instant;

use jiff::Timestamp;
use uso_dataset::rows::{Changes, Checker, Fleet, Manifest, Options, Planner, REQUESTS_PER_PICTURE};
use uso_queue::Defaults;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let rows: u64 = args.next().map_or(Ok(1_000_000), |rows| rows.parse())?;
    let threads: usize = args.next().map_or(Ok(2), |threads| threads.parse())?;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("rows.jsonl");
    let bytes = write(&path, rows)?;

    let (began, worked) = (Instant::now(), cpu_seconds()?);
    let mut checker = Checker::new(Defaults::default(), Options::default());
    let (mut planner, mut changes) = (Planner::default(), Changes::default());
    checker.check_all(&mut Manifest::open(&path, None)?, threads, |row| {
        match row {
            Ok(row) => {
                planner.add(&row);
                changes.old(&row.key, row.digest);
            }
            Err(_) => planner.add_bad(),
        }
        Ok(())
    })?;
    let plan = planner.plan(&Fleet {
        step_seconds: &|_| Some(0.2),
        other_seconds: Some(1.0),
        bytes_per_pixel: None,
        live_workers: 1,
        workers: 8,
        staged_rows: 10_000,
        requests_per_picture: REQUESTS_PER_PICTURE,
        now: Timestamp::now(),
        window: None,
        deadline: None,
    })?;
    let (seconds, worked) = (began.elapsed().as_secs_f64(), cpu_seconds()? - worked);
    println!("{}", serde_json::to_string_pretty(&plan)?);
    println!("{rows} rows of {} bytes on {threads} threads", bytes / rows.max(1));
    println!("{seconds:.2} s, {:.0} rows/s, peak memory {} MiB", rows as f64 / seconds, peak_mib()?);
    println!("{worked:.2} s of processor time, {:.0} rows a second of it", rows as f64 / worked);
    Ok(())
}

/// Rows as a data set has them: every thousandth is bad, the others differ in prompt and seed.
fn write(path: &Path, rows: u64) -> std::io::Result<u64> {
    let mut file = BufWriter::new(File::create(path)?);
    for i in 0..rows {
        let (subject, style) = (i / 40 % 2000, i / 8 % 5);
        if i % 1000 == 999 {
            writeln!(file, r#"{{"prompt":"row {i}","width":7}}"#)?;
            continue;
        }
        writeln!(
            file,
            r#"{{"prompt":"A photo of subject {subject} in a garden at dusk, number {i}","content":"s3://references/subjects/{subject:05}.png","styles":["s3://references/styles/{style:03}.png"],"width":1024,"height":1024,"seed":{i},"metadata":{{"subject":"s{subject}","style":"t{style}"}}}}"#
        )?;
    }
    file.flush()?;
    Ok(path.metadata()?.len())
}

/// The most memory that this process has held so far.
fn peak_mib() -> Result<u64, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).ok_or("no VmHWM")?;
    Ok(line.split_whitespace().nth(1).ok_or("no number")?.parse::<u64>()? / 1024)
}

/// Processor time that this process has used: what counts where others use the machine too. Ticks are hundredths of a
/// second on all Linux systems that you are likely to meet.
fn cpu_seconds() -> Result<f64, Box<dyn Error>> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    // The name before the bracket may hold spaces.
    let (_, fields) = stat.rsplit_once(')').ok_or("no name")?;
    let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<u64>);
    Ok(ticks.sum::<Result<u64, _>>()? as f64 / 100.0)
}
