//! A server on a port of its own, clients, and a media plane that only remembers what it was told.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use axum::serve::ListenerExt;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::mpsc,
    task::JoinHandle,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message as WsMessage, client::IntoClientRequest, http::HeaderValue},
};
use trunkline_signaling::{
    JwtKey, MediaError, MediaEvent, MediaPlane, Place, Rate, RelayCredentials, Relays, Signaling,
    SignalingConfig, SlotView, UploadWish,
    bus::{Bus, InProcessBus},
    mint_token,
    store::{SqliteStore, Store},
};
use trunkline_signaling_api::{
    CallMedia, CallOk, CallRequest, CallRinging, CallView, CallWithMedia, ClientFrame, ErrorFrame, Head,
    Hello, History, Invite, Media, MediaOffer, Message, Ok as OkFrame, Page, SUBPROTOCOL, Send, SendOk,
    ServerFrame, Welcome,
};
use trunkline_units::{AttachmentId, CallId, ConversationId, DeviceId, MessageId, RequestId, UserId};

use crate::grants::FakeGrants;

/// Long enough that only a fault reaches it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) const AV: Media = Media { audio: true, video: true };

pub(crate) fn user(name: &str) -> UserId {
    UserId::new(name).unwrap()
}

pub(crate) fn device(name: &str) -> DeviceId {
    DeviceId::new(name).unwrap()
}

pub(crate) fn call_id(name: &str) -> CallId {
    CallId::new(name).unwrap()
}

pub(crate) fn attachment_id(name: &str) -> AttachmentId {
    AttachmentId::new(name).unwrap()
}

pub(crate) fn key() -> JwtKey {
    JwtKey::new(&[7; 32]).unwrap()
}

/// What the media plane was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    Offer(CallId, UserId, DeviceId),
    View(CallId, UserId, Vec<SlotView>),
    Leave(CallId, UserId, DeviceId),
    Close(CallId),
}

struct FakeMedia(mpsc::UnboundedSender<Told>);

#[async_trait]
impl MediaPlane for FakeMedia {
    async fn offer(
        &self,
        call: &CallId,
        user: &UserId,
        device: &DeviceId,
        sdp: &str,
    ) -> Result<String, MediaError> {
        self.0.send(Told::Offer(call.clone(), user.clone(), device.clone())).unwrap();
        match sdp {
            "bad" => Err(MediaError::BadSdp("no sections".into())),
            "full" => Err(MediaError::LimitExceeded),
            _ => Ok(format!("answer to {sdp}")),
        }
    }

    fn view(&self, call: &CallId, user: &UserId, _: &DeviceId, slots: Vec<SlotView>) {
        self.0.send(Told::View(call.clone(), user.clone(), slots)).unwrap();
    }

    fn leave(&self, call: &CallId, user: &UserId, device: &DeviceId) {
        let _ = self.0.send(Told::Leave(call.clone(), user.clone(), device.clone()));
    }

    fn close(&self, call: &CallId) {
        let _ = self.0.send(Told::Close(call.clone()));
    }
}

struct NoRelays;

impl RelayCredentials for NoRelays {
    fn mint(&self, _: &UserId) -> Relays {
        Relays { ice_servers: Vec::new(), ttl_s: 60 }
    }
}

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) signaling: Signaling,
    pub(crate) events: mpsc::Sender<MediaEvent>,
    told: mpsc::UnboundedReceiver<Told>,
    wishes: mpsc::UnboundedReceiver<UploadWish>,
    serving: JoinHandle<()>,
}

/// Defaults, in memory, with limits that no test meets by accident.
pub(crate) fn config() -> SignalingConfig {
    let mut config = SignalingConfig::new(Place::Memory, key());
    let plenty = Rate { per_second: 1e6, burst: 1e6 };
    config.limits.sends = plenty;
    config.limits.user_sends = plenty;
    config.limits.frames = plenty;
    config.limits.invites = plenty;
    config.limits.greetings = plenty;
    config.limits.requests = plenty;
    config.limits.uploads = plenty;
    config.limits.server_requests = plenty;
    config.demo_logins = true;
    config
}

