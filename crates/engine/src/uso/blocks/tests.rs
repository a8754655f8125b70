use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use candle_core::DType;

use super::*;
use crate::matrix::Tier;
use crate::placement::{Keep, Placement};
use crate::plan::{Outline, Streaming};
use crate::replace::Replace;
use crate::stream::{Memory, Slots, Waiting};
use crate::{Model, ModelFiles};

/// A layer that counts itself while it exists.
struct Counted(Arc<AtomicUsize>);

impl HasTensors for Counted {
    fn replaced(&self, _: &mut dyn Replace) -> Result<Self> {
        bail!("it has none")
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn counted(count: usize, fails: Option<usize>) -> (Arc<AtomicUsize>, Blocks<Counted>) {
    let there = Arc::new(AtomicUsize::new(0));
    let its = Arc::clone(&there);
    let load = move |i| {
        if fails == Some(i) {
            bail!("no layer {i}")
        }
        its.fetch_add(1, Ordering::SeqCst);
        Ok(Counted(Arc::clone(&its)))
    };
    (there, Blocks::Made(Made { count, load: Box::new(load), device: Device::Cpu }))
}

#[test]
fn layers_come_in_their_order_and_two_are_there_at_most() {
    let (there, blocks) = counted(20, None);
    let mut seen = Vec::new();
    blocks
        .each(|i, _| {
            seen.push(i);
            assert!((1..=2).contains(&there.load(Ordering::SeqCst)));
            Ok(())
        })
        .unwrap();
    assert_eq!(seen, (0..20).collect::<Vec<_>>());
    assert_eq!(there.load(Ordering::SeqCst), 0, "none is left");
}

#[test]
fn layers_that_are_not_asked_for_stay_where_they_are() {
    let resident = Blocks::Resident((0..20).map(|_| Counted(Arc::new(AtomicUsize::new(1)))).collect());
    // The layer `fails` cannot be copied.
    let of = |numbers: Range<usize>, fails| {
        let (mut seen, mut also) = (Vec::new(), Vec::new());
        let streamed = counted(20, Some(fails)).1;
        let look = |seen: &mut Vec<usize>, i| {
            seen.push(i);
            Ok(())
        };
        streamed.each_of(numbers.clone(), |i, _| look(&mut seen, i)).unwrap();
        resident.each_of(numbers, |i, _| look(&mut also, i)).unwrap();
        assert_eq!(seen, also);
        seen
    };
    assert_eq!(of(0..1, 1), [0]);
    assert_eq!(of(17..usize::MAX, 16), [17, 18, 19]);
    assert_eq!(of(20..21, 0), [0; 0]);
}

#[test]
fn the_first_failure_ends_it() {
    let (there, blocks) = counted(20, Some(3));
    let mut last = 0;
    let error = blocks.each(|i, _| {
        last = i;
        Ok(())
    });
    assert!(error.unwrap_err().to_string().starts_with("no layer 3"));
    assert_eq!((last, there.load(Ordering::SeqCst)), (2, 0));

    let (there, blocks) = counted(20, None);
    let error = blocks.each(|i, _| if i == 5 { bail!("broken") } else { Ok(()) });
    assert!(error.unwrap_err().to_string().starts_with("broken"));
    assert_eq!(there.load(Ordering::SeqCst), 0);
}

/// What the layers take if they are streamed.
fn taken<T: HasTensors>(blocks: &Blocks<T>) -> Streaming {
    let Blocks::Resident(layers) = blocks else { panic!("they are all here") };
    let waiting = |layer: &T| Waiting::new(layer, |bytes| Ok(Memory::plain(bytes))).unwrap();
    let waiting: Vec<_> = layers.iter().map(waiting).collect();
    let slots = Slots::of(waiting.iter().map(|layer| layer.kinds.as_slice()));
    Streaming {
        slots: slots.iter().map(|slots| slots.bytes()).max().unwrap(),
        pinned: waiting.iter().map(|layer| layer.numbers.len() as u64).sum(),
    }
}

#[test]
fn plans_count_what_streamed_layers_take() {
    let model = Model::open(&ModelFiles::Bundled).unwrap();
    let outline = Outline::of(&model).unwrap();
    let tiers = [Tier::Fp8, Tier::Fp8W8A8, Tier::Int8W8A8, Tier::Q8_0];
    for keep in tiers.map(Keep::Tier).into_iter().chain([Keep::AsStored]) {
        for dtype in [DType::F32, DType::F16] {
            let place = Place::new(Device::Cpu, dtype);
            let placement = Placement { keep, ..Placement::default() };
            let flux = model.flux_with(model.changes(&[]).unwrap(), &place, &placement).unwrap();
            let (double, single) = (taken(&flux.double_blocks), taken(&flux.single_blocks));
            let blocks =
                Streaming { slots: double.slots.max(single.slots), pinned: double.pinned + single.pinned };
            assert_eq!(outline.streamed_blocks(keep, dtype), blocks, "{keep:?} {dtype:?}");
            let modulations = taken(&flux.modulations.layers);
            assert_eq!(outline.streamed_modulations(keep, dtype), modulations, "{keep:?} {dtype:?}");
        }
    }
    let t5 = taken(&model.t5_encoder(&Place::new(Device::Cpu, DType::F32)).unwrap().blocks);
    assert_eq!(outline.streamed_t5(Keep::AsStored, DType::F32), t5);
}
