//! Small files that are part of the program.

use std::collections::BTreeMap;

use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

/// Files by name.
pub(crate) struct Files(BTreeMap<String, File>);

struct File {
    bytes: Bytes,
    media_type: &'static str,
    /// Changes with the bytes: a browser asks each time, and mostly learns that it has the newest.
    tag: HeaderValue,
}

impl Files {
    pub(crate) fn new<B: Into<Bytes>>(files: impl IntoIterator<Item = (String, B)>) -> Self {
        let file = |(name, bytes): (String, B)| {
            let bytes: Bytes = bytes.into();
            let tag = format!("\"{}\"", &uso_store::hexadecimal_sha256(&bytes)[..32]);
            let tag = HeaderValue::try_from(tag).unwrap_or(HeaderValue::from_static("\"\""));
            (name.clone(), File { bytes, media_type: media_type(&name), tag })
        };
        Self(files.into_iter().map(file).collect())
    }

    /// The file, or that the client already has it; none if there is no such file.
    pub(crate) fn answer(&self, name: &str, asked: &HeaderMap) -> Option<Response> {
        let File { bytes, media_type, tag } = self.0.get(name)?;
        let known = asked.get_all(header::IF_NONE_MATCH).into_iter().filter_map(|value| value.to_str().ok());
        let mut known = known.flat_map(|line| line.split(',')).map(|tag| tag.trim().trim_start_matches("W/"));
        let is_known = known.any(|known| known == "*" || known.as_bytes() == tag.as_bytes());
        let headers = [
            (header::ETAG, tag.clone()),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
            (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        ];
        if is_known {
            return Some((StatusCode::NOT_MODIFIED, headers).into_response());
        }
        let kind = [(header::CONTENT_TYPE, HeaderValue::from_static(media_type))];
        Some((headers, kind, bytes.clone()).into_response())
    }
}

fn media_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, ending)| ending) {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js" | "mjs") => "text/javascript; charset=utf-8",
        Some("json" | "webmanifest") => "application/json",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("jpg" | "jpeg") => "image/jpeg",
        Some("webp") => "image/webp",
        Some("woff2") => "font/woff2",
        Some("txt") => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}
