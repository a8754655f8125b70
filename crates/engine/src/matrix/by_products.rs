//! Linear layers by products of cuBLASLt: the bias and GELU inside a product, an input in several parts as products that
//! add, and inputs that are rounded to eight bits.

use std::ops::Range;

use candle_core::{D, DType, Result, Tensor};

use super::{Linear, Matrix};
use crate::kernels::products::{self, Part, Scales};
use crate::kernels::rounding::{self, Factors};
use crate::kernels::{Kernel, Work, is_on, on_device};

/// Does a work where its tensors lie; None if it cannot be done there.
pub type Compute<'a> = &'a dyn Fn(&Work) -> Result<Option<Tensor>>;

impl Linear {
    /// Some of the layer's outputs for an input whose columns are in parts (.., columns), with the bias but without side
    /// branches: by products of one kind, [`Kernel::Product`], [`Kernel::ProductFp8`], [`Kernel::ProductInt8`] or one of them with GELU. None if there
    /// is none for these shapes and types.
    ///
    /// # Errors
    /// If a shape does not fit or the device fails.
    pub fn by_products(
        &self,
        parts: &[Tensor],
        rows: &Range<usize>,
        kernel: Kernel,
        compute: Compute<'_>,
    ) -> Result<Option<Tensor>> {
        let (_, into) = self.matrix().shape();
        let widths = parts.iter().map(|part| part.dim(D::Minus1)).collect::<Result<Vec<_>>>()?;
        if parts.is_empty() || widths.iter().sum::<usize>() != into {
            return Ok(None);
        }
        if let Some(samples) = samples_to_round_apart(parts, kernel) {
            return self.sample_by_sample(samples, parts, rows, kernel, compute);
        }
        let ends = widths.iter().scan(0, |end, width| {
            *end += width;
            Some(*end - width..*end)
        });
        let inputs = Inputs { parts, columns: ends.collect(), rows, bias: self.some_bias(rows)? };
        match kernel {
            Kernel::Product => inputs.plain(self.matrix(), false, compute),
            Kernel::ProductGelu => inputs.plain(self.matrix(), true, compute),
            Kernel::ProductFp8 => inputs.fp8(self.matrix(), false, compute),
            Kernel::ProductFp8Gelu => inputs.fp8(self.matrix(), true, compute),
            Kernel::ProductInt8 => inputs.int8(self.matrix(), false, compute),
            Kernel::ProductInt8Gelu => inputs.int8(self.matrix(), true, compute),
            _ => Ok(None),
        }
    }

    /// [`Linear::by_products`] of each sample for itself.
    fn sample_by_sample(
        &self,
        samples: usize,
        parts: &[Tensor],
        rows: &Range<usize>,
        kernel: Kernel,
        compute: Compute<'_>,
    ) -> Result<Option<Tensor>> {
        let each = (0..samples).map(|number| {
            let own = parts.iter().map(|part| part.narrow(0, number, 1)).collect::<Result<Vec<_>>>()?;
            self.by_products(&own, rows, kernel, compute)
        });
        let each = each.collect::<Result<Option<Vec<_>>>>()?;
        each.map(|each| Tensor::cat(&each, 0)).transpose()
    }

    /// [`Linear::by_products`] on the device that the input is on, of the first kind that is trusted there.
    pub(super) fn on_device(
        &self,
        parts: &[Tensor],
        rows: &Range<usize>,
        gelu: bool,
    ) -> Result<Option<Tensor>> {
        let Some(near) = parts.first() else { return Ok(None) };
        for kernel in self.kinds(gelu) {
            if is_on(near.device(), kernel, near.dtype()) {
                let compute = |work: &Work| on_device(near, kernel, || Some(work.clone()));
                if let Some(y) = self.by_products(parts, rows, kernel, &compute)? {
                    return Ok(Some(y));
                }
            }
        }
        Ok(None)
    }

