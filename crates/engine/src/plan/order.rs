//! Lists all possible placements, the best first.
//!
//! The order is fixed, so that more memory never leads to a worse plan:
//!
//! 1. As precise as the file, all on the device: bf16, or what a quantised file has. A quantised file is never
//!    quantised again.
//! 2. q8_0, then q6_k. fp8 is only for files that have it and users who ask for it: it is as large as q8_0, and less
//!    precise than q6_k. Tiers that round activations are only for users who ask for them: they change pictures more.
//! 3. The same streamed, the most precise first, if copying a block takes no longer than computing the block before it.
//! 4. q4_k.
//! 5. Everything else streamed, so that a step takes as long as its copies.
//!
//! In each of these, parts that a picture needs once leave the device before precision is reduced: the weights of
//! modulations; T5, which is streamed for each prompt, or computed on the host as it is or in q8_0; then CLIP and
//! SigLIP; then the autoencoder's whole feature maps.

use super::hardware::Backend;
use super::outline::Outline;
use crate::Error;
use crate::matrix::Tier;
use crate::model::Part;
use crate::placement::{Blocks, Keep, Place, Placement, T5Place};

/// Settings of a plan that the user has fixed. The planner chooses the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PlanOptions {
    /// How the blocks' matrices are stored.
    pub tier: Option<Tier>,
    /// Where T5's weights are, and where it computes.
    pub t5: Option<T5Place>,
    /// Stream blocks even if all of them fit.
    pub stream: bool,
}

/// All placements that the user's settings allow, the best first. `hides` tells whether copies take no longer than
/// computing.
pub(super) fn placements(
    outline: &Outline,
    backend: Backend,
    options: PlanOptions,
    hides: impl Fn(Keep) -> bool,
) -> Result<Vec<Placement>, Error> {
    let keeps = keeps(outline, options.tier)?;
    let places = places(outline, backend);
    let mut blocks = blocks(&keeps, hides);
    blocks.retain(|(_, blocks)| !options.stream || *blocks == Blocks::Streamed);
    let placements = blocks
        .into_iter()
        .flat_map(|(keep, blocks)| places.iter().map(move |place| Placement { keep, blocks, ..*place }));
    let mut placements: Vec<_> = placements.collect();
    placements.retain(|placement| options.t5.is_none_or(|t5| placement.t5 == t5));
    match options.t5 {
        Some(t5) if placements.is_empty() => {
            let reason = match t5 {
                T5Place::Host => {
                    format!("{t5} is for a device with its own memory, which this one has not: leave it out")
                }
                t5 => {
                    let stored = outline.stored(Part::T5);
                    format!("{t5} is not for this model's T5, which is stored in {stored}")
                }
            };
            Err(Error::Request { parameter: "t5", reason })
        }
        _ => Ok(placements),
    }
}

/// How the blocks' matrices may be stored, the most precise first.
fn keeps(outline: &Outline, wanted: Option<Tier>) -> Result<Vec<Keep>, Error> {
    const UNASKED: [Tier; 4] = [Tier::Bf16, Tier::Q8_0, Tier::Q6K, Tier::Q4K];
    let stored = outline.stored(Part::Transformer);
    let refused = |reason| Err(Error::Request { parameter: "tier", reason });
    match wanted {
        None if stored.is_wide_float() => {
            let possible = UNASKED.into_iter().filter(|tier| outline.has_room_for(*tier));
            Ok(possible.map(Keep::Tier).collect())
        }
        None => Ok(vec![Keep::AsStored]),
        Some(tier) if tier.rounds_activations() && tier.stored() == Some(stored) => {
            Ok(vec![Keep::Tier(tier)])
        }
        Some(tier) if Tier::of(stored) == Some(tier) && !stored.is_wide_float() => Ok(vec![Keep::AsStored]),
        Some(tier) if tier != Tier::Bf16 && !stored.is_wide_float() => {
            refused(format!("{tier} would round {stored} a second time: leave it out, or use bf16"))
        }
        Some(tier) if !outline.has_room_for(tier) => Err(no_room_for(tier)),
        Some(tier) => Ok(vec![Keep::Tier(tier)]),
    }
}

/// The error for a tier that no matrix of the blocks can have.
pub(crate) fn no_room_for(tier: Tier) -> Error {
    let reason = format!("the rows of the matrices are not multiples of the blocks of {tier}");
    Error::Request { parameter: "tier", reason }
}

fn blocks(keeps: &[Keep], hides: impl Fn(Keep) -> bool) -> Vec<(Keep, Blocks)> {
    let is_coarse = |keep: &&Keep| **keep == Keep::Tier(Tier::Q4K);
    let (coarse, fine): (Vec<&Keep>, Vec<&Keep>) = keeps.iter().partition(is_coarse);
    let resident = |keep: &Keep| (*keep, Blocks::Resident);
    let streamed = |keep: &&Keep| (**keep, Blocks::Streamed);
    let (hidden, seen): (Vec<&Keep>, Vec<&Keep>) = fine.iter().partition(|keep| hides(***keep));
    let mut order: Vec<_> = fine.iter().copied().map(resident).collect();
    order.extend(hidden.iter().map(streamed));
    order.extend(coarse.iter().copied().map(resident));
    order.extend(seen.iter().chain(&coarse).map(streamed));
    order
}

/// Where T5, the other encoders and the autoencoder's feature maps may be, the fastest first.
fn places(outline: &Outline, backend: Backend) -> Vec<Placement> {
    use Place::{Device, Host};
    const AWAY: [T5Place; 3] = [T5Place::Streamed, T5Place::Host, T5Place::HostQ8];
    let place = |t5, encoders, maps, modulations| {
        let all = Placement::default();
        Placement { t5, encoders, maps, modulations, ..all }
    };
    let mut places = [Device, Host].map(|place_of| place(T5Place::Device, Device, Device, place_of)).to_vec();
    places.extend(AWAY.map(|t5| place(t5, Device, Device, Device)));
    // If device and host share memory, moving the other parts gains nothing.
    let others: &[_] = match backend.is_apart() {
        true => &[(Device, Device), (Host, Device), (Device, Host), (Host, Host)],
        false => &[(Device, Device)],
    };
    for (encoders, maps) in others {
        places.extend(AWAY.map(|t5| place(t5, *encoders, *maps, Host)));
    }
    let can_be_rounded = outline.stored(Part::T5).is_wide_float();
    places.retain(|place| match place.t5 {
        T5Place::HostQ8 => can_be_rounded,
        // On the processor, host and device are the same.
        T5Place::Host => backend.is_apart(),
        T5Place::Device | T5Place::Streamed => true,
    });
    places
}
