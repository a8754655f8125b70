//! Every recorded case, from token ids to the final picture, against the PyTorch reference.

use candle_core::{DType, Device, Tensor};
use serde::Deserialize;
use uso_engine::preprocess;
use uso_engine::tokenize::{ClipTokenizer, T5Tokenizer};
use uso_engine::uso::{self, autoencoder, latents, positions, siglip::HiddenStates};
use uso_engine::{Engine, Image, Model, ModelConfig, Place, Request, Uso, schedule};

use crate::golden::{Golden, assert_same_picture, fixture, image, input, tiny, values};

#[derive(Deserialize)]
pub(crate) struct Case {
    name: String,
    prompt: String,
    width: u32,
    height: u32,
    num_steps: u32,
    guidance: f64,
    seed: u64,
    pe: String,
    content_image: Option<String>,
    style_images: Vec<String>,
    content_long_size: u32,
    keep_size: bool,
    effective_width: usize,
    effective_height: usize,
}

impl Case {
    pub(crate) fn read(name: &str) -> Self {
        let file = std::fs::read(fixture(&format!("golden/{name}.json"))).unwrap();
        serde_json::from_slice(&file).unwrap()
    }

    pub(crate) fn request(&self) -> Request {
        Request {
            prompt: self.prompt.clone(),
            content: self.content_image.as_deref().map(|path| input(path).into()),
            styles: self.style_images.iter().map(|path| input(path).into()).collect(),
            width: self.width,
            height: self.height,
            keep_size: self.keep_size,
            content_size: self.content_long_size,
            steps: self.num_steps,
            guidance: self.guidance,
            seed: self.seed,
            position_shift: self.pe.parse().unwrap(),
            loras: Vec::new(),
            step_cache: 0.0,
        }
    }
}

const CPU: Device = Device::Cpu;
const F32: DType = DType::F32;
const PLACE: Place = Place::new(CPU, F32);

fn check(name: &str) {
    let case = Case::read(name);
    let mut golden = Golden::open(fixture(&format!("golden/{name}.safetensors")));
    assert_eq!(case.name, name);
    check_text(&case, &mut golden);
    check_styles(&case, &mut golden);
    check_reference(&case, &mut golden);
    check_start(&case, &mut golden);
    check_sampling(&case, &mut golden);
    golden.finish();
}

fn check_text(case: &Case, golden: &mut Golden) {
    let files = tiny();
    let lengths = ModelConfig::read(&files).unwrap().text;
    let t5_ids = T5Tokenizer::load(&files, "t5-xxl").unwrap().encode(&case.prompt, lengths.t5).unwrap().ids;
    let clip_ids =
        ClipTokenizer::load(&files, "clip-vit-l14").unwrap().encode(&case.prompt, lengths.clip).unwrap().ids;
    golden.exact("t5_input_ids", &widen(&t5_ids));
    golden.exact("clip_input_ids", &widen(&clip_ids));

    let model = Model::open(&files).unwrap();
    let states = model.t5_encoder(&PLACE).unwrap().encode(&t5_ids).unwrap();
    golden.near("t5_hidden", &states);
    let pooled = model.clip_encoder(&PLACE).unwrap().encode(&clip_ids).unwrap();
    golden.near("clip_pooled", &pooled);
    golden.exact("txt_ids", &flat(&positions::text(t5_ids.len())));
}

fn check_styles(case: &Case, golden: &mut Golden) {
    let model = Model::open(&tiny()).unwrap();
    let (siglip, normalisation) = (model.siglip_encoder(&PLACE).unwrap(), model.normalisation().unwrap());
    let projector = model.projector(&PLACE).unwrap();
    let mut tokens = Vec::new();
    for (i, path) in case.style_images.iter().enumerate() {
        let pixels = preprocess::siglip(&input(path), siglip.image_size() as u32, &normalisation);
        let side = siglip.image_size();
        let shaped = Tensor::from_slice(&pixels, (1, 3, side, side), &CPU).unwrap();
        golden.near(&format!("style{i}_pixel_values"), &shaped);
        let states = siglip.encode(&pixels).unwrap();
        golden.near(&format!("style{i}_siglip_high"), &states.high);
        golden.near(&format!("style{i}_siglip_mid"), &states.mid);
        golden.near(&format!("style{i}_siglip_low"), &states.low);
        tokens.push(projector.forward(&states).unwrap());
    }
    if !tokens.is_empty() {
        golden.near("style_tokens", &Tensor::cat(&tokens, 1).unwrap());
    }
}

