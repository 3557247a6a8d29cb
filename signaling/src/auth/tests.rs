use super::*;

fn key(byte: u8) -> JwtKey {
    JwtKey::new(&[byte; 32]).unwrap()
}

#[test]
fn tokens_hold_for_their_key_and_time() {
    let user = UserId::new("alice").unwrap();
    let token = mint_token(&key(1), &user, None, Duration::from_secs(60));
    assert_eq!(Claims::check(&token, &key(1)).unwrap().sub, user);
    assert_eq!(Claims::check(&token, &key(2)), Err(AuthError::Bad));
    assert_eq!(Claims::check("", &key(1)), Err(AuthError::Bad));
    let mut old = Claims::of_user(&user, None, Duration::ZERO);
    old.exp -= 60;
    assert_eq!(Claims::check(&old.sign(&key(1)), &key(1)), Err(AuthError::Expired));
    assert!(JwtKey::new(&[0; 31]).is_err());
    assert_eq!(format!("{:?}", key(1)), "JwtKey(redacted)");
}

#[test]
fn an_unsigned_or_otherwise_signed_token_is_refused() {
    let user = UserId::new("alice").unwrap();
    let claims = Claims::of_user(&user, None, Duration::from_secs(60));
    let other = jsonwebtoken::encode(&Header::new(Algorithm::HS512), &claims, &key(1).0.signing).unwrap();
    assert_eq!(Claims::check(&other, &key(1)), Err(AuthError::Bad));
    // {"alg":"none"}, and the claims of a good token.
    let good = claims.sign(&key(1));
    let unsigned = format!("eyJhbGciOiJub25lIn0.{}.", good.split('.').nth(1).unwrap());
    assert_eq!(Claims::check(&unsigned, &key(1)), Err(AuthError::Bad));
}

#[test]
fn a_room_token_is_no_users() {
    let user = UserId::new("camera").unwrap();
    let mut claims = Claims::of_user(&user, None, Duration::from_secs(60));
    claims.room = Some("stage".into());
    claims.publish = true;
    let token = claims.sign(&key(1));
    assert_eq!(Claims::check(&token, &key(1)), Ok(claims));
    assert_eq!(Claims::check_user(&token, &key(1)), Err(AuthError::Bad));
}

#[test]
fn a_tenant_is_an_id() {
    let user = UserId::new("alice").unwrap();
    let mut claims = Claims::of_user(&user, None, Duration::from_secs(60));
    claims.tenant = Some(Tenant::new("acme").unwrap());
    assert_eq!(Claims::check_user(&claims.sign(&key(1)), &key(1)), Ok(claims.clone()));
    assert_eq!(format!("{:?}", claims.tenant), "Some(Tenant(redacted))");
    // Signed by whoever has the key, and wrong all the same.
    let mut said = serde_json::to_value(&claims).unwrap();
    said["tenant"] = "a/b".into();
    let token = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &said, &key(1).0.signing).unwrap();
    assert_eq!(Claims::check_user(&token, &key(1)), Err(AuthError::Bad));
}

#[test]
fn a_server_key_is_whole_or_none() {
    let key = ServerKey::new(b"0123456789abcdef0123456789abcdef").unwrap();
    assert!(key.is("0123456789abcdef0123456789abcdef"));
    for other in ["", "0123456789abcdef0123456789abcdeF", "0123456789abcdef0123456789abcdef0"] {
        assert!(!key.is(other), "{other}");
    }
    assert!(ServerKey::new(&[b'x'; 31]).is_err());
    assert_eq!(format!("{key:?}"), "ServerKey(redacted)");
}
