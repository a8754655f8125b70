//! Upload: a finished picture, its thumbnail and its sidecar go into the store.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use uso_engine::{Image, PictureText};
use uso_queue::{Output, Receipt, Scores, Source};
use uso_store::{NewObject, output_key};

use super::fetch::Fetched;
use super::files::{Files, SIDECAR};
use super::progress::note_stage;
use super::tries::Taken;
use crate::device::{FinishedSample, Usage};
use crate::job::Job;
use crate::parameters::{self, Parameters};
use crate::transfers;
use crate::{Error, loras, tokens};

impl Job<'_> {
    /// Stores the picture, and describes it.
    pub(crate) async fn upload(&self, taken: Taken, fetched: Fetched) -> Result<Output, Error> {
        let receipt = self.receipt(&taken, fetched);
        if let Some(counted) = receipt.prompt_tokens {
            tokens::log(&self.lease.id, counted);
        }
        let (_, output) = tokio::join!(note_stage(self.lease, None), self.publish(taken, receipt));
        output
    }

    fn receipt(&self, taken: &Taken, fetched: Fetched) -> Receipt {
        let Taken { request, finished: FinishedSample { usage, .. }, scores } = taken;
        let tries = scores.as_ref().map(|scores| &scores.tries);
        let milliseconds = |duration: Duration| duration.as_millis() as u64;
        let (lease, device) = (self.lease, &self.context.device);
        let engine = device.engine();
        let step_cache = parameters::step_cache(request);
        Receipt {
            wait_ms: lease.claimed_ms.saturating_sub(lease.submitted_ms),
            fetch_ms: milliseconds(fetched.time),
            encode_ms: milliseconds(usage.encode),
            // Earlier attempts sampled some of the tries.
            device_ms: tries
                .map_or(milliseconds(usage.device), |tries| tries.iter().map(|each| each.device_ms).sum()),
            sample_ms: milliseconds(usage.sample),
            steps: usage.steps,
            together: (usage.together > 1).then_some(usage.together),
            resumed_from: usage.resumed_from,
            decode_ms: milliseconds(usage.decode),
            fetched_bytes: fetched.bytes,
            cache_hits: device.cache_owners().hits_to_report(&lease.tenant, &lease.spec, usage.cache_hits),
            prompt_tokens: usage.prompt_tokens.map(tokens::recorded),
            set_aside: usage.set_aside,
            attempts: lease.attempt,
            worker: engine.device.clone(),
            model: engine.model.clone(),
            fingerprint: Some(engine.fingerprint.clone()),
            loras: loras::used(request),
            step_cache,
            skipped_steps: step_cache.map(|_| usage.skipped_steps),
            tries: tries.map(|tries| tries.len() as u32),
            scripted: engine.scripted,
            ..Receipt::default()
        }
    }

    async fn publish(&self, taken: Taken, receipt: Receipt) -> Result<Output, Error> {
        let Taken { request, finished, scores } = taken;
        let Usage { encode, sample, decode, steps, .. } = finished.usage;
        for (stage, spent) in [("encode", encode), ("sample", sample), ("decode", decode)] {
            self.context.metrics.stage(stage, spent);
        }
        let spec = &self.lease.spec;
        let parameters = Parameters::new(
            self.context.device.model(),
            &request,
            &finished.image,
            spec.content.as_ref().map(Source::shown),
            spec.styles.iter().map(Source::shown).collect(),
            finished.usage.prompt_tokens,
        );
        let begun = Instant::now();
        let output = self.store(finished.image, parameters, receipt, scores).await?;
        self.context.metrics.stage("upload", begun.elapsed());
        let fetch = Duration::from_millis(output.receipt.fetch_ms);
        self.context.pace.note(steps, fetch + encode + decode + begun.elapsed());
        self.context.step_paces.note(spec, steps, sample.as_secs_f64() * 1e3);
        Ok(output)
    }

    /// Uploads the picture, its thumbnail and the sidecar that describes both, at the same time. None counts before the
    /// queue has accepted the output: the keys carry the fence.
    async fn store(
        &self,
        image: Image,
        parameters: Parameters,
        mut receipt: Receipt,
        scores: Option<Scores>,
    ) -> Result<Output, Error> {
        let (context, lease, until) = (self.context, self.lease, &self.until());
        let (width, height) = (image.width, image.height);
        let Files { picture, thumbnail } = self.encode(image, parameters.text()).await?;
        let thumbnail_uri = thumbnail.as_ref().map(|file| file.stored().uri.clone());
        receipt.stored_bytes = picture.stored().bytes;
        let mut sidecar = self.sidecar(&parameters, &receipt, &picture, thumbnail_uri.as_deref());
        if let Some(scores) = &scores {
            sidecar["scores"] = json!(scores);
        }

        let sidecar_key = output_key(&lease.id, lease.fence, SIDECAR);
        let sidecar = context.store.new_object(&sidecar_key, "application/json", sidecar.to_string().into());
        let put = |new| transfers::put(&context.store, &context.store_watch, new, until);
        let begun = Instant::now();
        let put_picture = async {
            put(&picture).await?;
            Ok::<_, Error>(begun.elapsed())
        };
        let put_thumbnail = async {
            match &thumbnail {
                Some(thumbnail) => put(thumbnail).await,
                None => Ok(()),
            }
        };
        let (took, (), ()) = tokio::try_join!(put_picture, put_thumbnail, put(&sidecar))?;
        let stored = picture.stored().clone();
        receipt.upload_ms = took.as_millis() as u64;
        Ok(Output {
            uri: stored.uri,
            sidecar: sidecar.stored().uri.clone(),
            thumbnail: thumbnail_uri,
            width,
            height,
            bytes: stored.bytes,
            sha256: stored.sha256,
            content_type: picture.content_type().to_owned(),
            receipt,
            scores,
        })
    }

    async fn encode(&self, image: Image, text: PictureText) -> Result<Files, Error> {
        let (store, spec) = (self.context.store.clone(), self.lease.spec.clone());
        let (id, fence, of_row) = (self.lease.id, self.lease.fence, self.lease.row.is_some());
        let encode = tokio::task::spawn_blocking(move || {
            Files::encode(&store, &image, &spec, &text, of_row, |name| output_key(&id, fence, name))
        });
        encode.await.map_err(|error| Error::Task(error.to_string()))?
    }

    /// What lies beside the picture. It is stored together with it, so it does not say how long that took.
    fn sidecar(
        &self,
        parameters: &Parameters,
        receipt: &Receipt,
        picture: &NewObject,
        thumbnail: Option<&str>,
    ) -> Value {
        let lease = self.lease;
        let stored = picture.stored();
        let mut receipt = json!(receipt);
        if let Some(fields) = receipt.as_object_mut() {
            fields.remove("upload_ms");
        }
        let mut output = json!({
            "uri": stored.uri,
            "bytes": stored.bytes,
            "sha256": stored.sha256,
            "content_type": picture.content_type(),
        });
        if let Some(thumbnail) = thumbnail {
            output["thumbnail"] = thumbnail.into();
        }
        json!({
            "job": {
                "id": lease.id,
                "attempt": lease.attempt,
                "fence": lease.fence,
                "class": lease.class(),
                "submitted_ms": lease.submitted_ms,
                "started_ms": lease.claimed_ms,
                "metadata": lease.spec.metadata,
            },
            "parameters": parameters,
            "receipt": receipt,
            "output": output,
        })
    }
}
