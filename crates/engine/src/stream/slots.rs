//! Which tensors of device memory serve which layers. Plans count them by the same rules.

use std::ops::Range;

/// Streamed layers that are on the device at a time.
pub(crate) const SLOTS: usize = 2;

/// The slot of a layer.
pub(crate) const fn slot_of(layer: usize) -> usize {
    layer % SLOTS
}

/// Type and shape of a tensor.
pub(crate) trait Kind: Clone + PartialEq {
    /// Its shape.
    fn shape(&self) -> &[usize];

    /// Bytes of its numbers.
    fn bytes(&self) -> u64;
}

/// The slots of layers that follow each other and have the same shapes. Their types may differ: files of mixed blocks
/// have some layers in larger ones. A slot has one tensor for each kind that one of its layers needs at a place.
#[derive(Debug)]
pub(crate) struct Slots<K> {
    /// The layers.
    pub(crate) layers: Range<usize>,
    /// The tensors of each slot.
    pub(crate) kinds: [Vec<K>; SLOTS],
    /// For each layer, which of its slot's tensors takes the place of each of its own.
    #[cfg(any(test, feature = "cuda"))]
    places: Vec<Vec<usize>>,
}

impl<K: Kind> Slots<K> {
    /// The slots of all layers, whose tensors these are: one piece for each run of layers of the same shapes.
    pub(crate) fn of<'a>(layers: impl IntoIterator<Item = &'a [K]>) -> Vec<Self>
    where
        K: 'a,
    {
        let mut all: Vec<Self> = Vec::new();
        let mut last: Option<&[K]> = None;
        for (layer, kinds) in layers.into_iter().enumerate() {
            let shapes = |kinds: &'a [K]| kinds.iter().map(Kind::shape);
            let same = last.is_some_and(|last| shapes(last).eq(shapes(kinds)));
            last = Some(kinds);
            if !same {
                all.push(Self::empty(layer));
            }
            if let Some(slots) = all.last_mut() {
                slots.add(layer, kinds);
            }
        }
        all
    }

    fn empty(layer: usize) -> Self {
        Self {
            layers: layer..layer,
            kinds: [Vec::new(), Vec::new()],
            #[cfg(any(test, feature = "cuda"))]
            places: Vec::new(),
        }
    }

    fn add(&mut self, layer: usize, kinds: &[K]) {
        let slot = &mut self.kinds[slot_of(layer)];
        let mut places: Vec<usize> = Vec::new();
        for kind in kinds {
            let free = (0..slot.len()).find(|at| slot[*at] == *kind && !places.contains(at));
            places.push(free.unwrap_or_else(|| {
                slot.push(kind.clone());
                slot.len() - 1
            }));
        }
        #[cfg(any(test, feature = "cuda"))]
        self.places.push(places);
        self.layers.end = layer + 1;
    }

    /// Which of its slot's tensors takes the place of each tensor of a layer.
    #[cfg(any(test, feature = "cuda"))]
    pub(crate) fn places(&self, layer: usize) -> &[usize] {
        layer.checked_sub(self.layers.start).and_then(|at| self.places.get(at)).map_or(&[], Vec::as_slice)
    }

    /// Bytes of all slots.
    pub(crate) fn bytes(&self) -> u64 {
        self.kinds.iter().flatten().map(Kind::bytes).sum()
    }
}

#[cfg(test)]
mod tests {
    use candle_core::DType;
    use candle_core::quantized::GgmlDType;

    use super::*;
    use crate::stream::layers::Numbers;

    fn matrix(dtype: GgmlDType) -> Numbers {
        Numbers::Blocks(dtype, vec![4, 256])
    }

    fn bias(rows: usize) -> Numbers {
        Numbers::Plain(DType::F32, vec![rows])
    }

    fn of(layers: &[Vec<Numbers>]) -> Vec<Slots<Numbers>> {
        Slots::of(layers.iter().map(Vec::as_slice))
    }

    #[test]
    fn layers_of_one_kind_take_two_times_their_bytes() {
        let layer = vec![matrix(GgmlDType::Q8_0), bias(4), matrix(GgmlDType::Q8_0), bias(4)];
        let slots = of(&vec![layer.clone(); 5]);
        let [slots] = slots.as_slice() else { panic!("one run") };
        assert_eq!(slots.layers, 0..5);
        assert_eq!(slots.bytes(), 2 * layer.iter().map(Kind::bytes).sum::<u64>());
        assert_eq!(slots.places(3), [0, 1, 2, 3], "two of one kind are two tensors");
        assert_eq!(of(&[layer]).first().unwrap().kinds[1], [], "one layer needs one slot");
    }

    #[test]
    fn mixed_types_share_what_they_have_in_common() {
        let (small, large) = (matrix(GgmlDType::Q4K), matrix(GgmlDType::Q6K));
        let layer = |second: &Numbers| vec![small.clone(), second.clone(), bias(4)];
        // Layers 0 and 4 have a larger matrix; both use slot 0.
        let layers = [&large, &small, &small, &small, &large].map(layer);
        let slots = of(&layers);
        let [slots] = slots.as_slice() else { panic!("one run") };
        assert_eq!(slots.kinds[0], [small.clone(), large.clone(), bias(4), small.clone()]);
        assert_eq!(slots.kinds[1], [small.clone(), small.clone(), bias(4)]);
        assert_eq!((slots.places(0), slots.places(2)), (&[0, 1, 2][..], &[0, 3, 2][..]));
        for (layer, kinds) in layers.iter().enumerate() {
            let slot = &slots.kinds[slot_of(layer)];
            let placed: Vec<_> = slots.places(layer).iter().map(|at| slot[*at].clone()).collect();
            assert_eq!(placed, *kinds);
        }
    }

    #[test]
    fn other_shapes_get_other_slots() {
        let layers: Vec<_> = [2, 2, 3, 3, 3, 2].map(|rows| vec![bias(rows)]).into();
        let slots = of(&layers);
        let runs: Vec<_> = slots.iter().map(|slots| slots.layers.clone()).collect();
        assert_eq!(runs, [0..2, 2..5, 5..6]);
        assert_eq!(slots[1].places(4), [0]);
        assert!(slots[1].places(5).is_empty());
    }
}