    /// Whether some of its rows can be multiplied apart from the others on the device of `x`.
    pub(super) fn is_divisible_on_device(&self, x: &Tensor) -> bool {
        /// Numbers of which every type has whole lines of what a product reads at once.
        const WHOLE: usize = 16;
        let (rows, columns) = self.matrix().shape();
        let has = |kernel| is_on(x.device(), kernel, x.dtype());
        let by_rows = match self.matrix() {
            Matrix::Dense(_) => has(Kernel::Product),
            Matrix::Fp8(fp8) => {
                let converts = has(Kernel::Product) && fp8.is_converted_at_once();
                converts || self.matrix().may_round_to_fp8() && has(Kernel::ProductFp8)
            }
            // Those of large matrices are converted band by band where they are not multiplied as they are.
            Matrix::Int8(_) => has(Kernel::ProductInt8) && self.has_bias(),
            Matrix::Quantised(_) => false,
        };
        by_rows && rows.is_multiple_of(WHOLE) && columns.is_multiple_of(WHOLE)
    }

    /// The kinds of products for it, the fastest first.
    fn kinds(&self, gelu: bool) -> impl Iterator<Item = Kernel> + use<> {
        let (fp8, int8, plain) = match gelu {
            true => (Kernel::ProductFp8Gelu, Kernel::ProductInt8Gelu, Kernel::ProductGelu),
            false => (Kernel::ProductFp8, Kernel::ProductInt8, Kernel::Product),
        };
        let eight_bits = match self.matrix() {
            Matrix::Int8(_) => Some(int8),
            matrix => matrix.may_round_to_fp8().then_some(fp8),
        };
        eight_bits.into_iter().chain([plain])
    }
}

/// How many samples an input (samples, tokens, in) has whose rounding has one scale for all of it, if there are several:
/// what a sample's numbers are rounded to must not depend on the samples beside it.
fn samples_to_round_apart(parts: &[Tensor], kernel: Kernel) -> Option<usize> {
    let has_one_scale = matches!(kernel, Kernel::ProductFp8 | Kernel::ProductFp8Gelu);
    match parts.first()?.dims() {
        [samples, _, _] if has_one_scale && *samples > 1 => Some(*samples),
        _ => None,
    }
}

/// What a layer's products read besides its weights.
struct Inputs<'a> {
    parts: &'a [Tensor],
    /// The columns of each part.
    columns: Vec<Range<usize>>,
    rows: &'a Range<usize>,
    bias: Option<Tensor>,
}

