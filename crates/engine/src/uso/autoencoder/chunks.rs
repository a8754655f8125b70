//! Feature maps in bands of rows, and bands with the rows around them that a convolution reads.
//!
//! A map is laid out as (rows, channels, columns), so that a row is a matrix and a band is contiguous in memory. A band
//! covers the same strip of the picture at every level: a layer makes one band of its output from one band of its input
//! and a row above and below it.

use std::collections::VecDeque;
use std::ops::Range;

use candle_core::{Device, Result, Tensor};
use rayon::iter::{IntoParallelIterator as _, ParallelIterator as _};

use super::moments::Moments;

/// Where whole maps are kept. The weights and the current band are always on the device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Maps {
    /// On the device.
    #[default]
    Device,
    /// In host memory: each layer copies its input to the device and its output back, band by band, which is slower.
    Host,
}

/// How much to compute at a time, and where to keep whole maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunks {
    /// Where to keep whole maps.
    pub maps: Maps,
    /// Most bytes of a band while a layer computes it, including its input. A band is at least one cell of the latent
    /// high, even if that takes more.
    pub bytes: usize,
    /// Most bands of a layer that are computed at the same time, on several threads of the processor.
    pub bands: usize,
}

impl Chunks {
    /// For processors: as much as fits into their cache. Whole maps take more than twice the processor time.
    ///
    /// Several bands, because what one thread does alone for each of them, copies above all, is a thirteenth of the work,
    /// and because threads wait for each other only at the end of bands.
    pub const CPU: Self = Self { maps: Maps::Device, bytes: 16 << 20, bands: 4 };

    /// For accelerators: large products in few launches. A row of cells of FLUX's largest picture, 2048x2048, takes
    /// half of it (131 MiB, in the attention).
    pub const ACCELERATOR: Self = Self { maps: Maps::Device, bytes: 256 << 20, bands: 1 };

    /// The default for a device.
    pub fn on(device: &Device) -> Self {
        if device.is_cpu() { Self::CPU } else { Self::ACCELERATOR }
    }

    /// Bands that are computed at the same time: no more than there are threads.
    pub(super) fn at_once(&self) -> usize {
        self.bands.min(rayon::current_num_threads()).max(1)
    }
}

/// The rows of each band of a picture of `height` rows. A band is `cells` cells high, each of `cell` rows. The last
/// band is lower, or higher by rows that do not make a cell.
pub(super) fn bands(height: usize, cell: usize, cells: usize) -> impl Iterator<Item = Range<usize>> {
    let all = height / cell;
    (0..all).step_by(cells).map(move |start| {
        let end = if all - start <= cells { height } else { (start + cells) * cell };
        start * cell..end
    })
}

/// A feature map of one picture. Cloning it copies no values.
#[derive(Clone)]
pub(super) struct Map {
    bands: VecDeque<Tensor>,
    moments: Vec<Moments>,
    device: Device,
    chunks: Chunks,
}

impl Map {
    /// A map without bands, whose bands will be computed on the device.
    pub(super) fn new(device: &Device, chunks: Chunks) -> Self {
        Self { bands: VecDeque::new(), moments: Vec::new(), device: device.clone(), chunks }
    }

    /// Another map without bands, kept at the same place.
    pub(super) fn empty(&self) -> Self {
        Self::new(&self.device, self.chunks)
    }

    /// Adds a band at the bottom.
    pub(super) fn push(&mut self, band: &Tensor) -> Result<()> {
        self.bands.push_back(match self.chunks.maps {
            Maps::Device => band.clone(),
            Maps::Host => band.to_device(&Device::Cpu)?,
        });
        Ok(())
    }

    /// Adds a band at the bottom of a map that a norm may follow.
    pub(super) fn push_measured(&mut self, Measured { band, moments }: Measured) -> Result<()> {
        self.moments.push(moments);
        self.push(&band)
    }

    /// The moments of the bands that were measured.
    pub(super) fn moments(&self) -> &[Moments] {
        &self.moments
    }

    /// The bands from top to bottom, on the device, with the rows around them that the halo asks for. The map drops
    /// each band once it is taken, which makes room for another map.
    pub(super) fn windows(self, halo: Halo) -> Windows {
        let at_once = self.chunks.at_once();
        Windows { bands: self.bands, beside: None, device: self.device, halo, above: None, at_once }
    }

