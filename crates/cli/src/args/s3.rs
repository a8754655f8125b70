//! Options for the connection to the object store.

use clap::{Args, ValueEnum};
use uso_api::AllowedPrefix;
use uso_store::WebReferences;

/// Credentials come from the usual AWS places: environment, profile, instance role.
#[derive(Args, Clone)]
pub(crate) struct S3Args {
    /// Address of an S3 service other than AWS. Default: AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL.
    #[arg(long, env = "USO_S3_ENDPOINT", value_name = "URL")]
    s3_endpoint: Option<String>,
    /// Address at which clients reach the same service, for presigned URLs.
    #[arg(long, env = "USO_S3_PUBLIC_ENDPOINT", value_name = "URL")]
    pub(crate) s3_public_endpoint: Option<String>,
    /// Region to sign requests for.
    #[arg(long, env = "USO_S3_REGION", default_value = "us-east-1", value_name = "REGION")]
    pub(crate) s3_region: String,
    /// Bucket for uploads and pictures.
    #[arg(long, env = "USO_S3_BUCKET", default_value = "uso", value_name = "BUCKET")]
    pub(crate) s3_bucket: String,
    /// Another bucket, or a prefix in one, that references may come from; may be repeated. `{tenant}` in the prefix
    /// stands for the tenant's name.
    #[arg(long, env = "USO_S3_REFERENCE_BUCKETS", value_delimiter = ',', value_name = "BUCKET[/PREFIX]")]
    pub(crate) s3_reference_bucket: Vec<AllowedPrefix>,
    /// Whether references may be https:// addresses; give API and workers the same. `public` allows addresses on the
    /// internet. `any` also allows private addresses and plain http, so whoever submits a job can make a worker call
    /// anything in its network.
    #[arg(long, env = "USO_WEB_REFERENCES", value_enum, default_value_t = WebName::Off)]
    web_references: WebName,
}

#[derive(Clone, Copy, ValueEnum)]
enum WebName {
    Off,
    Public,
    Any,
}

impl S3Args {
    /// Address of the S3 service, if it is not AWS itself: the option, else AWS's own settings.
    pub(crate) fn endpoint(&self) -> Option<String> {
        self.endpoint_or(|name| std::env::var(name).ok())
    }

    fn endpoint_or(&self, variable: impl Fn(&str) -> Option<String>) -> Option<String> {
        let of_aws = || {
            let ignored = variable("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS");
            if ignored.is_some_and(|ignored| ignored.eq_ignore_ascii_case("true")) {
                return None;
            }
            variable("AWS_ENDPOINT_URL_S3").or_else(|| variable("AWS_ENDPOINT_URL"))
        };
        self.s3_endpoint.clone().or_else(of_aws)
    }

    /// The same settings for a service at `endpoint`.
    pub(crate) fn at(&self, endpoint: String) -> Self {
        Self { s3_endpoint: Some(endpoint), ..self.clone() }
    }

    pub(crate) fn web_references(&self) -> WebReferences {
        match self.web_references {
            WebName::Off => WebReferences::Off,
            WebName::Public => WebReferences::Public,
            WebName::Any => WebReferences::Any,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::S3Args;

    #[derive(Parser)]
    struct Said {
        #[command(flatten)]
        s3: S3Args,
    }

    #[test]
    fn without_an_option_awss_own_settings_name_the_endpoint() {
        let endpoint = |said: &[&str], set: &[(&str, &str)]| {
            let said = Said::parse_from([&["uso"], said].concat()).s3;
            let value = |name: &str| {
                set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
            };
            said.endpoint_or(value)
        };
        let both = [("AWS_ENDPOINT_URL", "http://any"), ("AWS_ENDPOINT_URL_S3", "http://s3")];
        assert_eq!(endpoint(&[], &[]), None);
        assert_eq!(endpoint(&[], &both[..1]).as_deref(), Some("http://any"));
        assert_eq!(endpoint(&[], &both).as_deref(), Some("http://s3"));
        assert_eq!(endpoint(&["--s3-endpoint", "http://said"], &both).as_deref(), Some("http://said"));
        let ignored = [both[0], ("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true")];
        assert_eq!(endpoint(&[], &ignored), None);
    }
}
