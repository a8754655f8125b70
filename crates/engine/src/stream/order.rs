//! The order in which layers are copied into slots of device memory and used there, on two streams that wait for each
//! other by events alone: the host only hands out work, far ahead of both.
//!
//! Slot `i % SLOTS` serves layer `i`. Before a copy, the copying stream waits until its slot is free; before a layer
//! computes, the computing stream waits until it has arrived. So a layer is copied while the one before it computes.

use std::ops::Range;

use candle_core::Result;

use super::slots::{SLOTS, slot_of};

/// One of the two streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    Copying,
    Computing,
}

/// A point in the work of a stream that the other one waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// On the computing stream: the memory of a slot is there, and nobody reads it any more.
    Free(usize),
    /// On the copying stream: the last layer that was copied into a slot is there.
    Arrived(usize),
    /// On the copying stream: it has nothing left to do.
    Drained,
}

/// Two streams of a device. No call waits for the device.
pub(crate) trait Streams {
    /// Takes memory for a slot, on the computing stream. It is given back there after the sweep.
    ///
    /// # Errors
    /// If the device has no memory left.
    fn allocate(&mut self, slot: usize) -> Result<()>;

    /// Copies a layer into a slot, on the copying stream.
    ///
    /// # Errors
    /// If the device is lost.
    fn copy(&mut self, layer: usize, slot: usize) -> Result<()>;

    /// Marks what a stream has been given so far. A later mark of the same event takes its place.
    ///
    /// # Errors
    /// If the device is lost.
    fn record(&mut self, stream: Stream, event: Event) -> Result<()>;

    /// Lets a stream wait until the other one has done all that came before the event's last mark.
    ///
    /// # Errors
    /// If the device is lost.
    fn wait(&mut self, stream: Stream, event: Event) -> Result<()>;
}

/// Calls `compute` with each of these layers in order, when it may use its slot on the computing stream. When this
/// returns, whatever comes next on the computing stream may use the slots' memory for something else.
///
/// # Errors
/// The first error of `compute` or of the streams.
pub(crate) fn sweep<S: Streams>(
    streams: &mut S,
    layers: Range<usize>,
    mut compute: impl FnMut(&mut S, usize) -> Result<()>,
) -> Result<()> {
    let drained = Drained(streams);
    let streams = &mut *drained.0;
    // Before everything else: a copy waits for the mark, and so for all that came before it.
    for slot in layers.clone().take(SLOTS).map(slot_of) {
        streams.allocate(slot)?;
        streams.record(Stream::Computing, Event::Free(slot))?;
    }
    if !layers.is_empty() {
        send(streams, layers.start)?;
    }
    for layer in layers.clone() {
        streams.wait(Stream::Computing, Event::Arrived(slot_of(layer)))?;
        compute(streams, layer)?;
        streams.record(Stream::Computing, Event::Free(slot_of(layer)))?;
        // Handed out only now: from memory that is not pinned, the host does the copying, and the device computes
        // meanwhile.
        if layer + 1 < layers.end {
            send(streams, layer + 1)?;
        }
    }
    Ok(())
}

fn send<S: Streams>(streams: &mut S, layer: usize) -> Result<()> {
    let slot = slot_of(layer);
    streams.wait(Stream::Copying, Event::Free(slot))?;
    streams.copy(layer, slot)?;
    streams.record(Stream::Copying, Event::Arrived(slot))
}

/// At the end of a sweep, however it ends, lets the computing stream wait for the copies: one that nobody has waited
/// for must not write into memory that is given back.
struct Drained<'a, S: Streams>(&'a mut S);

impl<S: Streams> Drop for Drained<'_, S> {
    fn drop(&mut self) {
        let drained = self.0.record(Stream::Copying, Event::Drained);
        if let Err(error) = drained.and_then(|()| self.0.wait(Stream::Computing, Event::Drained)) {
            // Only a lost device refuses this, and it copies nothing any more.
            tracing::warn!(%error, "the device did not take the end of a sweep");
        }
    }
}

#[cfg(test)]
mod tests;
