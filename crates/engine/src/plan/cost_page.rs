//! Holds `COST.md` against the cost model. With `USO_UPDATE_COST` set, the test writes the page instead.

use std::fmt::Write as _;
use std::path::Path;

use candle_core::DType;

use super::cards;
use super::cost::{ELEMENTWISE, FUSED_ATTENTION, LAUNCH, OpCost, StepCost, by_name};
use super::kernels::{HAVE_RUN, Kernels};
use super::tests::{flux, terms};
use super::trace::{Trace, Tracer};
use super::{Backend, Blocks, Keep, Outline, Picture, Place, Placement, Speed, T5Place};
use crate::matrix::Tier;
use crate::weights::StoredType;

const CARDS: [&str; 6] = ["RTX 3090", "RTX 4090", "RTX 5090", "A100", "H100", "H200"];
/// The card of the tables by operation.
const CARD: &str = "RTX 4090";
const TIERS: [Tier; 7] = Tier::ALL;

/// Prices the steps of FLUX.1-dev in a tier.
struct Model {
    outline: Outline,
    picture: Picture,
}

impl Model {
    fn new() -> Self {
        Self { outline: flux(StoredType::BF16), picture: terms().picture }
    }

    /// The picture of FLUX.1-dev alone: 4,608 tokens.
    fn plain() -> Self {
        let model = Self::new();
        Self { picture: Picture { content: None, styles: 0, ..model.picture }, ..model }
    }

    fn tracer(&self, tier: Tier, blocks: Blocks) -> Tracer<'_> {
        let (keep, t5, modulations) = (Keep::Tier(tier), T5Place::Streamed, Place::Host);
        let placement = Placement { keep, blocks, t5, modulations, ..Placement::default() };
        let (backend, dtype) = (Backend::Cuda, DType::BF16);
        Tracer { outline: &self.outline, placement, backend, dtype, eight_bits: true }
    }

    fn trace(&self, tier: Tier, kernels: Kernels) -> Trace {
        self.tracer(tier, Blocks::Resident).run_with(&self.picture, kernels)
    }

    fn cost(&self, tier: Tier, blocks: Blocks, kernels: Kernels, card: &Speed) -> StepCost {
        let multiplies = tier.stored().is_some_and(|stored| card.eight_bits(stored) > 0.0);
        let kernels = Kernels { eight_bits: kernels.eight_bits && multiplies, ..kernels };
        let tracer = self.tracer(tier, blocks);
        tracer.cost(&tracer.run_with(&self.picture, kernels), card)
    }

    fn ops(&self, kernels: Kernels) -> Vec<OpCost> {
        by_name(&self.trace(Tier::Bf16, kernels).step_ops, Some(&card(CARD)), DType::BF16)
    }
}

fn card(name: &str) -> Speed {
    cards::named(name).unwrap()
}

/// The whole page.
fn page() -> String {
    let model = Model::new();
    [introduction(&model), roads(), operations(&model), tiers(&model), seconds(&model), measured(&model)]
        .join("\n")
}

fn introduction(model: &Model) -> String {
    let tokens = model.picture.tokens(&model.outline.config).all();
    format!(
        "# What a step costs

One step of FLUX.1-dev with USO at 1024x1024, a content reference of 512x512 and two styles: {} tokens, in bf16, with one
sample on the device. These numbers are calculated from the shapes of the layers, by the same code that `uso model plan`
uses. A test compares this page with the code; this writes it anew:

```sh
USO_UPDATE_COST=1 cargo nextest run --release --locked -p uso-engine -E 'test(cost_page)'
```

An operation is expected to take as long as its products, its memory traffic or its launches, whichever is longest. Large
products reach 0.83 of the card's peak and own kernels 0.85 of its memory's (usual values). Candle's other kernels move at
most {:.1} TB/s (measured on an H200). Attention in one kernel reaches {FUSED_ATTENTION} of the peak and a launch takes
{:.0} microseconds (assumptions). The least that a step takes is its products at the card's peak.
",
        thousands(tokens),
        ELEMENTWISE / 1e12,
        LAUNCH * 1e6,
    )
}

