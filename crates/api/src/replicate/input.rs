//! From the body of a prediction to a job.

use std::collections::BTreeMap;
use std::time::SystemTime;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use futures::future::try_join_all;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use uso_queue::{FieldError, JobSpec, MAX_URL, NewFile, Source};
use uso_store::{FileInfo, PictureKind, address_guard, upload_key};
use uuid::Uuid;

use crate::body::PredictionBody;
use crate::body::text::Enclosed;
use crate::caller::Caller;
use crate::problem::Problem;
use crate::shared::Shared;

/// What a client may send beside the input.
const FIELDS: [&str; 6] =
    ["version", "input", "webhook", "webhook_completed", "webhook_events_filter", "stream"];
/// Events that a client may ask for; only the last is sent.
const EVENTS: [&str; 4] = ["start", "output", "logs", "completed"];

/// Bytes of a picture that are searched for its size.
const HEAD: usize = 256 * 1024;

/// A request for a prediction, and the pictures that came with it.
pub(super) struct Wanted {
    pub(super) spec: JobSpec,
    pictures: Vec<Picture>,
}

struct Picture {
    upload: Uuid,
    kind: PictureKind,
    bytes: Bytes,
}

impl Wanted {
    /// Reads a body. `own` are the addresses under which clients reach this API.
    pub(super) fn read(
        shared: &Shared,
        own: &[&str],
        body: &PredictionBody,
    ) -> Result<Self, Vec<FieldError>> {
        let Value::Object(fields) = &body.json else {
            return Err(vec![fault("", "wrong_type", "the body must be a JSON object")]);
        };
        let mut errors: Vec<FieldError> = fields
            .keys()
            .filter(|name| !FIELDS.contains(&name.as_str()))
            .map(|name| FieldError::unknown(name))
            .collect();
        let mut input = match fields.get("input") {
            Some(Value::Object(input)) => input.clone(),
            Some(_) => {
                errors.push(fault("/input", "wrong_type", "must be a JSON object"));
                Map::new()
            }
            None => {
                errors.push(fault("/input", "missing", "must be there"));
                Map::new()
            }
        };
        let most = shared.store.config().max_bytes;
        let mut files = Files { own, most, enclosed: &body.pictures, pictures: Vec::new() };
        files.replace(&mut input, &mut errors);
        let webhook = webhook(fields, shared.config.private_webhooks, &mut errors);
        let spec = JobSpec::parse(&Value::Object(input), &shared.config.defaults);
        match spec {
            Ok(mut spec) if errors.is_empty() => {
                spec.webhook = webhook.or(spec.webhook);
                Ok(Self { spec, pictures: files.pictures })
            }
            Ok(_) => Err(errors),
            Err(others) => {
                let others = others.into_iter();
                errors.extend(
                    others.map(|error| FieldError { pointer: format!("/input{}", error.pointer), ..error }),
                );
                Err(errors)
            }
        }
    }

    /// What is known of the pictures that came with it.
    pub(super) fn at_hand(&self) -> BTreeMap<Uuid, FileInfo> {
        self.pictures.iter().map(|picture| (picture.upload, picture.info())).collect()
    }

    /// Stores the pictures that came with it as uploads.
    pub(super) async fn keep_pictures(&mut self, shared: &Shared, caller: &Caller) -> Result<(), Problem> {
        let pictures = std::mem::take(&mut self.pictures);
        let file = |picture: &Picture| NewFile { id: picture.upload, bytes: picture.bytes.len() as u64 };
        let files: Vec<NewFile> = pictures.iter().map(file).collect();
        shared.queue.count_enclosed(&caller.tenant, &files).await?;
        let puts = pictures.into_iter().map(|picture| async move {
            let key = upload_key(&caller.tenant, &picture.upload);
            shared.store.put(&key, picture.kind.media_type(), picture.bytes).await
        });
        try_join_all(puts).await?;
        Ok(())
    }
}

impl Picture {
    fn info(&self) -> FileInfo {
        let head = &self.bytes[..self.bytes.len().min(HEAD)];
        FileInfo {
            tag: String::new(),
            bytes: self.bytes.len() as u64,
            written: Some(SystemTime::now()),
            media_type: Some(self.kind.media_type().to_owned()),
            kind: Some(self.kind),
            size: self.kind.size(head),
        }
    }
}

fn fault(pointer: &str, code: &'static str, message: impl Into<String>) -> FieldError {
    FieldError { pointer: pointer.to_owned(), code, message: message.into() }
}

/// The webhook for the prediction's end, if the client wants one.
fn webhook(fields: &Map<String, Value>, allow_private: bool, errors: &mut Vec<FieldError>) -> Option<String> {
    let mut address = |name: &str| {
        let url = fields.get(name).filter(|value| !value.is_null())?;
        let checked = match url.as_str() {
            Some(url) if url.len() <= MAX_URL => address_guard::check_url(url, allow_private),
            _ => Err(format!("must be a string of at most {MAX_URL} bytes")),
        };
        if let Err(message) = checked {
            errors.push(fault(&format!("/{name}"), "invalid_url", message));
        }
        url.as_str().map(str::to_owned)
    };
    let (webhook, completed) = (address("webhook"), address("webhook_completed"));
    let wanted = match fields.get("webhook_events_filter") {
        None | Some(Value::Null) => true,
        Some(Value::Array(events)) => {
            for (index, event) in events.iter().enumerate() {
                if !EVENTS.iter().any(|known| event == known) {
                    let message = format!("must be one of: {}", EVENTS.join(", "));
                    let pointer = format!("/webhook_events_filter/{index}");
                    errors.push(fault(&pointer, "not_a_choice", message));
                }
            }
            events.is_empty() || events.iter().any(|event| event == "completed")
        }
        Some(_) => {
            errors.push(fault("/webhook_events_filter", "wrong_type", "must be an array of strings"));
            true
        }
    };
    webhook.filter(|_| wanted).or(completed)
}