impl Server {
    pub(crate) async fn start() -> Server {
        Server::with(config()).await
    }

    pub(crate) async fn with(config: SignalingConfig) -> Server {
        let store = Arc::new(SqliteStore::open(&config.database).unwrap());
        Server::on(config, store, Arc::new(InProcessBus::new())).await
    }

    /// On a store and a bus of the test's own.
    pub(crate) async fn on(config: SignalingConfig, store: Arc<dyn Store>, bus: Arc<dyn Bus>) -> Server {
        let (tell, told) = mpsc::unbounded_channel();
        let (events, heard) = mpsc::channel(64);
        let (wish, wishes) = mpsc::unbounded_channel();
        let (media, grants) = (Arc::new(FakeMedia(tell)), Some(Arc::new(FakeGrants(wish)) as _));
        let signaling =
            Signaling::start(config, store, bus, media, Arc::new(NoRelays), grants, heard).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Server::serve(signaling, events, told, wishes, listener)
    }

    /// With nobody who stores attachments; and opened as the server's own program does.
    pub(crate) async fn without_attachments(config: SignalingConfig) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Server::open(config, listener).await
    }

    /// Whose kernel keeps little of what clients do not read.
    pub(crate) async fn narrow(config: SignalingConfig) -> Server {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_send_buffer_size(2_048).unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        Server::open(config, socket.listen(64).unwrap()).await
    }

    async fn open(config: SignalingConfig, listener: TcpListener) -> Server {
        let (tell, told) = mpsc::unbounded_channel();
        let (events, heard) = mpsc::channel(64);
        let media = Arc::new(FakeMedia(tell));
        let signaling = Signaling::open(config, media, Arc::new(NoRelays), None, heard).await.unwrap();
        Server::serve(signaling, events, told, mpsc::unbounded_channel().1, listener)
    }

    fn serve(
        signaling: Signaling,
        events: mpsc::Sender<MediaEvent>,
        told: mpsc::UnboundedReceiver<Told>,
        wishes: mpsc::UnboundedReceiver<UploadWish>,
        listener: TcpListener,
    ) -> Server {
        let address = listener.local_addr().unwrap();
        let router = signaling.router();
        let listener = listener.tap_io(|tcp| tcp.set_nodelay(true).unwrap());
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Server { address, signaling, events, told, wishes, serving }
    }

    /// Ends it without a goodbye, and waits until its store is free.
    pub(crate) async fn stop(self) {
        self.signaling.shutdown().await;
        self.serving.abort();
        let _ = self.serving.await;
    }

    /// What the media plane is told next.
    pub(crate) async fn told(&mut self) -> Told {
        tokio::time::timeout(PATIENCE, self.told.recv())
            .await
            .expect("the media plane was told nothing")
            .unwrap()
    }

    /// The upload that the media store was asked for last; it has been asked.
    pub(crate) fn wished(&mut self) -> UploadWish {
        self.wishes.try_recv().expect("the media store was asked for nothing")
    }

    /// One HTTP request; status and JSON body.
    pub(crate) async fn http(
        &self,
        method: &str,
        path: &str,
        token: Option<&str>,
        body: Option<Value>,
    ) -> (u16, Value) {
        let auth = token.map_or(String::new(), |token| format!("Authorization: Bearer {token}\r\n"));
        self.http_with(method, path, &auth, body).await
    }

    /// One HTTP request with these header lines; status and JSON body.
    pub(crate) async fn http_with(
        &self,
        method: &str,
        path: &str,
        headers: &str,
        body: Option<Value>,
    ) -> (u16, Value) {
        let body = body.map_or(String::new(), |body| body.to_string());
        let (head, body) = self.raw_http(method, path, headers, &body).await;
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(&body).unwrap_or(Value::Null))
    }

    /// One HTTP request; head and body of the response.
    pub(crate) async fn raw_http(
        &self,
        method: &str,
        path: &str,
        headers: &str,
        body: &str,
    ) -> (String, String) {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n{headers}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut response = Vec::new();
        stream.read_to_end(&mut response).await.unwrap();
        let response = String::from_utf8(response).unwrap();
        let (head, body) = response.split_once("\r\n\r\n").unwrap();
        (head.to_owned(), body.to_owned())
    }

    /// Whether one more connection would be taken.
    pub(crate) async fn takes_sessions(&self) -> bool {
        let request = format!("ws://{}/v1/session", self.address).into_client_request().unwrap();
        let stream = TcpStream::connect(self.address).await.unwrap();
        tokio_tungstenite::client_async(request, stream).await.is_ok()
    }

    pub(crate) fn token(who: &str) -> String {
        mint_token(&key(), &user(who), None, Duration::from_secs(600))
    }

    /// A conversation of these; the first is its owner.
    pub(crate) async fn conversation(&self, members: &[&str], title: Option<&str>) -> ConversationId {
        let body = json!({"members": members, "title": title});
        let (status, head) =
            self.http("POST", "/v1/conversations", Some(&Self::token(members[0])), Some(body)).await;
        assert!(status == 201 || status == 200, "{status}: {head}");
        serde_json::from_value::<Head>(head).unwrap().conv
    }

    pub(crate) async fn client(&self, who: &str, on: &str) -> Client {
        self.resume(who, on, BTreeMap::new()).await
    }

    pub(crate) async fn resume(&self, who: &str, on: &str, cursors: BTreeMap<ConversationId, u64>) -> Client {
        let mut client = Client::open(self.address, None).await;
        client.say(&hello(who, on, cursors)).await;
        match client.next().await {
            ServerFrame::Welcome(welcome) => client.welcome = Some(*welcome),
            other => panic!("no welcome: {other:?}"),
        }
        client
    }
}

