//! What the fleet says of itself: what it can do, how much it has to do, what it could not do.

use serde_json::{Value, json};
use uso_api::{Access, Config};
use uso_queue::KeyScope::{Admin, Read, Submit};
use uso_queue::{Failure, WorkerId, WorkerReport};

use crate::fixture::{Fixture, examples, problem};

#[tokio::test]
async fn capabilities_tell_what_a_client_needs_to_ask_for_a_picture() {
    let config = Config { model: "toy".into(), examples: examples(), ..Config::default() };
    let fixture = Fixture::start_as(config).await;
    let answer = fixture.get("/v1/capabilities").await;
    let told: Value = answer.json().await.unwrap();
    assert_eq!(
        (&told["model"], &told["auth"], &told["tenant"]),
        (&json!("toy"), &json!("open"), &json!("default"))
    );
    assert_eq!(told["scopes"], json!(["submit", "read", "admin"]));
    assert_eq!(told["durability"], "fsync");
    assert_eq!(told["defaults"]["steps"], 25);
    assert_eq!(told["limits"]["width"], json!([16, 2048]));
    assert_eq!(told["limits"]["guidance"], json!([1.0, 10.0]));
    assert_eq!(told["limits"]["styles"], json!([0, 4]));
    assert_eq!(told["limits"]["upload_bytes"], 32 * 1024 * 1024);
    assert_eq!(told["upload_types"], json!(["image/png", "image/jpeg", "image/webp"]));
    assert_eq!(told["formats"], json!(["png", "jpeg", "webp"]));
    assert_eq!((&told["limits"]["quality"], &told["defaults"]["quality"]), (&json!([1, 100]), &json!(90)));
    assert_eq!(told["sizes"][0], json!([1024, 1024]));
    assert_eq!(told["states"].as_array().unwrap().len(), 6);
    assert_eq!(told["scripted"], false);
    let report = WorkerReport { scripted: true, ..WorkerReport::default() };
    fixture.queue.register(&WorkerId::new(), &report).await.unwrap();
    let told: Value = fixture.get("/v1/capabilities").await.json().await.unwrap();
    assert_eq!(told["scripted"], true, "a worker says so");

    let example = &told["examples"][0];
    let expected = json!({
        "title": "A dot", "prompt": "a dot", "content": "/examples/dot.png", "styles": [],
        "width": 64, "height": 64, "seed": 1, "steps": 10,
    });
    assert_eq!(*example, expected);
    let picture = fixture.get(example["content"].as_str().unwrap()).await;
    assert_eq!(picture.headers()["content-type"], "image/png");
    assert_eq!(picture.bytes().await.unwrap(), b"dot".as_slice());
    problem(fixture.get("/examples/other.png").await, 404, "no_such_route").await;
}

#[tokio::test]
async fn the_queue_tells_how_much_there_is_to_do() {
    let fixture = Fixture::start().await;
    for class in ["interactive", "bulk", "bulk"] {
        fixture.post("/v1/jobs", &json!({ "class": class })).await;
    }
    let spec = uso_queue::JobSpec::parse(&json!({}), &uso_queue::Defaults::default()).unwrap();
    fixture.queue.submit("another", &spec).await.unwrap();
    fixture.queue.set_paused(uso_queue::Scope::Class(uso_queue::Class::Bulk), true).await.unwrap();
    let _lease = fixture.claim().await;
    fixture.queue.register(&WorkerId::new(), &WorkerReport::default()).await.unwrap();
    let answer = fixture.get("/v1/queue").await;
    assert_eq!(answer.headers()["cache-control"], "no-store");
    let told: Value = answer.json().await.unwrap();
    let expected = json!({
        "classes": {
            "interactive": { "queued": 1, "running": 1, "delayed": 0, "paused": false },
            "bulk": { "queued": 2, "running": 0, "delayed": 0, "paused": true },
        },
        "dead": 0,
        "workers": 1,
        "tenant": told["tenant"].clone(),
        "window": null,
    });
    assert_eq!(told, expected);
    // Which of the two tenants had its interactive job claimed is not for this test to say.
    let own = (told["tenant"]["queued"].as_u64().unwrap(), told["tenant"]["running"].as_u64().unwrap());
    assert!(matches!(own, (2, 1) | (3, 0)), "{own:?}");
}