    /// Applies a layer without a norm to the map, band by band. A norm may follow.
    pub(super) fn through(self, halo: Halo, layer: impl Fn(Window) -> Result<Tensor> + Sync) -> Result<Self> {
        let mut output = self.empty();
        let measured = |window, _| Measured::new(layer(window)?);
        self.windows(halo).each(measured, |band| output.push_measured(band))?;
        Ok(output)
    }

    /// All rows as (1, channels, rows, columns), on the device.
    pub(super) fn into_tensor(self) -> Result<Tensor> {
        let bands: Vec<_> =
            self.bands.iter().map(|band| band.to_device(&self.device)).collect::<Result<_>>()?;
        Tensor::cat(&bands, 0)?.transpose(0, 1)?.unsqueeze(0)?.contiguous()
    }
}

/// A band and its moments.
pub(super) struct Measured {
    band: Tensor,
    moments: Moments,
}

impl Measured {
    /// Computes the moments, while the band is on the device.
    pub(super) fn new(band: Tensor) -> Result<Self> {
        Ok(Self { moments: Moments::of(&band)?, band })
    }
}

/// Rows outside a band that a layer reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Halo {
    None,
    /// One row below.
    Below,
    /// One row above and one below.
    Around,
}

/// A band and the rows around it.
#[derive(Clone)]
pub(super) struct Window {
    /// The band alone.
    pub(super) band: Tensor,
    /// The band with the rows of its halo that are inside the map.
    pub(super) rows: Tensor,
    /// Whether `rows` has a row above the band.
    pub(super) above: bool,
    /// Whether `rows` has a row below the band.
    pub(super) below: bool,
}

impl Window {
    /// A band without a halo.
    pub(super) fn alone(band: Tensor) -> Self {
        Self { rows: band.clone(), band, above: false, below: false }
    }

    /// Applies an element-wise function to all rows.
    pub(super) fn map(self, values: impl Fn(Tensor) -> Result<Tensor>) -> Result<Self> {
        Ok(Self { rows: values(self.rows)?, ..self })
    }
}

/// See [`Map::windows`].
pub(super) struct Windows {
    bands: VecDeque<Tensor>,
    /// The bands of another map.
    beside: Option<VecDeque<Tensor>>,
    device: Device,
    halo: Halo,
    /// The last row of the previous band.
    above: Option<Tensor>,
    at_once: usize,
}

/// A band that was taken out of a map, with the rows around it.
struct Taken {
    band: Tensor,
    above: Option<Tensor>,
    below: Option<Tensor>,
    /// The same band of another map.
    beside: Option<Tensor>,
}

impl Taken {
    fn window(self) -> Result<(Window, Option<Tensor>)> {
        let Self { band, above, below, beside } = self;
        let rows: Vec<&Tensor> = above.iter().chain([&band]).chain(&below).collect();
        let rows = Tensor::cat(&rows, 0)?;
        Ok((Window { band, rows, above: above.is_some(), below: below.is_some() }, beside))
    }
}

impl Windows {
    /// With the bands of another map of the same height beside them. That map drops them, too.
    pub(super) fn beside(self, other: Map) -> Self {
        Self { beside: Some(other.bands), ..self }
    }

    /// Applies `layer` to the windows and what is beside them, several at the same time, and hands the results to
    /// `take` in their order.
    pub(super) fn each<R: Send>(
        mut self,
        layer: impl Fn(Window, Option<Tensor>) -> Result<R> + Sync,
        mut take: impl FnMut(R) -> Result<()>,
    ) -> Result<()> {
        let compute = |taken: Taken| {
            let (window, beside) = taken.window()?;
            layer(window, beside)
        };
        loop {
            let mut taken = Vec::with_capacity(self.at_once);
            while taken.len() < self.at_once
                && let Some(next) = self.taken()
            {
                taken.push(next?);
            }
            if taken.len() > 1 {
                let results: Vec<Result<R>> = taken.into_par_iter().map(compute).collect();
                results.into_iter().try_for_each(|result| take(result?))?;
            } else if let Some(alone) = taken.pop() {
                // On this thread: a device has a stream for each.
                take(compute(alone)?)?;
            } else {
                return Ok(());
            }
        }
    }

