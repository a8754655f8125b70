//! Matrix products that add to what is there, by the crate `gemm`, whose interface is pointers. The only place of the
//! engine that computes through them.

use std::marker::PhantomData;
use std::ops::Range;

use gemm::{Parallelism, gemm};
use rayon::iter::{IntoParallelIterator as _, ParallelIterator as _};

use super::tasks::is_much;

/// A matrix in memory.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    values: &'a [f32],
    shape: Shape,
}

/// Rows and columns, and the distances in memory between neighbouring rows and columns.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) row_step: usize,
    pub(crate) column_step: usize,
}

impl Shape {
    /// Rows beside one another.
    pub(crate) fn dense(rows: usize, columns: usize) -> Self {
        Self { rows, columns, row_step: columns, column_step: 1 }
    }

    /// The same numbers with rows and columns exchanged.
    pub(crate) fn transposed(self) -> Self {
        let Self { rows, columns, row_step, column_step } = self;
        Self { rows: columns, columns: rows, row_step: column_step, column_step: row_step }
    }

    /// Numbers from the first to the last.
    fn extent(self) -> usize {
        if self.rows == 0 || self.columns == 0 {
            return 0;
        }
        (self.rows - 1) * self.row_step + (self.columns - 1) * self.column_step + 1
    }
}

impl<'a> View<'a> {
    /// The matrix whose first number is the first of `values`.
    pub(crate) fn new(values: &'a [f32], shape: Shape) -> Self {
        assert!(shape.extent() <= values.len(), "{shape:?} in {} numbers", values.len());
        Self { values, shape }
    }

    /// Rows and columns exchanged.
    pub(crate) fn transposed(self) -> Self {
        Self { shape: self.shape.transposed(), ..self }
    }

    /// Some of its rows.
    fn rows(self, start: usize, count: usize) -> Self {
        assert!(start + count <= self.shape.rows);
        Self::new(&self.values[start * self.shape.row_step..], Shape { rows: count, ..self.shape })
    }
}

/// What a product does with what is in the place of its result.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Old {
    /// Writes over it.
    Replaced,
    /// Adds to it.
    Kept,
}

/// `left * right`, on this thread.
pub(crate) fn multiply(left: View<'_>, right: View<'_>, out: &mut [f32], shape: Shape, old: Old) {
    assert!(shape.extent() <= out.len(), "{shape:?} in {} numbers", out.len());
    into(left, right, Target(out.as_mut_ptr()), shape, old);
}

/// What a linear layer adds to its product.
#[derive(Clone, Copy)]
pub(crate) enum Start<'a> {
    Nothing,
    /// A number for each column.
    Bias(&'a [f32]),
    /// What is already in the place of the result.
    Old,
}

/// `x` (tokens, in) times the transpose of `weight` (out, in), as rows of `out` beside one another, on all threads.
pub(crate) fn linear(x: View<'_>, weight: View<'_>, out: &mut [f32], start: Start<'_>) {
    let (tokens, columns) = (x.shape.rows, weight.shape.rows);
    assert!(x.shape.columns == weight.shape.columns && tokens * columns == out.len());
    if let Start::Bias(bias) = start {
        assert_eq!(bias.len(), columns);
    }
    let old = if matches!(start, Start::Nothing) { Old::Replaced } else { Old::Kept };
    let cost = tokens * columns * x.shape.columns;
    by_columns(out, columns, strip(columns), cost, |own| {
        if let Start::Bias(bias) = start {
            for token in 0..tokens {
                let (first, width) = (own.first, own.width);
                own.row(token, 0..width).copy_from_slice(&bias[first..first + width]);
            }
        }
        own.multiply(x, weight.rows(own.first, own.width).transposed(), old);
    });
}

/// Columns of a task: several tasks for each thread, each wide enough for its weights to be laid out once. Not by the
/// number of threads: products of few columns round differently.
fn strip(columns: usize) -> usize {
    const MOST: usize = 512;
    const TASKS: usize = 16;
    (columns / TASKS).next_multiple_of(64).clamp(64, MOST)
}

