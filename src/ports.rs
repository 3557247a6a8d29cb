//! Where the services meet: signaling's port traits, implemented by the SFU and by TURN's shared secret.
//!
//! A call is a room of the SFU by the same name, and a participant of it is called `user/device`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use tokio::sync::mpsc::{Sender, UnboundedReceiver};
use trunkline_sfu::{JoinError, Sfu, SfuEvent, SlotOccupant, View};
use trunkline_signaling::{
    IceServer, MediaError, MediaEvent, MediaPlane, RelayCredentials, Relays, SlotAssignment, SlotView,
};
use trunkline_turn::Secret;
use trunkline_units::{CallId, DeviceId, UserId};

/// How often signaling is told which calls have media: a few times in the shortest lease that makes sense.
const ALIVE_EVERY: Duration = Duration::from_secs(10);

/// Events on their way to signaling. The SFU's own queue behind it is bounded by its participants.
pub(crate) const EVENTS: usize = 1024;

/// The SFU as signaling sees it.
#[derive(Clone)]
pub(crate) struct Media {
    sfu: Sfu,
    /// Who is in the SFU on signaling's behalf, by call. Of WHIP and WHEP, which share its rooms, signaling hears
    /// nothing: it would turn out whoever is not a leg of the call.
    joined: Arc<Mutex<BTreeMap<String, BTreeSet<String>>>>,
}

impl Media {
    pub(crate) fn new(sfu: Sfu) -> Self {
        Self { sfu, joined: Arc::default() }
    }

    /// Tells signaling what happens in the SFU, until either of them is gone.
    pub(crate) async fn tell(self, mut from: UnboundedReceiver<SfuEvent>, to: Sender<MediaEvent>) {
        let mut ticks = tokio::time::interval(ALIVE_EVERY);
        loop {
            let events = tokio::select! {
                event = from.recv() => match event {
                    Some(event) => self.translate(event).into_iter().collect(),
                    None => return,
                },
                _ = ticks.tick() => self.alive(),
            };
            for event in events {
                if to.send(event).await.is_err() {
                    return;
                }
            }
        }
    }

    fn alive(&self) -> Vec<MediaEvent> {
        let joined = self.joined();
        let rooms = self.sfu.live_rooms().into_iter().filter(|room| joined.contains_key(room));
        rooms.filter_map(|room| Some(MediaEvent::Alive { call: CallId::new(&room).ok()? })).collect()
    }

    fn translate(&self, event: SfuEvent) -> Option<MediaEvent> {
        match event {
            SfuEvent::Connected { room, participant } => {
                let (call, user, device) = self.leg(&room, &participant)?;
                Some(MediaEvent::Connected { call, user, device })
            }
            SfuEvent::Slots { room, participant, slots } => {
                let (call, user, device) = self.leg(&room, &participant)?;
                Some(MediaEvent::Slots {
                    call,
                    user,
                    device,
                    slots: slots.into_iter().map(assignment).collect(),
                })
            }
            // By the time we read this it may have come back under the same name: then it is not gone.
            SfuEvent::Gone { room, participant, .. } if self.sfu.contains(&room, &participant) => None,
            SfuEvent::Gone { room, participant, why } => {
                let (call, user, device) = self.leg(&room, &participant)?;
                self.forget(&room, &participant);
                Some(MediaEvent::Gone { call, user, device, why: format!("{why:?}") })
            }
        }
    }

    /// The leg that signaling joined by these names, if it did.
    fn leg(&self, room: &str, participant: &str) -> Option<(CallId, UserId, DeviceId)> {
        if !self.joined().get(room)?.contains(participant) {
            return None;
        }
        let (user, device) = parse(participant)?;
        Some((CallId::new(room).ok()?, user, device))
    }

    fn forget(&self, room: &str, participant: &str) {
        let mut joined = self.joined();
        if let Some(participants) = joined.get_mut(room) {
            participants.remove(participant);
            if participants.is_empty() {
                joined.remove(room);
            }
        }
    }

