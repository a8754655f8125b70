//! Evaluations against a fleet of one machine, with the bundled model's own encoder as scorer.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

use crate::fleet::{example, looks_as_recorded};
use crate::process::{PATIENCE, Process, binary};

/// Pictures of the suite: four for each of two subject and two style items, one for each of two with both.
const PICTURES: usize = 18;

struct Evaluation {
    folder: TempDir,
    up: Process,
}

impl Evaluation {
    /// A fleet, and a suite of the bundled model's examples in the layout of USO's evaluation.
    async fn start(args: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let up = ["up", "--port", "0", "--data", data.to_str().unwrap()];
        let up = Process::start(&[&up, args].concat(), &[]).await;
        let suite = folder.path().join("suite");
        std::fs::create_dir_all(suite.join("images")).unwrap();
        for name in
            ["content_star", "content_heart", "content_scene", "style_mosaic", "style_neon", "style_sketch"]
        {
            let file = format!("{name}.png");
            std::fs::write(suite.join("images").join(&file), example(&file)).unwrap();
        }
        let image = |name: &str| if name.is_empty() { String::new() } else { format!("images/{name}.png") };
        let item = |prompt: &str, images: &[&str], stem: &str| {
            let images: Vec<_> = images.iter().map(|name| image(name)).collect();
            json!({ "prompt": prompt, "image_paths": images, "save_dir": stem })
        };
        let mut star = item("the star is at the left on a green field", &["content_star"], "star");
        star["seed"] = 101.into();
        star["steps"] = 10.into();
        let items = [
            star,
            item("the heart is in the blue sky", &["content_heart"], "heart"),
            item("a red circle", &["", "style_mosaic"], "mosaic"),
            item("a blue square", &["", "style_neon"], "neon"),
            item("the heart is at the right", &["content_heart", "style_sketch"], "both"),
            item("", &["content_scene", "style_neon"], "layout"),
        ];
        std::fs::write(suite.join("suite.json"), json!(items).to_string()).unwrap();
        Self { folder, up }
    }

