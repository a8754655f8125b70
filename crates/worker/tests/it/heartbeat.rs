//! What others see of a worker.

use std::time::Duration;

use serde_json::json;

use crate::fixture::Fixture;

#[tokio::test]
async fn a_worker_is_seen_while_it_is_there_and_not_after() {
    let fixture = Fixture::start().await;
    let worker = fixture.scripted("step=100ms").await;
    let seen = async |running: u32| {
        let reported = async {
            loop {
                match fixture.queue.workers().await.unwrap().pop() {
                    Some((_, _, report)) if report.running == running => return report,
                    _ => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(60), reported).await.expect("the worker does not report it")
    };
    let report = seen(0).await;
    assert_eq!((report.model.as_str(), report.device.as_str(), report.slots), ("scripted", "none", 1));
    assert_eq!(report.pid, std::process::id());
    fixture.submit(&json!({ "prompt": "a red star", "steps": 60 })).await;
    seen(1).await;
    worker.stop().await;
    assert_eq!(fixture.queue.workers().await.unwrap(), []);
}