/// Replaces the files in an input by uploads.
struct Files<'a> {
    own: &'a [&'a str],
    most: u64,
    /// Pictures of the body that were too long for its text.
    enclosed: &'a BTreeMap<String, Enclosed>,
    pictures: Vec<Picture>,
}

impl Files<'_> {
    /// Puts names of uploads where there are files, or links to files here.
    fn replace(&mut self, input: &mut Map<String, Value>, errors: &mut Vec<FieldError>) {
        if let Some(Value::String(text)) = input.get_mut("content") {
            self.replace_one(text, "/input/content", errors);
        }
        if let Some(Value::Array(styles)) = input.get_mut("styles") {
            for (index, style) in styles.iter_mut().enumerate() {
                if let Value::String(text) = style {
                    self.replace_one(text, &format!("/input/styles/{index}"), errors);
                }
            }
        }
    }

    fn replace_one(&mut self, text: &mut String, pointer: &str, errors: &mut Vec<FieldError>) {
        let upload = if text.starts_with("data:") {
            match self.decode(text) {
                Ok(upload) => Some(upload),
                Err((code, message)) => {
                    errors.push(fault(pointer, code, message));
                    // So that it is not refused a second time.
                    Some(Uuid::nil())
                }
            }
        } else {
            own_file(self.own, text)
        };
        if let Some(upload) = upload {
            *text = Source::upload(upload).to_string();
        }
    }

    fn decode(&mut self, text: &str) -> Result<Uuid, (&'static str, String)> {
        let bytes = match self.enclosed.get(text) {
            Some(enclosed) => enclosed.clone()?,
            None => self.decode_text(text)?,
        };
        let kind = PictureKind::of_bytes(&bytes);
        let kind = kind.ok_or(("not_an_image", "the file is not a png, jpeg or webp image".to_owned()))?;
        // The same picture has the same name: a request that is repeated means the same.
        let digest: [u8; 32] = Sha256::digest(&bytes).into();
        let mut name = [0; 16];
        name.copy_from_slice(&digest[..16]);
        let upload = uuid::Builder::from_custom_bytes(name).into_uuid();
        self.pictures.push(Picture { upload, kind, bytes });
        Ok(upload)
    }

    fn decode_text(&self, text: &str) -> Result<Bytes, (&'static str, String)> {
        let encoded = text.split_once(";base64,").map(|(_, encoded)| encoded);
        let encoded = encoded.ok_or(("invalid_source", "a data: URL must be in base64".to_owned()))?;
        let bytes = BASE64_STANDARD.decode(encoded);
        let bytes =
            bytes.map_err(|error| ("invalid_source", format!("the base64 cannot be read: {error}")))?;
        if bytes.len() as u64 > self.most {
            let message = format!("the file has {} bytes; at most {} are allowed", bytes.len(), self.most);
            return Err(("too_large", message));
        }
        Ok(bytes.into())
    }
}

/// The upload that a link to one of our files means.
fn own_file(own: &[&str], text: &str) -> Option<Uuid> {
    let path = own.iter().find_map(|origin| text.strip_prefix(origin))?;
    path.strip_prefix("/v1/files/")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_links_to_our_own_files_are_uploads() {
        let own = ["http://here:1", "https://there"];
        let id = "0198a0b0-0000-7000-8000-00000000000a";
        for origin in own {
            assert!(own_file(&own, &format!("{origin}/v1/files/{id}")).is_some());
        }
        for other in
            ["http://here:12/v1/files/", "http://else/v1/files/", "http://here:1/v1/jobs/", "/v1/files/"]
        {
            assert_eq!(own_file(&own, &format!("{other}{id}")), None, "{other}");
        }
        assert_eq!(own_file(&own, "http://here:1/v1/files/x"), None);
    }

    #[test]
    fn a_webhook_is_sent_only_if_the_client_wants_it() {
        let wanted = |body: Value| {
            let mut errors = Vec::new();
            let found = webhook(body.as_object().unwrap(), false, &mut errors);
            (found.is_some(), errors.len())
        };
        assert_eq!(wanted(json!({})), (false, 0));
        assert_eq!(wanted(json!({ "webhook": "https://u" })), (true, 0));
        assert_eq!(wanted(json!({ "webhook_completed": "https://u" })), (true, 0));
        assert_eq!(
            wanted(json!({ "webhook": "https://u", "webhook_events_filter": ["start", "completed"] })),
            (true, 0)
        );
        assert_eq!(wanted(json!({ "webhook": "https://u", "webhook_events_filter": ["start"] })), (false, 0));
        assert_eq!(wanted(json!({ "webhook": 1, "webhook_events_filter": ["end", 2] })), (false, 3));
    }
}