    fn joined(&self) -> MutexGuard<'_, BTreeMap<String, BTreeSet<String>>> {
        self.joined.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl MediaPlane for Media {
    async fn offer(
        &self,
        call: &CallId,
        user: &UserId,
        device: &DeviceId,
        sdp: &str,
    ) -> Result<String, MediaError> {
        let participant = name(user, device);
        // First, so that no event of the new participant is lost.
        let new = self.joined().entry(call.as_str().to_owned()).or_default().insert(participant.clone());
        self.sfu.join(call.as_str(), &participant, sdp).map_err(|error| {
            if new {
                self.forget(call.as_str(), &participant);
            }
            match error {
                JoinError::LimitExceeded { .. } => MediaError::LimitExceeded,
                JoinError::Offer(error) => MediaError::BadSdp(error.to_string()),
                _ => MediaError::Unavailable,
            }
        })
    }

    fn view(&self, call: &CallId, user: &UserId, device: &DeviceId, slots: Vec<SlotView>) {
        let view = |slot: SlotView| match (slot.width, slot.height) {
            (0, 0) => (slot.slot, View::Hidden),
            (width, height) => (slot.slot, View::Pixels { width: width.into(), height: height.into() }),
        };
        self.sfu.view(call.as_str(), &name(user, device), slots.into_iter().map(view).collect());
    }

    fn leave(&self, call: &CallId, user: &UserId, device: &DeviceId) {
        let participant = name(user, device);
        self.sfu.leave(call.as_str(), &participant);
        self.forget(call.as_str(), &participant);
    }

    fn close(&self, call: &CallId) {
        self.sfu.close_room(call.as_str());
        self.joined().remove(call.as_str());
    }
}

fn name(user: &UserId, device: &DeviceId) -> String {
    format!("{}/{}", user.as_str(), device.as_str())
}

fn parse(participant: &str) -> Option<(UserId, DeviceId)> {
    let (user, device) = participant.split_once('/')?;
    Some((UserId::new(user).ok()?, DeviceId::new(device).ok()?))
}

fn assignment(occupant: SlotOccupant) -> SlotAssignment {
    let (user, device) = occupant.participant.as_deref().and_then(parse).unzip();
    SlotAssignment {
        slot: occupant.slot,
        mid_audio: occupant.mid_audio,
        mid_video: occupant.mid_video,
        user,
        device,
    }
}

/// Signaling in a process without the role `sfu`: messages, and calls that cannot have media.
pub(crate) struct NoMedia;

#[async_trait]
impl MediaPlane for NoMedia {
    async fn offer(&self, _: &CallId, _: &UserId, _: &DeviceId, _: &str) -> Result<String, MediaError> {
        Err(MediaError::Unavailable)
    }

    fn view(&self, _: &CallId, _: &UserId, _: &DeviceId, _: Vec<SlotView>) {}

    fn leave(&self, _: &CallId, _: &UserId, _: &DeviceId) {}

    fn close(&self, _: &CallId) {}
}

/// Mints credentials for the relays that clients are told.
pub(crate) struct SharedSecret {
    /// None: no relay, and nothing to mint.
    urls: Vec<String>,
    secret: RwLock<Secret>,
    ttl: Duration,
}

impl SharedSecret {
    pub(crate) fn new(urls: Vec<String>, secret: Secret, ttl: Duration) -> Self {
        Self { urls, secret: RwLock::new(secret), ttl }
    }

    /// What is minted from now on is minted with this one.
    pub(crate) fn replace(&self, secret: Secret) {
        *self.secret.write().unwrap_or_else(PoisonError::into_inner) = secret;
    }
}

impl RelayCredentials for SharedSecret {
    fn mint(&self, user: &UserId) -> Relays {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let server = || {
            let secret = self.secret.read().unwrap_or_else(PoisonError::into_inner);
            let credentials = trunkline_turn::mint(&secret, user.as_str(), now.saturating_add(self.ttl));
            IceServer {
                urls: self.urls.clone(),
                username: Some(credentials.username),
                credential: Some(credentials.password),
            }
        };
        let ice_servers = if self.urls.is_empty() { Vec::new() } else { vec![server()] };
        Relays { ice_servers, ttl_s: self.ttl.as_secs() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn participants_are_user_and_device() {
        let (user, device) = (UserId::new("alice").unwrap(), DeviceId::new("web-1").unwrap());
        assert_eq!(name(&user, &device), "alice/web-1");
        assert_eq!(parse("alice/web-1"), Some((user, device)));
        assert_eq!(parse("alice"), None);
        assert_eq!(parse("alice/web/1"), None, "an id has no slash");
    }

    #[test]
    fn an_empty_slot_names_nobody() {
        let occupant =
            SlotOccupant { slot: 3, mid_audio: Some("4".into()), mid_video: None, participant: None };
        let shown = assignment(occupant);
        assert_eq!((shown.slot, shown.user, shown.device), (3, None, None));
    }

    #[test]
    fn credentials_are_minted_only_for_relays_that_there_are() {
        let user = UserId::new("alice").unwrap();
        let mint = |urls: &[&str]| {
            let urls = urls.iter().map(|url| (*url).to_owned()).collect();
            SharedSecret::new(urls, Secret::new(*b"secret"), Duration::from_secs(60)).mint(&user)
        };
        assert!(mint(&[]).ice_servers.is_empty());
        let relays = mint(&["turn:127.0.0.1:3478?transport=udp"]);
        let username = relays.ice_servers[0].username.as_deref().unwrap();
        let (expiry, who) = username.split_once(':').unwrap();
        assert_eq!(who, "alice");
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        assert!((now + 58..=now + 61).contains(&expiry.parse::<u64>().unwrap()));
    }
}
