//! The words between parent and worker, to the letter.

use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;

use trunkline_media_pipeline::photo::{Made, PhotoInfo, Planned};
use trunkline_media_pipeline::worker::{Done, Event, Job, Work, refusal_of};
use trunkline_media_pipeline::{Code, Limits, Refusal};

use crate::with_original;

#[test]
fn jobs() {
    let job = |work| Job { input: "/a/in".into(), output: "/a/out".into(), work, limits: Limits::default() };
    let cases = [
        (
            Work::Photo(with_original(&[320, 1280])),
            r#"{"photo":{"sizes":[320,1280],"original":true,"animated_original":true}}"#,
        ),
        (Work::Variant { size: 640 }, r#"{"variant":{"size":640}}"#),
        (Work::Voice, r#""voice""#),
    ];
    for (work, text) in cases {
        let text = format!(r#"{{"input":"/a/in","output":"/a/out","work":{text}}}"#);
        assert_eq!(serde_json::from_str::<Job>(&text).unwrap(), job(work.clone()));
        let written = serde_json::to_string(&job(work)).unwrap();
        assert!(written.starts_with(text.strip_suffix('}').unwrap()), "{written}");
    }
    let some = r#"{"input":"i","output":"o","work":"voice","limits":{"voice_ms":5}}"#;
    let limits = serde_json::from_str::<Job>(some).unwrap().limits;
    assert_eq!(limits, Limits { voice_ms: 5, ..Limits::default() });
}

#[test]
fn events() {
    let planned = Planned { name: "320".into(), width: 320, height: 240 };
    let made = Made {
        name: "320".into(),
        file: "320.jpg".into(),
        mime: "image/jpeg".into(),
        bytes: 9_000,
        width: 320,
        height: 240,
    };
    let info = PhotoInfo {
        width: 640,
        height: 480,
        thumbhash: "AA==".into(),
        animated: false,
        variants: vec![planned],
    };
    let cases = [
        (
            Event::Photo(info),
            r#"{"photo":{"width":640,"height":480,"thumbhash":"AA==","animated":false,"variants":[{"name":"320","width":320,"height":240}]}}"#,
        ),
        (
            Event::Made(made),
            r#"{"made":{"name":"320","file":"320.jpg","mime":"image/jpeg","bytes":9000,"width":320,"height":240}}"#,
        ),
        (
            Event::Refused(Refusal::new(Code::TooManyPixels, "so many")),
            r#"{"refused":{"code":"too_many_pixels","text":"so many"}}"#,
        ),
        (
            Event::Done(Done { cpu_ms: 90, peak_bytes: 80, confined: true }),
            r#"{"done":{"cpu_ms":90,"peak_bytes":80,"confined":true}}"#,
        ),
    ];
    for (event, text) in cases {
        assert_eq!(serde_json::to_string(&event).unwrap(), text);
        assert_eq!(Event::parse(text), Some(event));
    }
    assert_eq!(Event::parse("running 1 test"), None);
}

#[test]
fn codes_are_written_as_they_are_read() {
    let all = [
        Code::NotAnImage,
        Code::NotAudio,
        Code::Damaged,
        Code::TooLarge,
        Code::TooManyPixels,
        Code::TooManyScans,
        Code::TooManyFrames,
        Code::TooComplex,
        Code::TooLong,
        Code::TooMuchMemory,
        Code::TooMuchTime,
        Code::Failed,
    ];
    for code in all {
        assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
    }
}

#[test]
fn how_it_ended() {
    // Wait statuses as Linux encodes them: a signal below, an exit code above.
    let cases = [
        (6, Code::TooMuchMemory),
        (24, Code::TooMuchTime),
        (9, Code::TooMuchTime),
        (25, Code::TooLarge),
        (11, Code::Damaged),
        (2 << 8, Code::Failed),
    ];
    for (status, code) in cases {
        assert_eq!(refusal_of(ExitStatus::from_raw(status)).code, code, "{status}");
    }
}
