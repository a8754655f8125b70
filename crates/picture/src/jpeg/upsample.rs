//! Scales rows of a component to the size of the picture, as libjpeg does: if it has half the width or height, its
//! values lie between those of the picture, and the nearer of two neighbours counts three times.

use super::frame::Component;

/// Writes row `y` of the picture to `out`. The component has `across` times fewer columns and `down` times fewer rows;
/// `row` gives its own rows.
pub(crate) fn row<'r>(
    component: &Component,
    (across, down): (usize, usize),
    y: usize,
    row: impl Fn(usize) -> &'r [u8],
    out: &mut Vec<u8>,
) {
    out.clear();
    let nearer = y / down;
    // The neighbour that is nearer to the row of the picture; at the edges the row itself.
    let is_upper = y.is_multiple_of(2);
    let other = if is_upper { nearer.saturating_sub(1) } else { (nearer + 1).min(component.height - 1) };
    // With so few values libjpeg only copies.
    let is_narrow = component.width <= 2;
    match (across, down) {
        (1, 1) => out.extend_from_slice(row(nearer)),
        (1, 2) => {
            let half = if is_upper { 1 } else { 2 };
            out.extend(
                row(nearer)
                    .iter()
                    .zip(row(other))
                    .map(|(near, far)| ((3 * u16::from(*near) + u16::from(*far) + half) >> 2) as u8),
            );
        }
        (2, 1) if !is_narrow => {
            let values = row(nearer).iter().map(|value| u16::from(*value)).collect::<Vec<_>>();
            spread(&values, 2, (1, 2), out);
        }
        (2, 2) if !is_narrow => {
            let sums =
                row(nearer).iter().zip(row(other)).map(|(near, far)| 3 * u16::from(*near) + u16::from(*far));
            spread(&sums.collect::<Vec<_>>(), 4, (8, 7), out);
        }
        _ => out.extend(row(nearer).iter().flat_map(|value| std::iter::repeat_n(*value, across))),
    }
}

/// Makes two values of each one, each a quarter nearer to a neighbour. The two offsets are added to the left and the
/// right one before the lowest `bits` are dropped.
fn spread(values: &[u16], bits: u32, (left, right): (u16, u16), out: &mut Vec<u8>) {
    for (i, value) in values.iter().enumerate() {
        let before = values[i.saturating_sub(1)];
        let after = values[(i + 1).min(values.len() - 1)];
        out.push(((3 * value + before + left) >> bits) as u8);
        out.push(((3 * value + after + right) >> bits) as u8);
    }
}
