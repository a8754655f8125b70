//! Plans for FLUX.1-dev by its published sizes, without files.

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor};

use super::*;
use crate::config::ModelConfig;
use crate::matrix::Tier;
use crate::model::Part;
use crate::weights::StoredType;
use crate::{Model, ModelFiles};

const GIB: u64 = 1 << 30;

/// FLUX.1-dev as published, with its transformer stored in this type.
pub(super) fn flux(transformer: StoredType) -> Outline {
    let stored = |part| match part {
        Part::Transformer => transformer,
        Part::Autoencoder | Part::Clip | Part::Siglip => StoredType::F32,
        Part::T5 | Part::Lora | Part::Projector => StoredType::BF16,
    };
    Outline::published(ModelConfig::default(), stored)
}

fn hardware(vram: u64, ram: u64, card: &str) -> Hardware {
    Hardware::of_card(vram * GIB, Some(ram * GIB), Some(card)).unwrap()
}

/// One content reference, two styles, 1024x1024, 25 steps.
pub(super) fn terms() -> Terms {
    Terms {
        picture: Picture::of(&ModelConfig::default().defaults),
        slots: 1,
        reserve: None,
        dtype: DType::BF16,
        options: PlanOptions::default(),
    }
}

fn plan(vram: u64, card: &str) -> Plan {
    Plan::new(&flux(StoredType::BF16), &hardware(vram, 64, card), &terms()).unwrap()
}

#[test]
fn common_cards_get_the_best_plan_that_fits() {
    let best = |vram, card| {
        let plan = plan(vram, card);
        assert!(plan.step.is_some_and(|cost| cost.step.floor > 0.0 && cost.step.expected >= cost.step.floor));
        assert!(plan.slots_fit >= 1 && plan.tokens == 6016);
        (plan.tier.clone(), plan.placement.blocks, plan.placement.t5)
    };
    let (tier, blocks, t5) = best(24, "4090");
    assert_eq!((tier.as_str(), blocks), ("bf16", Blocks::Resident));
    assert_ne!(t5, T5Place::Device);
    let (tier, blocks, _) = best(16, "4080");
    assert!(["fp8", "q8_0"].contains(&tier.as_str()) && blocks == Blocks::Resident, "{tier}");
    let (tier, blocks, _) = best(12, "4070");
    assert!(["q8_0", "q6_k", "q4_k"].contains(&tier.as_str()) && blocks == Blocks::Resident, "{tier}");
    let (_, blocks, _) = best(8, "4060");
    assert_eq!(blocks, Blocks::Streamed);
}

#[test]
fn a_step_has_the_operations_that_its_shapes_ask_for() {
    let cost = plan(24, "4090").step.unwrap();
    // 77.7 TFLOP of linear layers and 25.3 of attention at 6,016 tokens; modulations do not belong to a step.
    assert!((cost.flops / 1e12 - 103.0).abs() < 2.0, "{}", cost.flops);
    assert!((0.55..0.70).contains(&cost.step.floor), "{:?}", cost.step);
}

#[test]
fn better_plans_that_do_not_fit_are_listed_with_numbers() {
    let plan = plan(12, "4070");
    assert!(!plan.refused.is_empty());
    for refused in &plan.refused {
        assert!(!refused.shortages.is_empty(), "{refused:?}");
        for shortage in &refused.shortages {
            assert!(shortage.need_bytes > shortage.have_bytes, "{refused:?}");
        }
    }
    assert!(plan.lines().iter().any(|line| line.contains("GiB")));
}

#[test]
fn what_no_plan_fits_is_refused() {
    let refused = Plan::new(&flux(StoredType::BF16), &hardware(1, 8, "4060"), &terms());
    let said = refused.unwrap_err().to_string();
    assert!(said.contains("GiB"), "{said}");
}

#[test]
fn both_memories_that_are_too_small_are_named() {
    let options = PlanOptions { stream: true, t5: Some(T5Place::Streamed), ..PlanOptions::default() };
    let refused = Plan::new(&flux(StoredType::BF16), &hardware(2, 2, "4070"), &Terms { options, ..terms() });
    let said = refused.unwrap_err().to_string();
    assert!(said.contains(" of device memory, ") && said.contains(" of host memory, "), "{said}");
    // Enough device memory for small tiers, but nothing to stream from.
    let refused = Plan::new(&flux(StoredType::BF16), &hardware(12, 2, "4070"), &terms());
    let said = refused.unwrap_err().to_string();
    assert!(said.contains(" of host memory, "), "{said}");
}

#[test]
fn what_does_not_fit_has_another_name_than_what_does() {
    for vram in 8..=40 {
        let plan = plan(vram, "4090");
        for refused in &plan.refused {
            assert_ne!(refused.plan, plan.name(), "{vram} GiB");
        }
    }
}

