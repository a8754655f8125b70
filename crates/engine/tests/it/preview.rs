//! Previews: the bundled model's map is the one its autoencoder asks for, and they show what will come.

use candle_core::{DType, Device};
use uso_engine::{Engine, Image, Model, ModelConfig, ModelFiles, Place, PreviewConfig};

use crate::engines::{generate, mini, request};
use crate::golden::values;
use crate::mini::{example_file, examples, reference};

/// Pixels that a latent's cell stands for.
const CELL: usize = 8;
const CHANNELS: usize = 16;

/// Mean colour of each cell, from -1 to 1: row after row.
fn cells(image: &Image) -> Vec<[f64; 3]> {
    let (width, height) = (image.width as usize, image.height as usize);
    let mean = |row: usize, column: usize, colour: usize| {
        let value = |i: usize| {
            let (y, x) = (row * CELL + i / CELL, column * CELL + i % CELL);
            f64::from(image.rgb[3 * (y * width + x) + colour])
        };
        (0..CELL * CELL).map(value).sum::<f64>() / (CELL * CELL) as f64 / 127.5 - 1.0
    };
    let places = (0..height / CELL).flat_map(|row| (0..width / CELL).map(move |column| (row, column)));
    places.map(|(row, column)| [0, 1, 2].map(|colour| mean(row, column, colour))).collect()
}

/// Solves `a x = b` for symmetric positive definite `a` by Gaussian elimination.
fn solve(mut a: Vec<Vec<f64>>, mut b: Vec<f64>) -> Vec<f64> {
    let size = b.len();
    for i in 0..size {
        for row in i + 1..size {
            let factor = a[row][i] / a[i][i];
            let pivot = a[i].clone();
            a[row].iter_mut().zip(&pivot).for_each(|(value, above)| *value -= factor * above);
            b[row] -= factor * b[i];
        }
    }
    let mut x = vec![0.0; size];
    for i in (0..size).rev() {
        let known: f64 = (i + 1..size).map(|j| a[i][j] * x[j]).sum();
        x[i] = (b[i] - known) / a[i][i];
    }
    x
}

/// The map with the least squared error from the latents of the bundled model's example pictures to the
/// mean colours of their cells.
fn learned() -> PreviewConfig {
    let place = Place::new(Device::Cpu, DType::F32);
    let autoencoder = Model::open(&ModelFiles::Bundled).unwrap().autoencoder(&place).unwrap();
    let mut files: Vec<_> =
        std::fs::read_dir(example_file("")).unwrap().map(|file| file.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "png"));
    files.sort();
    assert_eq!(files.len(), 15);
    let mut latents = Vec::new();
    let mut colours = Vec::new();
    for file in files {
        let image = crate::golden::image(file);
        let latent = values(&autoencoder.encode(&image).unwrap());
        let count = latent.len() / CHANNELS;
        // A one beside the channels has the bias as its factor.
        let cell = |i: usize| (0..CHANNELS).map(|c| latent[c * count + i]).chain([1.0]).collect::<Vec<f64>>();
        latents.extend((0..count).map(cell));
        colours.extend(cells(&image));
    }
    let dot = |pairs: &mut dyn Iterator<Item = (f64, f64)>| pairs.map(|(a, b)| a * b).sum::<f64>();
    let size = CHANNELS + 1;
    let product = |i: usize, j: usize| dot(&mut latents.iter().map(|cell| (cell[i], cell[j])));
    let squares: Vec<Vec<f64>> = (0..size).map(|i| (0..size).map(|j| product(i, j)).collect()).collect();
    let factors = [0, 1, 2].map(|colour| {
        let target =
            |i: usize| dot(&mut latents.iter().zip(&colours).map(|(cell, rgb)| (cell[i], rgb[colour])));
        solve(squares.clone(), (0..size).map(target).collect())
    });
    PreviewConfig {
        weights: factors.each_ref().map(|row| std::array::from_fn(|channel| row[channel] as f32)),
        bias: factors.each_ref().map(|row| row[CHANNELS] as f32),
    }
}

#[test]
fn the_bundled_map_is_the_best_linear_one() {
    let (stored, learned) = (ModelConfig::read(&ModelFiles::Bundled).unwrap().preview, learned());
    let all = |map: &PreviewConfig| map.weights.concat().into_iter().chain(map.bias).collect::<Vec<f32>>();
    let apart = all(&stored).into_iter().zip(all(&learned)).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(apart < 1e-3, "a factor is {apart} away; learned {learned:?}");
}