fn check_reference(case: &Case, golden: &mut Golden) {
    let Some(path) = &case.content_image else { return };
    let model = Model::open(&tiny()).unwrap();
    let config = model.config();
    let reference = preprocess::reference(&input(path), case.content_long_size).unwrap();
    let theirs: Vec<u8> = values(&golden.take("ref0_uint8")).into_iter().map(|x| x as u8).collect();
    assert_eq!(reference.rgb.len(), theirs.len(), "{}: size of the reference", case.name);
    let largest = reference.rgb.iter().zip(&theirs).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
    assert!(largest <= 1, "{}: a reference value is {largest} levels apart", case.name);

    // From here on the recorded pixels go in, so that a rounding of the resizer is not counted twice.
    let recorded = Image { rgb: theirs, ..reference };
    let autoencoder = model.autoencoder(&PLACE).unwrap();
    let (mean, logvar) = autoencoder.posterior(&recorded).unwrap();
    golden.near("ref0_mean", &mean);
    golden.near("ref0_logvar", &logvar);
    let latent = autoencoder.encode(&recorded).unwrap();
    golden.near("ref0_latent", &latent);
    // A sampled posterior is what the reference would use; it shows that mean and variance are both right.
    let noise = golden.take("ref0_sample_noise");
    let sampled = (mean + ((logvar * 0.5).unwrap().exp().unwrap() * noise).unwrap()).unwrap();
    let sampled = ((sampled - config.ae.shift_factor).unwrap() * config.ae.scale_factor).unwrap();
    golden.near("ref0_latent_sampled", &sampled);

    golden.near("ref0_packed", &latents::pack(&latent).unwrap());
    let (rows, columns) = (case.effective_height / 16, case.effective_width / 16);
    let origin = case.request().position_shift.origin(rows, columns);
    let (rows, columns) = (recorded.height as usize / 16, recorded.width as usize / 16);
    golden.exact("ref0_img_ids", &flat(&positions::grid(rows, columns, origin)));
}

fn check_start(case: &Case, golden: &mut Golden) {
    let (width, height) = (case.effective_width, case.effective_height);
    let noise = latents::start_noise(case.seed, width, height, &CPU).unwrap();
    golden.exact("noise", &values(&noise));
    golden.exact("img_packed", &values(&latents::pack(&noise).unwrap()));
    golden.exact("img_ids", &flat(&positions::grid(height / 16, width / 16, (0, 0))));
    let timesteps = schedule::timesteps(case.num_steps as usize, width, height);
    golden.exact("timesteps", &timesteps.iter().map(|t| f64::from(*t)).collect::<Vec<_>>());
    golden.exact("guidance_vec", &[case.guidance]);
}

fn check_sampling(case: &Case, golden: &mut Golden) {
    let mut uso = Uso::load(&tiny(), &CPU, F32).unwrap();
    let mut sample = uso.encode(&case.request()).unwrap();
    assert_eq!(sample.width() as usize, case.effective_width);
    assert_eq!(sample.height() as usize, case.effective_height);
    for i in 0..sample.steps().of {
        golden.near(&format!("pred_{i}"), &uso.velocity(&sample).unwrap());
        uso.step(&mut sample).unwrap();
        let after = format!("img_after_{i}");
        if golden.has(&after) {
            golden.near(&after, &latents::pack(&sample.latent().unwrap()).unwrap());
        }
    }
    assert!(sample.steps().is_done());
    let latent = sample.latent().unwrap();
    golden.near("latent_final", &latent);

    let autoencoder = Model::open(&tiny()).unwrap().autoencoder(&PLACE).unwrap();
    let decoded = autoencoder.decode(&latent).unwrap();
    let picture = uso.decode(&sample).unwrap();
    if golden.has("decoded") {
        golden.near("decoded", &decoded);
        let theirs: Vec<u8> = values(&golden.take("image_uint8")).into_iter().map(|x| x as u8).collect();
        assert_same_picture(&picture, &theirs, &case.name);
    } else {
        golden.near("decoded_every4", &every_fourth(&decoded));
        let theirs = image(fixture(&format!("golden/{}_image.png", case.name)));
        assert_same_picture(&picture, &theirs.rgb, &case.name);
    }
}

fn every_fourth(pixels: &Tensor) -> Tensor {
    let (_, _, height, width) = pixels.dims4().unwrap();
    let every = |side: usize| Tensor::arange_step(0u32, side as u32, 4, &CPU).unwrap();
    pixels.index_select(&every(height), 2).unwrap().index_select(&every(width), 3).unwrap()
}

fn widen(ids: &[u32]) -> Vec<f64> {
    ids.iter().map(|id| f64::from(*id)).collect()
}

fn flat(positions: &[positions::Position]) -> Vec<f64> {
    positions.iter().flatten().map(|x| f64::from(*x)).collect()
}

macro_rules! cases {
    ($($name:ident)*) => {$(
        #[test]
        fn $name() {
            check(stringify!($name));
        }
    )*};
}

cases! {
    txt2img subject subject_pe_h subject_pe_w subject_pe_o style two_styles subject_style
    subject_two_styles layout non_multiple_size
}

#[test]
fn every_recorded_case_has_a_test() {
    let mut recorded: Vec<String> = std::fs::read_dir(fixture("golden"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "safetensors"))
        .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    recorded.sort();
    let tested = [
        "dit_single",
        "layout",
        "non_multiple_size",
        "style",
        "subject",
        "subject_pe_h",
        "subject_pe_o",
        "subject_pe_w",
        "subject_style",
        "subject_two_styles",
        "two_styles",
        "txt2img",
    ];
    assert_eq!(recorded, tested);
}