#[test]
fn a_job_reads_each_part_that_is_not_on_the_device_as_often_as_it_is_used() {
    let options = PlanOptions { tier: Some(Tier::Q8_0), ..PlanOptions::default() };
    let terms = Terms { picture: Picture { styles: 2, ..terms().picture }, options, ..terms() };
    let (outline, largest) = (flux(StoredType::BF16), hardware(24, 64, "4090"));
    // The largest card on which CLIP and SigLIP lie on the host.
    let plan = (16..=96).rev().find_map(|quarters| {
        let hardware = Hardware { device_bytes: quarters * GIB / 4, ..largest.clone() };
        let plan = Plan::new(&outline, &hardware, &terms).ok()?;
        (plan.placement.encoders == Place::Host).then_some(plan)
    });
    let plan = plan.unwrap();
    let bytes = |part: &str| plan.parts.iter().find(|one| one.part == part).unwrap().host_bytes;
    let streamed = ["modulations", "T5"].map(|part| match part {
        "T5" if plan.placement.t5.is_host() => 0,
        part => bytes(part),
    });
    let each = bytes("SigLIP") + bytes("style projector");
    assert!(each > 0 && bytes("CLIP") > 0, "{:?}", plan.parts);
    assert_eq!(plan.job.read_bytes, streamed.iter().sum::<u64>() + bytes("CLIP") + 2 * each);
}

#[test]
fn a_small_machine_has_room_for_a_small_model() {
    let outline = Outline::of(&Model::open(&ModelFiles::Bundled).unwrap()).unwrap();
    let hardware = Hardware::of_device(&Device::Cpu, None, Some(512 << 20)).unwrap();
    let picture = Picture { width: 64, height: 64, content: Some((64, 64)), styles: 2, steps: 10 };
    let terms = Terms { picture, dtype: DType::F32, ..terms() };
    let plan = Plan::new(&outline, &hardware, &terms).unwrap();
    assert_eq!(plan.placement, Placement { keep: Keep::Tier(Tier::Bf16), ..Placement::default() });
}

#[test]
fn parts_on_the_host_need_host_memory() {
    let plan = |ram| Plan::new(&flux(StoredType::BF16), &hardware(8, ram, "4060"), &terms()).unwrap();
    let (large, small) = (plan(64), plan(28));
    assert_eq!(large.tier, "bf16");
    // What a processor takes to compute T5 differs from one to another: the weights alone are too many.
    assert_ne!(small.tier, "bf16", "16 GiB of blocks, 6 of modulations, 5 of T5 in q8_0");
    for plan in [large, small] {
        assert!(plan.host.need_bytes + plan.host.reserve_bytes <= plan.host.has_bytes);
        assert_eq!(plan.placement.blocks, Blocks::Streamed);
    }
}

#[test]
fn a_plan_says_which_kernels_it_is_priced_for() {
    let plan = plan(24, "4090");
    let text = plan.lines().join("\n");
    assert!(text.contains("own kernels (compiled, not run): attention, "), "{text}");
    assert!(text.contains(", bias, GELU and sums in products"), "{text}");
    let cost = plan.step.unwrap();
    assert!(text.contains(&format!("{} launches that move ", cost.launches)), "{text}");
    assert!(cost.with_candle > cost.step.expected, "{cost:?}");
    assert_eq!(plan.step_ops.iter().map(|op| op.launches).sum::<u64>(), cost.launches);

    let outline = Outline::of(&Model::open(&ModelFiles::Bundled).unwrap()).unwrap();
    let hardware = Hardware::of_device(&Device::Cpu, None, Some(1 << 30)).unwrap();
    let terms = Terms {
        picture: Picture { width: 64, height: 64, content: None, ..terms().picture },
        dtype: DType::F32,
        ..terms()
    };
    let plan = Plan::new(&outline, &hardware, &terms).unwrap();
    assert!(!plan.lines().join("\n").contains("kernels"), "the CPU has none");
}