pub(crate) fn hello(who: &str, on: &str, cursors: BTreeMap<ConversationId, u64>) -> ClientFrame {
    ClientFrame::Hello(Hello { v: 1, token: Server::token(who), device: Some(device(on)), cursors })
}

pub(crate) struct Client {
    socket: WebSocketStream<TcpStream>,
    /// Frames that came while another was waited for.
    held: VecDeque<ServerFrame>,
    requests: u32,
    pub(crate) welcome: Option<Welcome>,
}

impl Client {
    /// A connection that has said nothing yet.
    pub(crate) async fn open(address: SocketAddr, receive_buffer: Option<u32>) -> Client {
        let mut request = format!("ws://{address}/v1/session").into_client_request().unwrap();
        request.headers_mut().insert("Sec-WebSocket-Protocol", HeaderValue::from_static(SUBPROTOCOL));
        let tcp = TcpSocket::new_v4().unwrap();
        if let Some(bytes) = receive_buffer {
            tcp.set_recv_buffer_size(bytes).unwrap();
        }
        let stream = tcp.connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (socket, response) = tokio_tungstenite::client_async(request, stream).await.unwrap();
        assert_eq!(response.headers()["Sec-WebSocket-Protocol"], SUBPROTOCOL);
        Client { socket, held: VecDeque::new(), requests: 0, welcome: None }
    }

    /// Waits until there is something to read, without reading it.
    pub(crate) async fn has_bytes(&self) {
        self.socket.get_ref().peek(&mut [0]).await.unwrap();
    }

    pub(crate) fn welcome(&self) -> &Welcome {
        self.welcome.as_ref().unwrap()
    }

    pub(crate) async fn say(&mut self, frame: &ClientFrame) {
        self.say_text(serde_json::to_string(frame).unwrap()).await;
    }

    pub(crate) async fn say_text(&mut self, text: impl Into<String>) {
        self.socket.send(WsMessage::text(text.into())).await.unwrap();
    }

    pub(crate) async fn say_raw(&mut self, message: WsMessage) {
        self.socket.send(message).await.unwrap();
    }

