mod references;

use std::io::Write as _;
use std::time::Instant;

use anyhow::Context as _;
use uso_engine::plan::Picture;
use uso_engine::{Defaults, Engine as _, ModelConfig, ModelFiles, PromptTokens, Request, Uso};
use uso_worker::parameters::{Parameters, file_format};

use self::references::References;
use super::{check_place, save, say};
use crate::args::GenerateArgs;
use crate::progress;
use crate::setup::{explained, setup};

pub(crate) fn run(args: &GenerateArgs) -> anyhow::Result<()> {
    // What is wrong with a file or a number is said before the model is loaded, which takes minutes.
    let format = file_format(args.file.of(Some(&args.out))?, args.file.quality);
    for place in [Some(&args.out), args.latents.as_ref()].into_iter().flatten() {
        check_place(place)?;
    }
    let references = References::read(&args.picture)?;
    let files = ModelFiles::new(args.model.model.as_deref());
    let config = ModelConfig::read(&files).context("cannot load the model")?;
    let request = request(args, &config.defaults);
    request.check()?;
    let setup = setup(&args.model, 1, |defaults| largest(args, defaults))?;
    let mut uso = explained(Uso::load_with(&files, &setup), &args.model, &setup.device)?;
    if args.self_test {
        uso.self_test()?;
    }

    let request = references.add_to(request, uso.style_side())?;
    let mut begun = Instant::now();
    let mut sample = uso.encode(&request)?;
    tracing::info!(took_ms = lap(&mut begun), expected_bytes = sample.footprint().alone(), "encoded");
    warn_of_cut(sample.prompt_tokens());
    let bar = progress::bar(request.steps.into());
    while !sample.steps().is_done() {
        uso.step(&mut sample)?;
        tracing::info!(step = sample.steps().done, took_ms = lap(&mut begun), "step");
        bar.set_position(sample.steps().done.into());
    }
    bar.finish_and_clear();
    if request.step_cache > 0.0 {
        tracing::info!(skipped = sample.skipped_steps(), of = request.steps, "steps were skipped");
    }
    if let Some(path) = &args.latents {
        let latent = sample.latent()?;
        latent
            .save_safetensors("latent", path)
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    let image = uso.decode(&sample)?;
    tracing::info!(took_ms = lap(&mut begun), "decoded");
    let (content, styles) = references.names();
    let tokens = Some(sample.prompt_tokens());
    let parameters = Parameters::new(uso.name(), &request, &image, content, styles, tokens);
    save(&args.out, &image.to_file(format, &parameters.text())?)?;
    say(&format!("{} (seed {})", args.out.display(), request.seed))
}

/// Milliseconds since the last call; starts again from now.
fn lap(begun: &mut Instant) -> u64 {
    std::mem::replace(begun, Instant::now()).elapsed().as_millis() as u64
}

/// The picture to plan for.
fn largest(args: &GenerateArgs, defaults: &Defaults) -> Picture {
    let picture = &args.picture;
    let usual = Picture::of(defaults);
    let side = picture.sampling.content_size.unwrap_or(defaults.content_size);
    // The content reference then says how large the picture is; a square one asks for most.
    let kept = (picture.keep_size && picture.content.is_some()).then_some(defaults.keep_size_base);
    Picture {
        width: kept.or(picture.sampling.width).unwrap_or(usual.width),
        height: kept.or(picture.sampling.height).unwrap_or(usual.height),
        content: picture.content.as_ref().map(|_| (side, side)),
        styles: picture.style.len() as u32,
        steps: picture.sampling.steps.unwrap_or(usual.steps),
    }
}

/// Warns on stderr about a part of the prompt that is not used.
fn warn_of_cut(PromptTokens { t5, clip }: PromptTokens) {
    let mut stderr = std::io::stderr().lock();
    // A closed stderr must not cost the picture.
    if t5.cut > 0 {
        let _ =
            writeln!(stderr, "uso: the prompt has {} T5 tokens; the last {} are not used", t5.tokens, t5.cut);
    }
    if clip.cut > 0 {
        let taken = clip.tokens - clip.cut;
        let _ = writeln!(stderr, "uso: CLIP uses the first {taken} of the prompt's {} tokens", clip.tokens);
    }
}

/// What is asked for, without the references: how they are prepared depends on the model.
fn request(args: &GenerateArgs, defaults: &Defaults) -> Request {
    let picture = &args.picture;
    Request {
        prompt: picture.prompt.clone(),
        content: None,
        styles: Vec::new(),
        width: picture.sampling.width.unwrap_or(defaults.width),
        height: picture.sampling.height.unwrap_or(defaults.height),
        keep_size: picture.keep_size,
        content_size: picture.sampling.content_size.unwrap_or(defaults.content_size),
        steps: picture.sampling.steps.unwrap_or(defaults.steps),
        guidance: picture.sampling.guidance.unwrap_or(defaults.guidance),
        seed: picture.seed.unwrap_or_else(|| u64::from(fastrand::u32(..))),
        position_shift: args.pe,
        loras: Vec::new(),
        step_cache: picture.step_cache.unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Cli, Command};

    #[test]
    fn a_plan_is_for_the_size_that_the_content_reference_asks_for() {
        let planned = |more: &[&str]| {
            let said = ["uso", "generate", "--out", "x.png", "--width", "256", "--height", "512"];
            let cli = Cli::try_parse_from(said.iter().chain(more)).unwrap();
            let Command::Generate(args) = cli.command else { panic!("another command") };
            let picture = largest(&args, &Defaults::default());
            (picture.width, picture.height)
        };
        assert_eq!(planned(&["--content", "a.png", "--keep-size"]), (1024, 1024));
        assert_eq!(planned(&["--content", "a.png"]), (256, 512));
        assert_eq!(planned(&["--keep-size"]), (256, 512), "nothing to keep the size of");
    }
}
