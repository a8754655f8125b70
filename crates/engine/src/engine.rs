//! What every engine can do, whatever it draws with.

use crate::{Error, Image, Request};

/// Turns requests into pictures on one device. Synchronous, and used as a generic: the thread that
/// owns the device calls it, and samples never leave that thread.
pub trait Engine {
    /// A picture under way.
    type Sample;

    /// The model's name for logs and receipts.
    fn name(&self) -> &str;

    /// What it draws on, for example `cpu` or `cuda:0`.
    fn device(&self) -> String;

    /// What its pictures depend on beside their request: weights, precision and build, as far as it
    /// knows them. Only an engine with the same one may go on with a half-drawn picture.
    fn fingerprint(&self) -> &str;

    /// Prepares a request: text, style and reference are encoded, the start noise is drawn.
    ///
    /// # Errors
    /// [`Error::Request`] names a parameter outside its limits; [`Error::Image`] a reference that
    /// cannot be used; otherwise the device failed.
    fn encode(&mut self, request: &Request) -> Result<Self::Sample, Error>;

    /// How far a sample has come.
    fn steps(&self, sample: &Self::Sample) -> Steps;

    /// One step towards the picture; nothing happens when the sample is done.
    ///
    /// # Errors
    /// [`Error::NotFinite`] when the last step left the numbers; otherwise the device failed.
    fn step(&mut self, sample: &mut Self::Sample) -> Result<(), Error>;

    /// A copy of the half-drawn picture for [`Engine::resume`], in memory of the host.
    ///
    /// # Errors
    /// If the device fails.
    fn checkpoint(&self, sample: &Self::Sample) -> Result<Vec<u8>, Error>;

    /// Prepares the request that `checkpoint` was made from and goes on where that stood. What can be
    /// had from the request again is not in the checkpoint.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] if it does not fit the request; else as [`Engine::encode`].
    fn resume(&mut self, request: &Request, checkpoint: &[u8]) -> Result<Self::Sample, Error>;

    /// The picture of a sample, finished or not.
    ///
    /// # Errors
    /// If the device fails.
    fn decode(&mut self, sample: Self::Sample) -> Result<Image, Error>;
}

/// How far a sample has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Steps {
    /// Steps done.
    pub done: u32,
    /// Steps in all.
    pub of: u32,
}

impl Steps {
    /// Whether nothing is left but decoding.
    pub fn is_done(self) -> bool {
        self.done >= self.of
    }
}
