//! The autoencoder in chunks against candle's, which works on whole maps; and its memory against the estimate.

use candle_core::{DType, Device, Tensor};
use candle_nn::{Module, VarBuilder};
use candle_transformers::models::flux::autoencoder as candle;
use uso_engine::model::Part;
use uso_engine::uso::autoencoder::{Autoencoder, Chunks, Maps, decoding, encoding, to_image};
use uso_engine::{AutoencoderConfig, Image, Model, ModelConfig, ModelFiles, noise};

use crate::golden::{assert_near, tiny};

const CPU: Device = Device::Cpu;

/// From one row of cells at a time to all of them.
const BYTES: [usize; 4] = [0, 800_000, 1_500_000, usize::MAX];

fn config() -> AutoencoderConfig {
    ModelConfig::read(&tiny()).unwrap().ae
}

fn weights(dtype: DType) -> VarBuilder<'static> {
    Model::open(&tiny()).unwrap().weights(Part::Autoencoder).unwrap().builder(dtype, &CPU)
}

fn ours(dtype: DType) -> Autoencoder {
    Autoencoder::new(&config(), weights(dtype)).unwrap()
}

fn all_chunks() -> impl Iterator<Item = Chunks> {
    BYTES
        .into_iter()
        .flat_map(|bytes| [Maps::Device, Maps::Host].map(|maps| Chunks { maps, bytes, bands: 2 }))
}

fn candles() -> candle::Config {
    let config = config();
    candle::Config {
        resolution: 0,
        in_channels: config.in_channels,
        ch: config.ch,
        out_ch: config.out_ch,
        ch_mult: config.ch_mult,
        num_res_blocks: config.num_res_blocks,
        z_channels: config.z_channels,
        scale_factor: config.scale_factor,
        shift_factor: config.shift_factor,
    }
}

fn latent(height: usize, width: usize) -> Tensor {
    Tensor::from_vec(noise::normal(7, 16 * height * width), (1, 16, height, width), &CPU).unwrap()
}

/// Smooth stripes with some noise.
fn picture(width: u32, height: u32) -> Image {
    let count = width * height * 3;
    let rgb =
        (0..count).map(|i| ((i / 3 % width * 5 + i / 3 / width * 3 + i * i % 31) % 256) as u8).collect();
    Image { width, height, rgb }
}

#[test]
fn decoding_in_chunks_gives_the_same_pixels() {
    let whole = candle::Decoder::new(&candles(), weights(DType::F32).pp("decoder")).unwrap();
    let mut ours = ours(DType::F32);
    for (height, width) in [(7, 5), (4, 6), (1, 1)] {
        let latent = latent(height, width);
        let scaled = ((&latent / config().scale_factor).unwrap() + config().shift_factor).unwrap();
        let theirs = whole.forward(&scaled).unwrap();
        for chunks in all_chunks() {
            ours = ours.with_chunks(chunks);
            let case = format!("{height}x{width} cells, {chunks:?}");
            let pixels = ours.decode(&latent).unwrap();
            assert_near(&pixels, &theirs, &case);
            let (ours, theirs) = (to_image(&pixels).unwrap(), to_image(&theirs).unwrap());
            assert_eq!((ours.width, ours.height), (theirs.width, theirs.height));
            let apart = ours.rgb.iter().zip(&theirs.rgb).map(|(ours, theirs)| ours.abs_diff(*theirs)).max();
            assert!(apart <= Some(1), "{case}: {apart:?} levels apart");
        }
    }
}

#[test]
fn encoding_in_chunks_gives_the_same_posterior() {
    let whole = candle::Encoder::new(&candles(), weights(DType::F32).pp("encoder")).unwrap();
    let mut ours = ours(DType::F32);
    // Sides of whole cells, of an odd number of pixels more, and of half a cell and an odd number more.
    for (width, height) in [(40, 56), (61, 45), (37, 53), (8, 15)] {
        let image = picture(width, height);
        let values: Vec<f32> = image.rgb.iter().map(|&byte| f32::from(byte) / 127.5 - 1.0).collect();
        let pixels = Tensor::from_vec(values, (1, height as usize, width as usize, 3), &CPU).unwrap();
        let theirs = whole.forward(&pixels.permute((0, 3, 1, 2)).unwrap().contiguous().unwrap()).unwrap();
        let theirs = theirs.chunk(2, 1).unwrap();
        let latent = ((&theirs[0] - config().shift_factor).unwrap() * config().scale_factor).unwrap();
        for chunks in all_chunks() {
            ours = ours.with_chunks(chunks);
            let case = format!("{width}x{height} pixels, {chunks:?}");
            let (mean, logvar) = ours.posterior(&image).unwrap();
            assert_near(&mean, &theirs[0], &case);
            assert_near(&logvar, &theirs[1], &case);
            assert_near(&ours.encode(&image).unwrap(), &latent, &case);
        }
    }
}

