//! Bulk work only at night.

use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use uso_queue::{Claim, Class, Error, Lease, Renewer, Window, WorkerId};

use crate::fixture::{Fixture, bulk, spec};

const HOUR: Duration = Duration::from_secs(3600);

/// A window of an hour that opens `hours` from now.
fn in_hours(hours: i64, fill: bool) -> Window {
    let time = |hours| TimeZone::UTC.to_datetime(Timestamp::now() + SignedDuration::from_hours(hours));
    Window { opens: time(hours).time(), closes: time(hours + 1).time(), zone: "UTC".into(), fill }
}

async fn claim(fixture: &Fixture) -> Option<Lease> {
    fixture.queue.claim(&Claim::one(&fixture.worker)).await.unwrap().pop()
}

#[tokio::test]
async fn bulk_work_waits_for_its_window_and_interactive_work_does_not() {
    let fixture = Fixture::start().await;
    fixture.queue.set_window(Some(&in_hours(2, false))).await.unwrap();
    let night = fixture.submit(&bulk()).await;
    assert!(claim(&fixture).await.is_none());
    let day = fixture.submit(&spec(Class::Interactive, 0)).await;
    assert_eq!(claim(&fixture).await.unwrap().id, day);
    fixture.set_clock(2 * HOUR + HOUR / 2).await;
    assert_eq!(claim(&fixture).await.unwrap().id, night);
}

#[tokio::test]
async fn a_closed_window_opens_again_on_the_next_day_because_the_reaper_says_when() {
    let fixture = Fixture::start().await;
    fixture.queue.set_window(Some(&in_hours(2, false))).await.unwrap();
    fixture.submit(&bulk()).await;
    for day in 1..4 {
        // Just closed: nobody may claim until the times of the next day are known, or after.
        fixture.set_clock(24 * day * HOUR - 20 * HOUR).await;
        assert!(claim(&fixture).await.is_none(), "day {day}");
        fixture.queue.reap(&fixture.worker).await.unwrap();
        assert!(claim(&fixture).await.is_none(), "day {day}");
        let next = fixture.queue.window().await.unwrap().unwrap();
        assert_eq!(next.next_closes.duration_since(next.next_opens), SignedDuration::from_hours(1));
        fixture.set_clock(24 * day * HOUR + 2 * HOUR + HOUR / 2).await;
        let lease = claim(&fixture).await.expect("the window is open");
        lease.release().await.unwrap();
    }
}

#[tokio::test]
async fn when_the_window_closes_a_holder_is_asked_to_hand_back() {
    let fixture = Fixture::start().await;
    fixture.queue.set_window(Some(&in_hours(0, false))).await.unwrap();
    let job = fixture.submit(&bulk()).await;
    let lease = claim(&fixture).await.unwrap();
    fixture.submit(&spec(Class::Interactive, 0)).await;
    let urgent = claim(&fixture).await.unwrap();
    let renewer = Renewer::start(&fixture.queue);
    let (keeper, other) = (renewer.keep(&lease), renewer.keep(&urgent));
    fixture.set_clock(HOUR).await;
    let asked = keeper.window_closed();
    tokio::time::timeout(Duration::from_secs(20), asked.cancelled()).await.unwrap();
    assert!(!other.window_closed().is_cancelled(), "interactive work goes on");
    lease.release().await.unwrap();
    assert_eq!(fixture.view(&job).await.attempt, 0);
    renewer.stop().await;
}

#[tokio::test]
async fn an_operator_may_let_bulk_work_fill_an_idle_fleet() {
    let fixture = Fixture::start().await;
    fixture.queue.set_window(Some(&in_hours(2, true))).await.unwrap();
    let night = fixture.submit(&bulk()).await;
    fixture.submit(&bulk()).await;
    assert_eq!(claim(&fixture).await.unwrap().id, night);
    fixture.submit(&spec(Class::Interactive, 0)).await;
    let only_bulk = Claim { classes: &[Class::Bulk], ..Claim::one(&fixture.worker) };
    assert!(fixture.queue.claim(&only_bulk).await.unwrap().is_empty(), "interactive work waits");
}

#[tokio::test]
async fn a_window_is_set_seen_and_removed_and_a_broken_one_refused() {
    let fixture = Fixture::start().await;
    assert_eq!(fixture.queue.window().await.unwrap(), None);
    let window = in_hours(2, true);
    fixture.queue.set_window(Some(&window)).await.unwrap();
    assert_eq!(fixture.queue.window().await.unwrap().unwrap().window, window);
    let broken = Window { zone: "Europe/Atlantis".into(), ..window };
    let error = fixture.queue.set_window(Some(&broken)).await.unwrap_err();
    assert!(matches!(error, Error::Rejected(_)) && error.to_string().contains("Atlantis"), "{error}");
    fixture.queue.set_window(None).await.unwrap();
    assert_eq!(fixture.queue.window().await.unwrap(), None);
    fixture.submit(&bulk()).await;
    assert!(claim(&fixture).await.is_some());
}

#[tokio::test]
async fn a_leader_that_is_late_does_not_bring_an_old_window_back() {
    let fixture = Fixture::start().await;
    fixture.queue.set_window(Some(&in_hours(0, false))).await.unwrap();
    let old: String = fixture.raw(&["GET", "{uso:0}:window"]).await.unwrap();
    fixture.queue.set_window(Some(&in_hours(5, false))).await.unwrap();
    let now = Timestamp::now().as_millisecond();
    let (opens, closes) = (now.to_string(), (now + 1000).to_string());
    let late = ["FCALL", "uso_1_window", "1", "{uso:0}", &old, &opens, &closes, "0", "1"];
    assert_eq!(fixture.raw::<u8>(&late).await.unwrap(), 0);
    fixture.submit(&bulk()).await;
    assert!(fixture.queue.claim_one(&WorkerId::new()).await.unwrap().is_none());
}
