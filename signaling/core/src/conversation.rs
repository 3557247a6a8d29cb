//! Rules of conversations: what may be sent, who may change the membership, and what a member may read.

use trunkline_signaling_api::{ATTACHMENTS_BYTES_MAX, BODY_BYTES_MAX, Role};
use trunkline_units::UserId;

use crate::Refusal;

/// The kind of message that only the server writes.
pub const KIND_CALL: &str = "call";

/// Longest `kind`, characters.
pub const KIND_CHARS_MAX: usize = 32;

/// Longest title, characters.
pub const TITLE_CHARS_MAX: usize = 128;

/// Whether a message may be appended at all. Sizes are those of the JSON text.
pub fn check_send(kind: &str, body_bytes: usize, attachments_bytes: usize) -> Result<(), Refusal> {
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
    if attachments_bytes > ATTACHMENTS_BYTES_MAX {
        return Err(Refusal::TooLarge { what: "the attachments in bytes", max: ATTACHMENTS_BYTES_MAX });
    }
    Ok(())
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
mod tests {
    use super::*;

    fn user(text: &str) -> UserId {
        UserId::new(text).unwrap()
    }

    #[test]
    fn what_may_be_sent() {
        assert!(check_send("text", 2, 2).is_ok());
        assert!(matches!(check_send("call", 2, 2), Err(Refusal::Forbidden(_))));
        assert!(matches!(check_send("", 2, 2), Err(Refusal::Malformed(_))));
        assert!(matches!(check_send("te xt", 2, 2), Err(Refusal::Malformed(_))));
        assert!(check_send("text", BODY_BYTES_MAX, ATTACHMENTS_BYTES_MAX).is_ok());
        assert!(matches!(check_send("text", BODY_BYTES_MAX + 1, 2), Err(Refusal::TooLarge { .. })));
        assert!(matches!(check_send("text", 2, ATTACHMENTS_BYTES_MAX + 1), Err(Refusal::TooLarge { .. })));
        assert!(check_title("Wochenende – ☀").is_ok());
        assert!(
            check_title("").is_err()
                && check_title("a\u{7}").is_err()
                && check_title(&"x".repeat(129)).is_err()
        );
    }

    #[test]
    fn pairs_have_one_key() {
        assert_eq!(pair_key(&user("b"), &user("a")), pair_key(&user("a"), &user("b")));
        assert_ne!(pair_key(&user("a.b"), &user("c")), pair_key(&user("a"), &user("b.c")));
    }

    #[test]
    fn roles() {
        assert!(check_add(Role::Member, false, 3, 256).is_err());
        assert!(check_add(Role::Member, true, 2, 256).is_ok());
        assert!(check_add(Role::Admin, false, 256, 256).is_err());
        assert!(check_remove(Role::Member, Role::Member, true, false).is_ok());
        assert!(check_remove(Role::Member, Role::Member, false, false).is_err());
        assert!(check_remove(Role::Admin, Role::Owner, false, false).is_err());
        assert!(check_remove(Role::Owner, Role::Admin, false, false).is_ok());
        assert!(check_remove(Role::Owner, Role::Member, false, true).is_err());
        let (a, b, c) = (user("a"), user("b"), user("c"));
        assert_eq!(heir([(&a, Role::Member), (&b, Role::Admin), (&c, Role::Admin)]), Some(&b));
        assert_eq!(heir([]), None);
    }

    #[test]
    fn resuming() {
        let plain = |after| Resume { gap: None, after };
        assert_eq!(resume(17, 1, 19), plain(17));
        assert_eq!(resume(0, 1, 19), plain(0));
        assert_eq!(resume(19, 1, 19), plain(19));
        assert_eq!(resume(40, 1, 19), plain(19));
        assert_eq!(resume(0, 1, 0), plain(0));
        // Retention took 1 to 9.
        assert_eq!(resume(4, visible_from(10, 0), 19), Resume { gap: Some((5, 9)), after: 9 });
        assert_eq!(resume(9, visible_from(10, 0), 19), plain(9));
        // Joined at 15.
        assert_eq!(resume(0, visible_from(1, 15), 19), Resume { gap: Some((1, 15)), after: 15 });
        // Everything expired.
        assert_eq!(resume(3, visible_from(20, 0), 19), Resume { gap: Some((4, 19)), after: 19 });
    }
}