fn roads() -> String {
    let state = if HAVE_RUN { "yes" } else { "compiled, not run" };
    let mut text = String::from("## Kernels\n\n| operations | own kernel |\n|---|---|\n");
    for (name, own) in Kernels::OWN.groups() {
        writeln!(text, "| {name} | {} |", if own { state } else { "none: candle's are used" }).unwrap();
    }
    let [fp8, int8] = [Tier::Fp8W8A8, Tier::Int8W8A8];
    writeln!(text, "| products in eight bits, in the tiers {fp8} and {int8} | {state} |").unwrap();
    text.push_str(
        "\nA worker checks each own kernel when it starts. If one fails, candle's operations take its place. Plans count the\nmemory of candle's operations, which need more.\n",
    );
    text
}

fn operations(model: &Model) -> String {
    let titled = |title: &str, kernels| {
        let mut text = format!(
            "### {title}\n\n| operation | launches | TFLOP | GB moved | largest output and scratch | {CARD} |\n|---|---|---|---|---|---|\n"
        );
        let ops = model.ops(kernels);
        for op in ops.iter().filter(|op| op.launches > 0) {
            writeln!(
                text,
                "| {}{} | {} | {} | {:.1} | {} MiB | {:.0} ms |",
                op.name,
                if op.is_own { " (own)" } else { "" },
                thousands(op.launches),
                if op.flops > 0.0 { format!("{:.1}", op.flops / 1e12) } else { String::new() },
                op.moves / 1e9,
                thousands(op.allocates >> 20),
                1e3 * op.expected.unwrap(),
            )
            .unwrap();
        }
        text
    };
    [
        "## Operations in bf16\n".to_owned(),
        titled("With own kernels", Kernels::OWN),
        titled("With candle's kernels alone", Kernels::CANDLE),
    ]
    .join("\n")
}

fn tiers(model: &Model) -> String {
    let mut text = String::from(
        "## Tiers

Products are by cuBLASLt, with bias and GELU inside, and a single block's second layer is two products that add. They are in
bf16: other numbers are converted before each product, so that they save memory and not time. In fp8_w8a8 and int8_w8a8, cards
that can (from Ada on, from Ampere on) multiply the stored numbers; the input of each product is rounded to eight bits.

| tier | blocks | TFLOP | launches | GB moved | temporaries | with candle's kernels: launches | GB moved | temporaries |
|---|---|---|---|---|---|---|---|---|
",
    );
    for tier in TIERS {
        let of = |kernels| model.cost(tier, Blocks::Resident, kernels, &card(CARD));
        let (own, candle) = (of(Kernels::OWN), of(Kernels::CANDLE));
        let side = |cost: &StepCost| {
            let temporaries = cost.temporaries as f64 / (1u64 << 30) as f64;
            format!("{} | {:.0} | {temporaries:.2} GiB", thousands(cost.launches), cost.moves / 1e9)
        };
        let roles = model.outline.roles(Keep::Tier(tier), DType::BF16).into_iter();
        let blocks = roles.filter(|(role, _)| matches!(role, super::outline::Role::Block(_)));
        let bytes = blocks.map(|(_, bytes)| bytes).sum::<u64>() as f64 / 1e9;
        let flops = own.flops / 1e12;
        writeln!(text, "| {tier} | {bytes:.1} GB | {flops:.1} | {} | {} |", side(&own), side(&candle))
            .unwrap();
    }
    text
}

fn seconds(model: &Model) -> String {
    let heads = TIERS.map(|tier| tier.to_string()).join(" | ");
    let mut text = format!(
        "## Seconds of a step

All blocks on the card, whether or not they fit: `uso model plan` says what does. First with own kernels, in brackets with
candle's alone.

| card | at least | {heads} |\n|---|---|{}\n",
        "---|".repeat(TIERS.len())
    );
    for name in CARDS {
        let speed = card(name);
        let of = |tier, kernels| model.cost(tier, Blocks::Resident, kernels, &speed);
        let tier = |tier| {
            let cost = of(tier, Kernels::OWN);
            format!("{:.2} ({:.2})", cost.step.expected, cost.with_candle)
        };
        let floor = of(Tier::Bf16, Kernels::OWN).step.floor;
        writeln!(text, "| {name} | {floor:.2} | {} |", TIERS.map(tier).join(" | ")).unwrap();
    }
    text
}

/// What was measured on a card: with candle's kernels on an H200 (`ops/docs/benchmarks.md`).
const MEASURED: [(Tier, Blocks, f64); 4] = [
    (Tier::Bf16, Blocks::Resident, 1.20),
    (Tier::Fp8, Blocks::Resident, 1.27),
    (Tier::Q8_0, Blocks::Resident, 1.26),
    (Tier::Bf16, Blocks::Streamed, 1.22),
];

