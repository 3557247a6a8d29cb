//! A media store on a disk of its own, and a client that speaks HTTP to its router.

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use axum::{
    Router,
    body::Body,
    http::{HeaderMap, Method, Request, StatusCode},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http_body_util::BodyExt;
use serde_json::Value;
use tower::ServiceExt;
use trunkline_media_blob::{BlobStore, FsStore};
use trunkline_media_store::{
    Attachment, Kind, Limits, MediaConfig, MediaKey, MediaStore, References, ReferencesError, Wish,
};
use trunkline_units::{AttachmentId, ConversationId, UnixMillis, UserId};

/// Whoever keeps the messages: what was offered, and what no message refers to.
#[derive(Default)]
pub(crate) struct Messages {
    pub(crate) offered: Mutex<Vec<Attachment>>,
    pub(crate) unreferenced: Mutex<BTreeSet<AttachmentId>>,
}

#[async_trait]
impl References for Messages {
    async fn offer(
        &self,
        _: &ConversationId,
        _: &UserId,
        attachment: &Attachment,
    ) -> Result<(), ReferencesError> {
        self.offered.lock().unwrap().push(attachment.clone());
        Ok(())
    }

    async fn take_unreferenced(&self, _: UnixMillis, _: u32) -> Result<Vec<AttachmentId>, ReferencesError> {
        Ok(self.unreferenced.lock().unwrap().iter().cloned().collect())
    }

    async fn forget(&self, ids: &[AttachmentId]) -> Result<(), ReferencesError> {
        self.unreferenced.lock().unwrap().retain(|id| !ids.contains(id));
        Ok(())
    }
}

/// What differs from one test to another.
pub(crate) struct Setting {
    pub(crate) limits: Limits,
    pub(crate) sweep_every: Duration,
    pub(crate) orphan_age: Duration,
}

impl Default for Setting {
    fn default() -> Self {
        let hour = Duration::from_secs(3_600);
        Setting { limits: Limits::default(), sweep_every: hour, orphan_age: hour }
    }
}

/// A media store under test.
pub(crate) struct Server {
    pub(crate) media: MediaStore,
    pub(crate) router: Router,
    pub(crate) messages: Arc<Messages>,
    pub(crate) folder: Arc<tempfile::TempDir>,
}

impl Server {
    pub(crate) async fn start() -> Server {
        Server::start_with(Setting::default()).await
    }

    pub(crate) async fn start_with(setting: Setting) -> Server {
        Server::start_in(Arc::new(tempfile::tempdir().unwrap()), setting).await
    }

    pub(crate) async fn start_in(folder: Arc<tempfile::TempDir>, setting: Setting) -> Server {
        let store = FsStore::open(folder.path().join("blobs")).unwrap();
        let config = MediaConfig {
            folder: folder.path().to_owned(),
            store: Arc::new(store) as Arc<dyn BlobStore>,
            key: MediaKey::new(&[7; 32]).unwrap(),
            limits: setting.limits,
            sizes: vec![320],
            lazy_sizes: vec![],
            originals: false,
            redirect: false,
            worker: vec!["/bin/false".into()],
            sweep_every: setting.sweep_every,
            orphan_age: setting.orphan_age,
        };
        let media = MediaStore::open(config).await.unwrap();
        let messages = Arc::new(Messages::default());
        media.start(messages.clone()).await.unwrap();
        Server { router: media.router(), media, messages, folder }
    }

    /// As after a crash: nothing is said goodbye to.
    pub(crate) async fn restart(self) -> Server {
        let folder = self.folder.clone();
        drop(self);
        Server::start_in(folder, Setting::default()).await
    }

    pub(crate) async fn grant_for(&self, user: &str, kind: Kind, bytes: Option<u64>) -> String {
        let wish = Wish {
            user: UserId::new(user).unwrap(),
            conv: ConversationId::new("c").unwrap(),
            tenant: None,
            kind,
            bytes,
            name: None,
            mime: None,
        };
        self.media.grant(wish).await.unwrap().token
    }

    pub(crate) async fn grant(&self) -> String {
        self.grant_for("alice", Kind::File, None).await
    }

    pub(crate) async fn send(&self, request: Asked) -> Answer {
        let Asked { method, path, headers, body } = request;
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let response = self.router.clone().oneshot(request.body(body).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    /// An upload of so many bytes; its path.
    pub(crate) async fn create(&self, grant: &str, bytes: u64, name: &str) -> String {
        let answer = self.send(post(grant).header("upload-length", bytes).name(name)).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
        answer.header("location").to_owned()
    }

    /// A whole file; the attachment that it became.
    pub(crate) async fn upload(&self, grant: &str, name: &str, content: &[u8]) -> Value {
        let path = self.create(grant, content.len() as u64, name).await;
        let answer = self.send(patch(&path, grant, 0, content.to_vec())).await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT, "{answer:?}");
        self.ready(&path, grant).await["attachment"].clone()
    }

    /// What has become of an upload, once something has.
    pub(crate) async fn ready(&self, path: &str, grant: &str) -> Value {
        let answer = self.send(asked(Method::GET, &format!("{path}?wait_s=30")).bearer(grant)).await;
        let status = answer.json();
        assert_eq!(status["state"], "ready", "{status}");
        status
    }

    pub(crate) async fn offset(&self, path: &str, grant: &str) -> u64 {
        let answer = self.send(tus(Method::HEAD, path, grant)).await;
        assert_eq!(answer.status, StatusCode::OK);
        answer.header("upload-offset").parse().unwrap()
    }

    /// The link to an attachment's only variant.
    pub(crate) fn link(&self, attachment: &Value) -> String {
        let id = AttachmentId::new(attachment["id"].as_str().unwrap()).unwrap();
        let variants: Vec<String> = serde_json::from_value(attachment["variants"].clone()).unwrap();
        self.media.links(&id, &variants, None).links[&variants[0]].clone()
    }

    pub(crate) async fn get(&self, link: &str) -> Answer {
        self.send(asked(Method::GET, link)).await
    }

    /// Files in the blob store.
    pub(crate) fn blobs(&self) -> usize {
        files(&self.folder.path().join("blobs"))
    }
}

fn files(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
    entries
        .map(|entry| match entry.file_type().unwrap().is_dir() {
            true => files(&entry.path()),
            false => 1,
        })
        .sum()
}

/// A request in the making.
pub(crate) struct Asked {
    method: Method,
    path: String,
    headers: Vec<(String, String)>,
    pub(crate) body: Body,
}

pub(crate) fn asked(method: Method, path: &str) -> Asked {
    Asked { method, path: path.to_owned(), headers: Vec::new(), body: Body::empty() }
}

pub(crate) fn tus(method: Method, path: &str, grant: &str) -> Asked {
    asked(method, path).bearer(grant).header("tus-resumable", "1.0.0")
}

pub(crate) fn post(grant: &str) -> Asked {
    tus(Method::POST, "/v1/uploads", grant)
}

pub(crate) fn patch(path: &str, grant: &str, offset: u64, body: impl Into<Body>) -> Asked {
    tus(Method::PATCH, path, grant).header("upload-offset", offset).octets(body)
}

impl Asked {
    pub(crate) fn header(mut self, name: &str, value: impl ToString) -> Asked {
        self.headers.push((name.to_owned(), value.to_string()));
        self
    }

    pub(crate) fn bearer(self, token: &str) -> Asked {
        self.header("authorization", format!("Bearer {token}"))
    }

    pub(crate) fn name(self, name: &str) -> Asked {
        self.header("upload-metadata", format!("filename {}", STANDARD.encode(name)))
    }

    pub(crate) fn octets(mut self, body: impl Into<Body>) -> Asked {
        self.body = body.into();
        self.header("content-type", "application/offset+octet-stream")
    }

    pub(crate) fn json(mut self, body: &Value) -> Asked {
        self.body = Body::from(body.to_string());
        self.header("content-type", "application/json")
    }
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no {name} in {self:?}")).to_str().unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|fault| panic!("{fault}: {self:?}"))
    }

    /// Status and stable code of a problem.
    pub(crate) fn problem(&self) -> (u16, String) {
        assert_eq!(self.header("content-type"), "application/problem+json");
        let document = self.json();
        assert_eq!(document["status"], self.status.as_u16());
        (self.status.as_u16(), document["code"].as_str().unwrap().to_owned())
    }
}
