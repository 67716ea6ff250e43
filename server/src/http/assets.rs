//! The client's files: embedded and named by content, or read from a folder while developing.
//!
//! Embedded files are served below one folder per build, `/pkg/<build>/`, so that relative imports hold, everything
//! there may be cached for ever, and one build's script never meets another's WASM.

use std::{
    collections::BTreeMap,
    path::{Component, Path as FilePath, PathBuf},
    time::UNIX_EPOCH,
};

use axum::{
    body::{Body, Bytes},
    extract::{Path, Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use sha2::{Digest, Sha256};

use super::{App, AppState, sentence};

/// One file of the client, as the application's build script embeds it.
#[derive(Clone, Copy, Debug)]
pub struct Asset {
    /// Path in the site folder, such as `pkg/safety.js`.
    pub path: &'static str,
    /// The `Content-Type` it is served with.
    pub content_type: &'static str,
    /// SHA-256 of [`Self::plain`] in hexadecimal.
    pub hash: &'static str,
    /// The content.
    pub plain: &'static [u8],
    /// The content compressed with brotli, if that made it smaller.
    pub brotli: Option<&'static [u8]>,
    /// The content compressed with gzip, if that made it smaller.
    pub gzip: Option<&'static [u8]>,
}

/// Where the client's files come from.
#[derive(Debug)]
pub(crate) enum Client {
    /// There is no client: a bare router.
    None,
    /// Built into the program.
    Embedded {
        files: BTreeMap<&'static str, &'static Asset>,
        build: String,
        name: String,
    },
    /// Read at each request.
    Folder { folder: PathBuf, name: String },
}

/// What the shell page loads.
#[derive(Debug)]
pub(crate) struct Start {
    /// The module that starts the client.
    pub(crate) module: String,
    /// The script that wasm-bindgen made.
    pub(crate) script: String,
    /// The program.
    pub(crate) wasm: String,
}

const START: &str = include_str!("start.js");
const SCRIPT_TYPE: &str = "text/javascript; charset=utf-8";
const FOREVER: &str = "public, max-age=31536000, immutable";

impl Client {
    /// A client of embedded files. `name` is the stem of its script, WASM and style below `pkg/`.
    pub(crate) fn embedded(assets: &'static [Asset], name: &str) -> Self {
        let files: BTreeMap<_, _> = assets.iter().map(|asset| (asset.path, asset)).collect();
        let mut digest = Sha256::new();
        for (path, asset) in &files {
            digest.update(path.as_bytes());
            digest.update([0]);
            digest.update(asset.hash.as_bytes());
            digest.update([0]);
        }
        digest.update(START.as_bytes());
        let build = digest
            .finalize()
            .iter()
            .take(8)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        Self::Embedded {
            files,
            build,
            name: name.to_owned(),
        }
    }

    /// A name for this very set of files.
    pub(crate) fn build(&self) -> &str {
        match self {
            Self::None => "none",
            Self::Embedded { build, .. } => build,
            Self::Folder { .. } => "dev",
        }
    }

    /// Address of the client's style sheet, if there is one.
    pub(crate) fn style(&self) -> Option<String> {
        self.address("css")
    }

    /// What the shell page loads, if there is a client.
    pub(crate) fn start(&self) -> Option<Start> {
        let (script, wasm) = (self.address("js")?, self.address("wasm")?);
        let folder = script.rsplit_once('/').map_or("/pkg", |(folder, _)| folder);
        Some(Start {
            module: format!("{folder}/start.js"),
            script,
            wasm,
        })
    }

    fn address(&self, extension: &str) -> Option<String> {
        match self {
            Self::None => None,
            Self::Embedded { files, build, name } => {
                let file = format!("{name}.{extension}");
                files
                    .contains_key(format!("pkg/{file}").as_str())
                    .then(|| format!("/pkg/{build}/{file}"))
            }
            Self::Folder { folder, name } => {
                let file = format!("pkg/{name}.{extension}");
                folder.join(&file).is_file().then(|| format!("/{file}"))
            }
        }
    }

    fn start_script(&self) -> Option<String> {
        match self {
            Self::None => None,
            Self::Embedded { name, .. } | Self::Folder { name, .. } => Some(START.replace("CLIENT", name)),
        }
    }
}

/// `GET /pkg/…`
pub(super) async fn package(State(app): State<App>, Path(path): Path<String>, headers: HeaderMap) -> Response {
    let (path, cache) = match path
        .strip_prefix(app.client.build())
        .and_then(|rest| rest.strip_prefix('/'))
    {
        Some(path) => (path, FOREVER),
        None => (path.as_str(), "no-cache"),
    };
    if path == "start.js"
        && let Some(text) = app.client.start_script()
    {
        return (
            [(header::CONTENT_TYPE, SCRIPT_TYPE), (header::CACHE_CONTROL, cache)],
            text,
        )
            .into_response();
    }
    file(&app, &format!("pkg/{path}"), cache, &headers).await
}

/// Everything that is no other route: files that stand beside `pkg` in the site folder, such as an icon.
pub(super) async fn other(State(app): State<App>, request: Request) -> Response {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return sentence(
            StatusCode::METHOD_NOT_ALLOWED,
            "There is nothing here that takes this method.",
        );
    }
    let path = request.uri().path().trim_start_matches('/').to_owned();
    if path == "pkg" || path.starts_with("pkg/") {
        return not_found();
    }
    file(&app, &path, "no-cache", request.headers()).await
}

async fn file(app: &AppState, path: &str, cache: &'static str, headers: &HeaderMap) -> Response {
    match &app.client {
        Client::None => not_found(),
        Client::Embedded { files, .. } => match files.get(path) {
            Some(asset) => embedded(asset, cache, headers),
            None => not_found(),
        },
        Client::Folder { folder, .. } => from_folder(folder, path, headers).await,
    }
}

fn not_found() -> Response {
    sentence(StatusCode::NOT_FOUND, "There is nothing at this address.")
}

fn embedded(asset: &'static Asset, cache: &'static str, headers: &HeaderMap) -> Response {
    let accepted = Encodings::of(headers);
    let (encoding, content) = match (asset.brotli, asset.gzip) {
        (Some(brotli), _) if accepted.brotli => (Some("br"), brotli),
        (_, Some(gzip)) if accepted.gzip => (Some("gzip"), gzip),
        (Some(_) | None, Some(_) | None) => (None, asset.plain),
    };
    let tag = format!(
        "\"{}{}\"",
        &asset.hash[..asset.hash.len().min(32)],
        encoding.unwrap_or_default()
    );
    let mut answer = tagged(&tag, headers, || Body::from(Bytes::from_static(content)));
    let fields = answer.headers_mut();
    fields.insert(header::CONTENT_TYPE, HeaderValue::from_static(asset.content_type));
    fields.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    fields.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    if let Some(encoding) = encoding {
        fields.insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding));
    }
    answer
}

