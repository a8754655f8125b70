//! Recorded tensors of the PyTorch reference, and how near is near enough.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use candle_core::{DType, Device, Tensor};
use uso_engine::{Image, ModelFiles};

/// Largest relative difference in the L2 norm between a float tensor of ours and the recorded one.
const TOLERANCE: f64 = 1e-4;

/// A file under the recorded fixtures.
pub(crate) fn fixture(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(path)
}

/// The small random-weight model all cases were recorded with.
pub(crate) fn tiny() -> ModelFiles {
    ModelFiles::Folder(fixture("tiny"))
}

/// An input image; JPEG and WebP as the reference's decoder gave them, since decoders differ.
pub(crate) fn input(path: &str) -> Image {
    let stem = PathBuf::from(path).file_stem().unwrap().to_string_lossy().into_owned();
    let decoded = fixture(&format!("preprocess/{stem}_decoded.png"));
    let lossy = path.ends_with(".jpg") || path.ends_with(".webp");
    image(if lossy { decoded } else { fixture(path) })
}

pub(crate) fn image(path: PathBuf) -> Image {
    Image::decode(&std::fs::read(path).unwrap(), &Default::default()).unwrap()
}

/// The tensors of one recorded case and which of them a test has compared.
pub(crate) struct Golden {
    tensors: BTreeMap<String, Tensor>,
    compared: BTreeSet<String>,
    case: String,
}

impl Golden {
    pub(crate) fn open(path: PathBuf) -> Self {
        let case = path.file_stem().unwrap().to_string_lossy().into_owned();
        let tensors = candle_core::safetensors::load(path, &Device::Cpu).unwrap();
        Self { tensors: tensors.into_iter().collect(), compared: BTreeSet::new(), case }
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// A recorded tensor that serves as an input.
    pub(crate) fn take(&mut self, name: &str) -> Tensor {
        self.compared.insert(name.into());
        self.tensors.get(name).unwrap_or_else(|| panic!("{}: no {name}", self.case)).clone()
    }

    pub(crate) fn near(&mut self, name: &str, ours: &Tensor) {
        let theirs = self.take(name);
        assert_near(ours, &theirs, &format!("{}: {name}", self.case));
    }

    /// Compares integers, sizes and noise: nothing may differ.
    pub(crate) fn exact(&mut self, name: &str, ours: &[f64]) {
        assert_eq!(values(&self.take(name)), ours, "{}: {name}", self.case);
    }

    /// Fails if a recorded tensor was not compared.
    pub(crate) fn finish(self) {
        let left: Vec<_> = self.tensors.keys().filter(|name| !self.compared.contains(*name)).collect();
        assert!(left.is_empty(), "{}: not compared: {left:?}", self.case);
    }
}

pub(crate) fn values(tensor: &Tensor) -> Vec<f64> {
    tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// Of the same shape, and within the tolerance.
pub(crate) fn assert_near(ours: &Tensor, theirs: &Tensor, what: &str) {
    assert_eq!(ours.dims(), theirs.dims(), "shape of {what}");
    let difference = relative_difference(ours, theirs);
    assert!(difference <= TOLERANCE, "{what} differs by {difference:e}");
}

fn relative_difference(ours: &Tensor, theirs: &Tensor) -> f64 {
    let (ours, theirs) = (values(ours), values(theirs));
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>().sqrt();
    let distance = norm(&mut ours.iter().zip(&theirs).map(|(a, b)| a - b));
    distance / norm(&mut theirs.iter().copied())
}

/// At most one level apart, in at most 0.5 % of the values.
pub(crate) fn assert_same_picture(ours: &Image, theirs: &[u8], case: &str) {
    assert_eq!(ours.rgb.len(), theirs.len(), "{case}: size of the picture");
    let apart = |(a, b): (&u8, &u8)| a.abs_diff(*b);
    let largest = ours.rgb.iter().zip(theirs).map(apart).max().unwrap();
    let differing = ours.rgb.iter().zip(theirs).filter(|pair| apart(*pair) > 0).count();
    assert!(largest <= 1, "{case}: a value is {largest} levels apart");
    assert!(differing * 200 <= theirs.len(), "{case}: {differing} of {} values differ", theirs.len());
}