/// Others' seconds of a step of FLUX.1-dev in bf16 at 1024x1024 on an H100: without and with torch.compile.
const PUBLISHED: [f64; 2] = [6.71 / 28.0, 4.30 / 28.0];

fn measured(model: &Model) -> String {
    let mut text = String::from(
        "## Against measured steps\n\nOn an H200, with candle's kernels:\n\n| | measured | expected |\n|---|---|---|\n",
    );
    for (tier, blocks, seconds) in MEASURED {
        let cost = model.cost(tier, blocks, Kernels::CANDLE, &card("H200"));
        let blocks = if blocks == Blocks::Streamed { ", blocks streamed" } else { "" };
        writeln!(text, "| {tier}{blocks} | {seconds:.2} s | {:.2} s |", cost.step.expected).unwrap();
    }
    let h100 = Model::plain().cost(Tier::Bf16, Blocks::Resident, Kernels::OWN, &card("H100"));
    let [eager, compiled] = PUBLISHED;
    writeln!(
        text,
        "\nFLUX.1-dev alone (4,608 tokens) on an H100 takes PyTorch {eager:.2} s a step in bf16, and {compiled:.2} s compiled (xDiT,
`docs/performance/flux.md`). Own kernels are expected to take {:.2} s, at least {:.2}.",
        h100.step.expected, h100.step.floor
    )
    .unwrap();
    text
}

fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    groups.join(",")
}

#[test]
fn the_cost_page_says_what_the_code_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("COST.md");
    let page = page();
    if std::env::var_os("USO_UPDATE_COST").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    assert!(
        std::fs::read_to_string(path).unwrap() == page,
        "COST.md is old: set USO_UPDATE_COST to write it"
    );
}

#[test]
fn steps_that_were_measured_are_expected_within_a_sixth() {
    let model = Model::new();
    for (tier, blocks, seconds) in MEASURED {
        let expected = model.cost(tier, blocks, Kernels::CANDLE, &card("H200")).step.expected;
        assert!((expected / seconds - 1.0).abs() < 1.0 / 6.0, "{tier}: {expected} s, measured {seconds}");
    }
}

#[test]
fn own_kernels_do_the_same_products_with_less() {
    let model = Model::new();
    for tier in TIERS {
        let of = |kernels| model.cost(tier, Blocks::Resident, kernels, &card(CARD));
        let apart = Kernels { products: false, eight_bits: false, ..Kernels::OWN };
        let (candle, apart, own) = (of(Kernels::CANDLE), of(apart), of(Kernels::OWN));
        assert_eq!(candle.flops, apart.flops, "{tier}");
        assert!((candle.step.floor / apart.step.floor - 1.0).abs() < 1e-9, "{tier}");
        assert_eq!(own.flops, apart.flops, "{tier}");
        // Three quarters of the operations are products with weights: at twice the rate, or at four times.
        let share = own.step.floor / apart.step.floor;
        let least = match tier {
            Tier::Fp8W8A8 => 0.61..0.63,
            Tier::Int8W8A8 => 0.42..0.45,
            _ => 1.0 - 1e-9..1.0 + 1e-9,
        };
        assert!(least.contains(&share), "{tier}: {share}");
        for (more, less) in [(&candle, &apart), (&apart, &own)] {
            assert!(more.moves > less.moves, "{tier}: {more:?}, {less:?}");
            // Rounding an input takes launches of its own.
            assert!(more.launches > less.launches || tier.rounds_activations(), "{tier}: {more:?}, {less:?}");
            assert!(more.step.expected > less.step.expected && less.step.expected > less.step.floor);
            assert!(more.temporaries >= less.temporaries, "{tier}: {more:?}, {less:?}");
        }
        assert_eq!(own.with_candle, candle.step.expected, "{tier}");
    }
}

#[test]
fn operations_by_name_are_the_whole_step() {
    let model = Model::new();
    let cost = model.cost(Tier::Bf16, Blocks::Resident, Kernels::OWN, &card(CARD));
    let ops = model.ops(Kernels::OWN);
    let close = |sum: f64, whole: f64| assert!((sum / whole - 1.0).abs() < 1e-9, "{sum}, {whole}");
    close(ops.iter().map(|op| op.flops).sum(), cost.flops);
    close(ops.iter().map(|op| op.moves).sum(), cost.moves);
    close(ops.iter().filter_map(|op| op.expected).sum(), cost.computing.expected);
    assert_eq!(ops.iter().map(|op| op.launches).sum::<u64>(), cost.launches);
}
