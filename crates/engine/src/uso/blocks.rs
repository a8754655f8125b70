//! Layers of one kind in order: all on the device, or each brought there ahead of its turn.

use std::ops::Range;
use std::sync::mpsc;
use std::thread;

use candle_core::{Device, Result, bail};

use super::builder::{Builder, Place};
use super::lora::Changes;
use crate::matrix::Linear;
use crate::parallel::make_all;
use crate::replace::{HasTensors, ToDevice};
#[cfg(feature = "cuda")]
use crate::stream::{self, PinnedLimit};
use crate::weights::Weights;

/// Layers that a step runs one after another.
pub(super) enum Blocks<T> {
    /// All on the device.
    Resident(Vec<T>),
    /// Made there one by one, by a thread of their own.
    Made(Made<T>),
    /// Copied there one by one, by a stream of their own.
    #[cfg(feature = "cuda")]
    Streamed(stream::Streamed<T>),
}

/// Layers that are made while the one before them computes. Two are there at a time.
pub(super) struct Made<T> {
    count: usize,
    load: Box<dyn Fn(usize) -> Result<T> + Send + Sync>,
    device: Device,
}

/// A layer that can be built from weights and copied to a device.
pub(super) trait Layer: HasTensors + Send + Sync + 'static {
    /// The sizes that it is built with.
    type Config: Clone + Send + Sync + 'static;

    /// Builds the layer from the weights below `builder`.
    ///
    /// # Errors
    /// If a tensor is missing or misshapen.
    fn new(config: &Self::Config, builder: &Builder) -> Result<Self>;

    /// Its linear layers, which are nearly all of its bytes.
    fn linears(&self) -> Vec<&Linear>;
}

/// Source of layers. Cheap to clone.
#[derive(Clone)]
pub(super) struct Source<C> {
    pub(super) config: C,
    pub(super) weights: Weights,
    pub(super) changes: Changes,
    pub(super) place: Place,
}

impl<C: Clone + Send + Sync + 'static> Source<C> {
    fn build<T: Layer<Config = C>>(&self, name: &str) -> Result<T> {
        let builder = Builder::new(&self.weights, &self.changes, &self.place);
        T::new(&self.config, &builder.pp(name))
    }

    fn build_all<T: Layer<Config = C>>(&self, names: &[String]) -> Result<Vec<T>> {
        make_all(names.len(), &self.place.device, |i| self.build(&names[i]))
    }

    /// The layers of these names, on the device.
    pub(super) fn resident<T: Layer<Config = C>>(&self, names: &[String]) -> Result<Blocks<T>> {
        self.build_all(names).map(Blocks::Resident)
    }

    /// The layers of these names, built from their file each time they are used.
    pub(super) fn read_each_time<T: Layer<Config = C>>(&self, names: &[String]) -> Blocks<T> {
        let (source, names, device) = (self.clone(), names.to_vec(), self.place.device.clone());
        let count = names.len();
        Blocks::Made(Made { count, load: Box::new(move |i| source.build(&names[i])), device })
    }

    /// The layers of these names, kept in host memory in the device's types, if the device has its own memory.
    pub(super) fn streamed<T: Layer<Config = C>>(&self, names: &[String]) -> Result<Blocks<T>> {
        let device = self.place.device.clone();
        if device.is_cpu() {
            return Ok(self.read_each_time(names));
        }
        let place = Place { device: Device::Cpu, in_place: false, ..self.place.clone() };
        let host = Self { place, ..self.clone() };
        #[cfg(feature = "cuda")]
        if let Device::Cuda(device) = &device {
            let limit = self.place.pinned.clone().unwrap_or_else(|| PinnedLimit::new(u64::MAX).into());
            let waiting = |i: usize| stream::Streamed::waiting(&host.build::<T>(&names[i])?, device, &limit);
            let layers = make_all(names.len(), &Device::Cpu, waiting)?;
            return stream::Streamed::new(layers, device).map(Blocks::Streamed);
        }
        let layers: Vec<T> = host.build_all(names)?;
        let (count, to) = (layers.len(), device.clone());
        let load = move |i: usize| match layers.get(i) {
            Some(layer) => layer.replaced(&mut ToDevice(&to)),
            None => bail!("there is no layer {i}"),
        };
        Ok(Blocks::Made(Made { count, load: Box::new(load), device }))
    }
}

impl<T: HasTensors + Send> Blocks<T> {
    /// Calls `work` with each layer in order, and its number.
    ///
    /// # Errors
    /// The first error of `work`, or that a layer cannot be copied to the device.
    pub(super) fn each(&self, work: impl FnMut(usize, &T) -> Result<()>) -> Result<()> {
        self.each_of(0..usize::MAX, work)
    }

    /// The same for the layers with these numbers, as far as they exist. The others are not copied to the device.
    ///
    /// # Errors
    /// As [`Blocks::each`].
    pub(super) fn each_of(
        &self,
        numbers: Range<usize>,
        mut work: impl FnMut(usize, &T) -> Result<()>,
    ) -> Result<()> {
        match self {
            Self::Resident(layers) => {
                let mut layers = layers.iter().enumerate().take(numbers.end).skip(numbers.start);
                layers.try_for_each(|(i, layer)| work(i, layer))
            }
            Self::Made(made) => made.each_of(numbers, work),
            #[cfg(feature = "cuda")]
            Self::Streamed(streamed) => streamed.each_of(numbers, work),
        }
    }

    /// The result of `look` for the first layer; the default if there is none.
    ///
    /// # Errors
    /// If it cannot be copied to the device.
    pub(super) fn first<R: Default>(&self, look: impl FnOnce(&T) -> R) -> Result<R> {
        match self {
            Self::Resident(layers) => Ok(layers.first().map(look).unwrap_or_default()),
            Self::Made(Made { count: 0, .. }) => Ok(R::default()),
            Self::Made(made) => Ok(look(&(made.load)(0)?)),
            #[cfg(feature = "cuda")]
            Self::Streamed(streamed) => {
                let (mut look, mut seen) = (Some(look), R::default());
                streamed.each_of(0..1, |_, layer| {
                    seen = look.take().map(|look| look(layer)).unwrap_or_default();
                    Ok(())
                })?;
                Ok(seen)
            }
        }
    }
}

impl<T: Send> Made<T> {
    fn each_of(&self, numbers: Range<usize>, mut work: impl FnMut(usize, &T) -> Result<()>) -> Result<()> {
        let numbers = numbers.start..numbers.end.min(self.count);
        thread::scope(|scope| {
            // The channel has no buffer, so that the loader holds one layer while another computes, and never a third.
            let (send, receive) = mpsc::sync_channel(0);
            let wanted = numbers.clone();
            scope.spawn(move || {
                for i in wanted {
                    if send.send(self.copied(i)).is_err() {
                        return;
                    }
                }
            });
            numbers.zip(receive).try_for_each(|(i, layer)| {
                let layer = layer?;
                work(i, &layer)?;
                // The device lags behind: without waiting, a third layer would arrive before it is done with this one.
                self.device.synchronize()
            })
        })
    }

    /// A layer whose copy is complete, in case this thread's stream is not the one that computes.
    fn copied(&self, i: usize) -> Result<T> {
        let layer = (self.load)(i)?;
        self.device.synchronize()?;
        Ok(layer)
    }
}

#[cfg(test)]
mod tests;