#[test]
fn steps_together_pay_where_copying_blocks_takes_longer_than_computing() {
    let small = Picture { width: 256, height: 256, content: None, styles: 0, ..terms().picture };
    let of = |vram, card, picture, slots| {
        let options = PlanOptions { tier: Some(Tier::Bf16), stream: vram < 24, ..PlanOptions::default() };
        let terms = Terms { picture, slots, options, ..terms() };
        let plan = Plan::new(&flux(StoredType::BF16), &hardware(vram, 64, card), &terms).unwrap();
        let line = plan.lines().into_iter().find(|line| line.contains("  together  ")).unwrap();
        let together = plan.together.unwrap();
        assert_eq!(line.ends_with(": it pays"), together.pays == Some(true), "{line}");
        (together, plan.step.unwrap())
    };
    let (resident, alone) = of(80, "H100", terms().picture, 1);
    assert_eq!((resident.samples, resident.pays), (2, Some(false)), "{resident:?}");
    let expected = resident.step.unwrap().expected;
    assert!((1.9..2.2).contains(&(expected / alone.step.expected)), "{expected} instead of {alone:?}");
    let (streamed, alone) = of(8, "4060", small, 1);
    assert_eq!(streamed.pays, Some(true), "{streamed:?}");
    assert!(
        streamed.step.unwrap().expected < 1.2 * alone.step.expected,
        "blocks are copied once: {streamed:?}"
    );
    let (four, _) = of(80, "H100", small, 4);
    assert_eq!((four.samples, four.pays), (4, Some(true)), "a small picture does not fill it: {four:?}");
}

#[test]
fn no_more_step_together_than_fit() {
    let fit = |vram| {
        let terms = Terms { slots: 64, picture: Picture { steps: 1, ..terms().picture }, ..terms() };
        let options = PlanOptions { tier: Some(Tier::Bf16), ..PlanOptions::default() };
        // As many as asked for may be in progress, but not all in one step.
        Plan::new(&flux(StoredType::BF16), &hardware(vram, 64, "H100"), &Terms { options, ..terms }).unwrap()
    };
    let plan = fit(48);
    let together = plan.together.unwrap();
    assert!((2..64).contains(&together.samples), "{together:?}");
    assert!(together.bytes <= plan.device.usable_bytes - plan.device.resident_bytes);
}

#[test]
fn streaming_takes_two_slots_and_pins_what_it_copies() {
    for (stored, tables) in [(StoredType::BF16, false), (StoredType::Q8_0, false), (StoredType::F8E4M3, true)]
    {
        let outline = flux(stored);
        let streaming = outline.streamed_blocks(Keep::AsStored, DType::BF16);
        let roles = outline.roles(Keep::AsStored, DType::BF16);
        let blocks = roles.into_iter().filter(|(role, _)| matches!(role, outline::Role::Block(_)));
        let blocks: Vec<u64> = blocks.map(|(_, bytes)| bytes).collect();
        // 19 double blocks of eight matrices and 38 single ones of two, each with 256 numbers.
        let (all, most) = if tables { (19 * 8 + 38 * 2, 8) } else { (0, 0) };
        assert_eq!(streaming.pinned, blocks.iter().sum::<u64>() + all * 512, "{stored}");
        assert_eq!(streaming.slots, 2 * (blocks.iter().max().unwrap() + most * 512), "{stored}");
    }
    let modulations = flux(StoredType::BF16).streamed_modulations(Keep::AsStored, DType::BF16);
    let (hidden, bf16) = (3072, 2);
    assert_eq!(modulations.slots, 2 * (6 * hidden * hidden + 6 * hidden) * bf16);
    assert_eq!(modulations.pinned, (2 * 19 * 6 + 38 * 3 + 2) * (hidden * hidden + hidden) * bf16);
}

#[test]
fn a_plan_says_what_streaming_takes() {
    let streamed = plan(8, "4060");
    let text = streamed.lines().join("\n");
    let (slots, pinned) = (streamed.device.slot_bytes, streamed.host.pinned_bytes);
    let gib = |bytes: u64| format!("{:.2} GiB", bytes as f64 / GIB as f64);
    assert!(slots > 0 && slots < streamed.device.step.bytes && pinned <= streamed.host.resident_bytes);
    assert!(text.contains(&format!("two slots of the blocks take {}", gib(slots))), "{text}");
    assert!(text.contains(&format!("at most {} of the host's memory are pinned", gib(pinned))), "{text}");
    let resident = Plan::new(&flux(StoredType::BF16), &hardware(48, 64, "4090"), &terms()).unwrap();
    assert_eq!((resident.device.slot_bytes, resident.host.pinned_bytes), (0, 0));
    assert!(!resident.lines().join("\n").contains("streaming"));
}

