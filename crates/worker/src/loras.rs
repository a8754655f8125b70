//! The LoRAs that a job asks for: by their names in the queue, with the numbers that they have here for the engine.

use uso_engine::{LoraFile, Request, RequestLora};
use uso_queue::{Lora, UsedLora, WorkerLora};

use crate::Error;

/// What a job asks for, with the digests of what is here.
///
/// # Errors
/// [`Error::NoLora`] naming one that is not: the queue gives such a job to others unless it knows no better.
pub(crate) fn requested(loras: &[Lora], known: &[LoraFile]) -> Result<Vec<RequestLora>, Error> {
    let found = |Lora { name, weight }: &Lora| {
        let file = known.iter().find(|file| file.name == *name);
        let LoraFile { name, digest } = file.ok_or_else(|| Error::NoLora(name.clone()))?.clone();
        Ok(RequestLora { name, digest, weight: *weight })
    };
    loras.iter().map(found).collect()
}

/// What a picture was sampled with.
pub(crate) fn used(request: &Request) -> Vec<UsedLora> {
    let used = |RequestLora { name, digest, weight }: &RequestLora| UsedLora {
        name: name.clone(),
        weight: *weight,
        digest: digest.clone(),
    };
    request.loras.iter().map(used).collect()
}

/// Those that are here, as the queue has them.
pub(crate) fn report(known: &[LoraFile]) -> Vec<WorkerLora> {
    known
        .iter()
        .map(|LoraFile { name, digest }| WorkerLora { name: name.clone(), digest: digest.clone() })
        .collect()
}