impl Inputs<'_> {
    /// Products in the type of the input.
    fn plain(&self, matrix: &Matrix, gelu: bool, compute: Compute<'_>) -> Result<Option<Tensor>> {
        let [near, ..] = self.parts else { return Ok(None) };
        // Those of one sample: they decide how a product is computed.
        let tokens = near.dims().iter().rev().nth(1).copied().unwrap_or(1);
        let Some(weight) = matrix.rows_as(self.rows, tokens, near.dtype())? else { return Ok(None) };
        let weights = self.split(&weight)?;
        let parts: Vec<_> = self.parts.iter().zip(&weights).map(|(x, weight)| Part { x, weight }).collect();
        let bias = self.bias.as_ref();
        let work = match parts.as_slice() {
            [part] => products::linear(*part, bias, gelu),
            _ if gelu => None,
            several => products::linear_of_parts(several, bias),
        };
        work.map_or(Ok(None), |work| compute(&work))
    }

    /// Products of codes in e4m3, those of the input made here.
    fn fp8(&self, matrix: &Matrix, gelu: bool, compute: Compute<'_>) -> Result<Option<Tensor>> {
        let [near, ..] = self.parts else { return Ok(None) };
        let Some((codes, weight_scale)) = matrix.fp8_rows(self.rows)? else { return Ok(None) };
        let weights = self.split(&codes)?;
        let mut rounded = Vec::new();
        for part in self.parts {
            let Some(part) = round_fp8(&part.contiguous()?, compute)? else { return Ok(None) };
            rounded.push(part);
        }
        let parts: Vec<_> = rounded
            .iter()
            .zip(&weights)
            .map(|((x, scale), weight)| (Part { x, weight }, Scales { weight: weight_scale, x: scale }))
            .collect();
        let bias = self.bias.as_ref();
        let work = match parts.as_slice() {
            [(part, scales)] => products::linear_fp8(*part, *scales, bias, gelu, near.dtype()),
            _ if gelu => None,
            several => products::linear_of_fp8_parts(several, bias, near.dtype()),
        };
        work.map_or(Ok(None), |work| compute(&work))
    }

    /// Products of integers, those of the input made here. Each part but the first adds to the sum so far.
    fn int8(&self, matrix: &Matrix, gelu: bool, compute: Compute<'_>) -> Result<Option<Tensor>> {
        let (Matrix::Int8(int8), [near, ..]) = (matrix, self.parts) else { return Ok(None) };
        let Some(bias) = self.bias.clone().filter(|_| !gelu || self.parts.len() == 1) else {
            return Ok(None);
        };
        let rows = |tensor: &Tensor| tensor.narrow(0, self.rows.start, self.rows.len());
        let (weights, columns) = (self.split(&rows(int8.codes())?)?, rows(int8.scales())?);
        let done = |work: Option<Work>| work.map_or(Ok(None), |work| compute(&work));
        let mut sum = bias;
        for (part, weight) in self.parts.iter().zip(&weights) {
            let part = part.contiguous()?;
            let Some(scales) = done(rounding::row_scales(&part))? else { return Ok(None) };
            let Some(codes) = done(rounding::round_int8(&part, &scales))? else { return Ok(None) };
            let Some(sums) = done(products::linear_int8(Part { x: &codes, weight }))? else {
                return Ok(None);
            };
            let factors = Factors { rows: &scales, columns: &columns, added: &sum };
            let Some(y) = done(rounding::scale_sums(&sums, factors, gelu, near.dtype()))? else {
                return Ok(None);
            };
            sum = y;
        }
        Ok(Some(sum))
    }

    /// The columns of the weights that belong to each part.
    fn split(&self, weight: &Tensor) -> Result<Vec<Tensor>> {
        self.columns.iter().map(|own| weight.narrow(1, own.start, own.len())).collect()
    }
}

/// Codes in e4m3 and their scale.
fn round_fp8(x: &Tensor, compute: Compute<'_>) -> Result<Option<(Tensor, Tensor)>> {
    let Some(work) = rounding::fp8_scale(x) else { return Ok(None) };
    let Some(scale) = compute(&work)? else { return Ok(None) };
    let Some(work) = rounding::round_fp8(x, &scale) else { return Ok(None) };
    Ok(compute(&work)?.map(|codes| (codes, scale)))
}

impl Matrix {
    /// Some rows of the weights in a compute type, as a product of `tokens` reads them. None if the product converts
    /// them band by band, or multiplies blocks as they are.
    fn rows_as(&self, rows: &Range<usize>, tokens: usize, dtype: DType) -> Result<Option<Tensor>> {
        match self {
            Self::Dense(weight) if weight.dtype() == dtype => {
                weight.narrow(0, rows.start, rows.len()).map(Some)
            }
            Self::Dense(_) => Ok(None),
            Self::Fp8(fp8) => fp8.rows_as(rows, dtype),
            Self::Int8(int8) => int8.rows_as(rows, dtype),
            Self::Quantised(blocks) if rows.len() == self.shape().0 => blocks.at_once(tokens, dtype),
            Self::Quantised(_) => Ok(None),
        }
    }

    /// Some rows of the codes in e4m3, and their scale, if products may round their input to e4m3.
    fn fp8_rows(&self, rows: &Range<usize>) -> Result<Option<(Tensor, f32)>> {
        match self {
            Self::Fp8(fp8) if self.may_round_to_fp8() => {
                Ok(Some((fp8.codes().narrow(0, rows.start, rows.len())?, fp8.scale())))
            }
            _ => Ok(None),
        }
    }
}
