//! What rows will cost.

use jiff::Timestamp;
use serde_json::{Value, json};
use uso_dataset::rows::{BYTES_PER_PIXEL, Fleet, Plan, Planner, REQUESTS_PER_PICTURE, Size};
use uso_queue::Window;

use super::fixture::{good, row};

fn planner() -> Planner {
    let mut planner = Planner::default();
    let rows = [
        json!({ "prompt": "a", "content": "s3://r/a", "styles": ["s3://r/b"], "steps": 10, "seed": 1 }),
        json!({ "prompt": "a", "content": "s3://r/a", "styles": ["s3://r/a"], "steps": 10, "seed": 2 }),
        json!({ "prompt": "b", "content": "s3://r/a", "content_size": 256, "keep_size": true, "steps": 20 }),
        json!({ "prompt": "b", "width": 512, "height": 512, "steps": 60 }),
    ];
    good((1..).zip(rows).map(|(line, fields)| row(line, fields))).iter().for_each(|row| planner.add(row));
    planner.add_bad();
    planner
}

/// A second for a step of a megapixel.
fn by_pixels(size: &Size) -> Option<f64> {
    Some(size.pixels() as f64 / (1 << 20) as f64)
}

fn fleet(step_seconds: &dyn Fn(&Size) -> Option<f64>) -> Fleet<'_> {
    Fleet {
        step_seconds,
        other_seconds: Some(5.0),
        bytes_per_pixel: None,
        live_workers: 1,
        workers: 4,
        staged_rows: 2,
        requests_per_picture: REQUESTS_PER_PICTURE,
        now: "2026-01-10T12:00:00Z".parse().unwrap(),
        window: None,
        deadline: None,
    }
}

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn night(opens: &str, closes: &str) -> Option<Window> {
    Some(Window {
        opens: opens.parse().unwrap(),
        closes: closes.parse().unwrap(),
        zone: "UTC".to_owned(),
        fill: false,
    })
}

#[test]
fn what_is_there_is_counted() {
    let plan = planner().plan(&fleet(&by_pixels)).unwrap();
    assert_eq!((plan.rows, plan.bad_rows, plan.steps), (4, 1, 100));
    assert_eq!((plan.references, plan.prompts), (2, 2));
    // One reference in two sizes; one picture that is a content and a style.
    assert_eq!((plan.content_encodes, plan.style_encodes), (2, 2));
    assert_eq!(plan.rows_sized_by_reference, 1);
    let pixels = 3 * (1 << 20) + (1 << 18);
    assert_eq!((plan.bytes, plan.bytes_measured), ((pixels as f64 * BYTES_PER_PIXEL) as u64, false));
    assert_eq!(plan.staged_bytes, 2 * 2 * (1 << 20));
    let measured = planner().plan(&Fleet { bytes_per_pixel: Some(0.5), ..fleet(&by_pixels) }).unwrap();
    assert_eq!((measured.bytes, measured.bytes_measured), (pixels / 2, true));
    // 2 references and 2 requests for the chunk by 4 rows; 5 references are named.
    assert!((plan.requests_per_row_least - REQUESTS_PER_PICTURE - 1.0).abs() < 1e-9);
    assert!((plan.requests_per_row_most - REQUESTS_PER_PICTURE - 1.75).abs() < 1e-9);
}

#[test]
fn a_plan_tells_what_the_tries_of_gates_may_take() {
    let gate = |min: Value, tries: u32| json!({ "scorers": ["clip"], "min": min, "tries": tries });
    let rows = [
        json!({ "prompt": "a", "steps": 10, "seed": 1 }),
        json!({ "prompt": "a", "steps": 10, "seed": 2, "gate": gate(json!({ "clip_t": 0.2 }), 4) }),
        json!({ "prompt": "a", "steps": 10, "seed": 3, "gate": gate(json!({}), 4) }),
        json!({ "prompt": "a", "steps": 10, "seed": 4, "gate": gate(json!({ "clip_t": 0.2 }), 1) }),
    ];
    let mut planner = Planner::default();
    good((1..).zip(rows).map(|(line, fields)| row(line, fields))).iter().for_each(|row| planner.add(row));
    let plan = planner.plan(&fleet(&by_pixels)).unwrap();
    assert_eq!((plan.steps, plan.gated_rows, plan.steps_most), (40, 1, 70));
}

