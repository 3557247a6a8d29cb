//! From text to frames, and from faults to their codes.

use serde_json::Value;
use trunkline_signaling_api::{ClientFrame, ErrorCode};
use trunkline_units::{IdError, RequestId};

use crate::fault::Fault;

/// A text that is no frame: what is wrong, and which request it was, if that can be told.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadFrame {
    pub(super) id: Option<RequestId>,
    pub(super) fault: Fault,
}

/// Reads a client's frame.
pub(super) fn parse(text: &str) -> Result<ClientFrame, BadFrame> {
    serde_json::from_str(text).map_err(|fault| {
        // Read again, only to say better what is wrong.
        let Ok(Value::Object(object)) = serde_json::from_str::<Value>(text) else {
            return BadFrame {
                id: None,
                fault: Fault::new(ErrorCode::BadFrame, "a frame is one JSON object"),
            };
        };
        let id = object.get("id").and_then(Value::as_str).and_then(|id| RequestId::new(id).ok());
        let fault = match object.get("t").and_then(Value::as_str) {
            None => Fault::new(ErrorCode::BadFrame, "a frame has its type as a string in t"),
            Some(kind) if !ClientFrame::KINDS.contains(&kind) => {
                Fault::new(ErrorCode::UnknownType, "no such frame type")
            }
            Some(_) => explain(&fault),
        };
        BadFrame { id, fault }
    })
}

/// Says what is wrong with JSON that does not fit its type.
pub(crate) fn explain(fault: &serde_json::Error) -> Fault {
    // The only way through serde is the text; both sides of it are this workspace's.
    let text = fault.to_string();
    let bad_id = [IdError::Length, IdError::Character].iter().any(|why| text.contains(&why.to_string()));
    let code = if bad_id { ErrorCode::BadId } else { ErrorCode::BadFrame };
    Fault::new(code, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_have_their_codes() {
        for (text, code, id) in [
            ("", ErrorCode::BadFrame, None),
            ("nonsense", ErrorCode::BadFrame, None),
            ("[]", ErrorCode::BadFrame, None),
            (r#"{"id":"r"}"#, ErrorCode::BadFrame, Some("r")),
            (r#"{"t":7,"id":"r"}"#, ErrorCode::BadFrame, Some("r")),
            (r#"{"t":"dance","id":"r"}"#, ErrorCode::UnknownType, Some("r")),
            (r#"{"t":"history","id":"r"}"#, ErrorCode::BadFrame, Some("r")),
            (r#"{"t":"history","id":"r","conv":"a b"}"#, ErrorCode::BadId, Some("r")),
            (r#"{"t":"history","id":"","conv":"a"}"#, ErrorCode::BadId, None),
            (r#"{"t":"typing","conv":7}"#, ErrorCode::BadFrame, None),
        ] {
            let bad = parse(text).unwrap_err();
            assert_eq!((bad.fault.code, bad.id.as_ref().map(RequestId::as_str)), (code, id), "{text}");
        }
        assert!(parse(r#"{"t":"typing","conv":"c"}"#).is_ok());
    }

    #[test]
    fn depth_is_no_way_to_the_stack() {
        let deep =
            format!(r#"{{"t":"typing","conv":"c","x":{}1{}}}"#, "[".repeat(30_000), "]".repeat(30_000));
        assert_eq!(parse(&deep).unwrap_err().fault.code, ErrorCode::BadFrame);
    }
}