    /// The next frame from the socket; `None` when the server closed.
    pub(crate) async fn read(&mut self) -> Option<ServerFrame> {
        loop {
            let message =
                tokio::time::timeout(PATIENCE, self.socket.next()).await.expect("the server is silent")?;
            match message {
                Ok(WsMessage::Text(text)) => {
                    assert!(text.len() <= 65_536, "a frame of {} bytes", text.len());
                    return Some(serde_json::from_str(&text).unwrap());
                }
                Err(_) => return None,
                // Reading on answers the close: the next is the end.
                Ok(_) => {}
            }
        }
    }

    /// Reads until the server has pinged so often; answers each.
    pub(crate) async fn pings(&mut self, mut count: u32) {
        while count > 0 {
            let message =
                tokio::time::timeout(PATIENCE, self.socket.next()).await.expect("the server is silent");
            match message.expect("the server closed").unwrap() {
                WsMessage::Ping(_) => count -= 1,
                WsMessage::Text(text) => self.held.push_back(serde_json::from_str(&text).unwrap()),
                other => panic!("{other:?}"),
            }
        }
    }

    /// The next frame, held ones first.
    pub(crate) async fn next(&mut self) -> ServerFrame {
        match self.held.pop_front() {
            Some(frame) => frame,
            None => self.read().await.expect("the server closed"),
        }
    }

    /// The first frame, held or to come, that `pick` takes; others are held.
    pub(crate) async fn wait<T>(&mut self, mut pick: impl FnMut(&ServerFrame) -> Option<T>) -> T {
        for place in 0..self.held.len() {
            if let Some(found) = pick(&self.held[place]) {
                self.held.remove(place);
                return found;
            }
        }
        loop {
            let frame = self.read().await.expect("the server closed");
            match pick(&frame) {
                Some(found) => return found,
                None => self.held.push_back(frame),
            }
        }
    }

    /// Whether a frame that `pick` takes is held already. Meaningful only after an answer that must come later.
    pub(crate) fn holds<T>(&self, pick: impl FnMut(&ServerFrame) -> Option<T>) -> bool {
        self.held.iter().filter_map(pick).next().is_some()
    }

    /// Reads until the server closes; what it said until then, held frames included.
    pub(crate) async fn until_closed(&mut self) -> Vec<ServerFrame> {
        let mut all: Vec<_> = self.held.drain(..).collect();
        while let Some(frame) = self.read().await {
            all.push(frame);
        }
        all
    }

    pub(crate) fn request(&mut self) -> RequestId {
        self.requests += 1;
        RequestId::new(&format!("r{}", self.requests)).unwrap()
    }

    /// The answer to a request.
    pub(crate) async fn answer(&mut self, id: &str) -> Result<OkFrame, ErrorFrame> {
        self.wait(|frame| match frame {
            ServerFrame::Ok(ok @ OkFrame::Call(CallOk { id: of, .. })) if of.as_str() == id => {
                Some(Ok(ok.clone()))
            }
            ServerFrame::Ok(ok @ OkFrame::Send(SendOk { id: of, .. })) if of.as_str() == id => {
                Some(Ok(ok.clone()))
            }
            ServerFrame::Error(fault) if fault.id.as_ref().is_some_and(|of| of.as_str() == id) => {
                Some(Err(fault.clone()))
            }
            _ => None,
        })
        .await
    }

    pub(crate) async fn say_send(&mut self, conv: &ConversationId, id: &str, body: Value) {
        let (id, conv) = (MessageId::new(id).unwrap(), conv.clone());
        let send = Send { id, conv, kind: "text".into(), body, attachments: Vec::new() };
        self.say(&ClientFrame::Send(send)).await;
    }

    /// Sends a text and waits for its `ok`.
    pub(crate) async fn send(&mut self, conv: &ConversationId, id: &str) -> SendOk {
        self.say_send(conv, id, json!({"text": id})).await;
        match self.answer(id).await.unwrap() {
            OkFrame::Send(ok) => ok,
            other @ OkFrame::Call(_) => panic!("{other:?}"),
        }
    }

