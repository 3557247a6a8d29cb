use std::{collections::BTreeSet, fs, path::PathBuf};

use schemars::{JsonSchema, schema_for};
use serde_json::{Value, json};

use super::*;

/// Writes the generated files instead of comparing them when set to `1`.
const BLESS: &str = "TRUNKLINE_BLESS";

/// Compares what `folder` holds with `wanted`, both ways; or makes it so.
fn check_folder(folder: &str, wanted: &[(String, Value)]) {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(folder);
    let names: BTreeSet<String> = wanted.iter().map(|(name, _)| format!("{name}.json")).collect();
    assert_eq!(names.len(), wanted.len(), "two files of one name in {folder}");
    let bless = std::env::var(BLESS).is_ok_and(|v| v == "1");
    if bless {
        fs::create_dir_all(&root).unwrap();
    }
    let there: BTreeSet<String> =
        fs::read_dir(&root).unwrap().map(|f| f.unwrap().file_name().into_string().unwrap()).collect();
    for stray in there.difference(&names) {
        assert!(bless, "{folder}/{stray} is no longer generated; run with {BLESS}=1");
        fs::remove_file(root.join(stray)).unwrap();
    }
    for (name, value) in wanted {
        let path = root.join(format!("{name}.json"));
        if bless {
            let text = format!("{}\n", serde_json::to_string_pretty(value).unwrap());
            fs::write(&path, text).unwrap();
        } else {
            // Compared as values: the order of an object's members depends on features of serde_json that any crate
            // of the build may switch on.
            let held: Value =
                serde_json::from_slice(&fs::read(&path).unwrap_or_default()).unwrap_or_default();
            assert_eq!(&held, value, "{folder}/{name}.json differs from the types; run with {BLESS}=1");
        }
    }
}

#[test]
fn fixtures_are_current() {
    let mut all = Vec::new();
    for (name, frame) in fixtures::client() {
        all.push((name.to_owned(), serde_json::to_value(frame).unwrap()));
    }
    for (name, frame) in fixtures::server() {
        all.push((name.to_owned(), serde_json::to_value(frame).unwrap()));
    }
    for (name, body) in fixtures::rest() {
        all.push((name.to_owned(), body));
    }
    check_folder("fixtures", &all);
}

fn schema<T: JsonSchema>(name: &str) -> (String, Value) {
    (name.to_owned(), serde_json::to_value(schema_for!(T)).unwrap())
}

#[test]
fn schemas_are_current() {
    check_folder(
        "schema",
        &[
            schema::<ClientFrame>("client_frame"),
            schema::<ServerFrame>("server_frame"),
            schema::<CallMessage>("call_message"),
            schema::<rest::CreateConversation>("rest.create_conversation"),
            schema::<rest::Conversations>("rest.conversations"),
            schema::<rest::AddMember>("rest.add_member"),
            schema::<rest::Messages>("rest.messages"),
            schema::<rest::SendMessage>("rest.send_message"),
            schema::<SendOk>("rest.send_ok"),
            schema::<rest::SetRetention>("rest.set_retention"),
            schema::<rest::RequestUpload>("rest.request_upload"),
            schema::<rest::UploadGrant>("rest.upload_grant"),
            schema::<rest::AttachmentLinks>("rest.attachment_links"),
            schema::<rest::DemoLogin>("rest.demo_login"),
            schema::<rest::DemoToken>("rest.demo_token"),
            schema::<rest::Problem>("rest.problem"),
        ],
    );
}

#[test]
fn every_frame_crosses_json() {
    for (name, frame) in fixtures::client() {
        let text = serde_json::to_string(&frame).unwrap();
        assert_eq!(serde_json::from_str::<ClientFrame>(&text).unwrap(), frame, "{name}");
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["t"], frame.kind(), "{name}");
    }
    for (name, frame) in fixtures::server() {
        let text = serde_json::to_string(&frame).unwrap();
        assert_eq!(serde_json::from_str::<ServerFrame>(&text).unwrap(), frame, "{name}");
    }
}

#[test]
fn every_kind_of_client_frame_has_a_fixture() {
    let shown: BTreeSet<&str> = fixtures::client().iter().map(|(_, f)| f.kind()).collect();
    assert_eq!(shown, BTreeSet::from(ClientFrame::KINDS));
}

#[test]
fn unknown_fields_are_ignored_and_faults_are_not() {
    let typing = json!({"t": "typing", "conv": "c", "mood": {"deep": [1]}});
    assert!(matches!(serde_json::from_value(typing).unwrap(), ClientFrame::Typing(_)));
    for bad in [
        json!({"t": "typing"}),
        json!({"t": "typing", "conv": "no spaces"}),
        json!({"t": "typing", "conv": 7}),
        json!({"t": "nothing"}),
        json!({"conv": "c"}),
        json!([1]),
        json!({"t": "ack", "conv": "c", "seq": -1}),
        json!({"t": "ack", "conv": "c", "seq": 1.5}),
        json!({"t": "send", "id": "m", "conv": "c", "kind": "text", "body": 1, "attachments": ["a/b"]}),
        json!({"t": "send", "id": "m", "conv": "c", "kind": "text", "body": 1, "attachments": [{"id": "a"}]}),
    ] {
        assert!(serde_json::from_value::<ClientFrame>(bad.clone()).is_err(), "{bad}");
    }
}

/// Forgetting a field must not change how long a conversation is kept.
#[test]
fn a_retention_is_said_even_if_it_is_null() {
    let read = |text| serde_json::from_str::<rest::SetRetention>(text).map(|body| body.seconds).ok();
    assert_eq!(read("{\"seconds\":60}"), Some(Some(60)));
    assert_eq!(read("{\"seconds\":null}"), Some(None));
    assert_eq!(read("{}"), None);
    assert_eq!(read("{\"seconds\":-1}"), None);
    assert_eq!(read("{\"seconds\":1.5}"), None);
}

#[test]
fn codes_have_one_spelling() {
    for code in ErrorCode::ALL {
        assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
        assert!((400..600).contains(&code.status()));
    }
}

#[test]
fn secrets_never_show_in_debug() {
    for (name, frame) in fixtures::client() {
        let shown = format!("{frame:?}");
        assert!(!shown.contains("eyJ") && !shown.contains("v=0"), "{name}: {shown}");
    }
    for (name, frame) in fixtures::server() {
        let shown = format!("{frame:?}");
        assert!(
            !shown.contains("bm90IG") && !shown.contains("alice") && !shown.contains("morning"),
            "{name}: {shown}"
        );
        assert!(!shown.contains("фото") && !shown.contains("minutes"), "{name}: {shown}");
    }
    let fixture = |wanted| fixtures::rest().into_iter().find(|(name, _)| *name == wanted).unwrap().1;
    let grant: rest::UploadGrant = serde_json::from_value(fixture("rest.upload_grant")).unwrap();
    let links: rest::AttachmentLinks = serde_json::from_value(fixture("rest.attachment_links")).unwrap();
    let wish: rest::RequestUpload = serde_json::from_value(fixture("rest.request_upload")).unwrap();
    let send: rest::SendMessage = serde_json::from_value(fixture("rest.send_message")).unwrap();
    let shown = format!("{grant:?}{links:?}{wish:?}{send:?}");
    for secret in ["eyJ", "c2lnb", "фото", "morning"] {
        assert!(!shown.contains(secret), "{shown}");
    }
}
