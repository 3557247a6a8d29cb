//! One frame each: to the store, and back as an answer.

use std::sync::Arc;

use tokio::sync::mpsc;
use trunkline_signaling_api::{
    CallOk, ClientFrame, ErrorCode, FRAME_BYTES_MAX, History, MediaAnswer, MediaOffer, MediaView,
    Ok as OkFrame, Page, Send, ServerFrame,
};
use trunkline_signaling_core::call::{Input, Invitation};
use trunkline_units::{CallId, ConversationId, RequestId};

use super::reader::Reader;
use crate::{
    bus::Hint,
    fault::Fault,
    hub::Link,
    rest,
    sending::{Draft, Submitted},
    service::Shared,
    store::{Appended, CallChange, Marks, Reply, StoreError},
};

/// Slots that one view may name.
const VIEW_SLOTS_MAX: usize = 64;

/// The request's id, if the frame is one.
pub(super) fn id_of(frame: &ClientFrame) -> Option<RequestId> {
    match frame {
        ClientFrame::Send(send) => RequestId::new(send.id.as_str()).ok(),
        ClientFrame::History(history) => Some(history.id.clone()),
        ClientFrame::CallInvite(invite) => Some(invite.id.clone()),
        ClientFrame::CallAccept(accept) => Some(accept.id.clone()),
        ClientFrame::CallDecline(request)
        | ClientFrame::CallCancel(request)
        | ClientFrame::CallEnd(request) => Some(request.id.clone()),
        ClientFrame::MediaOffer(offer) => Some(offer.id.clone()),
        ClientFrame::Hello(_)
        | ClientFrame::Ack(_)
        | ClientFrame::Read(_)
        | ClientFrame::Typing(_)
        | ClientFrame::CallRinging(_)
        | ClientFrame::CallMedia(_)
        | ClientFrame::MediaView(_) => None,
    }
}

/// Something that was submitted to the store and has to be finished when it is durable.
enum Pending {
    Send { send: Box<Submitted>, reply: Reply<Appended> },
    Mark { conv: ConversationId, reply: Reply<Option<Marks>> },
}

/// Finishes a session's writes in the order of their submission, so that a burst of them shares commits while the
/// reader goes on. Started with the first of them: most sessions only listen.
pub(super) struct Completions {
    shared: Arc<Shared>,
    link: Arc<Link>,
    sender: Option<mpsc::Sender<Pending>>,
}

impl Completions {
    pub(super) fn new(shared: &Arc<Shared>, link: &Arc<Link>) -> Completions {
        Completions { shared: shared.clone(), link: link.clone(), sender: None }
    }

    /// Waits while too many are in flight.
    async fn add(&mut self, pending: Pending) {
        let sender = self.sender.get_or_insert_with(|| {
            let (sender, receiver) = mpsc::channel(self.shared.config.limits.requests_in_flight.max(1));
            // Goes on after the session's end: what was submitted is told to the others.
            tokio::spawn(finish_all(self.shared.clone(), self.link.clone(), receiver));
            sender
        });
        // Its receiver ends after this sender.
        let _ = sender.send(pending).await;
    }
}

async fn finish_all(shared: Arc<Shared>, link: Arc<Link>, mut receiver: mpsc::Receiver<Pending>) {
    while let Some(pending) = receiver.recv().await {
        match pending {
            Pending::Send { send, reply } => {
                let result = reply.await;
                finish_send(&shared, &link, *send, result);
            }
            Pending::Mark { conv, reply } => match reply.await {
                Ok(Some(Marks { delivered, read })) => {
                    let user = link.party.user.clone();
                    shared.bus.publish(Hint::Receipt { conv, user, delivered, read });
                }
                // Nothing moved, or it may not: there is no answer to give.
                Ok(None) | Err(StoreError::Refused(_)) => {}
                Err(fault) => tracing::warn!(%fault, "a receipt was not kept; a later one will be"),
            },
        }
    }
}

/// Answers a send whose commit is through, and tells everyone.
fn finish_send(shared: &Shared, link: &Link, send: Submitted, result: Result<Appended, StoreError>) {
    match result {
        Ok(appended) => {
            let message = send.committed(appended);
            link.answer(&ServerFrame::Ok(OkFrame::Send(message.ok())));
            message.tell(shared);
        }
        Err(fault) => link.answer(&Fault::from(fault).frame(RequestId::new(send.id().as_str()).ok())),
    }
}

