//! From hints to links: what changed is read once and handed to everyone here who listens.

use std::{collections::HashMap, sync::Arc, time::Duration};

use trunkline_signaling_api::{Receipt, ServerFrame, TypingBy};
use trunkline_signaling_core::{
    call::Call,
    outgoing::{Class, StateKey},
};
use trunkline_units::{CallId, ConversationId};

use crate::{
    bus::{Heard, Hint, Listener},
    frame::Frame,
    hub::Link,
    meters,
    service::Shared,
    store::{Changed, Roster, StoreError},
};

/// Conversations that one repair query takes.
const REPAIR_CONVERSATIONS_MAX: u32 = 500;

/// Hands out what the bus tells of, and what it failed to tell, until the bus closes.
pub(crate) async fn run(shared: Arc<Shared>, mut listener: Box<dyn Listener>, mut rev: u64) {
    let mut poll = tokio::time::interval(shared.config.repair_interval.max(Duration::from_millis(10)));
    poll.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let repair = tokio::select! {
            heard = listener.next() => match heard {
                Some(Heard::Hint(hint)) => {
                    if let Err(fault) = hear(&shared, hint).await {
                        // The repair poll will find it.
                        tracing::warn!(%fault, "a hint could not be followed");
                    }
                    false
                }
                Some(Heard::Lost) => {
                    meters::hints_lost();
                    true
                }
                None => return,
            },
            _ = poll.tick() => true,
        };
        if repair {
            match catch_up(&shared, rev).await {
                Ok(reached) => rev = reached,
                Err(fault) => tracing::warn!(%fault, "the repair poll failed"),
            }
        }
    }
}

async fn hear(shared: &Shared, hint: Hint) -> Result<(), StoreError> {
    match hint {
        Hint::Message { conv, seq } => {
            let links = shared.hub.listeners(&conv);
            match shared.recent.find(&conv, seq) {
                Some(frame) => links.iter().for_each(|link| link.message(&conv, seq, &frame)),
                None => links.iter().for_each(|link| link.hint(&conv, seq)),
            }
        }
        Hint::Receipt { conv, user, delivered, read } => {
            let key = StateKey::Receipt(conv.clone(), user.clone());
            let frame =
                Frame::new(&ServerFrame::Receipt(Receipt { conv: conv.clone(), user, delivered, read }));
            for link in shared.hub.listeners(&conv) {
                link.push_encoded(Class::State(key.clone()), frame.clone());
            }
        }
        Hint::Typing { conv, user } => {
            let frame = Frame::new(&ServerFrame::Typing(TypingBy { conv: conv.clone(), user: user.clone() }));
            for link in shared.hub.listeners(&conv).iter().filter(|link| link.party.user != user) {
                link.push_encoded(Class::Ephemeral, frame.clone());
            }
        }
        Hint::Call { conv, call } => show_call(shared, &conv, &call).await?,
        Hint::Members { conv } => show_members(shared, &conv).await?,
    }
    Ok(())
}

/// Queues a call for one link, as its device sees it.
pub(crate) fn push_call(link: &Link, call: &Call) {
    let frame = ServerFrame::Call(Box::new(call.view(&link.party)));
    link.push(Class::State(StateKey::Call(call.id.clone())), &frame);
}

async fn show_call(shared: &Shared, conv: &ConversationId, call: &CallId) -> Result<(), StoreError> {
    let links = shared.hub.listeners(conv);
    if links.is_empty() {
        return Ok(());
    }
    if let Some(call) = shared.store.call(call, None).await? {
        shared.hub.note(conv, None, Some((call.id.clone(), call.ver)));
        links.iter().for_each(|link| push_call(link, &call));
    }
    Ok(())
}

async fn show_members(shared: &Shared, conv: &ConversationId) -> Result<(), StoreError> {
    let Some(roster) = shared.store.roster(conv).await? else { return Ok(()) };
    for (user, _) in &roster.heads {
        for link in shared.hub.links_of(user) {
            show_roster(shared, conv, &roster, &link);
        }
    }
    for link in shared.hub.listeners(conv) {
        if roster.heads.iter().any(|(user, _)| *user == link.party.user) {
            continue;
        }
        dismiss(shared, conv, &roster, &link);
    }
    shared.hub.note(conv, Some(roster.epoch), None);
    Ok(())
}