#[test]
fn the_chunks_tested_are_of_different_sizes() {
    for of in [decoding, encoding] {
        let peak = |bytes| of(&config(), 40, 56, Chunks { maps: Maps::Host, bytes, bands: 1 }).device;
        let peaks = BYTES.map(peak);
        assert!(peaks.windows(2).all(|pair| pair[0] < pair[1]), "{peaks:?}");
    }
}

#[test]
fn it_computes_in_float32_whatever_the_builder_says() {
    let latent = latent(6, 5);
    let pixels =
        |dtype| ours(dtype).decode(&latent).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert!(pixels(DType::BF16) == pixels(DType::F32));
}

#[test]
fn an_image_without_a_whole_cell_is_refused() {
    let autoencoder = ours(DType::F32);
    for (width, height) in [(7, 64), (64, 7), (0, 0)] {
        let error = autoencoder.posterior(&picture(width, height)).unwrap_err().to_string();
        assert!(error.contains(&format!("{width}x{height} pixels")), "{error}");
    }
    let cut = Image { rgb: vec![0; 64], ..picture(16, 16) };
    let error = autoencoder.posterior(&cut).unwrap_err().to_string();
    assert!(error.contains("64 values"), "{error}");
}

#[test]
fn bands_at_the_same_time_give_the_same_bytes() {
    let (image, latent) = (picture(61, 45), latent(7, 5));
    let bits = |x: Tensor| {
        let numbers = x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        numbers.into_iter().map(f32::to_bits).collect::<Vec<_>>()
    };
    for maps in [Maps::Device, Maps::Host] {
        let made = |threads, bands| {
            let ours = ours(DType::F32).with_chunks(Chunks { maps, bytes: 0, bands });
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| [bits(ours.encode(&image).unwrap()), bits(ours.decode(&latent).unwrap())])
        };
        let alone = made(1, 1);
        for (threads, bands) in [(2, 2), (3, 2), (4, 4), (4, 100)] {
            assert!(made(threads, bands) == alone, "{bands} bands on {threads} threads");
        }
    }
}

#[test]
fn a_larger_picture_is_never_said_to_take_less() {
    let configs =
        [config(), ModelConfig::read(&ModelFiles::Bundled).unwrap().ae, AutoencoderConfig::default()];
    for config in configs {
        for chunks in [Chunks::CPU, Chunks::ACCELERATOR] {
            for maps in [Maps::Device, Maps::Host] {
                for of in [decoding, encoding] {
                    let peak = |width, height| of(&config, width, height, Chunks { maps, ..chunks });
                    let sides = || (16..=2048).step_by(16);
                    for (side, next) in sides().zip(sides().skip(1)) {
                        for (less, more) in [
                            (peak(side, 512), peak(next, 512)),
                            (peak(512, side), peak(512, next)),
                            (peak(side, side), peak(next, next)),
                        ] {
                            assert!(
                                less.device <= more.device && less.host <= more.host,
                                "{side}: {chunks:?}"
                            );
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn flux_fits_its_budget() {
    const GIB: u64 = 1 << 30;
    let config = AutoencoderConfig::default();
    for chunks in [Chunks::CPU, Chunks::ACCELERATOR] {
        for of in [decoding, encoding] {
            let peak = |side, maps| of(&config, side, side, Chunks { maps, ..chunks });
            assert!(peak(1024, Maps::Device).total() <= GIB + GIB / 2);
            assert!(peak(2048, Maps::Device).total() <= 6 * GIB);
            assert!(peak(2048, Maps::Host).device <= GIB + GIB / 2);
            assert!(peak(2048, Maps::Host).total() <= 6 * GIB);
            assert_eq!(peak(2048, Maps::Device).host, 0);
        }
    }
}
