//! Layers of one kind in order: all on the device, or each copied there ahead of its turn.

use std::ops::Range;
use std::sync::mpsc;
use std::thread;

use candle_core::{Device, Result, bail};

use super::builder::{Builder, Place};
use super::lora::Changes;
use crate::matrix::Linear;
use crate::parallel::make_all;
use crate::pinned::Pinned;
use crate::weights::Weights;

/// Layers that a step runs one after another.
pub(super) enum Blocks<T> {
    /// All on the device.
    Resident(Vec<T>),
    /// Copied there one by one.
    Streamed(Streamed<T>),
}

/// Layers that are copied to the device while the one before them computes. Two are there at a time.
pub(super) struct Streamed<T> {
    count: usize,
    load: Box<dyn Fn(usize) -> Result<T> + Send + Sync>,
    device: Device,
}

/// A layer that can be built from weights and copied to a device.
pub(super) trait Layer: Sized + Send + Sync + 'static {
    /// The sizes that it is built with.
    type Config: Clone + Send + Sync + 'static;

    /// Builds the layer from the weights below `builder`.
    ///
    /// # Errors
    /// If a tensor is missing or misshapen.
    fn new(config: &Self::Config, builder: &Builder) -> Result<Self>;

    /// A copy on another device.
    ///
    /// # Errors
    /// If it cannot be copied.
    fn to_device(&self, device: &Device) -> Result<Self>;

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
        Blocks::Streamed(Streamed { count, load: Box::new(move |i| source.build(&names[i])), device })
    }

    /// The layers of these names, kept in host memory in the device's types, if the device has its own memory.
    pub(super) fn streamed<T: Layer<Config = C>>(&self, names: &[String]) -> Result<Blocks<T>> {
        let device = self.place.device.clone();
        if device.is_cpu() {
            return Ok(self.read_each_time(names));
        }
        // Pages of a file cannot be pinned.
        let place = Place { device: Device::Cpu, in_place: false, ..self.place.clone() };
        let host = Self { place, ..self.clone() };
        let layers: Vec<T> = host.build_all(names)?;
        let matrices = layers.iter().flat_map(Layer::linears).map(Linear::matrix);
        let pinned = matrices.map(|matrix| Pinned::new(matrix, &device)).collect::<Result<Vec<_>>>()?;
        let (count, to) = (layers.len(), device.clone());
        let load = move |i: usize| {
            let _pinned = &pinned;
            layers.get(i).map_or_else(|| bail!("there is no layer {i}"), |layer| layer.to_device(&to))
        };
        Ok(Blocks::Streamed(Streamed { count, load: Box::new(load), device }))
    }
}

impl<T: Send> Blocks<T> {
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
            Self::Streamed(streamed) => streamed.each_of(numbers, work),
        }
    }
}

impl<T> Blocks<T> {
    /// The result of `look` for the first layer; the default if there is none.
    ///
    /// # Errors
    /// If it cannot be copied to the device.
    pub(super) fn first<R: Default>(&self, look: impl FnOnce(&T) -> R) -> Result<R> {
        match self {
            Self::Resident(layers) => Ok(layers.first().map(look).unwrap_or_default()),
            Self::Streamed(Streamed { count: 0, .. }) => Ok(R::default()),
            Self::Streamed(streamed) => Ok(look(&(streamed.load)(0)?)),
        }
    }
}

impl<T: Send> Streamed<T> {
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

    /// A layer whose copy is complete: this thread's stream is not the one that computes.
    fn copied(&self, i: usize) -> Result<T> {
        let layer = (self.load)(i)?;
        self.device.synchronize()?;
        Ok(layer)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// A layer that counts itself while it exists.
    struct Counted(Arc<AtomicUsize>);

    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }

    fn counted(count: usize, fails: Option<usize>) -> (Arc<AtomicUsize>, Blocks<Counted>) {
        let there = Arc::new(AtomicUsize::new(0));
        let its = Arc::clone(&there);
        let load = move |i| {
            if fails == Some(i) {
                bail!("no layer {i}")
            }
            its.fetch_add(1, Ordering::SeqCst);
            Ok(Counted(Arc::clone(&its)))
        };
        (there, Blocks::Streamed(Streamed { count, load: Box::new(load), device: Device::Cpu }))
    }

    #[test]
    fn layers_come_in_their_order_and_two_are_there_at_most() {
        let (there, blocks) = counted(20, None);
        let mut seen = Vec::new();
        blocks
            .each(|i, _| {
                seen.push(i);
                assert!((1..=2).contains(&there.load(Ordering::SeqCst)));
                Ok(())
            })
            .unwrap();
        assert_eq!(seen, (0..20).collect::<Vec<_>>());
        assert_eq!(there.load(Ordering::SeqCst), 0, "none is left");
    }

    #[test]
    fn layers_that_are_not_asked_for_stay_where_they_are() {
        let resident = Blocks::Resident(vec![(); 20]);
        // The layer `fails` cannot be copied.
        let of = |numbers: Range<usize>, fails| {
            let (mut seen, mut also) = (Vec::new(), Vec::new());
            let streamed = counted(20, Some(fails)).1;
            let look = |seen: &mut Vec<usize>, i| {
                seen.push(i);
                Ok(())
            };
            streamed.each_of(numbers.clone(), |i, _| look(&mut seen, i)).unwrap();
            resident.each_of(numbers, |i, ()| look(&mut also, i)).unwrap();
            assert_eq!(seen, also);
            seen
        };
        assert_eq!(of(0..1, 1), [0]);
        assert_eq!(of(17..usize::MAX, 16), [17, 18, 19]);
        assert_eq!(of(20..21, 0), [0; 0]);
    }

    #[test]
    fn the_first_failure_ends_it() {
        let (there, blocks) = counted(20, Some(3));
        let mut last = 0;
        let error = blocks.each(|i, _| {
            last = i;
            Ok(())
        });
        assert!(error.unwrap_err().to_string().starts_with("no layer 3"));
        assert_eq!((last, there.load(Ordering::SeqCst)), (2, 0));

        let (there, blocks) = counted(20, None);
        let error = blocks.each(|i, _| if i == 5 { bail!("broken") } else { Ok(()) });
        assert!(error.unwrap_err().to_string().starts_with("broken"));
        assert_eq!(there.load(Ordering::SeqCst), 0);
    }
}
