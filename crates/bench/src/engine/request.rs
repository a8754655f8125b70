//! Requests by their sizes alone, and their pictures.

use uso_engine::plan::Picture;
use uso_engine::{Engine as _, Image, PositionShift, Reference, Request, Uso};

/// A request for a picture of these sizes.
pub(super) fn request(picture: &Picture) -> Request {
    let (width, height) = picture.content.unwrap_or((512, 512));
    Request {
        prompt: "a red star".into(),
        content: picture.content.map(|(width, height)| grey(width, height, 90)),
        styles: (0..picture.styles).map(|i| grey(64, 64, 100 + i as u8)).collect(),
        width: picture.width,
        height: picture.height,
        keep_size: false,
        content_size: width.max(height),
        steps: picture.steps,
        guidance: 4.0,
        seed: 1,
        position_shift: PositionShift::default(),
        loras: Vec::new(),
        step_cache: 0.0,
    }
}

/// Generates the whole picture.
pub(super) fn generate(uso: &mut Uso, picture: &Picture) -> anyhow::Result<()> {
    let mut sample = uso.encode(&request(picture))?;
    while !uso.steps(&sample).is_done() {
        uso.step(&mut sample)?;
    }
    uso.decode(&sample)?;
    Ok(())
}

fn grey(width: u32, height: u32, value: u8) -> Reference {
    Image { width, height, rgb: vec![value; 3 * width as usize * height as usize] }.into()
}