#[test]
fn products_in_eight_bits_are_for_cards_that_have_them_and_users_who_ask() {
    let asked = |card: &str, tier| {
        let options = PlanOptions { tier: Some(tier), ..PlanOptions::default() };
        let plan = Plan::new(&flux(StoredType::BF16), &hardware(24, 64, card), &Terms { options, ..terms() });
        let plan = plan.unwrap();
        (plan.step.unwrap(), plan.lines().join("\n"))
    };
    for (tier, card) in [(Tier::Fp8W8A8, "4090"), (Tier::Int8W8A8, "3090"), (Tier::Int8W8A8, "4090")] {
        let (cost, lines) = asked(card, tier);
        let (exact, _) = asked(card, Tier::Fp8);
        assert!(cost.kernels.eight_bits && !exact.kernels.eight_bits);
        assert!(cost.step.expected < 0.85 * exact.step.expected, "{tier} on {card}: {cost:?}");
        assert!(
            lines.contains("products in eight bits, their input rounded to them (compiled, not run)"),
            "{lines}"
        );
    }
    let (cost, lines) = asked("3090", Tier::Fp8W8A8);
    let (exact, _) = asked("3090", Tier::Fp8);
    assert_eq!(cost.step, exact.step, "a card that multiplies no eight-bit floats");
    assert!(
        lines.contains("this card multiplies no such eight-bit numbers: converted to bf16 first"),
        "{lines}"
    );
    for vram in [8, 12, 16, 24, 80] {
        assert!(!plan(vram, "4090").tier.contains("w8a8"), "{vram} GiB");
    }
}

#[test]
fn a_file_in_e4m3_keeps_its_numbers_and_has_their_products() {
    let plan = |stored, tier| {
        let options = PlanOptions { tier: Some(tier), ..PlanOptions::default() };
        let plan = Plan::new(&flux(stored), &hardware(24, 64, "4090"), &Terms { options, ..terms() });
        plan.map(|plan| plan.tier).map_err(|error| error.to_string())
    };
    assert_eq!(plan(StoredType::F8E4M3, Tier::Fp8W8A8), Ok("fp8_w8a8".into()));
    for (stored, tier) in [(StoredType::F8E4M3, Tier::Int8W8A8), (StoredType::Q8_0, Tier::Int8W8A8)] {
        let refused = plan(stored, tier).unwrap_err();
        assert!(refused.contains("int8_w8a8 would round"), "{refused}");
    }
    assert!(plan(StoredType::F8E5M2, Tier::Fp8W8A8).is_err(), "products are of e4m3");
}

#[test]
fn a_matrix_with_a_scale_for_each_row_is_counted_as_it_is_loaded() {
    let kept = |by_rows, keep| {
        let tensor = outline::Stored { shape: vec![96, 32], stored: StoredType::F8E4M3, by_rows };
        let name = "double_blocks.0.img_attn.qkv.weight";
        outline::kept(Part::Transformer, name, &tensor, keep, StoredType::BF16)
    };
    for keep in [Keep::AsStored, Keep::Tier(Tier::Fp8W8A8)] {
        assert_eq!((kept(false, keep), kept(true, keep)), (StoredType::F8E4M3, StoredType::BF16));
    }
}

#[test]
fn a_place_for_t5_that_is_not_possible_is_refused_for_its_own_reason() {
    let refused = |backend: Backend, stored: StoredType, t5| {
        let outline = Outline::published(ModelConfig::default(), |_| stored);
        let hardware = Hardware { backend, ..hardware(80, 200, "H100") };
        let options = PlanOptions { t5: Some(t5), ..PlanOptions::default() };
        let terms = Terms { options, dtype: backend.compute(), ..terms() };
        Plan::new(&outline, &hardware, &terms).unwrap_err().to_string()
    };
    let said = refused(Backend::Cpu, StoredType::BF16, T5Place::Host);
    assert!(said.starts_with("t5: host is for a device with its own memory"), "{said}");
    let said = refused(Backend::Cuda, StoredType::F8E4M3, T5Place::HostQ8);
    assert_eq!(said, "t5: host-q8_0 is not for this model's T5, which is stored in fp8_e4m3");
}

#[test]
fn a_further_lora_counts_where_it_runs_beside_the_weights() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("lora.safetensors");
    let zeros = |shape: (usize, usize)| Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
    let tensors = HashMap::from([
        ("double_blocks.0.img_mlp.0.lora_A.weight".to_owned(), zeros((8, 3072))),
        ("double_blocks.0.img_mlp.0.lora_B.weight".to_owned(), zeros((12288, 8))),
    ]);
    candle_core::safetensors::save(&tensors, &file).unwrap();
    let bytes = |outline: &Outline| outline.branch_bytes(Keep::AsStored, DType::BF16);
    for (stored, more) in [(StoredType::Q8_0, 2 * 8 * (3072 + 12288)), (StoredType::BF16, 0)] {
        let plain = flux(stored);
        let with = plain.clone().with_loras([file.as_path()]).unwrap();
        assert_eq!(bytes(&with) - bytes(&plain), more, "{stored}");
    }
    let missing = flux(StoredType::Q8_0).with_loras([folder.path().join("none").as_path()]);
    assert!(missing.unwrap_err().to_string().contains("none"));
}
