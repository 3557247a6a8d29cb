//! Photos: the smallest variant is stored and told at once, the others follow.

use trunkline_media_pipeline::{
    photo::{Made, Request},
    worker::{Event, Job, Work as Task},
};

use super::{Failure, Work, discard, made_in, object_id, put};
use crate::{
    attachment::{Content, Kind, ORIGINAL},
    problem::Document,
    records::{Found, NewObject, Variant},
};

/// Makes what `held` does not have yet of the photo, and attaches it when there is a first variant.
pub(super) async fn make(work: &Work<'_>, held: Option<Found>) -> Result<(), Failure> {
    let shared = work.shared;
    let workshop = shared.spool.workshop(&work.upload.id).await?;
    let job = Job {
        input: shared.spool.path(&work.upload.id),
        output: workshop.clone(),
        work: Task::Photo(Request {
            sizes: shared.config.sizes.clone(),
            original: shared.config.originals,
            animated_original: true,
        }),
        limits: trunkline_media_pipeline::Limits::default(),
    };
    let mut making = Making { work, object: held, planned: None };
    let mut worker = shared.workers.start(&job).await?;
    while let Some(event) = worker.next().await? {
        making.follow(event, &workshop).await?;
    }
    match (worker.end().await?, &making.object) {
        (Err(refusal), None) => Err(Failure::Refused(Document::refused(refusal.code.as_str(), refusal.text))),
        (Ok(()), None) => Err(Failure::Worker("it made nothing of a photo".into())),
        (told, Some(found)) => {
            // Nothing more comes of it: what is not there is made smaller when somebody asks for it.
            shared.records.complete(&found.object, &found.content).await?;
            // A message that is sent from now on tells the type and size of the largest.
            work.offer(found).await?;
            shared.news.tell(&found.object);
            match told {
                Ok(()) => Ok(()),
                Err(refusal) => Err(Failure::Refused(Document::refused(refusal.code.as_str(), refusal.text))),
            }
        }
    }
}

struct Making<'a> {
    work: &'a Work<'a>,
    object: Option<Found>,
    /// What the worker said that it will make.
    planned: Option<Content>,
}

impl Making<'_> {
    async fn follow(&mut self, event: Event, workshop: &std::path::Path) -> Result<(), Failure> {
        match event {
            Event::Photo(info) => {
                self.planned = Some(Content {
                    kind: Kind::Photo,
                    r#type: self.work.mime.to_owned(),
                    bytes: self.work.bytes,
                    width: Some(info.width),
                    height: Some(info.height),
                    thumbhash: Some(info.thumbhash),
                    animated: info.animated,
                    duration_ms: None,
                    waveform: None,
                    variants: info.variants.into_iter().map(|planned| planned.name).collect(),
                });
                Ok(())
            }
            Event::Made(made) => self.keep(made, workshop).await,
            _ => Err(Failure::Worker("it answered another question".into())),
        }
    }

    /// Stores a variant. With the first one the photo can be sent.
    async fn keep(&mut self, made: Made, workshop: &std::path::Path) -> Result<(), Failure> {
        let Work { shared, upload, sha256, .. } = self.work;
        let path = made_in(workshop, &made.file);
        if let Some(found) = &mut self.object {
            if !found.variants.contains(&made.name) {
                let variant = put(shared, &found.object, &made.name, &made.mime, &path).await?;
                if !shared.records.add_variant(&found.object, variant.clone()).await? {
                    discard(shared, &variant).await;
                }
            }
            describe_best(&mut found.content, &made);
            shared.news.tell(&found.object);
            return Ok(());
        }
        let planned = self.planned.take();
        let mut content = planned.ok_or_else(|| Failure::Worker("it made what it never planned".into()))?;
        content.r#type = made.mime.clone();
        let id = object_id();
        let first: Variant = put(shared, &id, &made.name, &made.mime, &path).await?;
        let new = NewObject {
            id,
            tenant: upload.tenant.clone(),
            sha256: sha256.clone(),
            content,
            whole: false,
            first: first.clone(),
        };
        let (mut found, ours) = shared.records.add_object(new).await?;
        if !ours {
            discard(shared, &first).await;
        }
        self.work.attach(&found).await?;
        describe_best(&mut found.content, &made);
        self.object = Some(found);
        Ok(())
    }
}

/// Type and size are those of the largest size; the original is for whoever wants more.
fn describe_best(content: &mut Content, made: &Made) {
    let best = content.variants.iter().rfind(|name| *name != ORIGINAL);
    if best == Some(&made.name) {
        content.r#type.clone_from(&made.mime);
        content.bytes = made.bytes;
    }
}
