//! Signatures as Standard Webhooks says: HMAC-SHA256 over id, time and body.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use uso_queue::WebhookSecret;

/// A secret as its owner gets it, and as libraries take it.
pub(crate) fn secret_text(secret: &WebhookSecret) -> String {
    format!("whsec_{}", BASE64_STANDARD.encode(secret.bytes()))
}

/// The headers of a message: one signature for each secret.
pub(super) fn headers(
    id: &str,
    time_s: u64,
    body: &str,
    secrets: &[WebhookSecret],
) -> [(&'static str, String); 3] {
    let content = format!("{id}.{time_s}.{body}");
    let signatures: Vec<String> =
        secrets.iter().map(|secret| signature(secret.bytes(), content.as_bytes())).collect();
    [
        ("webhook-id", id.to_owned()),
        ("webhook-timestamp", time_s.to_string()),
        ("webhook-signature", signatures.join(" ")),
    ]
}

fn signature(key: &[u8], content: &[u8]) -> String {
    // A key of any length is one.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return String::new() };
    mac.update(content);
    format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_what_other_libraries_make_of_it() {
        // The example of the Standard Webhooks reference libraries.
        let key = BASE64_STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let content = b"msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330.{\"test\": 2432232314}";
        assert_eq!(signature(&key, content), "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }
}
