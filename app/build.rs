//! Puts the built site into a release: walks the site folder and writes the table of `include_bytes!` for the server.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=COATI_SITE");
    let out = PathBuf::from(variable("OUT_DIR")).join("assets.rs");
    // A debug build serves the folder itself: a changed client must not recompile the server.
    let embed = variable("PROFILE") == "release" && env::var_os("CARGO_FEATURE_SERVER").is_some();
    let mut table = String::new();
    if embed {
        let site = env::var_os("COATI_SITE").map_or_else(default_site, PathBuf::from);
        // Named even when missing: a folder that appears later must be noticed.
        println!("cargo::rerun-if-changed={}", site.display());
        for file in files(&site)? {
            table.push_str(&entry(&site, &file)?);
        }
    }
    fs::write(
        out,
        format!("/// The built site.\npub(crate) static ASSETS: &[server::Asset] = &[\n{table}];\n"),
    )
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_default()
}

/// Where cargo-leptos and `make run` leave the site.
fn default_site() -> PathBuf {
    PathBuf::from(variable("CARGO_MANIFEST_DIR")).join("../target/site")
}

/// All files below `folder` in a stable order; none if there is no such folder. Compressed twins belong to their original.
fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    if !folder.is_dir() {
        return Ok(found);
    }
    for item in fs::read_dir(folder)? {
        let path = item?.path();
        println!("cargo::rerun-if-changed={}", path.display());
        if path.is_dir() {
            found.extend(files(&path)?);
        } else if !matches!(ending(&path), "br" | "gz") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn ending(path: &Path) -> &str {
    path.extension().and_then(|ending| ending.to_str()).unwrap_or_default()
}

/// One row of the table.
fn entry(site: &Path, file: &Path) -> io::Result<String> {
    let path = file
        .strip_prefix(site)
        .map_err(io::Error::other)?
        .to_string_lossy()
        .replace('\\', "/");
    let hash: String = Sha256::digest(fs::read(file)?)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let absolute = fs::canonicalize(file)?;
    let twin = |ending: &str| {
        let twin = PathBuf::from(format!("{}.{ending}", absolute.display()));
        if twin.is_file() {
            format!("Some(include_bytes!({twin:?}))")
        } else {
            "None".to_owned()
        }
    };
    Ok(format!(
        "    server::Asset {{ path: {path:?}, content_type: {:?}, hash: {hash:?}, plain: include_bytes!({absolute:?}), \
         brotli: {}, gzip: {} }},\n",
        content_type(file),
        twin("br"),
        twin("gz"),
    ))
}

fn content_type(file: &Path) -> &'static str {
    match ending(file) {
        "css" => "text/css; charset=utf-8",
        "html" => "text/html; charset=utf-8",
        "ico" => "image/x-icon",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "json" => "application/json",
        "png" => "image/png",
        "svg" => "image/svg+xml",
        "txt" => "text/plain; charset=utf-8",
        "wasm" => "application/wasm",
        "webp" => "image/webp",
        "woff2" => "font/woff2",
        _ => "application/octet-stream",
    }
}
