//! A sample that is stopped in the middle and resumed by another engine, against one that was not.

use std::time::Duration;

use uso_engine::device::precision;
use uso_engine::plan::Picture;
use uso_engine::{Engine as _, ModelFiles, Uso, device};

use super::ask::ask_within;
use super::table::{Checked, Row};
use super::task::DeviceTask;
use crate::engine::request::request;

const PICTURE: Picture = Picture { width: 64, height: 64, content: Some((64, 64)), styles: 2, steps: 6 };

pub(super) async fn check(device: &str, left: Duration) -> Checked {
    let differ: u64 = ask_within(left, DeviceTask::Resume { device: device.to_owned() }).await?;
    Ok(vec![Row::new("resumed on the device after 3 of 6 steps", differ as f64, "bytes off").most(0.0)])
}

/// How many bytes of the two pictures differ.
pub(super) fn run(name: &str) -> anyhow::Result<u64> {
    let device = device::open(name)?;
    let dtype = precision(None, &device)?;
    let load = || Uso::load(&ModelFiles::Bundled, &device, dtype);
    let (request, mut first) = (request(&PICTURE), load()?);
    let mut whole = first.encode(&request)?;
    let mut checkpoint = Vec::new();
    while !first.steps(&whole).is_done() {
        first.step(&mut whole)?;
        if first.steps(&whole).done == PICTURE.steps / 2 {
            checkpoint = first.checkpoint(&whole)?;
        }
    }
    let picture = first.decode(&whole)?;
    let mut second = load()?;
    let mut resumed = second.resume(&request, &checkpoint)?;
    while !second.steps(&resumed).is_done() {
        second.step(&mut resumed)?;
    }
    let again = second.decode(&resumed)?;
    anyhow::ensure!(picture.rgb.len() == again.rgb.len(), "the pictures have two sizes");
    Ok(picture.rgb.iter().zip(&again.rgb).filter(|(one, other)| one != other).count() as u64)
}
