//! Streams layers from host memory to a device, a layer ahead of its turn.
//!
//! [`layers`] keeps layers there with their numbers in one piece of host memory each, [`slots`] tells which of them use
//! which device memory, [`order`] what waits for what. On CUDA, [`cuda`] does it with two streams and events, from
//! pinned memory.

#[cfg(feature = "cuda")]
mod cuda;
#[cfg(any(test, feature = "cuda"))]
mod layers;
mod limit;
#[cfg(any(test, feature = "cuda"))]
mod memory;
#[cfg(any(test, feature = "cuda"))]
mod order;
mod slots;

#[cfg(feature = "cuda")]
pub(crate) use self::cuda::Streamed;
#[cfg(test)]
pub(crate) use self::layers::Waiting;
pub use self::limit::PinnedLimit;
#[cfg(test)]
pub(crate) use self::memory::Memory;
pub(crate) use self::slots::{Kind, Slots};

#[cfg(test)]
mod tests;
