//! A door in the shape of Replicate's HTTP API, so that its official clients work here unchanged.
//!
//! A prediction is a job under another name: what is made at one door is seen, followed and ended at the
//! other, too. Inputs have the names of a job's fields. Facts about the shape are from Replicate's HTTP reference
//! and from what its Python and JavaScript clients send and read.

pub(crate) mod files;
mod input;
pub(crate) mod models;
pub(crate) mod output;
pub(crate) mod predictions;
mod shape;

pub(crate) use shape::{OWNER, Prediction, Shape};
