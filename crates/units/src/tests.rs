use std::{collections::BTreeMap, time::Duration};

use super::*;

#[test]
fn ids_take_only_their_characters() {
    for good in ["a", "A-z_0.9", &"x".repeat(64)] {
        assert_eq!(UserId::new(good).unwrap().as_str(), good);
    }
    for (bad, why) in [
        ("", IdError::Length),
        (&*"x".repeat(65), IdError::Length),
        ("a b", IdError::Character),
        ("ä", IdError::Character),
        ("a/b", IdError::Character),
        ("a\n", IdError::Character),
    ] {
        assert_eq!(UserId::new(bad), Err(why), "{bad:?}");
    }
}

#[test]
fn ids_never_show_in_debug() {
    let call = CallId::new("secret-call").unwrap();
    assert_eq!(format!("{call:?}"), "CallId(redacted)");
}

/// Mirrors how the wire uses them: as values and as keys, with and without escapes.
#[test]
fn ids_cross_json_as_values_and_keys() {
    let id = ConversationId::new("c-1").unwrap();
    let map: BTreeMap<ConversationId, u64> = BTreeMap::from([(id.clone(), 7)]);
    let text = "{\"c-1\":7}";
    assert_eq!(serde_json::to_string(&map).unwrap(), text);
    let back: BTreeMap<ConversationId, u64> = serde_json::from_str("{\"c\\u002d1\":7}").unwrap();
    assert_eq!(back, map);
    assert!(serde_json::from_str::<ConversationId>("\"c 1\"").is_err());
    assert!(serde_json::from_str::<ConversationId>("7").is_err());
    assert_eq!(serde_json::from_value::<ConversationId>(serde_json::json!("c-1")).unwrap(), id);
}

#[test]
fn rates_and_sizes_convert() {
    assert_eq!(DataRate::from_kbps(8).over(Duration::from_secs(2)), DataSize::from_bytes(2_000));
    assert_eq!(DataRate::from_kbps(8).time_for(DataSize::from_bytes(1_000)), Some(Duration::from_secs(1)));
    assert_eq!(DataRate::ZERO.time_for(DataSize::from_bytes(1)), None);
    assert_eq!(DataSize::from_bytes(1).saturating_sub(DataSize::from_bytes(2)), DataSize::ZERO);
}

#[test]
fn instants_saturate() {
    let t = UnixMillis(1_000);
    assert_eq!(t.after(Duration::from_secs(1)), UnixMillis(2_000));
    assert_eq!(t.before(Duration::from_secs(9)), UnixMillis(0));
    assert_eq!(t.since(UnixMillis(2_000)), Duration::ZERO);
    assert_eq!(UnixMillis(u64::MAX).after(Duration::MAX), UnixMillis(u64::MAX));
}
