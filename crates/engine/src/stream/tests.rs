//! Layers of every tier through slots in host memory, with copies as late and as early as the waits allow.

use std::sync::Arc;

use candle_core::quantized::{QStorage, QTensor};
use candle_core::{CpuStorage, DType, Device, InplaceOp1, Layout, Result, Tensor, bail};

use super::layers::{Numbers, Placed, Waiting};
use super::memory::Memory;
use super::order::{Event, Stream, Streams, sweep};
use super::slots::{Kind, SLOTS, Slots, slot_of};
use crate::matrix::{Branch, Linear, Matrix, Tier};
use crate::noise::normal;
use crate::replace::HasTensors as _;

const WIDTH: usize = 256;

fn random(seed: u64, shape: (usize, usize)) -> Tensor {
    Tensor::from_vec(normal(seed, shape.0 * shape.1), shape, &Device::Cpu).unwrap()
}

/// A layer with a bias, and with a side branch if it is quantised.
fn layer(seed: u64, tier: Tier) -> Linear {
    let matrix = Matrix::from_tensor(&random(seed, (WIDTH, WIDTH)), tier, DType::F32, &Device::Cpu).unwrap();
    let bias = random(seed + 1, (1, WIDTH)).squeeze(0).unwrap();
    let layer = Linear::new(matrix, Some(bias)).unwrap().named(format!("layer.{seed}"));
    let (down, up) = (random(seed + 2, (2, WIDTH)), random(seed + 3, (8, 2)));
    let branch = Branch::new(&down, &up, 0.5, 16, DType::F32).unwrap();
    if tier == Tier::Bf16 { layer } else { layer.with_branch(branch).unwrap() }
}

fn waiting(layer: &Linear) -> Waiting<Linear> {
    Waiting::new(layer, |bytes| Ok(Memory::plain(bytes))).unwrap()
}

/// Overwrites a tensor's numbers.
struct Fill<'a>(&'a [u8]);

impl InplaceOp1 for Fill<'_> {
    fn name(&self) -> &'static str {
        "fill"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, _: &Layout) -> Result<()> {
        match storage {
            CpuStorage::U8(numbers) => numbers.copy_from_slice(self.0),
            CpuStorage::F32(numbers) => {
                let values = self.0.chunks_exact(4).map(|four| f32::from_le_bytes(four.try_into().unwrap()));
                numbers.iter_mut().zip(values).for_each(|(number, value)| *number = value);
            }
            _ => bail!("no such numbers here"),
        }
        Ok(())
    }
}

/// Host memory as a device: computing is never behind, copies come as late as waits allow, or at once.
struct Host<'a> {
    layers: &'a [Waiting<Linear>],
    slots: &'a Slots<Numbers>,
    at_once: bool,
    memory: [Vec<Placed>; SLOTS],
    /// Copies that have not been done, each with the slot that it goes to.
    open: Vec<(usize, usize)>,
}

impl Host<'_> {
    /// A tensor of a slot. Blocks cannot be changed in host memory, so here they come when they are copied.
    fn placed(kind: &Numbers, numbers: Option<&[u8]>) -> Placed {
        match kind {
            Numbers::Plain(dtype, shape) => {
                Placed::Plain(Tensor::zeros(shape.as_slice(), *dtype, &Device::Cpu).unwrap())
            }
            Numbers::Blocks(dtype, shape) => {
                let nothing = vec![0; kind.bytes() as usize];
                let bytes = numbers.unwrap_or(&nothing).to_vec();
                let storage = QStorage::from_data(bytes.into(), &Device::Cpu, *dtype).unwrap();
                Placed::Blocks(Arc::new(QTensor::new(storage, shape.as_slice()).unwrap()))
            }
        }
    }

    fn catch_up(&mut self, until: Option<usize>) {
        while let Some((layer, slot)) = (!self.open.is_empty()).then(|| self.open.remove(0)) {
            let waiting = &self.layers[layer];
            for (range, at) in waiting.ranges().zip(self.slots.places(layer)) {
                match &self.memory[slot][*at] {
                    Placed::Plain(tensor) => tensor.inplace_op1(&Fill(&waiting.numbers[range])).unwrap(),
                    Placed::Blocks(_) => {
                        let kind = &self.slots.kinds[slot][*at];
                        self.memory[slot][*at] = Self::placed(kind, Some(&waiting.numbers[range]));
                    }
                }
            }
            if until == Some(slot) {
                return;
            }
        }
    }
}