    /// The next message of the log.
    pub(crate) async fn message(&mut self) -> Message {
        self.wait(|frame| match frame {
            ServerFrame::Message(message) => Some(message.clone()),
            _ => None,
        })
        .await
    }

    pub(crate) async fn history(
        &mut self,
        conv: &ConversationId,
        before: Option<u64>,
        after: Option<u64>,
    ) -> Page {
        let id = self.request();
        let (conv, limit) = (conv.clone(), None);
        self.say(&ClientFrame::History(History { id: id.clone(), conv, before, after, limit })).await;
        self.wait(|frame| match frame {
            ServerFrame::Page(page) if page.id == id => Some(page.clone()),
            _ => None,
        })
        .await
    }

    /// The next `call` frame about this call that satisfies `is`.
    pub(crate) async fn call(&mut self, call: &str, is: impl Fn(&CallView) -> bool) -> CallView {
        self.wait(|frame| match frame {
            ServerFrame::Call(view) if view.call.as_str() == call && is(view) => Some((**view).clone()),
            _ => None,
        })
        .await
    }

    pub(crate) async fn invite(&mut self, conv: &ConversationId, call: &str) -> Result<CallOk, ErrorFrame> {
        let id = self.request();
        let (conv, call) = (conv.clone(), call_id(call));
        self.say(&ClientFrame::CallInvite(Invite { id: id.clone(), conv, call, media: AV })).await;
        self.call_answer(&id).await
    }

    pub(crate) async fn ring(&mut self, call: &str) {
        self.say(&ClientFrame::CallRinging(CallRinging { call: call_id(call) })).await;
    }

    pub(crate) async fn accept(&mut self, call: &str) -> Result<CallOk, ErrorFrame> {
        let id = self.request();
        self.say(&ClientFrame::CallAccept(CallWithMedia { id: id.clone(), call: call_id(call), media: AV }))
            .await;
        self.call_answer(&id).await
    }

    pub(crate) async fn decline(&mut self, call: &str) -> Result<CallOk, ErrorFrame> {
        let id = self.request();
        self.say(&ClientFrame::CallDecline(CallRequest { id: id.clone(), call: call_id(call) })).await;
        self.call_answer(&id).await
    }

    pub(crate) async fn cancel(&mut self, call: &str) -> Result<CallOk, ErrorFrame> {
        let id = self.request();
        self.say(&ClientFrame::CallCancel(CallRequest { id: id.clone(), call: call_id(call) })).await;
        self.call_answer(&id).await
    }

    pub(crate) async fn end(&mut self, call: &str) -> Result<CallOk, ErrorFrame> {
        let id = self.request();
        self.say(&ClientFrame::CallEnd(CallRequest { id: id.clone(), call: call_id(call) })).await;
        self.call_answer(&id).await
    }

    pub(crate) async fn say_media(&mut self, call: &str, media: Media) {
        self.say(&ClientFrame::CallMedia(CallMedia { call: call_id(call), media })).await;
    }

    async fn call_answer(&mut self, id: &RequestId) -> Result<CallOk, ErrorFrame> {
        match self.answer(id.as_str()).await? {
            OkFrame::Call(ok) => Ok(ok),
            other @ OkFrame::Send(_) => panic!("{other:?}"),
        }
    }

    /// Offers, and gives the answer's SDP.
    pub(crate) async fn offer(&mut self, call: &str, sdp: &str) -> Result<String, ErrorFrame> {
        let id = self.request();
        self.say(&ClientFrame::MediaOffer(MediaOffer {
            id: id.clone(),
            call: call_id(call),
            sdp: sdp.into(),
        }))
        .await;
        self.wait(|frame| match frame {
            ServerFrame::MediaAnswer(answer) if answer.id == id => Some(Ok(answer.sdp.clone())),
            ServerFrame::Error(fault) if fault.id.as_ref() == Some(&id) => Some(Err(fault.clone())),
            _ => None,
        })
        .await
    }

    /// Waits for an answer to something said after everything else: what came before it is held now.
    pub(crate) async fn settle(&mut self, conv: &ConversationId) {
        self.history(conv, None, None).await;
    }
}