#[test]
fn one_transformer_call_with_every_intermediate() {
    let model = Model::open(&tiny()).unwrap();
    let config = model.config();
    let mut golden = Golden::open(fixture("golden/dit_single.safetensors"));
    let with_lora = model.flux(&PLACE).unwrap();
    let without = model.flux_with(Default::default(), &PLACE, &Default::default()).unwrap();

    let inputs = Inputs::take(&mut golden, &config);
    inputs.compare(&with_lora, &mut golden, "");
    inputs.compare(&without, &mut golden, "nolora_");
    golden.finish();
}

/// Arguments of the recorded transformer call.
struct Inputs {
    style: Vec<Tensor>,
    text: Tensor,
    pooled: Tensor,
    target: Tensor,
    reference: Tensor,
    rotary: positions::Rotary,
    timestep: f32,
    guidance: f64,
}

impl Inputs {
    fn take(golden: &mut Golden, config: &ModelConfig) -> Self {
        let model = Model::open(&tiny()).unwrap();
        let siglip = model.siglip_encoder(&PLACE).unwrap();
        let projector = model.projector(&PLACE).unwrap();
        let style: Vec<Tensor> = (0..2)
            .map(|i| {
                let pixels = golden.take(&format!("in_style{i}_pixel_values"));
                let states: HiddenStates =
                    siglip.encode(&pixels.flatten_all().unwrap().to_vec1().unwrap()).unwrap();
                projector.forward(&states).unwrap()
            })
            .collect();
        golden.near("style_tokens", &Tensor::cat(&style, 1).unwrap());

        let style_tokens = style.iter().map(|tokens| tokens.dim(1).unwrap()).sum();
        let mut positions = positions::text(style_tokens);
        for name in ["in_txt_ids", "in_img_ids", "in_ref_img_ids"] {
            let ids = values(&golden.take(name));
            positions.extend(ids.chunks(3).map(|id| [id[0] as u32, id[1] as u32, id[2] as u32]));
        }
        let flux = &config.flux;
        let rotary = positions::Rotary::new(&positions, &flux.axes_dim, flux.theta, &CPU).unwrap();
        golden.near("pe", &rotation_matrices(&rotary));
        Self {
            style,
            text: golden.take("in_txt"),
            pooled: golden.take("in_y"),
            target: golden.take("in_img"),
            reference: golden.take("in_ref_img"),
            rotary,
            timestep: values(&golden.take("in_timesteps"))[0] as f32,
            guidance: values(&golden.take("in_guidance"))[0],
        }
    }

    fn compare(&self, flux: &uso::flux::Flux, golden: &mut Golden, prefix: &str) {
        let mut seen = Vec::new();
        let mut probe = |name: &str, tensor: &Tensor| seen.push((name.to_owned(), tensor.clone()));
        let branches = uso::side_branches::SideBranches::default();
        let conditioning = uso::flux::Conditioning {
            text: flux.embed_text(&self.text, &self.style, &branches, &mut probe).unwrap(),
            reference: Some(flux.embed_latent(&self.reference, &branches).unwrap()),
            rotary: self.rotary.clone(),
            branches: branches.clone(),
        };
        let tables = flux
            .modulations
            .tables(&[self.timestep], self.guidance, &self.pooled, &branches, &mut probe)
            .unwrap();
        let step = tables.step(0, F32).unwrap();
        let prediction = flux.predict(&self.target, &step, &conditioning, None, &mut probe).unwrap();
        seen.push(("final_layer".into(), prediction.clone()));
        seen.push(("pred".into(), prediction));
        for (name, tensor) in seen {
            // Recorded outputs of whole modules end in `_out`; those that the LoRA cannot change were
            // recorded once.
            let name = [format!("{prefix}{name}"), format!("{prefix}{name}_out")]
                .into_iter()
                .find(|name| golden.has(name));
            if let Some(name) = name {
                golden.near(&name, &tensor);
            }
        }
    }
}

/// The reference's form of the rotary tables: (1, 1, tokens, head_dim / 2, 2, 2).
fn rotation_matrices(rotary: &positions::Rotary) -> Tensor {
    let (tokens, half) = rotary.cos.dims2().unwrap();
    let sin = &rotary.sin;
    let parts = [&rotary.cos, &sin.neg().unwrap(), sin, &rotary.cos];
    Tensor::stack(&parts, 2).unwrap().reshape((1, 1, tokens, half, 2, 2)).unwrap()
}

#[test]
fn bytes_are_cut_not_rounded() {
    let pixels = Tensor::from_slice(&[-2f32, -1.0, 0.0, 0.999, 1.0, 3.0], (1, 3, 1, 2), &CPU).unwrap();
    let image = autoencoder::to_image(&pixels).unwrap();
    // Row-major RGB: the first pixel holds entries 0, 2, 4 of the planes.
    assert_eq!(image.rgb, [0, 127, 255, 0, 254, 255]);
}