#[tokio::test]
async fn the_queue_tells_when_bulk_jobs_may_start() {
    let fixture = Fixture::start().await;
    let hours = jiff::Timestamp::now().as_second() / 3600;
    let hour = |later: i64| format!("{:02}:00", (hours + later) % 24).parse().unwrap();
    for (opens, closes, is_open) in [(hour(0), hour(2), true), (hour(2), hour(4), false)] {
        let window = uso_queue::Window { opens, closes, zone: "UTC".into(), fill: false };
        fixture.queue.set_window(Some(&window)).await.unwrap();
        let told: Value = fixture.get("/v1/queue").await.json().await.unwrap();
        let told = &told["window"];
        assert_eq!((&told["opens"], &told["zone"]), (&json!(opens.to_string()), &json!("UTC")));
        assert_eq!((&told["is_open"], &told["fill"]), (&json!(is_open), &json!(false)));
        let length = told["closes_ms"].as_i64().unwrap() - told["opens_ms"].as_i64().unwrap();
        assert_eq!(length, 2 * 3_600_000);
    }
}

#[tokio::test]
async fn dead_letters_say_what_went_wrong_a_page_at_a_time() {
    let fixture = Fixture::start().await;
    let mut ids = Vec::new();
    for number in 0..3 {
        ids.insert(0, fixture.submit("a cat").await);
        let message = format!("fault {number}");
        let failure = Failure { code: "broke".into(), message, retryable: true, ..Failure::default() };
        for _ in 0..3 {
            fixture.claim().await.fail(&failure).await.unwrap();
        }
    }
    let first: Value = fixture.get("/v1/dead?limit=2").await.json().await.unwrap();
    let letter = &first["letters"][0];
    assert_eq!(
        (&letter["job"], &letter["reason"], &letter["message"]),
        (&json!(ids[0]), &json!("attempts spent"), &json!("fault 2"))
    );
    assert!(letter["at_ms"].as_u64().unwrap() > 1_700_000_000_000);
    let cursor = first["next"].as_str().unwrap();
    let second: Value = fixture.get(&format!("/v1/dead?limit=2&cursor={cursor}")).await.json().await.unwrap();
    assert_eq!((&second["letters"][0]["job"], &second["next"]), (&json!(ids[2]), &Value::Null));
    assert_eq!(second["letters"].as_array().unwrap().len(), 1);
    let before_all: Value = fixture.get("/v1/dead?cursor=0-0-0").await.json().await.unwrap();
    assert_eq!(before_all, json!({ "letters": [], "next": null }));
    problem(fixture.get("/v1/dead?cursor=x").await, 400, "invalid_parameters").await;
}

#[tokio::test]
async fn a_key_decides_what_is_told() {
    let fixture = Fixture::start_as(Config { access: Access::Keys, ..Config::default() }).await;
    let (user, operator) =
        (fixture.key("ours", &[Submit, Read]).await, fixture.key("ops", &[Read, Admin]).await);
    let get = |path: &'static str, key: &uso_queue::ApiKey| {
        fixture.client.get(fixture.url(path)).bearer_auth(key.expose()).send()
    };
    let told: Value = get("/v1/capabilities", &user).await.unwrap().json().await.unwrap();
    assert_eq!(
        (&told["auth"], &told["tenant"], &told["scopes"]),
        (&json!("keys"), &json!("ours"), &json!(["submit", "read"]))
    );
    problem(fixture.get("/v1/capabilities").await, 401, "no_key").await;
    problem(get("/v1/dead", &user).await.unwrap(), 403, "missing_scope").await;
    assert_eq!(get("/v1/dead", &operator).await.unwrap().status(), 200);
    // The page itself and what it is made of are for everybody: it asks for the key.
    for path in ["/", "/page/shared/base.css"] {
        assert_eq!(fixture.get(path).await.status(), 200, "{path}");
    }
}