    fn taken(&mut self) -> Option<Result<Taken>> {
        let band = self.bands.pop_front()?;
        Some(self.with_rows(&band))
    }

    fn with_rows(&mut self, band: &Tensor) -> Result<Taken> {
        let band = band.to_device(&self.device)?;
        let below = match self.bands.front() {
            Some(next) if self.halo != Halo::None => Some(self.row(next, 0)?),
            _ => None,
        };
        let last = (self.halo == Halo::Around).then(|| self.row(&band, band.dim(0)? - 1)).transpose()?;
        let above = std::mem::replace(&mut self.above, last);
        let beside = self.beside.as_mut().and_then(VecDeque::pop_front);
        let beside = beside.map(|beside| beside.to_device(&self.device)).transpose()?;
        Ok(Taken { band, above, below, beside })
    }

    /// A copy of one row: a view would keep its whole band alive, and copy all of it to the device.
    fn row(&self, band: &Tensor, row: usize) -> Result<Tensor> {
        band.narrow(0, row, 1)?.force_contiguous()?.to_device(&self.device)
    }
}

impl Iterator for Windows {
    type Item = Result<Window>;

    fn next(&mut self) -> Option<Self::Item> {
        let taken = self.taken()?;
        Some(taken.and_then(Taken::window).map(|(window, _)| window))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::DType;

    use super::*;

    /// A map whose values are their row numbers.
    fn numbered(bands: &[Range<usize>], maps: Maps) -> Map {
        let mut map = Map::new(&Device::Cpu, Chunks { maps, ..Chunks::CPU });
        for band in bands {
            let rows = Tensor::arange(band.start as u32, band.end as u32, &Device::Cpu).unwrap();
            map.push(&rows.reshape((band.len(), 1, 1)).unwrap()).unwrap();
        }
        map
    }

    fn numbers(rows: &Tensor) -> Vec<usize> {
        let rows = rows.to_dtype(DType::U32).unwrap().flatten_all().unwrap().to_vec1::<u32>().unwrap();
        rows.into_iter().map(|row| row as usize).collect()
    }

    fn sizes() -> impl Iterator<Item = (usize, usize, usize)> {
        let heights = [1, 2, 8].into_iter().flat_map(|cell| (cell..60).map(move |height| (height, cell)));
        heights.flat_map(|(height, cell)| (1..6).map(move |cells| (height, cell, cells)))
    }

    #[test]
    fn bands_tile_any_height() {
        for (height, cell, cells) in sizes() {
            let bands: Vec<_> = bands(height, cell, cells).collect();
            let (last, others) = bands.split_last().unwrap();
            let rows: Vec<usize> = bands.iter().cloned().flatten().collect();
            assert_eq!(rows, (0..height).collect::<Vec<_>>(), "{height}, {cell}, {cells}");
            assert!(others.iter().all(|band| band.len() == cells * cell));
            assert!(
                (cell..(cells + 1) * cell).contains(&last.len()),
                "{last:?} of {height}, {cell}, {cells}"
            );
        }
    }

    #[test]
    fn a_window_has_the_rows_around_its_band_that_exist() {
        for (height, cell, cells) in sizes() {
            let bands: Vec<_> = bands(height, cell, cells).collect();
            for (halo, above, below) in [(Halo::None, 0, 0), (Halo::Below, 0, 1), (Halo::Around, 1, 1)] {
                for maps in [Maps::Device, Maps::Host] {
                    let windows: Vec<_> =
                        numbered(&bands, maps).windows(halo).collect::<Result<_>>().unwrap();
                    assert_eq!(windows.len(), bands.len());
                    for (window, band) in windows.iter().zip(&bands) {
                        let seen = band.start.saturating_sub(above)..height.min(band.end + below);
                        assert_eq!(numbers(&window.band), band.clone().collect::<Vec<_>>());
                        assert_eq!(numbers(&window.rows), seen.clone().collect::<Vec<_>>());
                        assert_eq!(window.above, seen.start < band.start);
                        assert_eq!(window.below, seen.end > band.end);
                    }
                }
            }
        }
    }
}
