//! Timesteps.

use serde::Deserialize;
use uso_engine::schedule::timesteps;

use crate::golden::fixture;

#[derive(Deserialize)]
struct Recorded {
    rows: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    num_steps: usize,
    width: usize,
    height: usize,
    timesteps: Vec<f64>,
}

#[test]
fn every_recorded_schedule_is_the_same() {
    let recorded: Recorded =
        serde_json::from_slice(&std::fs::read(fixture("schedule/schedule.json")).unwrap()).unwrap();
    assert!(recorded.rows.len() > 10);
    for row in recorded.rows {
        let theirs: Vec<f32> = row.timesteps.into_iter().map(|t| t as f32).collect();
        let ours = timesteps(row.num_steps, row.width, row.height);
        assert_eq!(ours, theirs, "{} steps at {}x{}", row.num_steps, row.width, row.height);
    }
}
