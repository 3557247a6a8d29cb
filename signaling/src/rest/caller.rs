//! Who asks, and how often.

use std::{sync::PoisonError, time::Instant};

use axum::http::{HeaderMap, header};
use trunkline_signaling_api::ErrorCode;
use trunkline_units::{DeviceId, UserId};

use super::id;
use crate::{
    auth::{AuthError, Claims, Tenant},
    fault::Fault,
    hub::Doing,
    service::Shared,
};

/// Whom the server key acts for.
const USER: &str = "trunkline-user";

/// In whose storage it does so.
const TENANT: &str = "trunkline-tenant";

/// Who asks.
pub(super) struct Caller {
    pub(super) user: UserId,
    /// The only device that the token is for.
    pub(super) device: Option<DeviceId>,
    pub(super) tenant: Option<Tenant>,
    /// A chat server, on the user's behalf: its requests have a rate of their own, and no other.
    pub(super) is_server: bool,
}

impl Caller {
    /// Reads `Authorization: Bearer` (RFC 6750 §2.1), a user's token or the server key; takes a token of its request rate.
    pub(super) fn of(shared: &Shared, headers: &HeaderMap) -> Result<Caller, Fault> {
        let value = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let (scheme, token) = value.and_then(|value| value.split_once(' ')).ok_or(AuthError::Bad)?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(AuthError::Bad.into());
        }
        let token = token.trim();
        let is_server = shared.config.server_key.as_ref().is_some_and(|key| key.is(token));
        let caller = if is_server {
            shared
                .server_requests
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(shared.config.limits.server_requests, Instant::now())
                .map_err(Fault::rate_limited)?;
            let user = only(headers, USER)?.ok_or_else(|| {
                Fault::new(ErrorCode::BadFrame, "Trunkline-User says whom the server key acts for")
            })?;
            let tenant = only(headers, TENANT)?.map(|tenant| id(Tenant::new(tenant))).transpose()?;
            Caller { user: id(UserId::new(user))?, device: None, tenant, is_server }
        } else {
            let Claims { sub: user, device, tenant, .. } = Claims::check_user(token, &shared.config.jwt_key)?;
            shared.hub.allow(&user, Doing::Requesting).map_err(Fault::rate_limited)?;
            Caller { user, device, tenant, is_server }
        };
        if shared.is_stopping() {
            return Err(Fault::unavailable("the server is stopping"));
        }
        Ok(caller)
    }

    /// Takes a token from another of the user's buckets too. A chat server has none of them.
    pub(super) fn allow(&self, shared: &Shared, doing: Doing) -> Result<(), Fault> {
        if self.is_server {
            return Ok(());
        }
        shared.hub.allow(&self.user, doing).map_err(Fault::rate_limited)
    }

    /// The device that a message is from, given the one that its request names.
    pub(super) fn device(&self, said: Option<DeviceId>) -> Result<DeviceId, Fault> {
        match (&self.device, said) {
            (Some(bound), Some(said)) if *bound != said => {
                Err(Fault::new(ErrorCode::BadToken, "the token is for another device"))
            }
            (Some(bound), _) => Ok(bound.clone()),
            (None, Some(said)) => Ok(said),
            (None, None) => {
                let name = if self.is_server { "server" } else { "rest" };
                Ok(DeviceId::new(name).expect("both names keep the rules for ids"))
            }
        }
    }
}

/// A header that may be there once: of two, nobody knows which a proxy has checked.
fn only<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, Fault> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(Fault::new(ErrorCode::BadFrame, "a header is there twice"));
    }
    // What is not text is no id.
    Ok(first.map(|value| value.to_str().unwrap_or_default()))
}