/// Pearson's correlation of a preview with the mean colours of a picture's cells.
fn correlation(preview: &Image, picture: &Image) -> f64 {
    let ours: Vec<f64> = preview.rgb.iter().map(|byte| f64::from(*byte)).collect();
    let theirs = cells(picture).concat();
    assert_eq!(ours.len(), theirs.len());
    let centred = |values: &[f64]| {
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        values.iter().map(|value| value - mean).collect::<Vec<f64>>()
    };
    let (ours, theirs) = (centred(&ours), centred(&theirs));
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    dot(&ours, &theirs) / (dot(&ours, &ours) * dot(&theirs, &theirs)).sqrt()
}

#[test]
fn previews_come_to_show_the_picture() {
    let mut uso = mini();
    let (mut firsts, mut lasts) = (Vec::new(), Vec::new());
    for example in examples() {
        let picture = reference(&example.golden);
        let mut sample = uso.encode(&example.request(64)).unwrap();
        assert_eq!(uso.preview(&sample).unwrap(), None, "there is nothing to be seen before the first step");
        let mut seen = Vec::new();
        while !sample.steps().is_done() {
            uso.step(&mut sample).unwrap();
            let preview = uso.preview(&sample).unwrap().unwrap();
            assert_eq!((preview.width, preview.height), (8, 8));
            seen.push(correlation(&preview, &picture));
        }
        firsts.push(seen[0]);
        lasts.push(seen[seen.len() - 1]);
    }
    // Measured: 0.81 to 0.93 from the first step on; with another model's map 0.14 to 0.52.
    assert!(lasts.iter().all(|last| *last > 0.75), "after the last step {lasts:.3?}");
    assert!(firsts.iter().all(|first| *first > 0.7), "after the first step {firsts:.3?}");
}

#[test]
fn a_preview_changes_nothing() {
    let mut uso = mini();
    let mut watched = uso.encode(&request()).unwrap();
    while !watched.steps().is_done() {
        uso.step(&mut watched).unwrap();
        uso.preview(&watched).unwrap();
    }
    let plain = uso.encode(&request()).unwrap();
    assert!(uso.decode(&watched).unwrap() == generate(&mut uso, plain).unwrap());
}

#[test]
fn after_a_checkpoint_the_next_step_brings_the_next_preview() {
    let mut uso = mini();
    let mut sample = uso.encode(&request()).unwrap();
    uso.step(&mut sample).unwrap();
    let checkpoint = uso.checkpoint(&sample).unwrap();
    let mut resumed = uso.resume(&request(), &checkpoint).unwrap();
    assert_eq!(uso.preview(&resumed).unwrap(), None);
    uso.step(&mut resumed).unwrap();
    uso.step(&mut sample).unwrap();
    assert_eq!(uso.preview(&resumed).unwrap(), uso.preview(&sample).unwrap());
}

#[test]
fn a_sides_preview_is_an_eighth_of_it() {
    let mut uso = mini();
    let wide =
        uso_engine::Request { width: 2048, height: 16, steps: 1, content: None, styles: vec![], ..request() };
    let mut sample = uso.encode(&wide).unwrap();
    uso.step(&mut sample).unwrap();
    let preview = uso.preview(&sample).unwrap().unwrap();
    assert_eq!((preview.width, preview.height), (uso_engine::PREVIEW_SIDE, 2));
}

#[test]
fn the_predicted_picture_comes_with_the_first_step_and_is_the_picture_after_the_last() {
    let mut engine = mini();
    let mut sample = engine.encode(&request()).unwrap();
    assert_eq!(engine.decode_predicted(&sample).unwrap(), None);
    engine.step(&mut sample).unwrap();
    let early = engine.decode_predicted(&sample).unwrap().unwrap();
    while !engine.steps(&sample).is_done() {
        engine.step(&mut sample).unwrap();
    }
    let picture = engine.decode(&sample).unwrap();
    assert_eq!((early.width, early.height), (picture.width, picture.height));
    assert_ne!(early, picture);
    assert_eq!(engine.decode_predicted(&sample).unwrap(), Some(picture));
}
