//! The message vectors of the WAMP project, read where they are: `../shared/wamp-vectors` or the folder `WAMP_VECTORS`.
#![allow(clippy::print_stdout, reason = "a skipped test says so")]

use std::path::{Path, PathBuf};

use coati_shared::wamp::{CodecId, DecodeError, Message};
use serde_json::Value;

/// The folder with the vectors: beside the repository, or where the environment says.
fn folder() -> Option<PathBuf> {
    let folder = match std::env::var_os("WAMP_VECTORS") {
        Some(folder) => PathBuf::from(folder),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/wamp-vectors"),
    };
    folder.join("singlemessage").is_dir().then_some(folder)
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = Vec::new();
    for group in ["basic", "advanced"] {
        let entries = std::fs::read_dir(folder.join("singlemessage").join(group)).expect("a folder of vectors");
        found.extend(entries.map(|entry| entry.expect("a file").path()));
    }
    found.sort();
    found
}

fn hex(text: &str) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).expect("a hexadecimal digit") as u8;
    text.as_bytes()
        .chunks(2)
        .map(|pair| digit(pair[0]) << 4 | digit(pair[1]))
        .collect()
}

/// The elements of a message as JSON, with empty arguments left out, as far as different spellings mean the same.
fn elements(message: &Message) -> Value {
    serde_json::from_slice(&CodecId::Json.encode(message)).expect("JSON")
}

/// The values that the attributes of a sample name, compared with the elements of the message.
fn check_attributes(name: &str, message: &Message, expected: &Value) {
    let Value::Array(elements) = elements(message) else {
        panic!("{name}: not a list")
    };
    for (key, wanted) in expected.as_object().expect("attributes") {
        let found = match key.as_str() {
            "message_type" => elements[0] == *wanted,
            // Opaque payloads are given as hexadecimal bytes; in JSON they are NUL and base64.
            "payload" if wanted.is_string() => {
                let payload = message
                    .payload()
                    .expect("a payload")
                    .transcode(CodecId::Msgpack)
                    .expect("transcoded");
                let bytes = payload.args();
                let body = hex(wanted.as_str().unwrap_or_default());
                bytes.ends_with(&body)
            }
            "roles" => elements.iter().any(|element| element.get("roles") == Some(wanted)),
            _ if wanted.is_null() => true,
            _ => elements.contains(wanted),
        };
        assert!(found, "{name}: {key} = {wanted} is not in {elements:?}");
    }
}

/// One sample with bytes: every spelling reads the same, and what is written is one of the spellings.
fn check_bytes(name: &str, sample: &Value) -> usize {
    let mut count = 0;
    for (codec, key) in [
        (CodecId::Json, "json"),
        (CodecId::Msgpack, "msgpack"),
        (CodecId::Cbor, "cbor"),
    ] {
        let Some(variants) = sample["serializers"][key].as_array() else {
            continue;
        };
        let variants: Vec<Vec<u8>> = variants
            .iter()
            .map(|variant| hex(variant["bytes_hex"].as_str().expect("bytes")))
            .collect();
        for bytes in &variants {
            let message = codec
                .decode(bytes.clone().into())
                .unwrap_or_else(|error| panic!("{name} {key}: {error}"));
            check_attributes(name, &message, &sample["expected_attributes"]);
            let written = codec.encode(&message);
            // Keys of maps have no order: where the sample has another, size and meaning have to be the same.
            let same_size = variants.iter().any(|variant| variant.len() == written.len());
            let same_meaning = same_size && codec.decode(written.clone()) == Ok(message);
            let same_bytes = variants.iter().any(|variant| *variant == written);
            assert!(same_bytes || same_meaning, "{name} {key}: wrote {written:?}");
            count += 1;
        }
    }
    count
}

/// One sample given as a list: must be accepted, or refused by an error that names the culprit.
fn check_list(name: &str, sample: &Value) {
    let frame = sample["wmsg"].to_string();
    let read: Result<Message, DecodeError> = CodecId::Json.decode(frame.clone().into());
    match (read, sample.get("expected_error")) {
        (Ok(_), None) => {}
        (Err(error), Some(expected)) => {
            let culprit = expected["contains"].as_str().unwrap_or_default();
            assert!(
                error.text.contains(culprit),
                "{name}: '{error}' does not name '{culprit}'"
            );
        }
        (Ok(message), Some(_)) => panic!("{name}: accepted {frame} as {message:?}"),
        (Err(error), None) => panic!("{name}: refused {frame}: {error}"),
    }
}

#[test]
fn the_vectors_of_the_wamp_project_hold() {
    let Some(folder) = folder() else {
        println!("skipped: no WAMP vectors in ../shared/wamp-vectors nor in WAMP_VECTORS");
        return;
    };
    let (mut frames, mut lists) = (0, 0);
    for file in files(&folder) {
        let text = std::fs::read_to_string(&file).expect("readable vectors");
        let vector: Value = serde_json::from_str(&text).expect("JSON vectors");
        for sample in vector["samples"].as_array().expect("samples") {
            let name = format!(
                "{}: {}",
                file.display(),
                sample["description"].as_str().unwrap_or_default()
            );
            if sample.get("wmsg").is_some() {
                check_list(&name, sample);
                lists += 1;
            } else {
                frames += check_bytes(&name, sample);
            }
        }
    }
    println!("{frames} frames and {lists} lists checked");
    assert!(
        frames > 100 && lists > 60,
        "{frames} frames, {lists} lists: vectors are missing"
    );
}
