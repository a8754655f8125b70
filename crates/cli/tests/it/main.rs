//! The commands that need no server.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod help;
mod redis;

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use uso_engine::{DecodeLimits, Image};

const EXAMPLES: &str = "../engine/assets/mini/examples";

fn uso(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_uso")).args(args).output().unwrap()
}

fn decode(path: &Path) -> Image {
    Image::decode(&std::fs::read(path).unwrap(), &DecodeLimits::default()).unwrap()
}

#[test]
fn a_picture_is_generated_without_a_server() {
    let folder = tempfile::tempdir().unwrap();
    let (out, latents) = (folder.path().join("a.png"), folder.path().join("a.safetensors"));
    let content = format!("{EXAMPLES}/content_star.png");
    let generated = uso(&[
        "generate",
        "--prompt",
        "the star is at the left on a green field",
        "--content",
        &content,
        "--seed",
        "101",
        "--out",
        out.to_str().unwrap(),
        "--latents",
        latents.to_str().unwrap(),
    ]);
    assert!(generated.status.success(), "{generated:?}");
    assert_eq!(String::from_utf8(generated.stdout).unwrap(), format!("{} (seed 101)\n", out.display()));

    let (ours, golden) = (decode(&out), decode(Path::new(&format!("{EXAMPLES}/golden_1.png"))));
    let apart = ours.rgb.iter().zip(&golden.rgb).filter(|(a, b)| a != b).count();
    assert!(apart * 200 <= ours.rgb.len(), "{apart} values are apart");
    assert!(std::fs::read(&out).unwrap().windows(9).any(|part| part == b"Seed: 101"));

    let header = std::fs::read(&latents).unwrap();
    let header = String::from_utf8_lossy(&header[8..120]).into_owned();
    assert!(header.contains(r#""latent":{"dtype":"F32","shape":[1,16,8,8]"#), "{header}");
}

#[test]
fn the_ending_of_the_file_decides_its_format() {
    let folder = tempfile::tempdir().unwrap();
    for (name, begin, options) in [
        ("a.png", b"\x89PNG".as_slice(), &[][..]),
        ("a.jpeg", b"\xff\xd8\xff", &["--quality", "60"]),
        ("a.webp", b"RIFF", &["--format", "webp"]),
        ("a", b"\xff\xd8\xff", &["--format", "jpeg"]),
    ] {
        let out = folder.path().join(name);
        let some = ["generate", "--prompt", "a red star", "--steps", "1", "--out", out.to_str().unwrap()];
        let generated = uso(&[&some, options].concat());
        assert!(generated.status.success(), "{generated:?}");
        assert!(std::fs::read(&out).unwrap().starts_with(begin), "{name}");
        let picture = decode(&out);
        assert_eq!((picture.width, picture.height), (64, 64));
    }
    for command in ["generate", "submit"] {
        let refused = uso(&[command, "--out", "a.gif"]);
        let said = String::from_utf8(refused.stderr).unwrap();
        assert!(said.contains("--out: a.gif has an unknown ending; end it with .png, .jpg"), "{said}");
        assert_eq!(refused.status.code(), Some(1));
    }
}

#[test]
fn a_prompt_that_does_not_fit_gets_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("a.png");
    let generate = |prompt: &str| {
        let generated =
            uso(&["generate", "--steps", "1", "--prompt", prompt, "--out", out.to_str().unwrap()]);
        assert!(generated.status.success(), "{generated:?}");
        String::from_utf8(generated.stderr).unwrap()
    };
    let said = generate(&"the star is red ".repeat(20));
    assert!(said.contains("T5 tokens; the last ") && said.contains(" are not used\n"), "{said}");
    assert!(said.contains("uso: CLIP uses the first 32 of the prompt's "), "{said}");
    let picture = String::from_utf8_lossy(&std::fs::read(&out).unwrap()).into_owned();
    assert!(picture.contains(r#""prompt_tokens":{"t5":{"tokens":"#), "no count in the picture");
    let said = generate("the star is red");
    assert!(!said.contains("T5 tokens") && !said.contains("CLIP uses"), "{said}");
}

#[test]
fn an_error_is_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("a.png");
    let out = out.to_str().unwrap();
    let cases: [(&[&str], &str); 10] = [
        (&["--format", "webp"], "uso: --out: "),
        (&["--quality", "80"], "uso: --quality: png has no quality; choose jpeg or webp"),
        (&["--steps", "101"], "uso: steps: 101 is not within 1 to 100"),
        (&["--width", "15"], "uso: width: 15 is not within 16 to 2048"),
        (&["--content", "none.png"], "uso: cannot read none.png: "),
        (&["--style", "src"], "uso: cannot read src: it is a folder"),
        (&["--content", "/dev/zero"], "uso: cannot read /dev/zero: it is too large: at most 33554432 bytes"),
        (&["--style", "Cargo.toml"], "uso: cannot use Cargo.toml: image: neither PNG nor JPEG nor WebP"),
        (&["--model", "none"], "uso: cannot load the model: "),
        (&["--device", "tpu"], "uso: device: \"tpu\" is not one of cpu, cuda, cuda:N, metal"),
    ];
    for (args, message) in cases {
        let refused = uso(&[&["generate", "--out", out], args].concat());
        assert_eq!(refused.status.code(), Some(1), "{args:?}");
        let said = String::from_utf8(refused.stderr).unwrap();
        assert!(said.lines().any(|line| line.starts_with(message)), "{args:?}: {said}");
        assert!(!Path::new(out).exists());
    }
}

#[test]
fn a_reference_may_come_from_a_pipe() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("a.png");
    let star = std::fs::read(format!("{EXAMPLES}/content_star.png")).unwrap();
    let piped = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_uso"));
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(&star).unwrap();
        child.wait_with_output().unwrap()
    };
    let generate = ["generate", "--steps", "1", "--content", "/dev/stdin", "--out", out.to_str().unwrap()];
    let generated = piped(&generate);
    assert!(generated.status.success(), "{generated:?}");
    // It has read the picture, and asks for its upload.
    let refused = piped(&["submit", "--api", "http://127.0.0.1:9", "--content", "/dev/stdin"]);
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("no answer from http://127.0.0.1:9"), "{said}");
}

