//! The worker as a process: what it tells, and that it dies alone.

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use trunkline_media_pipeline::photo::Request;
use trunkline_media_pipeline::worker::{self, Done, Event, Job, Work};
use trunkline_media_pipeline::{Code, Limits};

use crate::make;
use crate::{SIZES, request, with_original};

/// Set for the process that is to be the worker.
const ROLE: &str = "PIPELINE_TEST_WORKER";

/// Not a test: this program again, in the role of the worker.
#[test]
fn worker_role() {
    if std::env::var_os(ROLE).is_some() {
        let code = worker::run();
        std::process::exit(i32::from(code != std::process::ExitCode::SUCCESS));
    }
}

/// What a worker told, and how it ended.
pub(crate) struct Run {
    pub(crate) events: Vec<Event>,
    pub(crate) status: ExitStatus,
}

impl Run {
    pub(crate) fn done(&self) -> &Done {
        match self.events.last() {
            Some(Event::Done(done)) => done,
            other => panic!("{other:?}, {:?}", worker::refusal_of(self.status)),
        }
    }

    /// The code of its refusal, by itself or by how it died.
    pub(crate) fn refused(&self) -> Option<Code> {
        let told = self.events.iter().find_map(|event| match event {
            Event::Refused(refusal) => Some(refusal.code),
            _ => None,
        });
        told.or_else(|| (!self.status.success()).then(|| worker::refusal_of(self.status).code))
    }

    pub(crate) fn made(&self) -> Vec<&str> {
        let made = self.events.iter().filter_map(|event| match event {
            Event::Made(made) => Some(&made.name[..]),
            _ => None,
        });
        made.collect()
    }
}

pub(crate) fn run(job: &[u8]) -> Run {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "process::worker_role", "--nocapture", "--quiet", "--test-threads=1"])
        .env(ROLE, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(job).unwrap();
    let mut text = String::new();
    child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    // The test harness says a few words of its own.
    let events = text.lines().filter_map(Event::parse).collect();
    Run { events, status: child.wait().unwrap() }
}

/// Runs a worker on `input` and hands its output folder to `look`.
pub(crate) fn work_and_look(input: &[u8], work: Work, limits: Limits, look: impl FnOnce(&Path)) -> Run {
    let folder = tempfile::tempdir().unwrap();
    let (file, output) = (folder.path().join("input"), folder.path().join("output"));
    std::fs::write(&file, input).unwrap();
    std::fs::create_dir(&output).unwrap();
    let run = run(&serde_json::to_vec(&Job { input: file, output: output.clone(), work, limits }).unwrap());
    look(&output);
    run
}

pub(crate) fn work(input: &[u8], work: Work) -> Run {
    work_and_look(input, work, Limits::default(), |_| {})
}

#[test]
fn a_photo_from_the_job_to_done() {
    let input = make::jpeg_with_exif(make::rgb_jpeg(make::scene(2200, 1400)), 6);
    let expected = crate::make(&input, &with_original(&SIZES)).unwrap();
    let run = work_and_look(&input, Work::Photo(with_original(&SIZES)), Limits::default(), |output| {
        for made in &expected.made {
            assert_eq!(
                std::fs::read(output.join(&made.file)).unwrap(),
                expected.files[&made.name],
                "{}",
                made.name
            );
        }
    });
    assert!(run.status.success());
    assert_eq!(run.events[0], Event::Photo(expected.info));
    for (event, made) in run.events[1..].iter().zip(expected.made) {
        assert_eq!(*event, Event::Made(made));
    }
    let done = run.done();
    assert!(done.cpu_ms > 0 && (1_000_000..200_000_000).contains(&done.peak_bytes), "{done:?}");
}

#[test]
fn one_more_size_of_a_stored_variant() {
    let stored = crate::make(&make::rgb_jpeg(make::scene(2400, 1600)), &request(&SIZES)).unwrap();
    let run = work(&stored.files["1280"], Work::Variant { size: 640 });
    assert_eq!(run.made(), ["640"]);
    let Event::Made(made) = &run.events[1] else { panic!() };
    assert_eq!((made.width, made.height, &made.file[..]), (640, 427, "640.jpg"));
    run.done();
}

#[test]
fn a_voice_note() {
    let run = work(include_bytes!("../../fixtures/voice/chromium.webm"), Work::Voice);
    assert_eq!(run.made(), ["audio"]);
    assert!(matches!(&run.events[1], Event::Voice(note) if note.passed_through && note.duration_ms > 1_000));
    run.done();
    let run = work(&make::rgb_jpeg(make::scene(50, 50)), Work::Voice);
    assert_eq!(run.refused(), Some(Code::NotAudio));
    run.done();
}

#[test]
fn what_it_writes_is_bounded_and_only_it_dies() {
    let input = make::rgb_jpeg(make::scene(2400, 1600));
    let limits = Limits { output_bytes: 30_000, ..Limits::default() };
    let run = work_and_look(&input, Work::Photo(request(&SIZES)), limits, |_| {});
    // The small one was told and stays; the next one ended the process.
    assert_eq!(run.made(), ["320"]);
    assert_eq!(run.refused(), Some(Code::TooLarge));
    assert!(!matches!(run.events.last(), Some(Event::Done(_))));
}

#[test]
fn memory_is_bounded_by_what_it_may_have() {
    let input = make::rgb_jpeg(make::scene(2400, 1600));
    let limits = Limits { memory_bytes: 30 << 20, ..Limits::default() };
    let run = work_and_look(&input, Work::Photo(request(&SIZES)), limits, |_| {});
    assert_eq!((run.refused(), run.made().len()), (Some(Code::TooMuchMemory), 0));
    run.done();
    // So little that it cannot even begin: then the kernel says no, and it dies.
    let limits = Limits { memory_bytes: 100_000, ..Limits::default() };
    let run = work_and_look(&input, Work::Photo(request(&SIZES)), limits, |_| {});
    assert_eq!((run.refused(), run.made().len()), (Some(Code::TooMuchMemory), 0));
}

#[test]
fn it_reads_and_writes_nothing_else() {
    let input = make::rgb_jpeg(make::scene(400, 300));
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("input"), &input).unwrap();
    // The folder above `output` is not its own.
    let job = Job {
        input: folder.path().join("input"),
        output: folder.path().join("output/.."),
        work: Work::Photo(Request { sizes: vec![320], original: false, animated_original: false }),
        limits: Limits::default(),
    };
    // No such folder: nothing is made, and that is our own fault, not the file's.
    let run = run(&serde_json::to_vec(&job).unwrap());
    assert_eq!(run.refused(), Some(Code::Failed));
    run.done();
}

#[test]
fn no_job_no_work() {
    for job in [&b""[..], b"{}", b"{\"input\":", &[0xff; 10]] {
        let run = run(job);
        assert!(run.events.is_empty() && !run.status.success());
        assert_eq!(run.refused(), Some(Code::Failed));
    }
}