impl Reader<'_> {
    /// Does what a frame asks for.
    pub(super) async fn handle(&mut self, frame: ClientFrame) {
        let party = self.link.party.clone();
        match frame {
            ClientFrame::Send(send) => self.send(send).await,
            ClientFrame::Ack(ack) => self.mark(ack.conv, Marks { delivered: ack.seq, read: 0 }).await,
            ClientFrame::Read(read) => self.mark(read.conv, Marks { delivered: 0, read: read.seq }).await,
            ClientFrame::History(history) => self.history(history).await,
            ClientFrame::Typing(typing) => {
                // Listening to it is being a member of it.
                if self.link.is_subscribed(&typing.conv) {
                    self.shared.bus.publish(Hint::Typing { conv: typing.conv, user: party.user });
                }
            }
            ClientFrame::CallInvite(invite) => {
                let (conv, call, media) = (invite.conv, invite.call, invite.media);
                let change = self.shared.calls.invite(Invitation { call, conv, from: party, media }).await;
                self.call_answer(invite.id, change);
            }
            ClientFrame::CallAccept(accept) => {
                self.call_request(accept.id, &accept.call, Input::Accept(party, accept.media)).await;
            }
            ClientFrame::CallDecline(request) => {
                self.call_request(request.id, &request.call, Input::Decline(party)).await;
            }
            ClientFrame::CallCancel(request) => {
                self.call_request(request.id, &request.call, Input::Cancel(party)).await;
            }
            ClientFrame::CallEnd(request) => {
                self.call_request(request.id, &request.call, Input::End(party)).await;
            }
            ClientFrame::CallRinging(ringing) => self.call_notice(&ringing.call, Input::Ringing(party)).await,
            ClientFrame::CallMedia(media) => {
                self.call_notice(&media.call, Input::SetMedia(party, media.media)).await;
            }
            ClientFrame::MediaOffer(offer) => self.offer(offer).await,
            ClientFrame::MediaView(MediaView { call, mut slots }) => {
                slots.truncate(VIEW_SLOTS_MAX);
                self.shared.calls.view(&call, &party, slots);
            }
            ClientFrame::Hello(_) => {}
        }
    }

    async fn send(&mut self, send: Send) {
        let Send { id, conv, kind, body, attachments } = send;
        let request = RequestId::new(id.as_str()).ok();
        let draft = Draft { conv, from: self.link.party.clone(), id, kind, body, attachments };
        match draft.submit(self.shared) {
            Ok((send, reply)) => self.completions.add(Pending::Send { send: Box::new(send), reply }).await,
            Err(fault) => self.fault(request, fault),
        }
    }

    async fn mark(&mut self, conv: ConversationId, marks: Marks) {
        if self.link.is_subscribed(&conv) {
            let reply = self.shared.store.mark(&conv, &self.link.party.user, marks);
            self.completions.add(Pending::Mark { conv, reply }).await;
        }
    }

    async fn history(&mut self, History { id, conv, before, after, limit }: History) {
        let range = match rest::range(before, after) {
            Ok(range) => range,
            Err(fault) => return self.fault(Some(id), fault),
        };
        let user = &self.link.party.user;
        let page = self.shared.store.page(&conv, user, range, rest::page_limit(limit), rest::PAGE_BYTES_MAX);
        match page.await {
            Ok(page) => {
                let page = Page { id, conv, messages: page.messages, more: page.more };
                self.link.answer(&ServerFrame::Page(page));
            }
            Err(fault) => self.fault(Some(id), fault.into()),
        }
    }

    /// Answers first, then tells everyone: the caller knows the call before it hears of it.
    fn call_answer(&self, id: RequestId, change: Result<CallChange, StoreError>) {
        match change {
            Ok(change) => {
                let ok = CallOk { id, call: change.call.id.clone(), ver: change.call.ver };
                self.link.answer(&ServerFrame::Ok(OkFrame::Call(ok)));
                self.shared.calls.tell(&change);
            }
            Err(fault) => self.fault(Some(id), visible(fault)),
        }
    }

    async fn call_request(&self, id: RequestId, call: &CallId, input: Input) {
        let change = self.shared.calls.apply(call, input).await;
        self.call_answer(id, change);
    }

    /// A frame without an answer: what is refused is not told.
    async fn call_notice(&self, call: &CallId, input: Input) {
        match self.shared.calls.apply(call, input).await {
            Ok(change) => self.shared.calls.tell(&change),
            Err(StoreError::Refused(_)) => {}
            Err(fault) => tracing::warn!(%fault, "a call's notice was not kept"),
        }
    }

    async fn offer(&self, MediaOffer { id, call, sdp }: MediaOffer) {
        match self.shared.calls.offer(&call, &self.link.party, &sdp).await {
            Ok(sdp) if sdp.len() > FRAME_BYTES_MAX - 1_024 => {
                self.fault(Some(id), Fault::new(ErrorCode::TooLarge, "the answer does not fit a frame"));
            }
            Ok(sdp) => self.link.answer(&ServerFrame::MediaAnswer(MediaAnswer { id, call, sdp })),
            Err(fault) => self.fault(Some(id), fault),
        }
    }
}

/// Strangers do not learn that a call exists.
fn visible(fault: StoreError) -> Fault {
    let fault = Fault::from(fault);
    if fault.code == ErrorCode::NotMember {
        Fault { code: ErrorCode::NotFound, text: "not found".into(), ..fault }
    } else {
        fault
    }
}
