//! Whose fault the SDK's errors are.

use std::error::Error;

use aws_sdk_s3::{
    config::http::HttpResponse,
    error::{DisplayErrorContext, ProvideErrorMetadata, SdkError},
};

use crate::BlobError;

/// The SDK's error as ours. Texts name the server's code and message, never credentials.
#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` gives")]
pub(super) fn fault<E>(error: SdkError<E, HttpResponse>) -> BlobError
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    match &error {
        SdkError::ServiceError(context) => {
            let status = context.raw().status().as_u16();
            answered(
                status,
                context.err().code().unwrap_or_default(),
                context.err().message().unwrap_or_default(),
            )
        }
        SdkError::ConstructionFailure(_) => BlobError::Internal(DisplayErrorContext(&error).to_string()),
        SdkError::DispatchFailure(failure) if failure.is_user() => {
            BlobError::Internal(DisplayErrorContext(&error).to_string())
        }
        // No answer, or half of one.
        _ => BlobError::Unavailable(DisplayErrorContext(&error).to_string()),
    }
}

/// What the server's answer means.
pub(super) fn answered(status: u16, code: &str, message: &str) -> BlobError {
    let text = format!("{status} {code}: {message}");
    match (status, code) {
        (_, "NoSuchBucket") => BlobError::Refused(text),
        // `BadDigest`: the bytes that arrived are not those that were sent.
        (_, "SlowDown" | "RequestTimeout" | "InternalError" | "ServiceUnavailable" | "BadDigest")
        | (408 | 429 | 500..=599, _) => BlobError::Unavailable(text),
        (_, "NoSuchKey" | "NoSuchUpload") | (404, _) => BlobError::NotFound,
        (401 | 403, _) => BlobError::Refused(text),
        _ => BlobError::Internal(text),
    }
}

#[cfg(test)]
mod tests {
    use super::answered;
    use crate::BlobError;

    #[test]
    fn answers_by_fault() {
        let kind = |status, code| match answered(status, code, "text") {
            BlobError::NotFound => "not found",
            BlobError::Unavailable(_) => "unavailable",
            BlobError::Refused(_) => "refused",
            BlobError::Internal(_) => "internal",
            other => panic!("{other}"),
        };
        let cases = [
            (404, "NoSuchKey", "not found"),
            (404, "NoSuchUpload", "not found"),
            (404, "", "not found"),
            (404, "NoSuchBucket", "refused"),
            (403, "AccessDenied", "refused"),
            (403, "SignatureDoesNotMatch", "refused"),
            (403, "RequestTimeTooSkewed", "refused"),
            (401, "", "refused"),
            (500, "InternalError", "unavailable"),
            (503, "SlowDown", "unavailable"),
            (502, "", "unavailable"),
            (429, "", "unavailable"),
            (400, "RequestTimeout", "unavailable"),
            (400, "BadDigest", "unavailable"),
            (400, "EntityTooSmall", "internal"),
            (400, "InvalidRequest", "internal"),
            (412, "PreconditionFailed", "internal"),
        ];
        for (status, code, expected) in cases {
            assert_eq!(kind(status, code), expected, "{status} {code}");
        }
    }
}
