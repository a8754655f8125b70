//! The operator's reference policy: where a tenant's references may come from.

use std::fmt;
use std::str::FromStr;

/// In a prefix, this stands for the tenant's name.
const TENANT: &str = "{tenant}";

/// A bucket, or a folder in one, that references may come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedPrefix {
    bucket: String,
    /// Without a slash at either end; empty for the whole bucket.
    folder: String,
}

impl AllowedPrefix {
    /// The bucket.
    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// Whether an object is in it. The folder's name counts whole: `team` is not where `team2/a.png` is.
    pub(crate) fn holds(&self, tenant: &str, bucket: &str, key: &str) -> bool {
        let folder = self.folder.replace(TENANT, tenant);
        let inside = || key.strip_prefix(&folder).is_some_and(|rest| rest.starts_with('/') && rest.len() > 1);
        bucket == self.bucket && (folder.is_empty() || inside())
    }
}

impl FromStr for AllowedPrefix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (bucket, folder) = text.split_once('/').unwrap_or((text, ""));
        let folder = folder.trim_end_matches('/');
        if bucket.is_empty() || bucket.contains(['{', '}']) {
            return Err("must be BUCKET or BUCKET/PREFIX".into());
        }
        // A typing error in `{tenant}` would allow a tenant's folder to no tenant, or to all.
        if folder.replace(TENANT, "").contains(['{', '}']) {
            return Err(format!("only {TENANT} is replaced in a prefix"));
        }
        Ok(Self { bucket: bucket.to_owned(), folder: folder.to_owned() })
    }
}

impl fmt::Display for AllowedPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slash = if self.folder.is_empty() { "" } else { "/" };
        write!(f, "{}{slash}{}", self.bucket, self.folder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> AllowedPrefix {
        text.parse().unwrap()
    }

    #[test]
    fn a_prefix_holds_what_is_in_its_folder_and_nothing_else() {
        let cases = [
            ("b", "b", "a.png", true),
            ("b", "c", "a.png", false),
            ("b/refs", "b", "refs/a.png", true),
            ("b/refs/", "b", "refs/deep/a.png", true),
            ("b/refs", "b", "refs2/a.png", false),
            ("b/refs", "b", "refs", false),
            ("b/refs", "b", "refs/", false),
            ("b/refs", "b", "other/refs/a.png", false),
            ("b/of/{tenant}", "b", "of/ours/a.png", true),
            ("b/of/{tenant}", "b", "of/ours2/a.png", false),
            ("b/of/{tenant}", "b", "of/theirs/a.png", false),
            ("b/of/{tenant}", "b", "of/{tenant}/a.png", false),
        ];
        for (text, bucket, key, holds) in cases {
            assert_eq!(prefix(text).holds("ours", bucket, key), holds, "{text} and {bucket}/{key}");
        }
    }

    #[test]
    fn an_invalid_prefix_is_refused() {
        for text in ["", "/refs", "b/{tennant}", "b/{tenant", "{tenant}/refs"] {
            assert!(text.parse::<AllowedPrefix>().is_err(), "{text}");
        }
        assert_eq!(prefix("b/of/{tenant}/").to_string(), "b/of/{tenant}");
        assert_eq!(prefix("b").to_string(), "b");
    }
}
