//! Upload: a finished picture and its sidecar go into the store.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use uso_engine::{Image, Request};
use uso_queue::{Output, Receipt, Source};
use uso_store::output_key;

use super::fetch::Fetched;
use super::progress::note_stage;
use crate::device::{FinishedSample, Usage};
use crate::job::Job;
use crate::parameters::{self, Parameters};
use crate::transfers;
use crate::{Error, loras, tokens};

const PNG: &str = "image/png";

impl Job<'_> {
    /// Stores the picture, and describes it.
    pub(crate) async fn upload(
        &self,
        request: &Request,
        finished: FinishedSample,
        fetched: Fetched,
    ) -> Result<Output, Error> {
        let receipt = self.receipt(&finished.usage, request, fetched);
        if let Some(counted) = receipt.prompt_tokens {
            tokens::log(&self.lease.id, counted);
        }
        let (_, output) =
            tokio::join!(note_stage(self.lease, None), self.publish(request, finished, receipt));
        output
    }

    fn receipt(&self, usage: &Usage, request: &Request, fetched: Fetched) -> Receipt {
        let milliseconds = |duration: Duration| duration.as_millis() as u64;
        let (lease, device) = (self.lease, &self.context.device);
        let engine = device.engine();
        let step_cache = parameters::step_cache(request);
        Receipt {
            wait_ms: lease.claimed_ms.saturating_sub(lease.submitted_ms),
            fetch_ms: milliseconds(fetched.time),
            encode_ms: milliseconds(usage.encode),
            device_ms: milliseconds(usage.device),
            sample_ms: milliseconds(usage.sample),
            steps: usage.steps,
            resumed_from: usage.resumed_from,
            decode_ms: milliseconds(usage.decode),
            fetched_bytes: fetched.bytes,
            cache_hits: device.cache_owners().hits_to_report(&lease.tenant, &lease.spec, usage.cache_hits),
            prompt_tokens: usage.prompt_tokens.map(tokens::recorded),
            set_aside: usage.set_aside,
            attempts: lease.attempt,
            worker: engine.device.clone(),
            model: engine.model.clone(),
            loras: loras::used(request),
            step_cache,
            skipped_steps: step_cache.map(|_| usage.skipped_steps),
            scripted: engine.scripted,
            ..Receipt::default()
        }
    }

    async fn publish(
        &self,
        request: &Request,
        finished: FinishedSample,
        receipt: Receipt,
    ) -> Result<Output, Error> {
        let Usage { encode, sample, decode, steps, .. } = finished.usage;
        for (stage, spent) in [("encode", encode), ("sample", sample), ("decode", decode)] {
            self.context.metrics.stage(stage, spent);
        }
        let spec = &self.lease.spec;
        let parameters = Parameters::new(
            self.context.device.model(),
            request,
            &finished.image,
            spec.content.as_ref().map(Source::shown),
            spec.styles.iter().map(Source::shown).collect(),
            finished.usage.prompt_tokens,
        );
        let begun = Instant::now();
        let output = self.store(finished.image, parameters, receipt).await?;
        self.context.metrics.stage("upload", begun.elapsed());
        let fetch = Duration::from_millis(output.receipt.fetch_ms);
        self.context.pace.note(steps, fetch + encode + decode + begun.elapsed());
        Ok(output)
    }

    /// Uploads the picture, then the sidecar that describes it. Neither counts before the queue has
    /// accepted the output: the keys carry the fence.
    async fn store(
        &self,
        image: Image,
        parameters: Parameters,
        mut receipt: Receipt,
    ) -> Result<Output, Error> {
        let (context, lease, until) = (self.context, self.lease, &self.until());
        let (width, height) = (image.width, image.height);
        let parameters = Arc::new(parameters);
        let text = Arc::clone(&parameters);
        let encode = tokio::task::spawn_blocking(move || image.to_png(&text.png_text()));
        let png = encode.await.map_err(|error| Error::Task(error.to_string()))??;

        let key = |name| output_key(&lease.id, lease.fence, name);
        let begun = Instant::now();
        let put = |name, kind, bytes| async move {
            transfers::put(&context.store, &context.store_watch, &key(name), kind, bytes, until).await
        };
        let picture = put("0.png", PNG, png.into()).await?;
        receipt.upload_ms = begun.elapsed().as_millis() as u64;
        receipt.stored_bytes = picture.bytes;
        let sidecar = json!({
            "job": {
                "id": lease.id,
                "attempt": lease.attempt,
                "fence": lease.fence,
                "class": lease.class(),
                "submitted_ms": lease.submitted_ms,
                "started_ms": lease.claimed_ms,
                "metadata": lease.spec.metadata,
            },
            "parameters": &*parameters,
            "receipt": receipt,
            "output": { "uri": picture.uri, "bytes": picture.bytes, "sha256": picture.sha256, "content_type": PNG },
        });
        let sidecar = put("0.json", "application/json", sidecar.to_string().into()).await?;
        Ok(Output {
            uri: picture.uri,
            sidecar: sidecar.uri,
            width,
            height,
            bytes: picture.bytes,
            sha256: picture.sha256,
            content_type: PNG.into(),
            receipt,
        })
    }
}
