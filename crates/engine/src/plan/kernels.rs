//! Which of a step's operations run in one kernel of their own, and which in several of candle's.

use candle_core::DType;
use serde::Serialize;

use super::hardware::Backend;

/// Whether an own kernel has run on a device. Until then a plan says that it was only compiled.
pub(super) const HAVE_RUN: bool = false;

/// Groups of operations; those that are true run in a kernel of their own, or on the CPU in a loop of their own, the
/// others as candle does them. A kernel that fails its check at the start of a worker is replaced by candle's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Kernels {
    /// Attention: scores in float32, which are never written to memory.
    pub attention: bool,
    /// Queries, keys and values of a layer: split, normed and rotated.
    pub heads: bool,
    /// Layer norm with its modulation.
    pub norms: bool,
    /// What a gate lets through, added to its input.
    pub gates: bool,
    /// Bias and GELU inside a product, and a single block's second layer as two products that add: by cuBLASLt.
    pub products: bool,
    /// Products of numbers of eight bits, in the tiers that round activations: by cuBLASLt, on cards that have them.
    pub eight_bits: bool,
}

impl Kernels {
    /// Everything as candle does it. This was measured, on an H200.
    pub const CANDLE: Self = Self {
        attention: false,
        heads: false,
        norms: false,
        gates: false,
        products: false,
        eight_bits: false,
    };

    /// The kernels that this program has for CUDA.
    pub const OWN: Self =
        Self { attention: true, heads: true, norms: true, gates: true, products: true, eight_bits: true };

    /// Every group in a kernel of its own: the CPU in float32.
    pub const CPU: Self = Self { eight_bits: false, ..Self::OWN };

    /// What runs on a backend in this compute type for heads of `head_dim` numbers. `eight_bits`: whether products of
    /// eight-bit numbers are asked for, and the device has them.
    pub(crate) fn of(backend: Backend, dtype: DType, head_dim: usize, eight_bits: bool) -> Self {
        /// The size that attention is written for: FLUX.1-dev's.
        const HEAD: usize = 128;
        match backend {
            Backend::Cpu if dtype == DType::F32 => Self::CPU,
            Backend::Cpu | Backend::Metal => Self::CANDLE,
            Backend::Cuda | Backend::CudaCudnn => {
                Self { attention: head_dim == HEAD, eight_bits, ..Self::OWN }
            }
        }
    }

    /// The groups of every tier with their names, and whether each has its own kernel.
    pub(super) fn groups(self) -> [(&'static str, bool); 5] {
        [
            ("attention", self.attention),
            ("split, norm and rotation of heads", self.heads),
            ("norm and modulation", self.norms),
            ("gate and sum", self.gates),
            ("bias, GELU and sums in products", self.products),
        ]
    }

    /// The names of the groups that have their own kernel, or of those that have none.
    pub(super) fn names(self, own: bool) -> Vec<&'static str> {
        let groups = self.groups().into_iter().filter(|(_, has)| *has == own);
        groups.map(|(name, _)| name).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_kernels_are_for_cuda_and_heads_of_128() {
        let of = Kernels::of;
        for backend in [Backend::Cpu, Backend::Metal] {
            assert_eq!(of(backend, DType::F16, 128, true), Kernels::CANDLE);
        }
        assert_eq!(of(Backend::Cuda, DType::BF16, 128, true), Kernels::OWN);
        let small = of(Backend::CudaCudnn, DType::BF16, 32, false);
        assert!(!small.attention && small.heads, "{small:?}");
        assert_eq!(small.names(false), ["attention"]);
        assert_eq!(
            of(Backend::Cpu, DType::F32, 32, true),
            Kernels::CPU,
            "loops of the CPU have no such size"
        );
        assert_eq!(Kernels::OWN.names(true).len(), 5);
    }
}
