//! The parts of FLUX blocks. Products are for samples of one shape together, all else for one sample (batch 1).

use candle_core::{Result, Tensor};

use super::builder::Builder;
use super::fused::Projected;
use super::side_branches::SideBranches;
use super::stacked::unstack;
use crate::matrix::Linear;
use crate::replace::{HasTensors, Replace};

/// Receives named intermediate tensors of a forward pass. The names are those of the reference's modules.
pub type Probe<'a> = &'a mut dyn FnMut(&str, &Tensor);

/// RMS norm of queries and keys, per head.
pub(super) struct QkNorm {
    query: Tensor,
    key: Tensor,
}

impl QkNorm {
    pub(super) fn new(head_dim: usize, builder: &Builder) -> Result<Self> {
        let scale = |name| builder.tensor(&[head_dim], name);
        Ok(Self { query: scale("query_norm.scale")?, key: scale("key_norm.scale")? })
    }

    /// A projection (1, tokens, 3 * hidden) with these norms.
    pub(super) fn of(&self, qkv: Tensor) -> Projected<'_> {
        Projected { qkv, query_scale: &self.query, key_scale: &self.key }
    }
}

impl HasTensors for QkNorm {
    fn replaced(&self, by: &mut dyn Replace) -> Result<Self> {
        Ok(Self { query: by.tensor(&self.query)?, key: by.tensor(&self.key)? })
    }
}

/// Linear, GELU (tanh form), linear: the feed-forward part of a double block.
pub(super) struct FeedForward {
    expand: Linear,
    contract: Linear,
}

impl FeedForward {
    pub(super) fn new(hidden: usize, expanded: usize, builder: &Builder) -> Result<Self> {
        Ok(Self {
            expand: builder.pp(0).linear(hidden, expanded, true)?,
            contract: builder.pp(2).linear(expanded, hidden, true)?,
        })
    }

    pub(super) fn linears(&self) -> [&Linear; 2] {
        [&self.expand, &self.contract]
    }

    pub(super) fn forward(&self, x: &Tensor, branches: &SideBranches) -> Result<Tensor> {
        let (rows, _) = self.expand.matrix().shape();
        branches.forward(&self.contract, &branches.gelu_rows(&self.expand, x, 0..rows)?)
    }
}

impl HasTensors for FeedForward {
    fn replaced(&self, by: &mut dyn Replace) -> Result<Self> {
        Ok(Self { expand: self.expand.replaced(by)?, contract: self.contract.replaced(by)? })
    }
}

/// Attention layers of one stream of a double block.
pub(super) struct StreamAttention {
    qkv: Linear,
    norm: QkNorm,
    pub(super) proj: Linear,
}

impl StreamAttention {
    pub(super) fn new(hidden: usize, heads: usize, bias: bool, builder: &Builder) -> Result<Self> {
        Ok(Self {
            qkv: builder.pp("qkv").linear(hidden, 3 * hidden, bias)?,
            norm: QkNorm::new(hidden / heads, &builder.pp("norm"))?,
            proj: builder.pp("proj").linear(hidden, hidden, true)?,
        })
    }

    pub(super) fn linears(&self) -> [&Linear; 2] {
        [&self.qkv, &self.proj]
    }

    /// The projections of each sample for `x` (samples, tokens, hidden).
    pub(super) fn project(&self, x: &Tensor, branches: &SideBranches) -> Result<Vec<Projected<'_>>> {
        let samples = unstack(branches.forward(&self.qkv, x)?)?;
        Ok(samples.into_iter().map(|qkv| self.norm.of(qkv)).collect())
    }
}

impl HasTensors for StreamAttention {
    fn replaced(&self, by: &mut dyn Replace) -> Result<Self> {
        Ok(Self { qkv: self.qkv.replaced(by)?, norm: self.norm.replaced(by)?, proj: self.proj.replaced(by)? })
    }
}
