//! An S3 service over a folder, and a client of it.

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{
    BehaviorVersion, Builder, Credentials, Region, RequestChecksumCalculation, ResponseChecksumValidation,
};
use aws_sdk_s3::error::ProvideErrorMetadata as _;
use tempfile::TempDir;
use uso_local::{FolderConfig, FolderServer, S3Keys};

pub(crate) const BUCKET: &str = "uso";

/// The web page that is let in.
pub(crate) const PAGE: &str = "http://127.0.0.1:8080";

/// A PNG's first bytes.
pub(crate) const PNG: &[u8] = b"\x89PNG\r\n\x1a\n and more";

/// A service over a folder that is gone after the test.
pub(crate) struct Folder {
    pub(crate) server: FolderServer,
    pub(crate) data: TempDir,
}

impl Folder {
    pub(crate) async fn start() -> Self {
        let data = tempfile::tempdir().unwrap();
        Self { server: FolderServer::start(config(&data)).await.unwrap(), data }
    }

    /// A client whose bucket is there.
    pub(crate) async fn client(&self) -> Client {
        let client = client(&self.server);
        client.create_bucket().bucket(BUCKET).send().await.unwrap();
        client
    }
}

/// What a folder is served with.
pub(crate) fn config(data: &TempDir) -> FolderConfig {
    let keys = S3Keys { access_key: "fleet".into(), secret_key: "not-a-secret".into() };
    FolderConfig { root: data.path().join("s3"), port: None, keys, origins: vec![PAGE.to_owned()] }
}

pub(crate) fn client(server: &FolderServer) -> Client {
    let keys = server.keys();
    let keys = Credentials::new(&keys.access_key, &keys.secret_key, None, None, "test");
    let settings = Builder::new()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(keys)
        .endpoint_url(server.endpoint())
        .force_path_style(true)
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
    Client::from_conf(settings.build())
}

pub(crate) async fn put(client: &Client, key: &str, bytes: &[u8]) {
    let put = client.put_object().bucket(BUCKET).key(key).content_type("image/png");
    put.body(bytes.to_vec().into()).send().await.unwrap();
}

/// An object's bytes, or the service's code for why there are none.
pub(crate) async fn get(client: &Client, key: &str) -> Result<Vec<u8>, Option<String>> {
    match client.get_object().bucket(BUCKET).key(key).send().await {
        Ok(object) => Ok(object.body.collect().await.unwrap().to_vec()),
        Err(error) => Err(error.code().map(str::to_owned)),
    }
}
