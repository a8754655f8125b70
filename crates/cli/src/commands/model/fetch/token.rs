//! The hub's token, from where the hub's own tools keep it.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::Context as _;
use reqwest::header::HeaderValue;

/// A header with the token. It is marked as sensitive, so that code that prints headers hides it.
#[derive(Clone)]
pub(super) struct Token(HeaderValue);

impl Token {
    /// The token in `HF_TOKEN`, else in the file that `hf auth login` writes; none if there is neither.
    pub(super) fn find() -> anyhow::Result<Option<Self>> {
        Self::find_in(|name| std::env::var_os(name).filter(|value| !value.is_empty()))
    }

    fn find_in(variable: impl Fn(&str) -> Option<OsString>) -> anyhow::Result<Option<Self>> {
        if let Some(token) = variable("HF_TOKEN") {
            let token = token.to_str().and_then(Self::new);
            return token
                .context("HF_TOKEN is not a token: it has characters that tokens do not have")
                .map(Some);
        }
        let Some(path) = file(variable) else { return Ok(None) };
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        let token = Self::new(&text);
        token.with_context(|| format!("{} holds no token", path.display())).map(Some)
    }

    fn new(text: &str) -> Option<Self> {
        let token = text.trim();
        let is_token = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
        let mut header = HeaderValue::try_from(format!("Bearer {token}")).ok().filter(|_| is_token)?;
        header.set_sensitive(true);
        Some(Self(header))
    }

    /// The value of `Authorization`.
    pub(super) fn header(&self) -> HeaderValue {
        self.0.clone()
    }
}

/// Where `huggingface_hub` keeps the token (its `constants.py`).
fn file(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    if let Some(path) = variable("HF_TOKEN_PATH") {
        return Some(path.into());
    }
    let home = variable("HF_HOME").map(PathBuf::from).or_else(|| {
        let cache = variable("XDG_CACHE_HOME").map(PathBuf::from);
        let cache = cache.or_else(|| Some(PathBuf::from(variable("HOME")?).join(".cache")));
        Some(cache?.join("huggingface"))
    });
    Some(home?.join("token"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn found(variables: &[(&str, &Path)]) -> anyhow::Result<Option<String>> {
        let variable = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| value.as_os_str().to_owned())
        };
        let token = Token::find_in(variable)?;
        Ok(token.map(|token| token.header().to_str().unwrap().to_owned()))
    }

    #[test]
    fn the_variable_goes_before_the_file() {
        let home = tempfile::tempdir().unwrap();
        let cache = home.path().join(".cache/huggingface");
        std::fs::create_dir_all(&cache).unwrap();
        assert_eq!(found(&[("HOME", home.path())]).unwrap(), None);
        std::fs::write(cache.join("token"), "hf_file\n").unwrap();
        assert_eq!(found(&[("HOME", home.path())]).unwrap().as_deref(), Some("Bearer hf_file"));
        assert_eq!(found(&[("HF_HOME", &cache)]).unwrap().as_deref(), Some("Bearer hf_file"));
        assert_eq!(
            found(&[("HF_TOKEN_PATH", &cache.join("token"))]).unwrap().as_deref(),
            Some("Bearer hf_file")
        );
        let both = [("HF_HOME", &*cache), ("HF_TOKEN", Path::new("hf_variable"))];
        assert_eq!(found(&both).unwrap().as_deref(), Some("Bearer hf_variable"));
    }

    #[test]
    fn what_is_no_token_is_not_echoed() {
        let said = format!("{:#}", found(&[("HF_TOKEN", Path::new("hf_a b"))]).unwrap_err());
        assert!(said.contains("HF_TOKEN") && !said.contains("hf_a"), "{said}");
        assert!(!format!("{:?}", Token::new("hf_secret").unwrap().header()).contains("secret"));
    }
}