#[test]
fn times_come_from_measured_steps() {
    let plan = planner().plan(&fleet(&by_pixels)).unwrap();
    // 40 steps of a second and 60 of a quarter, and 5 seconds a row.
    assert_eq!(plan.device_seconds, Some(40.0 + 15.0 + 20.0));
    assert_eq!(plan.gpu_hours, Some(75.0 / 3600.0));
    let (live, asked) = (plan.live.unwrap(), plan.asked.unwrap());
    assert_eq!((live.workers, live.seconds, live.windows, live.in_time), (1, 75.0, 0, None));
    assert_eq!(live.ends, Some(time("2026-01-10T12:01:15Z")));
    // A row cannot be split: the longest takes 25 seconds.
    assert_eq!((asked.workers, asked.seconds), (4, 25.0));
    let needed = plan.workers_needed.unwrap();
    assert_eq!((needed.window, needed.deadline), (None, None));
}

#[test]
fn a_time_that_is_not_known_is_not_guessed() {
    let small = |size: &Size| (size.width == 512).then_some(1.0);
    let plan = planner().plan(&fleet(&small)).unwrap();
    let without = |plan: &Plan| {
        let times = (plan.device_seconds, plan.gpu_hours);
        times == (None, None) && plan.live.is_none() && plan.asked.is_none() && plan.workers_needed.is_none()
    };
    assert!(without(&plan));
    let size = Size { width: 1024, height: 1024, content_size: 256, styles: 0 };
    assert_eq!(plan.sizes_without_time, [size, Size { content_size: 512, styles: 1, ..size }]);
    let json = serde_json::to_value(&plan).unwrap();
    assert!(json["device_seconds"].is_null() && json["live"].is_null(), "{json}");
    let other = planner().plan(&Fleet { other_seconds: None, ..fleet(&by_pixels) }).unwrap();
    assert!(without(&other) && other.sizes_without_time.is_empty());
    let nobody = planner().plan(&Fleet { live_workers: 0, ..fleet(&by_pixels) }).unwrap();
    assert!(nobody.live.is_none() && nobody.asked.is_some());
}

#[test]
fn only_the_hours_of_the_window_count() {
    // 30 seconds a night.
    let window = night("22:00:00", "22:00:30");
    let plan = planner().plan(&Fleet { window: window.clone(), ..fleet(&by_pixels) }).unwrap();
    let live = plan.live.unwrap();
    assert_eq!((live.windows, live.ends), (3, Some(time("2026-01-12T22:00:15Z"))));
    assert_eq!(plan.asked.unwrap().ends, Some(time("2026-01-10T22:00:25Z")));
    assert_eq!(plan.workers_needed.unwrap().window, Some(3));
    // It is open, and 5 seconds are gone.
    let now = time("2026-01-10T22:00:05Z");
    let plan = planner().plan(&Fleet { window: window.clone(), now, ..fleet(&by_pixels) }).unwrap();
    assert_eq!((plan.workers_needed.unwrap().window, plan.live.unwrap().windows), (Some(3), 3));
    // What is left is too short for the longest row.
    let now = time("2026-01-10T22:00:06Z");
    let plan = planner().plan(&Fleet { window, now, ..fleet(&by_pixels) }).unwrap();
    assert_eq!(plan.workers_needed.unwrap().window, None);
    let broken = Fleet { window: night("22:00:00", "22:00:00"), ..fleet(&by_pixels) };
    assert!(planner().plan(&broken).is_err());
}

#[test]
fn a_deadline_is_met_or_not() {
    let with = |deadline: &str, window| {
        let plan =
            planner().plan(&Fleet { deadline: Some(time(deadline)), window, ..fleet(&by_pixels) }).unwrap();
        let in_time = (plan.live.unwrap().in_time, plan.asked.unwrap().in_time);
        (in_time, plan.workers_needed.unwrap().deadline)
    };
    assert_eq!(with("2026-01-10T12:01:15Z", None), ((Some(true), Some(true)), Some(1)));
    assert_eq!(with("2026-01-10T12:00:30Z", None), ((Some(false), Some(true)), Some(3)));
    assert_eq!(with("2026-01-10T12:00:24Z", None), ((Some(false), Some(false)), None));
    assert_eq!(with("2026-01-10T11:00:00Z", None), ((Some(false), Some(false)), None));
    // Two nights of 30 seconds before it.
    let nights = night("22:00:00", "22:00:30");
    assert_eq!(with("2026-01-12T12:00:00Z", nights), ((Some(false), Some(true)), Some(2)));
}

#[test]
fn a_plan_of_nothing_is_zeros() {
    let plan = Planner::default().plan(&fleet(&by_pixels)).unwrap();
    assert_eq!((plan.rows, plan.bytes, plan.staged_bytes), (0, 0, 0));
    assert_eq!(plan.device_seconds, Some(0.0));
    assert_eq!(plan.requests_per_row_most, 0.0);
}