    fn out(&self, name: &str) -> PathBuf {
        self.folder.path().join("out").join(name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command
            .args(["evaluate", "--api", &self.up.address(), "--scorers", "bundled", "--steps", "2"])
            .args(["--suite", self.folder.path().join("suite").to_str().unwrap()])
            .args(["--out", self.out("").to_str().unwrap()])
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    async fn run(&self, args: &[&str]) -> Output {
        tokio::time::timeout(PATIENCE, self.command(args).output()).await.expect("it does not end").unwrap()
    }

    /// What it prints when it succeeds.
    async fn succeeds(&self, args: &[&str]) -> String {
        let output = self.run(args).await;
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The jobs that the fleet was ever given.
    async fn jobs(&self) -> Vec<Value> {
        let jobs = reqwest::get(format!("{}/v1/jobs?limit=100", self.up.address())).await.unwrap();
        jobs.json::<Value>().await.unwrap()["jobs"].as_array().unwrap().clone()
    }

    /// The jobs, once the fleet was given that many.
    async fn until_jobs(&self, count: usize) -> Vec<Value> {
        let there = async {
            loop {
                let jobs = self.jobs().await;
                if jobs.len() >= count {
                    return jobs;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, there).await.expect("too few jobs")
    }

    fn report(&self) -> Value {
        serde_json::from_slice(&std::fs::read(self.out("evaluation.json")).unwrap()).unwrap()
    }

    /// How many pictures are recorded as made, each time one is.
    fn made(&self) -> usize {
        let log = std::fs::read_to_string(self.out("pictures.jsonl")).unwrap_or_default();
        log.lines().filter(|line| line.contains(r#""event":"made""#)).count()
    }
}

fn line<'a>(report: &'a Value, task: &str, measure: &str) -> &'a Value {
    let lines = report["table"].as_array().unwrap();
    lines.iter().find(|line| line["task"] == task && line["measure"] == measure).unwrap()
}

fn files(folder: &Path) -> BTreeSet<String> {
    let files = std::fs::read_dir(folder).unwrap();
    files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect()
}

#[tokio::test]
async fn a_suite_is_evaluated_in_two_parts_and_nothing_is_done_twice() {
    let evaluation = Evaluation::start(&[]).await;
    evaluation.succeeds(&["--limit", "2"]).await;
    assert_eq!(evaluation.jobs().await.len(), 8);
    let printed = evaluation.succeeds(&[]).await;
    let jobs = evaluation.jobs().await;
    assert_eq!(jobs.len(), PICTURES, "a picture was submitted twice");
    assert!(jobs.iter().all(|job| job["class"] == "bulk"), "{jobs:?}");
    let pictures = files(&evaluation.out("pictures"));
    assert_eq!(pictures.len(), PICTURES);
    let star = pictures.iter().find(|name| name.starts_with("star_0-")).unwrap();
    looks_as_recorded(&std::fs::read(evaluation.out("pictures").join(star)).unwrap(), "golden_1.png");

    let report = evaluation.report();
    for (task, measure, pictures) in [
        ("subject", "mini-siglip subject", 8),
        ("style", "mini-siglip style", 8),
        ("combined", "mini-siglip subject", 2),
        ("combined", "mini-siglip style", 2),
    ] {
        let line = line(&report, task, measure);
        assert_eq!(line["pictures"], pictures, "{line}");
        let (mean, floor) = (line["mean"].as_f64().unwrap(), line["floor"].as_f64().unwrap());
        assert!(mean < 0.9999 && mean > -1.0 && floor < 0.9999 && mean != floor, "{line}");
        assert!((line["ceiling"].as_f64().unwrap() - 1.0).abs() < 1e-6, "{line}");
        assert!(line["published"].is_null(), "{line}");
        assert!(line["profile"].as_str().unwrap().starts_with("mini-siglip@"), "{line}");
    }
    // The style of the references is in the pictures, even after two steps.
    let style = line(&report, "style", "mini-siglip style");
    assert!(style["mean"].as_f64() > style["floor"].as_f64(), "{style}");
    let clip_i = line(&report, "subject", "CLIP-I");
    assert_eq!((&clip_i["mean"], &clip_i["published"]), (&Value::Null, &json!(0.623)));
    assert_eq!(clip_i["published_note"], "column order unverified");
    assert!(printed.contains("0.793 (column order unverified)"), "{printed}");
    assert!(printed.contains("warning: 18 pictures were made by the bundled toy model mini"), "{printed}");
    let both = report["items"].as_array().unwrap().iter().find(|item| item["stem"] == "both").unwrap();
    assert!(both["scores"]["mini-siglip style"].is_number() && both["task"] == "combined", "{both}");
    let markdown = std::fs::read_to_string(evaluation.out("evaluation.md")).unwrap();
    assert!(markdown.contains("| combined | CSD | 0 | - | - | - | 0.495 |"), "{markdown}");

    let scores = std::fs::read(evaluation.out("scores.jsonl")).unwrap();
    assert_eq!(evaluation.succeeds(&[]).await, printed);
    assert_eq!(evaluation.jobs().await.len(), PICTURES, "a picture was submitted again");
    assert_eq!(std::fs::read(evaluation.out("scores.jsonl")).unwrap(), scores, "something was scored again");
}

#[tokio::test]
async fn an_evaluation_that_is_killed_goes_on_with_the_jobs_that_it_has() {
    let evaluation = Evaluation::start(&["--engine", "scripted:step=60ms", "--allow-test-engine"]).await;
    let mut first = evaluation.command(&["--in-flight", "4"]).spawn().unwrap();
    let begun = async {
        while evaluation.made() < 2 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, begun).await.expect("it makes no pictures");
    first.kill().await.unwrap();
    assert!(evaluation.made() < PICTURES, "it was killed too late");
    assert!(!evaluation.out("evaluation.json").exists());

    let printed = evaluation.succeeds(&[]).await;
    assert_eq!(evaluation.jobs().await.len(), PICTURES, "a picture was submitted twice");
    assert_eq!(evaluation.made(), PICTURES, "a picture was fetched twice");
    assert!(printed.contains("warning: 18 pictures were made by a test engine"), "{printed}");

    // Files that are lost or damaged are fetched from the jobs that made them.
    let mut pictures = files(&evaluation.out("pictures")).into_iter();
    std::fs::remove_file(evaluation.out("pictures").join(pictures.next().unwrap())).unwrap();
    std::fs::write(evaluation.out("pictures").join(pictures.next().unwrap()), "damaged").unwrap();
    assert_eq!(evaluation.succeeds(&[]).await, printed);
    assert_eq!(evaluation.jobs().await.len(), PICTURES);
    assert_eq!(evaluation.made(), PICTURES + 2);
}

#[tokio::test]
async fn what_is_wrong_is_said_before_anything_is_submitted() {
    let evaluation = Evaluation::start(&[]).await;
    let suite = evaluation.folder.path().join("suite/zz.json");
    std::fs::write(&suite, r#"[{ "prompt": "a", "image_paths": ["images/none.png"] }]"#).unwrap();
    let said = String::from_utf8(evaluation.run(&[]).await.stderr).unwrap();
    let expected = "zz.json: item 1: image_paths: content reference: cannot read";
    assert!(said.contains(expected) && said.contains("images/none.png"), "{said}");
    std::fs::remove_file(&suite).unwrap();

    let none = evaluation.out("none");
    let mut command = Command::new(binary());
    command.args(["evaluate", "--api", &evaluation.up.address(), "--scorers", none.to_str().unwrap()]);
    command.args(["--suite", suite.parent().unwrap().to_str().unwrap(), "--out", none.to_str().unwrap()]);
    let said = String::from_utf8(command.output().await.unwrap().stderr).unwrap();
    assert!(said.contains("none of the folders clip-vit-b32, dino-vits16, csd-vitl14"), "{said}");
    assert!(evaluation.jobs().await.is_empty());
}

#[tokio::test]
async fn jobs_that_end_without_a_picture_are_reported_and_made_again() {
    let evaluation = Evaluation::start(&["--engine", "scripted:step=2s", "--allow-test-engine"]).await;
    let first = evaluation.command(&["--limit", "1"]).spawn().unwrap();
    for job in evaluation.until_jobs(4).await {
        let cancel = format!("{}/v1/jobs/{}/cancel", evaluation.up.address(), job["id"].as_str().unwrap());
        let canceled = reqwest::Client::new().post(cancel).send().await.unwrap();
        assert!(canceled.status().is_success(), "{canceled:?}");
    }
    let ended = tokio::time::timeout(PATIENCE, first.wait_with_output()).await.expect("it goes on").unwrap();
    let (printed, said) =
        (String::from_utf8(ended.stdout).unwrap(), String::from_utf8(ended.stderr).unwrap());
    assert!(!ended.status.success());
    assert!(printed.contains("warning: 4 of 4 pictures are missing"), "{printed}");
    assert!(said.contains("4 pictures are missing; the same command tries them again"), "{said}");

    let _second = evaluation.command(&["--limit", "1"]).spawn().unwrap();
    evaluation.until_jobs(8).await;
}
