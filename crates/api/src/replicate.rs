//! An API in the shape of Replicate's, so that its official clients work here unchanged.
//!
//! A prediction is a job under another name: both APIs show, follow and cancel the jobs of either. Inputs have the
//! names of a job's fields. The shape follows Replicate's HTTP reference and what its Python and JavaScript clients
//! send and read.

pub(crate) mod files;
mod input;
pub(crate) mod models;
pub(crate) mod output;
pub(crate) mod predictions;
pub(crate) mod shape;
