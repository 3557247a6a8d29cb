//! Voice notes: Opus in Ogg, however they were recorded.

use trunkline_media_pipeline::worker::{Event, Job, Work as Task};

use super::{Failure, Work, discard, object_id, put};
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
    let mut note = None;
    let told = shared.workers.run(&job, async |event| match event {
        Event::Voice(made) => {
            note = Some(made);
            Ok(())
        }
        _ => Err(Failure::Later("a worker answered another question".into())),
    });
    if let Err(refusal) = told.await? {
        return Err(Failure::Refused(Document::refused(refusal.code.as_str(), refusal.text.clone())));
    }
    let note = note.ok_or_else(|| Failure::Later("a worker made nothing of a voice note".into()))?;
    let object = object_id();
    let made = workshop.join(trunkline_media_pipeline::worker::VOICE_FILE);
    let first = put(shared, &object, AUDIO, MIME, &made).await?;
    let content = Content {
        kind: Kind::Voice,
        r#type: MIME.to_owned(),
        bytes: first.bytes,
        width: None,
        height: None,
        thumbhash: None,
        animated: false,
        duration_ms: Some(note.duration_ms),
        waveform: Some(note.waveform.to_string()),
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