/// Tells one link that its user is no longer a member, and no more of the conversation.
fn dismiss(shared: &Shared, conv: &ConversationId, roster: &Roster, link: &Arc<Link>) {
    // It was a member until now: the head without it says so.
    if let Some((_, head)) = roster.heads.first() {
        let frame = ServerFrame::Conversation(head.clone());
        link.push(Class::State(StateKey::Head(conv.clone())), &frame);
    }
    shared.hub.unwatch(conv, link);
    link.unsubscribe(conv);
}

/// Tells one link of a conversation's membership; from now on it hears of a conversation it did not know.
fn show_roster(shared: &Shared, conv: &ConversationId, roster: &Roster, link: &Arc<Link>) {
    let Some((_, head)) = roster.heads.iter().find(|(user, _)| *user == link.party.user) else { return };
    let frame = ServerFrame::Conversation(head.clone());
    link.push(Class::State(StateKey::Head(conv.clone())), &frame);
    // If it is new to it: everything since its joining. Before it listens, or it would not keep what it hears.
    link.subscribe(conv, head.min_seq.saturating_sub(1), head.last_seq);
    if shared.hub.watch(conv, link)
        && let Some(call) = &roster.call
    {
        push_call(link, call);
    }
}

/// Finds what changed after `rev` and was not told. Returns how far it came.
async fn catch_up(shared: &Shared, mut rev: u64) -> Result<u64, StoreError> {
    loop {
        let changes = shared.store.changes(Some(rev), REPAIR_CONVERSATIONS_MAX).await?;
        for changed in &changes.conversations {
            repair(shared, changed).await?;
        }
        rev = changes.rev;
        if !changes.more {
            return Ok(rev);
        }
    }
}

async fn repair(shared: &Shared, changed: &Changed) -> Result<(), StoreError> {
    let conv = &changed.conv;
    let Some(known) = shared.hub.known(conv) else {
        // Nobody here listens; but someone here may have become a member.
        return if changed.membership { show_members(shared, conv).await } else { Ok(()) };
    };
    known.links.iter().for_each(|link| link.hint(conv, changed.last_seq));
    if changed.membership && known.epoch != Some(changed.epoch) {
        meters::repaired();
        show_members(shared, conv).await?;
    }
    if changed.call.is_some()
        && known.call != changed.call
        && let Some((call, ver)) = &changed.call
    {
        // An old call that nobody here ever heard of is not news, unless it lives.
        let call_now = shared.store.call(call, None).await?;
        if known.call.is_some() || call_now.is_some_and(|call| call.is_live()) {
            meters::repaired();
            show_call(shared, conv, call).await?;
        } else {
            shared.hub.note(conv, None, Some((call.clone(), *ver)));
        }
    }
    Ok(())
}

/// What changed between the reading of a new session's state (at revision `rev`) and its listening.
///
/// What is read here may be older than what the bus brought meanwhile, and takes its place in the queue: so it is read
/// until there is nothing newer.
pub(crate) async fn catch_up_link(shared: &Shared, link: &Arc<Link>, mut rev: u64) -> Result<(), StoreError> {
    let mut told = HashMap::new();
    loop {
        let changes = shared.store.changes(Some(rev), REPAIR_CONVERSATIONS_MAX).await?;
        let mut again = changes.more;
        for changed in &changes.conversations {
            again |= catch_up_with(shared, link, changed, &mut told).await?;
        }
        if !again {
            return Ok(());
        }
        rev = changes.rev;
    }
}

/// `told`: the calls that the link was given, with their versions. Says whether it was given anything.
async fn catch_up_with(
    shared: &Shared,
    link: &Arc<Link>,
    changed: &Changed,
    told: &mut HashMap<CallId, u64>,
) -> Result<bool, StoreError> {
    let (conv, user) = (&changed.conv, &link.party.user);
    let mut pushed = false;
    if changed.membership
        && let Some(roster) = shared.store.roster(conv).await?
    {
        if roster.heads.iter().any(|(member, _)| member == user) {
            show_roster(shared, conv, &roster, link);
            pushed = true;
        } else if link.is_subscribed(conv) {
            dismiss(shared, conv, &roster, link);
        }
    }
    if !link.is_subscribed(conv) {
        return Ok(pushed);
    }
    link.hint(conv, changed.last_seq);
    if let Some((call, ver)) = &changed.call
        && told.get(call) != Some(ver)
        && let Some(call) = shared.store.call(call, Some(user)).await?
    {
        push_call(link, &call);
        told.insert(call.id, call.ver);
        pushed = true;
    }
    Ok(pushed)
}
