//! Positions of tokens: FLUX position ids, and the rotary tables made from them.

use candle_core::{DType, Device, Result, Tensor};

/// How the content reference's positions are shifted away from the target's (`pe` of the reference).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PositionShift {
    /// By the target's height and width (`d`), as USO was trained.
    #[default]
    Diagonal,
    /// By the target's height (`h`).
    Height,
    /// By the target's width (`w`).
    Width,
    /// Not at all (`o`).
    None,
}

impl std::fmt::Display for PositionShift {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Diagonal => "d",
            Self::Height => "h",
            Self::Width => "w",
            Self::None => "o",
        })
    }
}

impl std::str::FromStr for PositionShift {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text {
            "d" => Ok(Self::Diagonal),
            "h" => Ok(Self::Height),
            "w" => Ok(Self::Width),
            "o" => Ok(Self::None),
            other => Err(format!("{other:?} is not one of d, h, w, o")),
        }
    }
}

/// One token's position: (0, row, column), in tokens of 16x16 pixels.
pub type Position = [u32; 3];

/// Positions of style and text tokens: all at the origin.
pub fn text(tokens: usize) -> Vec<Position> {
    vec![[0, 0, 0]; tokens]
}

/// Positions of a grid of `rows` x `columns` tokens whose first is at `origin` (row, column).
pub fn grid(rows: usize, columns: usize, origin: (usize, usize)) -> Vec<Position> {
    (0..rows)
        .flat_map(|row| (0..columns).map(move |column| (row, column)))
        .map(|(row, column)| [0, (row + origin.0) as u32, (column + origin.1) as u32])
        .collect()
}

impl PositionShift {
    /// The first position of a content reference beside a target of `rows` x `columns` tokens
    /// (`prepare_multi_ip` of the reference).
    pub fn origin(self, rows: usize, columns: usize) -> (usize, usize) {
        let row = if matches!(self, Self::Diagonal | Self::Height) { rows } else { 0 };
        let column = if matches!(self, Self::Diagonal | Self::Width) { columns } else { 0 };
        (row, column)
    }
}

/// Cosines and sines of every token's rotary angles, each (tokens, head_dim / 2), float32.
#[derive(Debug, Clone)]
pub struct Rotary {
    /// Cosines.
    pub cos: Tensor,
    /// Sines.
    pub sin: Tensor,
}

impl Rotary {
    /// `EmbedND` of the reference: `axes_dim[i] / 2` angles `position[i] * theta^(-2k / axes_dim[i])`
    /// for each axis `i`, formed in float64 as there.
    ///
    /// # Errors
    /// If the tables cannot be copied to the device.
    pub fn new(positions: &[Position], axes_dim: &[usize], theta: f64, device: &Device) -> Result<Self> {
        let half: usize = axes_dim.iter().sum::<usize>() / 2;
        let frequencies: Vec<(usize, f64)> = axes_dim
            .iter()
            .enumerate()
            .flat_map(|(axis, &dim)| {
                (0..dim).step_by(2).map(move |i| (axis, 1.0 / theta.powf(i as f64 / dim as f64)))
            })
            .collect();
        let angles = || {
            positions.iter().flat_map(|position| {
                frequencies.iter().map(|&(axis, frequency)| f64::from(position[axis]) * frequency)
            })
        };
        let table = |values: Vec<f32>| Tensor::from_vec(values, (positions.len(), half), device);
        Ok(Self {
            cos: table(angles().map(|angle| angle.cos() as f32).collect())?,
            sin: table(angles().map(|angle| angle.sin() as f32).collect())?,
        })
    }

    /// Rotates every pair of values of queries or keys (1, heads, tokens, head_dim) by its angle. Computes in float32,
    /// whatever the type of `x` (`apply_rope` of the reference).
    pub(super) fn rotate(&self, x: &Tensor) -> Result<Tensor> {
        candle_nn::rotary_emb::rope_i(&x.to_dtype(DType::F32)?, &self.cos, &self.sin)?.to_dtype(x.dtype())
    }

    /// The rows `start..start + count`.
    ///
    /// # Errors
    /// If the range leaves the table.
    pub fn narrow(&self, start: usize, count: usize) -> Result<Self> {
        Ok(Self { cos: self.cos.narrow(0, start, count)?, sin: self.sin.narrow(0, start, count)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rotation_rounds_once_whatever_the_precision() {
        let device = Device::Cpu;
        let rotary = Rotary::new(&grid(3, 67, (0, 900)), &[4, 6, 6], 10_000.0, &device).unwrap();
        let values = (0..2 * 201 * 16).map(|i| ((i * 61) % 127) as f32 / 16.0 - 4.0);
        let x = Tensor::from_iter(values, &device).unwrap().reshape((1, 2, 201, 16)).unwrap();
        let exact = rotary.rotate(&x).unwrap();
        assert_eq!(exact.dtype(), DType::F32);
        for dtype in [DType::BF16, DType::F16] {
            // The values themselves are exact in all three types.
            let ours = rotary.rotate(&x.to_dtype(dtype).unwrap()).unwrap();
            let bits = |x: &Tensor| x.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1::<f64>();
            assert_eq!(bits(&ours).unwrap(), bits(&exact.to_dtype(dtype).unwrap()).unwrap(), "{dtype:?}");
        }
    }
}