#[test]
fn numbers_are_checked_before_the_model_is_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let (model, out) = (folder.path().to_str().unwrap(), folder.path().join("a.png"));
    let cases: [(&[&str], &str); 7] = [
        (&["--steps", "0"], "uso: steps: 0 is not within 1 to 100"),
        (&["--width", "5000"], "uso: width: 5000 is not within 16 to 2048"),
        (&["--height", "15"], "uso: height: 15 is not within 16 to 2048"),
        (&["--content-size", "5"], "uso: content_size: 5 is not within 16 to 2048"),
        (&["--guidance", "0"], "uso: guidance: 0 is not within 1 to 10"),
        (&["--step-cache", "2"], "uso: step_cache: 2 is not within 0 to 1"),
        (&[], "uso: cannot load the model: "),
    ];
    for (args, message) in cases {
        let refused = uso(&[&["generate", "--model", model, "--out", out.to_str().unwrap()], args].concat());
        let said = String::from_utf8(refused.stderr).unwrap();
        assert!(said.lines().any(|line| line.starts_with(message)), "{args:?}: {said}");
    }
    let style = format!("{EXAMPLES}/style_sketch.png");
    let styles = ["--style", style.as_str()].repeat(5);
    let refused =
        uso(&[&["generate", "--model", model, "--out", out.to_str().unwrap()], &styles[..]].concat());
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("uso: --style: 5 style references, at most 4 are allowed\n"), "{said}");
}

