//! Mean and variance of the groups of channels in a map, computed band by band.

use candle_core::{Result, Tensor};

use crate::uso::fused::group_moments;

/// Number of channel groups in every norm of the autoencoder.
pub(super) const GROUPS: usize = crate::config::NORM_GROUPS;

/// Mean and variance of each row and group of a band, both (rows, groups).
#[derive(Clone)]
pub(super) struct Moments {
    means: Tensor,
    variances: Tensor,
}

impl Moments {
    /// `band`: (rows, channels, columns).
    pub(super) fn of(band: &Tensor) -> Result<Self> {
        let (means, variances) = group_moments(band, GROUPS)?;
        Ok(Self { means, variances })
    }
}

/// Mean and variance of each group over all rows of several bands. All rows have the same number of values, so the
/// variance is the mean of the rows' variances plus the variance of their means, without a difference of large numbers.
pub(super) fn total(moments: &[Moments]) -> Result<Vec<(f64, f64)>> {
    let table = |part: fn(&Moments) -> &Tensor| -> Result<Vec<Vec<f32>>> {
        Tensor::cat(&moments.iter().map(part).collect::<Vec<_>>(), 0)?.t()?.to_vec2()
    };
    let groups = table(|moments| &moments.means)?.into_iter().zip(table(|moments| &moments.variances)?);
    Ok(groups
        .map(|(means, variances)| {
            let centre = mean(&means, |value| value);
            (centre, mean(&variances, |value| value) + mean(&means, |value| (value - centre).powi(2)))
        })
        .collect())
}

fn mean(values: &[f32], of: impl Fn(f64) -> f64) -> f64 {
    values.iter().map(|value| of(f64::from(*value))).sum::<f64>() / values.len() as f64
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn small_deviations_from_a_large_mean_are_seen_across_bands() {
        let channels = 2 * GROUPS;
        // Around 1000 in all groups, and half a unit more with each row.
        let value =
            |row: usize, i: usize| 1000.0 + 0.5 * row as f32 + if i.is_multiple_of(2) { 0.25 } else { -0.25 };
        let band = |rows: std::ops::Range<usize>| {
            let values: Vec<f32> =
                rows.clone().flat_map(|row| (0..channels * 4).map(move |i| value(row, i))).collect();
            Moments::of(&Tensor::from_vec(values, (rows.len(), channels, 4), &Device::Cpu).unwrap()).unwrap()
        };
        for bands in [vec![band(0..5)], vec![band(0..2), band(2..4), band(4..5)]] {
            let groups = total(&bands).unwrap();
            assert_eq!(groups.len(), GROUPS);
            for (mean, variance) in groups {
                // Rows deviate by -1, -0.5, 0, 0.5 and 1 from 1001, values by 0.25 from their row.
                assert!((mean - 1001.0).abs() < 1e-9, "{mean}");
                assert!((variance - (0.5 + 0.0625)).abs() < 1e-6, "{variance}");
            }
        }
    }
}