async fn from_folder(folder: &FilePath, path: &str, headers: &HeaderMap) -> Response {
    let relative = FilePath::new(path);
    let plain = relative.components().all(|part| matches!(part, Component::Normal(_)));
    if path.is_empty() || !plain || path.contains('\\') {
        return not_found();
    }
    let full = folder.join(relative);
    let (Ok(content), Ok(facts)) = (tokio::fs::read(&full).await, tokio::fs::metadata(&full).await) else {
        return not_found();
    };
    let changed = facts
        .modified()
        .ok()
        .and_then(|time| time.duration_since(UNIX_EPOCH).ok())
        .unwrap_or_default();
    let tag = format!("\"{:x}-{:x}\"", changed.as_nanos(), content.len());
    let mut answer = tagged(&tag, headers, || Body::from(content));
    let fields = answer.headers_mut();
    fields.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type(path)));
    fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    answer
}

/// The content, or "not modified" to a browser that has it.
fn tagged(tag: &str, headers: &HeaderMap, body: impl FnOnce() -> Body) -> Response {
    let known = headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    let fresh = known.is_some_and(|known| known.split(',').any(|one| one.trim().trim_start_matches("W/") == tag));
    let mut answer = if fresh {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        body().into_response()
    };
    if let Ok(tag) = HeaderValue::from_str(tag) {
        answer.headers_mut().insert(header::ETAG, tag);
    }
    answer
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Encodings {
    brotli: bool,
    gzip: bool,
}

impl Encodings {
    fn of(headers: &HeaderMap) -> Self {
        let mut accepted = Self::default();
        let lists = headers
            .get_all(header::ACCEPT_ENCODING)
            .iter()
            .filter_map(|value| value.to_str().ok());
        for one in lists.flat_map(|list| list.split(',')) {
            let (name, weight) = one.split_once(';').unwrap_or((one, ""));
            let zero = weight.trim().strip_prefix("q=").and_then(|q| q.parse::<f32>().ok()) == Some(0.0);
            match name.trim() {
                "br" => accepted.brotli = !zero,
                "gzip" => accepted.gzip = !zero,
                _ => {}
            }
        }
        accepted
    }
}

/// The content type by the end of a file's name.
fn content_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map_or("", |(_, extension)| extension) {
        "js" | "mjs" => SCRIPT_TYPE,
        "wasm" => "application/wasm",
        "css" => "text/css; charset=utf-8",
        "html" => "text/html; charset=utf-8",
        "json" | "map" => "application/json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        "txt" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compressed_content_goes_only_to_those_who_take_it() {
        let of = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(text));
            Encodings::of(&headers)
        };
        assert_eq!(
            of("gzip, deflate, br"),
            Encodings {
                brotli: true,
                gzip: true
            }
        );
        assert_eq!(
            of("br;q=0, gzip;q=0.5"),
            Encodings {
                brotli: false,
                gzip: true
            }
        );
        assert_eq!(of("identity"), Encodings::default());
        assert_eq!(Encodings::of(&HeaderMap::new()), Encodings::default());
    }

    #[test]
    fn a_build_is_named_by_all_its_content() {
        const fn asset(path: &'static str, hash: &'static str) -> Asset {
            Asset {
                path,
                content_type: "",
                hash,
                plain: b"",
                brotli: None,
                gzip: None,
            }
        }
        static ONE: &[Asset] = &[asset("pkg/a.js", "1"), asset("pkg/a.wasm", "2")];
        static REORDERED: &[Asset] = &[asset("pkg/a.wasm", "2"), asset("pkg/a.js", "1")];
        static OTHER: &[Asset] = &[asset("pkg/a.js", "1"), asset("pkg/a.wasm", "3")];
        let [one, reordered, other] = [ONE, REORDERED, OTHER].map(|assets| Client::embedded(assets, "a"));
        assert_eq!(one.build(), reordered.build());
        assert_ne!(one.build(), other.build());
        let start = one.start().expect("script and WASM are there");
        assert_eq!(start.wasm, format!("/pkg/{}/a.wasm", one.build()));
        assert!(one.style().is_none());
    }
}
