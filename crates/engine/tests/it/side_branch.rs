//! What a LoRA changes on weights of every stored type.

use candle_core::{DType, Device, Tensor};
use uso_engine::matrix::{Branch, Linear, Matrix};
use uso_engine::weights::StoredType;

use crate::matrix::{BLOCKS, random, stored_as};

const OUT: usize = 384;
const IN: usize = 256;
const RANK: usize = 16;
/// The LoRA covers these rows, as USO's does of `linear1`.
const COVERED: usize = 288;

/// A LoRA whose product with its scale is about a hundredth of the weights.
struct Lora {
    down: Tensor,
    up: Tensor,
    scale: f64,
}

impl Lora {
    fn new() -> Self {
        let (down, up) = (random(5, (RANK, IN), 0.01), random(6, (COVERED, RANK), 0.01));
        Self { down, up, scale: 0.5 }
    }

    fn branch(&self, dtype: DType) -> Branch {
        Branch::new(&self.down, &self.up, self.scale, 0, dtype).unwrap()
    }

    /// What it adds to the weights, in f32.
    fn delta(&self) -> Tensor {
        let delta = (self.up.matmul(&self.down).unwrap() * self.scale).unwrap();
        delta.pad_with_zeros(0, 0, OUT - COVERED).unwrap()
    }
}

fn weight() -> Tensor {
    random(4, (OUT, IN), 0.02)
}

fn input() -> Tensor {
    random(7, (64, IN), 1.0)
}

fn dot(left: &Tensor, right: &Tensor) -> f64 {
    let numbers = |tensor: &Tensor| {
        tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap()
    };
    numbers(left).into_iter().zip(numbers(right)).map(|(left, right)| left * right).sum()
}

/// The share of the LoRA's exact effect on the output that `with` has over `without`.
fn share(with: &Tensor, without: &Tensor) -> f64 {
    let exact = input().matmul(&Lora::new().delta().t().unwrap()).unwrap();
    let ours = (with.to_dtype(DType::F32).unwrap() - without.to_dtype(DType::F32).unwrap()).unwrap();
    dot(&ours, &exact) / dot(&exact, &exact)
}

/// Eight-bit floats without a scale, as most published files have them.
fn raw_fp8(weight: &Tensor, dtype: DType) -> Matrix {
    let codes = weight.to_dtype(DType::F8E4M3).unwrap();
    let mut bytes = Vec::new();
    codes.write_bytes(&mut bytes).unwrap();
    let shape = weight.dims2().unwrap();
    Matrix::from_bytes(StoredType::F8E4M3, shape, &bytes, None, dtype, &Device::Cpu).unwrap()
}

fn scaled_fp8(weight: &Tensor, dtype: DType) -> Matrix {
    Matrix::from_tensor(weight, "fp8".parse().unwrap(), dtype, &Device::Cpu).unwrap()
}

#[test]
fn a_side_branch_keeps_a_loras_effect_on_weights_of_every_type() {
    let plain = [StoredType::F32, StoredType::F16, StoredType::BF16];
    for dtype in [DType::F32, DType::BF16] {
        let stored = plain
            .into_iter()
            .chain(BLOCKS)
            .map(|stored| (stored.to_string(), stored_as(stored, &weight(), dtype)));
        let fp8 = [
            ("raw fp8".to_owned(), raw_fp8(&weight(), dtype)),
            ("scaled fp8".to_owned(), scaled_fp8(&weight(), dtype)),
        ];
        for (name, matrix) in stored.chain(fp8) {
            let x = input().to_dtype(dtype).unwrap();
            let without = Linear::new(matrix, None).unwrap();
            let with = without.clone().with_branch(Lora::new().branch(dtype)).unwrap();
            let share = share(&with.forward(&x).unwrap(), &without.forward(&x).unwrap());
            assert!((0.95..=1.05).contains(&share), "{name} in {dtype:?}: {share}");
        }
    }
}