impl Streams for Host<'_> {
    fn allocate(&mut self, slot: usize) -> Result<()> {
        self.memory[slot] = self.slots.kinds[slot].iter().map(|kind| Self::placed(kind, None)).collect();
        Ok(())
    }

    fn copy(&mut self, layer: usize, slot: usize) -> Result<()> {
        self.open.push((layer, slot));
        if self.at_once {
            self.catch_up(None);
        }
        Ok(())
    }

    fn record(&mut self, _: Stream, _: Event) -> Result<()> {
        Ok(())
    }

    fn wait(&mut self, _: Stream, event: Event) -> Result<()> {
        if let Event::Arrived(slot) = event
            && self.open.iter().any(|(_, open)| *open == slot)
        {
            self.catch_up(Some(slot));
        }
        Ok(())
    }
}

#[test]
fn a_layer_in_a_slot_computes_what_it_did_before() {
    // Mixed as in files whose layers have several types.
    let tiers = [Tier::Bf16, Tier::Fp8, Tier::Q8_0, Tier::Fp8, Tier::Q4K, Tier::Q8_0, Tier::Bf16, Tier::Q8_0];
    let layers: Vec<Linear> =
        tiers.iter().enumerate().map(|(i, tier)| layer(10 * i as u64 + 1, *tier)).collect();
    let waiting: Vec<Waiting<Linear>> = layers.iter().map(waiting).collect();
    let x = random(999, (3, WIDTH));
    let numbers = |layer: &Linear| layer.forward(&x).unwrap().to_vec2::<f32>().unwrap();
    let mut seen = 0;
    for slots in Slots::of(waiting.iter().map(|layer| layer.kinds.as_slice())) {
        for at_once in [false, true] {
            let memory = Default::default();
            let mut host = Host { layers: &waiting, slots: &slots, at_once, memory, open: Vec::new() };
            sweep(&mut host, slots.layers.clone(), |host, i| {
                let slot = &host.memory[slot_of(i)];
                let placed = slots.places(i).iter().map(|at| slot[*at].clone());
                let there = waiting[i].with(placed)?;
                assert_eq!((there.name(), there.bytes()), (layers[i].name(), layers[i].bytes()));
                assert_eq!(numbers(&there), numbers(&layers[i]), "layer {i}");
                seen += 1;
                Ok(())
            })
            .unwrap();
        }
    }
    assert_eq!(seen, 2 * layers.len());
}

#[test]
fn a_waiting_layer_keeps_nothing_but_its_numbers() {
    for tier in [Tier::Bf16, Tier::Fp8, Tier::Q8_0, Tier::Q4K] {
        let layer = layer(7, tier);
        let waiting = waiting(&layer);
        assert_eq!(
            waiting.numbers.len() as u64,
            waiting.kinds.iter().map(Kind::bytes).sum::<u64>(),
            "{tier}"
        );
        // Eight-bit floats have a table of 256 numbers in addition.
        let tables = if tier == Tier::Fp8 { 4 * 256 } else { 0 };
        assert_eq!(waiting.numbers.len() as u64, layer.bytes() + tables, "{tier}");
        // What is left takes next to nothing.
        let mut kinds = Vec::new();
        waiting.with(std::iter::empty()).unwrap_err();
        kinds.extend(waiting.kinds.iter().map(|kind| Host::placed(kind, None)));
        assert!(waiting.with(kinds.into_iter()).is_ok());
    }
}

#[test]
fn a_tensor_of_another_shape_takes_no_place() {
    let waiting = waiting(&layer(3, Tier::Bf16));
    let other = [vec![WIDTH, 8], vec![WIDTH]].map(|shape| Numbers::Plain(DType::F32, shape));
    let placed = other.iter().map(|kind| Host::placed(kind, None));
    assert!(waiting.with(placed).is_err());
}

#[test]
fn a_view_of_a_larger_tensor_moves_only_its_own_numbers() {
    let whole = random(5, (4, WIDTH));
    let bias = whole.narrow(0, 2, 1).unwrap().squeeze(0).unwrap();
    let layer = Linear::new(Matrix::Dense(random(6, (WIDTH, WIDTH))), Some(bias.clone())).unwrap();
    let waiting = waiting(&layer);
    let range = waiting.ranges().last().unwrap();
    let moved: Vec<f32> = waiting.numbers[range]
        .chunks_exact(4)
        .map(|four| f32::from_le_bytes(four.try_into().unwrap()))
        .collect();
    assert_eq!(moved, bias.to_vec1::<f32>().unwrap());
    let copy = layer.replaced(&mut crate::replace::ToDevice(&Device::Cpu)).unwrap();
    assert_eq!(copy.bytes(), layer.bytes());
}
