//! Names of objects.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Longest key, in characters (all of them ASCII, so in bytes too): as a file name it fits into any file system.
pub const KEY_CHARS_MAX: usize = 200;

/// The name of an object, like `ab/0123456789`: segments of `A–Z a–z 0–9 . _ -` with `/` between them, 1 to 200
/// characters. No segment is empty or has a dot at either end, and there is no `..`: a key cannot leave its folder or
/// hide in it.
///
/// Keys whose first characters are spread evenly (two random ones, a slash, more random ones) spread over folders.
/// No key should be the folder of another (`ab` beside `ab/c`): S3 servers that keep folders list such objects wrongly.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Key(String);

/// The text is not a [`Key`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Empty, or longer than [`KEY_CHARS_MAX`].
    #[error("a key has 1 to {KEY_CHARS_MAX} characters")]
    Length,
    /// A character outside the set.
    #[error("a key has no characters but A-Z a-z 0-9 . _ - /")]
    Character,
    /// A segment that is empty or has a dot at one of its ends, or two dots in a row.
    #[error("no segment of a key is empty, begins or ends with a dot, or has two in a row")]
    Segment,
}

impl Key {
    /// Takes `text` as a key if it is one.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn new(text: impl Into<String>) -> Result<Key, KeyError> {
        let text = text.into();
        if text.is_empty() || text.len() > KEY_CHARS_MAX {
            return Err(KeyError::Length);
        }
        if !text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'/')) {
            return Err(KeyError::Character);
        }
        let sound =
            |segment: &str| !segment.is_empty() && !segment.starts_with('.') && !segment.ends_with('.');
        if text.contains("..") || !text.split('/').all(sound) {
            return Err(KeyError::Segment);
        }
        Ok(Key(text))
    }

    /// The key's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.0)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Key {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Key, KeyError> {
        Key::new(text)
    }
}

impl TryFrom<String> for Key {
    type Error = KeyError;

    fn try_from(text: String) -> Result<Key, KeyError> {
        Key::new(text)
    }
}

impl From<Key> for String {
    fn from(key: Key) -> String {
        key.0
    }
}

#[cfg(test)]
mod tests {
    use super::{KEY_CHARS_MAX, Key, KeyError};

    #[test]
    fn keys_are_what_they_are() {
        let longest = "x".repeat(KEY_CHARS_MAX);
        for good in ["a", "ab/0123", "A-Z_a.z/9.9/x-y", "-/-", "_", &longest] {
            assert_eq!(Key::new(good).unwrap().as_str(), good);
        }
        let cases = [
            ("", KeyError::Length),
            (&*format!("{longest}x"), KeyError::Length),
            ("a b", KeyError::Character),
            ("a\\b", KeyError::Character),
            ("a,b", KeyError::Character),
            ("ä", KeyError::Character),
            ("a\0", KeyError::Character),
            ("/a", KeyError::Segment),
            ("a/", KeyError::Segment),
            ("a//b", KeyError::Segment),
            ("..", KeyError::Segment),
            ("a/../b", KeyError::Segment),
            ("a..b", KeyError::Segment),
            (".", KeyError::Segment),
            ("a/.", KeyError::Segment),
            (".parts/x", KeyError::Segment),
            ("ab./x", KeyError::Segment),
        ];
        for (text, error) in cases {
            assert_eq!(Key::new(text), Err(error), "{text:?}");
        }
    }

    #[test]
    fn json_is_the_text_and_is_checked() {
        let key = Key::new("ab/c").unwrap();
        assert_eq!(serde_json::to_string(&key).unwrap(), "\"ab/c\"");
        assert_eq!(serde_json::from_str::<Key>("\"ab/c\"").unwrap(), key);
        assert!(serde_json::from_str::<Key>("\"../c\"").is_err());
    }
}
