//! Rules of conversations: what may be sent, who may change the membership and how long messages are kept, and what a
//! member may read.

use std::collections::BTreeSet;

use trunkline_signaling_api::{ATTACHMENTS_MAX, BODY_BYTES_MAX, Role};
use trunkline_units::{AttachmentId, UserId};

use crate::Refusal;

/// The kind of message that only the server writes.
pub const KIND_CALL: &str = "call";

/// Longest `kind`, characters.
pub const KIND_CHARS_MAX: usize = 32;

/// Longest title, characters.
pub const TITLE_CHARS_MAX: usize = 128;

/// Shortest retention of a conversation, seconds.
pub const RETENTION_S_MIN: u64 = 60;

/// Longest retention of a conversation, seconds: ten years.
pub const RETENTION_S_MAX: u64 = 10 * 365 * 86_400;

/// Longest name of an upload, characters.
pub const UPLOAD_NAME_CHARS_MAX: usize = 255;

/// Longest MIME type of an upload, characters.
pub const UPLOAD_TYPE_CHARS_MAX: usize = 127;

/// Whether a message may be appended at all. The body's size is that of its JSON text.
pub fn check_send(kind: &str, body_bytes: usize, attachments: &[AttachmentId]) -> Result<(), Refusal> {
    let name = kind.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
    if kind.is_empty() || kind.len() > KIND_CHARS_MAX || !name {
        return Err(Refusal::Malformed("a kind has 1 to 32 characters of A-Z a-z 0-9 . _ -"));
    }
    if kind == KIND_CALL {
        return Err(Refusal::Forbidden("messages of kind call are the server's"));
    }
    if body_bytes > BODY_BYTES_MAX {
        return Err(Refusal::TooLarge { what: "the body in bytes", max: BODY_BYTES_MAX });
    }
    check_attachments(attachments)
}

/// Whether a message may refer to these, if they are its sender's.
pub fn check_attachments(ids: &[AttachmentId]) -> Result<(), Refusal> {
    if ids.len() > ATTACHMENTS_MAX {
        return Err(Refusal::BadAttachment("a message has at most ten attachments"));
    }
    let different: BTreeSet<&AttachmentId> = ids.iter().collect();
    if different.len() < ids.len() {
        return Err(Refusal::BadAttachment("an attachment is named twice"));
    }
    Ok(())
}

/// The name of an upload without what cannot be seen; `None` if nothing is left of it.
pub fn upload_name(name: &str) -> Result<Option<String>, Refusal> {
    if name.chars().count() > UPLOAD_NAME_CHARS_MAX {
        return Err(Refusal::TooLarge { what: "the name in characters", max: UPLOAD_NAME_CHARS_MAX });
    }
    let kept: String = name.chars().filter(|c| !c.is_control()).collect();
    let kept = kept.trim();
    Ok((!kept.is_empty()).then(|| kept.to_owned()))
}

/// The type of an upload as its client says it; `None` if it cannot be a MIME type. It is a hint: the content decides.
pub fn upload_type(mime: &str) -> Result<Option<String>, Refusal> {
    if mime.chars().count() > UPLOAD_TYPE_CHARS_MAX {
        return Err(Refusal::TooLarge { what: "the type in characters", max: UPLOAD_TYPE_CHARS_MAX });
    }
    let plain = mime.contains('/') && mime.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    Ok(plain.then(|| mime.to_owned()))
}

/// Whether a conversation may have this title.
pub fn check_title(title: &str) -> Result<(), Refusal> {
    let chars = title.chars().count();
    if chars == 0 || title.chars().any(char::is_control) {
        return Err(Refusal::Malformed("a title has characters to read, and no control characters"));
    }
    if chars > TITLE_CHARS_MAX {
        return Err(Refusal::TooLarge { what: "the title in characters", max: TITLE_CHARS_MAX });
    }
    Ok(())
}

/// Names a pair of people, whoever comes first: what makes their untitled conversation and their live call unique.
pub fn pair_key(a: &UserId, b: &UserId) -> String {
    let (low, high) = if a <= b { (a, b) } else { (b, a) };
    // A slash cannot stand in an id, so two pairs never share a key.
    format!("{}/{}", low.as_str(), high.as_str())
}

/// Whether a member may add someone. In the conversation of a pair either may: it then is a group.
pub fn check_add(actor: Role, is_pair: bool, members: usize, members_max: usize) -> Result<(), Refusal> {
    if !is_pair && actor == Role::Member {
        return Err(Refusal::Forbidden("only the owner and admins add members"));
    }
    if members >= members_max {
        return Err(Refusal::TooLarge { what: "the number of members", max: members_max });
    }
    Ok(())
}

/// Whether a member may remove another, or, with `of_self`, leave.
pub fn check_remove(actor: Role, target: Role, of_self: bool, is_pair: bool) -> Result<(), Refusal> {
    if is_pair {
        return Err(Refusal::Conflict("a conversation of a pair keeps both"));
    }
    if of_self || actor > target {
        return Ok(());
    }
    Err(Refusal::Forbidden("only a higher role removes a member"))
}

/// Whether a member may say how long messages are kept: in the conversation of a pair either may. `None` is the server's
/// own time.
pub fn check_retention(actor: Role, is_pair: bool, seconds: Option<u64>) -> Result<(), Refusal> {
    if !is_pair && actor == Role::Member {
        return Err(Refusal::Forbidden("only the owner and admins say how long messages are kept"));
    }
    if seconds.is_some_and(|seconds| !(RETENTION_S_MIN..=RETENTION_S_MAX).contains(&seconds)) {
        return Err(Refusal::Malformed("messages are kept for 60 to 315360000 seconds, or null"));
    }
    Ok(())
}

/// Who becomes the owner when the owner leaves: the highest role, and among equals whoever joined first.
/// `members` in the order of joining, without the one who leaves.
pub fn heir<'a>(members: impl IntoIterator<Item = (&'a UserId, Role)>) -> Option<&'a UserId> {
    let mut best: Option<(&UserId, Role)> = None;
    for (user, role) in members {
        if best.is_none_or(|(_, r)| role > r) {
            best = Some((user, role));
        }
    }
    best.map(|(user, _)| user)
}

/// The first sequence number that a member may be given: retention took what is below `min_seq`, and what was said
/// before it joined (up to `joined_seq`) is not its own.
pub const fn visible_from(min_seq: u64, joined_seq: u64) -> u64 {
    if min_seq > joined_seq { min_seq } else { joined_seq + 1 }
}

/// Where a resuming device goes on in one conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resume {
    /// Messages it should have had and can no longer be given, first and last.
    pub gap: Option<(u64, u64)>,
    /// It gets everything above this.
    pub after: u64,
}

/// Decides what a device that holds everything up to `cursor` is told, given the member's first visible and the
/// conversation's last sequence number.
pub fn resume(cursor: u64, visible_from: u64, last_seq: u64) -> Resume {
    // A cursor beyond the log (a store restored from a back-up) counts as current: there is nothing to give.
    if cursor >= last_seq {
        return Resume { gap: None, after: last_seq };
    }
    let floor = visible_from.saturating_sub(1).min(last_seq);
    if cursor < floor {
        Resume { gap: Some((cursor + 1, floor)), after: floor }
    } else {
        Resume { gap: None, after: cursor }
    }
}

#[cfg(test)]
mod tests;
