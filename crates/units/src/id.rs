//! Identifiers: validated when made, cheap to clone, and unable to reach a log by accident.

use std::{borrow::Cow, fmt, str::FromStr, sync::Arc};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Longest id, in characters (all of them ASCII, so in bytes too).
pub const ID_CHARS_MAX: usize = 64;

/// Why a text is not an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdError {
    /// Empty, or longer than [`ID_CHARS_MAX`].
    #[error("an id has 1 to 64 characters")]
    Length,
    /// A character outside the set.
    #[error("an id has no characters but A-Z a-z 0-9 . _ -")]
    Character,
}

fn check_name(text: &str) -> Result<(), IdError> {
    if text.is_empty() || text.len() > ID_CHARS_MAX {
        return Err(IdError::Length);
    }
    if text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-')) {
        Ok(())
    } else {
        Err(IdError::Character)
    }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        ///
        /// 1–64 characters of `A–Z a–z 0–9 . _ -`. `Debug` is redacted and there is no `Display`: showing an id takes
        /// an explicit `as_str`.
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Takes `text` as an id if it is one.
            pub fn new(text: &str) -> Result<Self, IdError> {
                check_name(text)?;
                Ok(Self(text.into()))
            }

            /// The id's text. Never log it above `trace`.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(redacted)"))
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;

            fn try_from(text: String) -> Result<Self, IdError> {
                Self::new(&text)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = Cow::<'de, str>::deserialize(deserializer)?;
                Self::new(&text).map_err(de::Error::custom)
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$" })
            }
        }
    };
}

id! {
    /// A person or a bot: what a token's `sub` names.
    UserId
}
id! {
    /// One device of a user. Unique within its user only.
    DeviceId
}
id! {
    /// A conversation: durable membership and an ordered log of messages.
    ConversationId
}
id! {
    /// A call: one live occurrence in a conversation. Chosen by the caller's client (a UUIDv7).
    CallId
}
id! {
    /// A message, as its sender named it (a UUIDv7). Unique within the sender's device only.
    MessageId
}
id! {
    /// An attachment, and the upload that it came from. Chosen by the media store: 128 random bits that nobody guesses.
    AttachmentId
}
id! {
    /// A signaling session: one WebSocket connection.
    SessionId
}
id! {
    /// A request's id, chosen by the client, unique among its unanswered requests.
    RequestId
}