#[test]
fn a_picture_does_not_tell_where_its_references_lie() {
    let folder = tempfile::tempdir().unwrap();
    let (content, out) = (folder.path().join("my cat.png"), folder.path().join("a.png"));
    std::fs::copy(format!("{EXAMPLES}/content_star.png"), &content).unwrap();
    let content = content.to_str().unwrap();
    let references = ["--content", content, "--style", content];
    let some = ["generate", "--steps", "1", "--out", out.to_str().unwrap()];
    let generated = uso(&[&some[..], &references].concat());
    assert!(generated.status.success(), "{generated:?}");
    let picture = String::from_utf8_lossy(&std::fs::read(&out).unwrap()).into_owned();
    assert!(picture.contains(r#""content":"my cat.png","styles":["my cat.png"]"#), "no names in the picture");
    assert!(!picture.contains(folder.path().to_str().unwrap()));
}

#[test]
fn an_api_that_does_not_answer_is_named() {
    let refused = uso(&["submit", "--api", "http://127.0.0.1:9", "--prompt", "a cat"]);
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("no answer from http://127.0.0.1:9; is `uso up` running?"), "{said}");
    assert!(!refused.status.success());
}

#[test]
fn a_test_engine_needs_permission() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let up = |engine| uso(&["up", "--port", "0", "--data", data.to_str().unwrap(), "--engine", engine]);
    for (engine, message) in [
        ("scripted:step=40ms", "uso: the scripted engine makes noise instead of pictures; to let it"),
        (
            "scripted:step=40",
            "error: invalid value 'scripted:step=40' for '--engine <ENGINE>': \"step=40\" is",
        ),
        ("other", "error: invalid value 'other' for '--engine <ENGINE>': must be uso or scripted"),
    ] {
        let refused = up(engine);
        assert!(!refused.status.success());
        let said = String::from_utf8(refused.stderr).unwrap();
        assert!(said.lines().any(|line| line.starts_with(message)), "{engine}: {said}");
    }
}

#[test]
fn a_device_or_a_model_that_is_not_there_is_said_before_a_server_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    let (data, empty) = (folder.path().join("data"), folder.path().join("empty"));
    std::fs::create_dir(&empty).unwrap();
    let nobody = ["--redis", "redis://127.0.0.1:9"];
    let up = ["up", "--port", "0", "--data", data.to_str().unwrap()];
    let cases: [(&[&str], &str); 4] = [
        (&["--device", "tpu"], "uso: device: \"tpu\" is not one of cpu, cuda, cuda:N, metal"),
        (&["--dtype", "bf16"], "uso: dtype: the CPU computes in f32 and f16 only"),
        (&["--model", "none"], "uso: cannot load the model: model file none: "),
        (&["--model", empty.to_str().unwrap()], "uso: cannot load the model: model file "),
    ];
    for (args, message) in cases {
        for command in [&["work"][..], &up] {
            let refused = uso(&[command, &nobody, args].concat());
            assert!(!refused.status.success());
            let said = String::from_utf8(refused.stderr).unwrap();
            assert!(said.lines().any(|line| line.starts_with(message)), "{command:?} {args:?}: {said}");
        }
    }
    assert!(!data.exists(), "nothing has begun");
}

#[test]
fn packing_says_what_is_not_in_the_tier() {
    let folder = tempfile::tempdir().unwrap();
    let pack = |tier: &str| {
        let out = folder.path().join(tier);
        let model = "../engine/tests/fixtures/tiny";
        let packed = uso(&["model", "pack", "--model", model, "--tier", tier, out.to_str().unwrap()]);
        assert!(packed.status.success(), "{packed:?}");
        String::from_utf8(packed.stderr).unwrap()
    };
    let said = pack("q4_k");
    let line = "uso: of the transformer's 22 matrices, 18 stay in bf16: their rows are not multiples of the blocks \
                of q4_k";
    assert!(said.lines().any(|said| said == line), "{said}");
    assert!(!pack("q8_0").contains("stay in"));
}
