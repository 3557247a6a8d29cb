use super::*;

fn user(text: &str) -> UserId {
    UserId::new(text).unwrap()
}

#[test]
fn what_may_be_sent() {
    let ids = |numbers: std::ops::Range<u32>| -> Vec<AttachmentId> {
        numbers.map(|n| AttachmentId::new(&n.to_string()).unwrap()).collect()
    };
    assert!(check_send("text", 2, &[]).is_ok());
    assert!(matches!(check_send("call", 2, &[]), Err(Refusal::Forbidden(_))));
    assert!(matches!(check_send("", 2, &[]), Err(Refusal::Malformed(_))));
    assert!(matches!(check_send("te xt", 2, &[]), Err(Refusal::Malformed(_))));
    assert!(check_send("text", BODY_BYTES_MAX, &ids(0..10)).is_ok());
    assert!(matches!(check_send("text", BODY_BYTES_MAX + 1, &[]), Err(Refusal::TooLarge { .. })));
    assert!(matches!(check_send("text", 2, &ids(0..11)), Err(Refusal::BadAttachment(_))));
    let twice = [ids(0..9), ids(3..4)].concat();
    assert!(matches!(check_send("text", 2, &twice), Err(Refusal::BadAttachment(_))));
    assert!(check_title("Wochenende – ☀").is_ok());
    assert!(
        check_title("").is_err() && check_title("a\u{7}").is_err() && check_title(&"x".repeat(129)).is_err()
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
fn who_says_how_long_messages_are_kept() {
    for (actor, pair, seconds, good) in [
        (Role::Member, false, None, false),
        (Role::Member, false, Some(60), false),
        (Role::Member, true, Some(60), true),
        (Role::Owner, true, None, true),
        (Role::Admin, false, Some(RETENTION_S_MAX), true),
        (Role::Owner, false, Some(59), false),
        (Role::Owner, false, Some(0), false),
        (Role::Owner, false, Some(RETENTION_S_MAX + 1), false),
        (Role::Owner, false, Some(u64::MAX), false),
    ] {
        assert_eq!(check_retention(actor, pair, seconds).is_ok(), good, "{actor:?} {pair} {seconds:?}");
    }
    // As the refusal's text says.
    assert_eq!((RETENTION_S_MIN, RETENTION_S_MAX), (60, 315_360_000));
    assert_eq!(check_retention(Role::Member, false, Some(0)).unwrap_err().code().as_str(), "forbidden");
}

#[test]
fn what_an_upload_is_called() {
    let name = |text: &str| upload_name(text).unwrap();
    assert_eq!(name("фото.jpg").as_deref(), Some("фото.jpg"));
    assert_eq!(name(" Icon\r\u{0}\u{85} ").as_deref(), Some("Icon"));
    assert_eq!(name("\n\t"), None);
    assert_eq!(name(&"ж".repeat(255)).unwrap().chars().count(), 255);
    assert!(matches!(upload_name(&"x".repeat(256)), Err(Refusal::TooLarge { max: 255, .. })));
    let mime = |text: &str| upload_type(text).unwrap();
    assert_eq!(mime("audio/webm; codecs=opus").as_deref(), Some("audio/webm; codecs=opus"));
    for none in ["", "image", "image/\r\nx", "image/ж"] {
        assert_eq!(mime(none), None, "{none:?}");
    }
    assert!(matches!(upload_type(&"x".repeat(128)), Err(Refusal::TooLarge { max: 127, .. })));
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
