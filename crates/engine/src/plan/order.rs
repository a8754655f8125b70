//! Every plan that may be taken, the best first.
//!
//! What is best is a fixed order, so that more memory never leads to a worse plan:
//!
//! 1. Numbers as fine as the file's, all on the device: bf16, or what a quantised file has. A quantised file is never
//!    quantised again.
//! 2. q8_0, then q6_k. fp8 is for files that have it and for those who ask for it: it is as large as q8_0, and coarser
//!    than q6_k.
//! 3. These streamed, the finest first, if copying a block takes no longer than computing the one before it.
//! 4. q4_k.
//! 5. All that is left streamed, a step as long as its copies.
//!
//! In each of these, what a picture needs once leaves the device before numbers are made coarser: the weights of its
//! modulations; T5, which is streamed for each prompt, or computed on the host as it is or in q8_0; then CLIP and SigLIP;
//! then the autoencoder's whole maps.

use super::hardware::Backend;
use super::outline::Outline;
use crate::Error;
use crate::matrix::Tier;
use crate::model::Part;
use crate::placement::{Blocks, Keep, Place, Placement, T5Place};

/// What somebody wants of a plan; all else is free.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wishes {
    /// How the blocks' matrices are kept.
    pub tier: Option<Tier>,
    /// Where T5 is.
    pub t5: Option<T5Place>,
    /// Whether blocks are streamed, even if all of them fit.
    pub stream: bool,
}

/// All placements that the wishes leave, the best first. `hides` says whether copies are no longer than computing.
pub(super) fn placements(
    outline: &Outline,
    backend: Backend,
    wishes: Wishes,
    hides: impl Fn(Keep) -> bool,
) -> Result<Vec<Placement>, Error> {
    let keeps = keeps(outline, wishes.tier)?;
    let places = places(outline, backend);
    let mut blocks = blocks(&keeps, hides);
    blocks.retain(|(_, blocks)| !wishes.stream || *blocks == Blocks::Streamed);
    let placements = blocks
        .into_iter()
        .flat_map(|(keep, blocks)| places.iter().map(move |place| Placement { keep, blocks, ..*place }));
    let mut placements: Vec<_> = placements.collect();
    placements.retain(|placement| wishes.t5.is_none_or(|t5| placement.t5 == t5));
    match wishes.t5 {
        Some(t5) if placements.is_empty() => {
            let reason =
                format!("{t5} is not for this model's T5, which is stored in {}", outline.stored(Part::T5));
            Err(Error::Request { parameter: "t5", reason })
        }
        _ => Ok(placements),
    }
}

/// How the blocks' matrices may be kept, the finest first.
fn keeps(outline: &Outline, wished: Option<Tier>) -> Result<Vec<Keep>, Error> {
    const UNASKED: [Tier; 4] = [Tier::Bf16, Tier::Q8_0, Tier::Q6K, Tier::Q4K];
    let stored = outline.stored(Part::Transformer);
    let refused = |reason| Err(Error::Request { parameter: "tier", reason });
    match wished {
        None if stored.is_wide_float() => {
            let possible = UNASKED.into_iter().filter(|tier| outline.has_room_for(*tier));
            Ok(possible.map(Keep::Tier).collect())
        }
        None => Ok(vec![Keep::AsStored]),
        Some(tier) if Tier::of(stored) == Some(tier) && !stored.is_wide_float() => Ok(vec![Keep::AsStored]),
        Some(tier) if tier != Tier::Bf16 && !stored.is_wide_float() => {
            refused(format!("{tier} would round {stored} a second time: the file's own or bf16 is possible"))
        }
        Some(tier) if !outline.has_room_for(tier) => {
            refused(format!("no row of the blocks' matrices is a multiple of the blocks of {tier}"))
        }
        Some(tier) => Ok(vec![Keep::Tier(tier)]),
    }
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

/// Where T5, the other encoders and the autoencoder's maps may be, the fastest first.
fn places(outline: &Outline, backend: Backend) -> Vec<Placement> {
    use Place::{Device, Host};
    const AWAY: [T5Place; 3] = [T5Place::Streamed, T5Place::Host, T5Place::HostQ8];
    let place = |t5, encoders, maps, modulations| {
        let all = Placement::default();
        Placement { t5, encoders, maps, modulations, ..all }
    };
    let mut places = [Device, Host].map(|place_of| place(T5Place::Device, Device, Device, place_of)).to_vec();
    places.extend(AWAY.map(|t5| place(t5, Device, Device, Device)));
    // Where device and host share their memory, nothing is won by the others' leaving.
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
        // The same as on the device.
        T5Place::Host => backend.is_apart(),
        T5Place::Device | T5Place::Streamed => true,
    });
    places
}
