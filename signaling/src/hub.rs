//! Who is connected to this node, and to what they listen.

mod link;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use trunkline_signaling_api::{ByeCode, Party};
use trunkline_signaling_core::{
    bucket::{Rate, TokenBucket},
    limits::Limits,
};
use trunkline_units::{CallId, ConversationId, UserId};

pub(crate) use link::Link;

/// What a user's buckets are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doing {
    Sending,
    Inviting,
    Greeting,
    Requesting,
    Uploading,
}

struct Buckets {
    sends: TokenBucket,
    invites: TokenBucket,
    greetings: TokenBucket,
    requests: TokenBucket,
    uploads: TokenBucket,
}

/// A conversation that someone here listens to.
#[derive(Default)]
struct Watched {
    links: Vec<Arc<Link>>,
    /// The last state that was handed out: what the repair poll compares with.
    epoch: Option<u64>,
    call: Option<(CallId, u64)>,
}

#[derive(Default)]
struct Inner {
    users: HashMap<UserId, Vec<Arc<Link>>>,
    watched: HashMap<ConversationId, Watched>,
    buckets: HashMap<UserId, Buckets>,
}

/// All links of this node. Its lock is held for look-ups only, never while frames are made or queued.
pub(crate) struct Hub {
    inner: Mutex<Inner>,
    limits: Limits,
}

/// What the repair poll finds.
pub(crate) struct Known {
    pub(crate) links: Vec<Arc<Link>>,
    pub(crate) epoch: Option<u64>,
    pub(crate) call: Option<(CallId, u64)>,
}

impl Hub {
    pub(crate) fn new(limits: Limits) -> Hub {
        Hub { inner: Mutex::default(), limits }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a link; the same device's older link is ended. `false`: the user has too many.
    pub(crate) fn enter(&self, link: &Arc<Link>) -> bool {
        let replaced = {
            let mut inner = self.lock();
            let links = inner.users.entry(link.party.user.clone()).or_default();
            let same = links.iter().position(|other| other.party.device == link.party.device);
            if same.is_none() && links.len() >= self.limits.sessions_per_user {
                return false;
            }
            let replaced = same.map(|place| links.swap_remove(place));
            links.push(link.clone());
            replaced
        };
        if let Some(old) = replaced {
            self.forget(&old);
            old.close(Some(ByeCode::Replaced));
        }
        true
    }

    /// Takes a link out.
    pub(crate) fn leave(&self, link: &Arc<Link>) {
        {
            let mut inner = self.lock();
            if let Some(links) = inner.users.get_mut(&link.party.user) {
                links.retain(|other| !Arc::ptr_eq(other, link));
                if links.is_empty() {
                    inner.users.remove(&link.party.user);
                }
            }
        }
        self.forget(link);
    }

    fn forget(&self, link: &Arc<Link>) {
        let mut inner = self.lock();
        for conv in link.conversations() {
            unwatch_in(&mut inner, &conv, link);
        }
    }

    /// Lets a link hear of a conversation. `false`: it did already, or it has left.
    pub(crate) fn watch(&self, conv: &ConversationId, link: &Arc<Link>) -> bool {
        let mut inner = self.lock();
        let links = inner.users.get(&link.party.user).map_or(&[][..], Vec::as_slice);
        if !links.iter().any(|other| Arc::ptr_eq(other, link)) {
            // Nobody would take it out again.
            return false;
        }
        let watched = inner.watched.entry(conv.clone()).or_default();
        if watched.links.iter().any(|other| Arc::ptr_eq(other, link)) {
            return false;
        }
        watched.links.push(link.clone());
        true
    }

    pub(crate) fn unwatch(&self, conv: &ConversationId, link: &Arc<Link>) {
        unwatch_in(&mut self.lock(), conv, link);
    }

    /// Everyone here who listens to a conversation.
    pub(crate) fn listeners(&self, conv: &ConversationId) -> Vec<Arc<Link>> {
        self.lock().watched.get(conv).map_or_else(Vec::new, |watched| watched.links.clone())
    }

    pub(crate) fn known(&self, conv: &ConversationId) -> Option<Known> {
        let inner = self.lock();
        let watched = inner.watched.get(conv)?;
        Some(Known { links: watched.links.clone(), epoch: watched.epoch, call: watched.call.clone() })
    }

    /// Remembers what was handed out.
    pub(crate) fn note(&self, conv: &ConversationId, epoch: Option<u64>, call: Option<(CallId, u64)>) {
        if let Some(watched) = self.lock().watched.get_mut(conv) {
            watched.epoch = epoch.or(watched.epoch);
            watched.call = call.or(watched.call.take());
        }
    }

    /// A user's links that have been welcomed.
    pub(crate) fn links_of(&self, user: &UserId) -> Vec<Arc<Link>> {
        let inner = self.lock();
        let links = inner.users.get(user).map_or(&[][..], Vec::as_slice);
        links.iter().filter(|link| link.is_welcomed()).cloned().collect()
    }

    /// A device's link.
    pub(crate) fn link_of(&self, party: &Party) -> Option<Arc<Link>> {
        self.links_of(&party.user).into_iter().find(|link| link.party.device == party.device)
    }

    /// Every link.
    pub(crate) fn everyone(&self) -> Vec<Arc<Link>> {
        self.lock().users.values().flatten().cloned().collect()
    }

    /// Takes a token from one of a user's buckets, or says when there will be one.
    pub(crate) fn allow(&self, user: &UserId, doing: Doing) -> Result<(), Duration> {
        let now = Instant::now();
        let Limits { user_sends, invites, greetings, requests, uploads, buckets: most, .. } = self.limits;
        let mut inner = self.lock();
        if !inner.buckets.contains_key(user) && inner.buckets.len() >= most {
            inner.buckets.retain(|_, held| {
                !(held.sends.is_full(user_sends, now)
                    && held.invites.is_full(invites, now)
                    && held.greetings.is_full(greetings, now)
                    && held.requests.is_full(requests, now)
                    && held.uploads.is_full(uploads, now))
            });
            if inner.buckets.len() >= most {
                return Err(Duration::from_secs(1));
            }
        }
        let new = |rate: Rate| TokenBucket::new(rate, now);
        let held = inner.buckets.entry(user.clone()).or_insert_with(|| Buckets {
            sends: new(user_sends),
            invites: new(invites),
            greetings: new(greetings),
            requests: new(requests),
            uploads: new(uploads),
        });
        match doing {
            Doing::Sending => held.sends.take(user_sends, now),
            Doing::Greeting => held.greetings.take(greetings, now),
            Doing::Inviting => held.invites.take(invites, now),
            Doing::Requesting => held.requests.take(requests, now),
            Doing::Uploading => held.uploads.take(uploads, now),
        }
    }
}

fn unwatch_in(inner: &mut Inner, conv: &ConversationId, link: &Arc<Link>) {
    if let Some(watched) = inner.watched.get_mut(conv) {
        watched.links.retain(|other| !Arc::ptr_eq(other, link));
        if watched.links.is_empty() {
            inner.watched.remove(conv);
        }
    }
}