#[test]
fn merged_into_eight_bits_and_rounded_again_a_lora_is_lost() {
    let shares = [("raw", raw_fp8 as fn(&Tensor, DType) -> Matrix, 0.5), ("scaled", scaled_fp8, 0.95)];
    for (name, rounded, bound) in shares {
        let base = rounded(&weight(), DType::F32);
        let merged = (base.dequantise(DType::F32).unwrap() + Lora::new().delta()).unwrap();
        let merged = rounded(&merged, DType::F32);
        let share = share(&merged.forward(&input()).unwrap(), &base.forward(&input()).unwrap());
        assert!(share < bound, "{name}: {share}");
    }
}

#[test]
fn branches_add_up_each_on_its_rows() {
    let (x, bias) = (input().reshape((2, 32, IN)).unwrap(), random(8, (1, OUT), 1.0).squeeze(0).unwrap());
    let layer = || Linear::new(Matrix::Dense(weight()), Some(bias.clone())).unwrap();
    let part = |seed, rows, start| {
        let (down, up) = (random(seed, (4, IN), 1.0), random(seed + 1, (rows, 4), 1.0));
        let above = (up.matmul(&down).unwrap() * 0.25).unwrap();
        let delta = above.pad_with_zeros(0, start, OUT - start - rows).unwrap();
        (Branch::new(&down, &up, 0.25, start, DType::F32).unwrap(), delta)
    };
    // Query, key and value apart, one over two of them, one over all.
    let parts = [part(10, 96, 0), part(20, 96, 96), part(30, 96, 192), part(40, 150, 50), part(50, OUT, 0)];
    let merged = parts.iter().fold(weight(), |sum, (_, delta)| (sum + delta).unwrap());
    let exact = x.broadcast_matmul(&merged.t().unwrap()).unwrap().broadcast_add(&bias).unwrap();

    let branches: Vec<Branch> = parts.into_iter().map(|(branch, _)| branch).collect();
    let (own, more) = branches.split_at(2);
    let with_own = own.iter().cloned().try_fold(layer(), Linear::with_branch).unwrap();
    let y = with_own.forward_with(&x, more).unwrap();
    let far = (&y - &exact).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
    assert!(far < 1e-3, "{far}");

    let bytes = |linear: &Linear| linear.bytes();
    assert_eq!(bytes(&with_own) - bytes(&layer()), 4 * 2 * (4 * IN as u64 + 96 * 4));
}

#[test]
fn a_branch_that_has_no_place_is_refused() {
    let layer = || Linear::new(Matrix::Dense(weight()), None).unwrap();
    let refused = |into, rows, start| {
        let (down, up) = (random(1, (4, into), 1.0), random(2, (rows, 4), 1.0));
        let branch = Branch::new(&down, &up, 1.0, start, DType::F32).unwrap();
        layer().with_branch(branch).unwrap_err().to_string()
    };
    let message = refused(IN, 100, 300);
    assert!(
        message.contains("a LoRA (100, 256) from row 300 on does not fit a matrix (384, 256)"),
        "{message}"
    );
    assert!(refused(128, 384, 0).contains("a LoRA (384, 128) from row 0 on"));
    assert!(refused(IN, 1, usize::MAX).contains("does not fit"));
    let (down, up) = (random(1, (4, IN), 1.0), random(2, (OUT, 8), 1.0));
    let message = Branch::new(&down, &up, 1.0, 0, DType::F32).unwrap_err().to_string();
    assert!(message.contains("down [4, 256] and up [384, 8] differ in rank"), "{message}");
    let short = Tensor::zeros(10, DType::F32, &Device::Cpu).unwrap();
    let message = Linear::new(Matrix::Dense(weight()), Some(short)).unwrap_err().to_string();
    assert!(message.contains("a bias of shape [10] does not fit a matrix of 384 rows"), "{message}");
}
