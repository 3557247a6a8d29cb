//! Voice notes: Opus in Ogg, however they were recorded.

use base64::{Engine, engine::general_purpose::STANDARD};
use trunkline_media_pipeline::worker::{Event, Job, Work as Task};

use super::{Failure, Work, discard, made_in, object_id, put};
use crate::{
    attachment::{AUDIO, Content, Kind},
    problem::Document,
    records::NewObject,
};

/// What a voice note is served as (RFC 7845 §9).
const MIME: &str = "audio/ogg";

/// Makes a voice note of the upload.
pub(super) async fn make(work: &Work<'_>) -> Result<(), Failure> {
    let shared = work.shared;
    let workshop = shared.spool.workshop(&work.upload.id).await?;
    let job = Job {
        input: shared.spool.path(&work.upload.id),
        output: workshop.clone(),
        work: Task::Voice,
        limits: trunkline_media_pipeline::Limits::default(),
    };
    let (mut file, mut note) = (None, None);
    let mut worker = shared.workers.start(&job).await?;
    while let Some(event) = worker.next().await? {
        match event {
            Event::Made(made) => file = Some(made.file),
            Event::Voice(told) => note = Some(told),
            _ => return Err(Failure::Worker("it answered another question".into())),
        }
    }
    if let Err(refusal) = worker.end().await? {
        return Err(Failure::Refused(Document::refused(refusal.code.as_str(), refusal.text)));
    }
    let (Some(file), Some(note)) = (file, note) else {
        return Err(Failure::Worker("it made nothing of a voice note".into()));
    };
    let object = object_id();
    let first = put(shared, &object, AUDIO, MIME, &made_in(&workshop, &file)).await?;
    let content = Content {
        kind: Kind::Voice,
        r#type: MIME.to_owned(),
        bytes: first.bytes,
        width: None,
        height: None,
        thumbhash: None,
        animated: false,
        duration_ms: Some(note.duration_ms),
        waveform: Some(STANDARD.encode(note.waveform)),
        variants: vec![AUDIO.to_owned()],
    };
    let new = NewObject {
        id: object,
        tenant: work.upload.tenant.clone(),
        sha256: work.sha256.clone(),
        content,
        whole: true,
        first: first.clone(),
    };
    let (found, ours) = shared.records.add_object(new).await?;
    if !ours {
        discard(shared, &first).await;
    }
    work.attach(&found).await
}
