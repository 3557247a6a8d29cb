//! Where the S3 store is, and how it is spoken to.

use std::{fmt, time::Duration};

use aws_sdk_s3::config::{
    BehaviorVersion, Credentials, Region, RequestChecksumCalculation, ResponseChecksumValidation,
    StalledStreamProtectionConfig, retry::RetryConfig, timeout::TimeoutConfig,
};

use crate::{BlobError, Key};

/// Until a connection is there.
const CONNECT: Duration = Duration::from_secs(5);
/// Until the head of the answer is there, the request's whole body sent: a part of 8 MiB at a little over 1 Mbit/s.
const ANSWER: Duration = Duration::from_secs(60);

/// An S3 store, of any maker. Its `Debug` shows no secret.
#[derive(Clone)]
pub struct S3Config {
    /// `http://…` or `https://…`; `None`: Amazon's, by the region.
    pub endpoint: Option<String>,
    /// The endpoint as clients reach it, for presigned URLs; `None`: the same.
    pub public_endpoint: Option<String>,
    /// What requests are signed for, such as `eu-central-1`; most others' servers take any.
    pub region: String,
    /// The bucket.
    pub bucket: String,
    /// What all our keys in the bucket begin with, without the slash after it; everything else in the bucket is let
    /// alone.
    pub prefix: Option<String>,
    /// Access key id.
    pub access_key: String,
    /// Secret access key.
    pub secret_key: String,
    /// `https://host/bucket/key` instead of `https://bucket.host/key`: what nearly all but Amazon's take.
    pub path_style: bool,
    /// Whether [`probe`](crate::BlobStore::probe) makes the bucket if it is absent.
    pub create_bucket: bool,
}

impl fmt::Debug for S3Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Config")
            .field("endpoint", &self.endpoint)
            .field("public_endpoint", &self.public_endpoint)
            .field("region", &self.region)
            .field("bucket", &self.bucket)
            .field("prefix", &self.prefix)
            .field("access_key", &"redacted")
            .field("secret_key", &"redacted")
            .field("path_style", &self.path_style)
            .field("create_bucket", &self.create_bucket)
            .finish()
    }
}

impl S3Config {
    /// The prefix as keys have it: empty, or with a slash at its end.
    ///
    /// # Errors
    /// What an operator has to put right.
    pub(super) fn check(&self) -> Result<String, BlobError> {
        let refuse = |text: String| Err(BlobError::Refused(text));
        for endpoint in self.endpoint.iter().chain(&self.public_endpoint) {
            if !endpoint.starts_with("http://") && !endpoint.starts_with("https://") {
                return refuse(format!("the endpoint {endpoint:?} begins with neither http:// nor https://"));
            }
        }
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-');
        if !(3..=63).contains(&self.bucket.len()) || !self.bucket.bytes().all(allowed) {
            return refuse(format!("{:?} is no bucket's name: 3 to 63 of a-z 0-9 . -", self.bucket));
        }
        if self.access_key.is_empty() || self.secret_key.is_empty() {
            return refuse("the access key or its secret is missing".to_owned());
        }
        match self.prefix.as_deref().map(|prefix| prefix.trim_end_matches('/')) {
            None | Some("") => Ok(String::new()),
            Some(prefix) => match Key::new(prefix) {
                Ok(_) => Ok(format!("{prefix}/")),
                Err(fault) => refuse(format!("the prefix {prefix:?}: {fault}")),
            },
        }
    }

    /// What the SDK is told.
    pub(super) fn client(&self, endpoint: Option<&str>) -> aws_sdk_s3::Client {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT)
            .read_timeout(ANSWER)
            .operation_attempt_timeout(ANSWER)
            .build();
        // A download that is taken slowly is no stall of the server: chunks that are waited for have their own limit.
        let stalls = StalledStreamProtectionConfig::enabled().download_enabled(false).build();
        let mut config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(self.region.clone()))
            .credentials_provider(Credentials::new(
                &self.access_key,
                &self.secret_key,
                None,
                None,
                "configuration",
            ))
            .force_path_style(self.path_style)
            // By default bodies go out in chunks with a checksum behind them, and some servers keep `aws-chunked` as
            // the object's encoding. Ours have their checksum in the head.
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
            .retry_config(RetryConfig::disabled())
            .timeout_config(timeouts)
            .stalled_stream_protection(stalls);
        config.set_endpoint_url(endpoint.map(str::to_owned));
        aws_sdk_s3::Client::from_conf(config.build())
    }
}