/// Splits a matrix whose rows lie beside one another into strips of `width` columns, and has tasks fill them on all
/// threads, if `cost` multiplications are worth it.
pub(crate) fn by_columns(
    out: &mut [f32],
    columns: usize,
    width: usize,
    cost: usize,
    fill: impl Fn(&mut Columns<'_>) + Sync + Send,
) {
    let rows = out.len() / columns.max(1);
    by_tiles(out, columns, (rows, width), cost, || (), |(), own| fill(own));
}

/// The same with tiles of so many rows and columns. Tasks on one thread share what `room` makes.
pub(crate) fn by_tiles<R>(
    out: &mut [f32],
    columns: usize,
    (height, width): (usize, usize),
    cost: usize,
    room: impl Fn() -> R + Sync + Send,
    fill: impl Fn(&mut R, &mut Columns<'_>) + Sync + Send,
) {
    let rows = out.len() / columns.max(1);
    let target = Target(out.as_mut_ptr());
    let down = rows.div_ceil(height.max(1));
    let one = |room: &mut R, i: usize| {
        let (first_row, first) = (i % down * height, i / down * width);
        let (rows, width) = (height.min(rows - first_row), width.min(columns - first));
        fill(room, &mut Columns { target, step: columns, first_row, rows, first, width, lives: PhantomData });
    };
    let tiles = 0..down * columns.div_ceil(width.max(1));
    if is_much(cost) {
        tiles.into_par_iter().for_each_init(room, one);
    } else {
        let mut room = room();
        tiles.for_each(|i| one(&mut room, i));
    }
}

/// Columns of a matrix, in all or some of its rows, that one task writes.
pub(crate) struct Columns<'a> {
    target: Target,
    step: usize,
    /// The first row, and how many there are.
    pub(crate) first_row: usize,
    pub(crate) rows: usize,
    /// The first column, and how many there are.
    pub(crate) first: usize,
    pub(crate) width: usize,
    lives: PhantomData<&'a mut [f32]>,
}

impl Columns<'_> {
    /// Some of these columns in one of these rows.
    #[expect(unsafe_code, reason = "tasks share one result")]
    pub(crate) fn row(&mut self, row: usize, columns: Range<usize>) -> &mut [f32] {
        assert!(row < self.rows && columns.start <= columns.end && columns.end <= self.width);
        let row = self.first_row + row;
        let start = self.target.0.wrapping_add(row * self.step + self.first + columns.start);
        // SAFETY: the numbers are inside the matrix and inside the tile that this task alone has, and are borrowed
        // from it.
        unsafe { std::slice::from_raw_parts_mut(start, columns.len()) }
    }

    /// `left * right` into all of these columns.
    pub(crate) fn multiply(&mut self, left: View<'_>, right: View<'_>, old: Old) {
        let Self { rows, step, width, first_row, first, .. } = *self;
        let shape = Shape { rows, columns: width, row_step: step, column_step: 1 };
        into(left, right, Target(self.target.0.wrapping_add(first_row * step + first)), shape, old);
    }
}

/// Where tasks write.
#[derive(Clone, Copy)]
struct Target(*mut f32);

#[expect(unsafe_code, reason = "tasks share one result")]
// SAFETY: `by_tiles` gives tasks tiles that do not overlap, and outlives them.
unsafe impl Send for Target {}
#[expect(unsafe_code, reason = "tasks share one result")]
// SAFETY: as above.
unsafe impl Sync for Target {}

/// `left * right` into `out`.
#[expect(unsafe_code, reason = "gemm takes pointers")]
fn into(left: View<'_>, right: View<'_>, Target(out): Target, shape: Shape, old: Old) {
    let (rows, columns, inner) = (left.shape.rows, right.shape.columns, left.shape.columns);
    assert!(right.shape.rows == inner && shape.rows == rows && shape.columns == columns);
    // SAFETY: both views are as large as their shapes say, `View::new` has checked; the callers have checked that the
    // result is, and have it for themselves.
    unsafe {
        gemm(
            rows,
            columns,
            inner,
            out,
            shape.column_step as isize,
            shape.row_step as isize,
            old == Old::Kept,
            left.values.as_ptr(),
            left.shape.column_step as isize,
            left.shape.row_step as isize,
            right.values.as_ptr(),
            right.shape.column_step as isize,
            right.shape.row_step as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::normal;

    /// The product in float64.
    fn exact(left: View<'_>, right: View<'_>) -> Vec<f64> {
        let at = |view: &View<'_>, row: usize, column: usize| {
            f64::from(view.values[row * view.shape.row_step + column * view.shape.column_step])
        };
        let cell = |row, column| {
            (0..left.shape.columns).map(|i| at(&left, row, i) * at(&right, i, column)).sum::<f64>()
        };
        (0..left.shape.rows)
            .flat_map(|row| (0..right.shape.columns).map(move |column| (row, column)))
            .map(|(row, column)| cell(row, column))
            .collect()
    }

    fn near(ours: &[f32], theirs: impl IntoIterator<Item = f64>) {
        for (ours, theirs) in ours.iter().zip(theirs) {
            assert!((f64::from(*ours) - theirs).abs() < 1e-3, "{ours}, not {theirs}");
        }
    }

    #[test]
    fn products_of_any_size_add_what_they_should() {
        for (tokens, inner, columns) in [(1, 3, 2), (7, 33, 65), (65, 129, 700), (130, 16, 64)] {
            let (x, w) = (normal(1, tokens * inner), normal(2, columns * inner));
            let bias = normal(3, columns);
            let x = View::new(&x, Shape::dense(tokens, inner));
            let w = View::new(&w, Shape::dense(columns, inner));
            let product = exact(x, w.transposed());
            let mut out = vec![9f32; tokens * columns];
            linear(x, w, &mut out, Start::Nothing);
            near(&out, product.iter().copied());
            linear(x, w, &mut out, Start::Old);
            near(&out, product.iter().map(|value| 2.0 * value));
            linear(x, w, &mut out, Start::Bias(&bias));
            near(&out, product.iter().zip(bias.iter().cycle()).map(|(value, bias)| value + f64::from(*bias)));
            let dense = Shape::dense(tokens, columns);
            multiply(x, w.transposed(), &mut out, dense, Old::Kept);
            multiply(x, w.transposed(), &mut out, dense, Old::Replaced);
            near(&out, product);
        }
    }

    #[test]
    #[should_panic(expected = "in 11 numbers")]
    fn a_matrix_that_is_larger_than_its_memory_is_refused() {
        View::new(&[0.0; 11], Shape { rows: 3, columns: 2, row_step: 5, column_step: 1 });
    }
}
