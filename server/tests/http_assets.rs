//! The client's files: named by content when embedded, fresh from disk while developing.

mod support;

use coati_server::{Asset, Server};
use support::{get, private};

const fn asset(path: &'static str, content_type: &'static str, hash: &'static str, plain: &'static [u8]) -> Asset {
    Asset {
        path,
        content_type,
        hash,
        plain,
        brotli: None,
        gzip: None,
    }
}

static FILES: &[Asset] = &[
    Asset {
        brotli: Some(b"as brotli"),
        gzip: Some(b"as gzip"),
        ..asset(
            "pkg/demo.js",
            "text/javascript; charset=utf-8",
            "aaaaaaaaaaaaaaaa",
            b"export default 1;",
        )
    },
    asset("pkg/demo.wasm", "application/wasm", "bbbbbbbbbbbbbbbb", b"\0asm"),
    asset(
        "pkg/demo.css",
        "text/css; charset=utf-8",
        "cccccccccccccccc",
        b"body {}",
    ),
    asset("icon.svg", "image/svg+xml", "dddddddddddddddd", b"<svg/>"),
];

#[tokio::test]
async fn the_shell_links_one_build_and_that_build_is_cached_for_ever() {
    let server = Server::builder()
        .config(private())
        .title("Demo & Co")
        .client("demo", FILES)
        .start()
        .await
        .expect("starts");
    let to = server.address();
    let shell = get(to, "/", &[]).await;
    assert_eq!((shell.status, shell.header("cache-control")), (200, "no-cache"));
    let text = shell.text();
    assert!(
        text.contains("<title>Demo &amp; Co</title>") && text.contains("Loading…"),
        "{text}"
    );
    let (_, rest) = text.split_once("/pkg/").expect("the shell links the client");
    let build = rest.split('/').next().expect("a folder");
    assert!(build.len() == 16 && text.matches(build).count() >= 5, "{text}");
    for (file, content_type) in [
        ("demo.js", "text/javascript"),
        ("demo.wasm", "application/wasm"),
        ("demo.css", "text/css"),
        ("start.js", "text/javascript"),
    ] {
        let answer = get(to, &format!("/pkg/{build}/{file}"), &[]).await;
        assert_eq!(answer.status, 200, "{file}");
        assert!(answer.header("content-type").starts_with(content_type), "{file}");
        assert!(answer.header("cache-control").contains("immutable"), "{file}");
        assert!(text.contains(&format!("/pkg/{build}/{file}")), "{file} is linked");
    }
    assert_eq!(
        get(to, "/pkg/0123456789abcdef/demo.js", &[]).await.status,
        404,
        "another build is not this one"
    );
    assert_eq!(get(to, "/icon.svg", &[]).await.body, b"<svg/>");
    server.stop().await;
}

#[tokio::test]
async fn content_is_compressed_for_those_who_take_it_and_unchanged_for_all() {
    let server = Server::builder()
        .config(private())
        .client("demo", FILES)
        .start()
        .await
        .expect("starts");
    let to = server.address();
    for (accept, encoding, body) in [
        ("gzip, deflate, br", "br", b"as brotli".as_slice()),
        ("gzip", "gzip", b"as gzip"),
        ("identity", "", b"export default 1;"),
        ("br;q=0", "", b"export default 1;"),
    ] {
        let answer = get(to, "/pkg/demo.js", &[("Accept-Encoding", accept)]).await;
        assert_eq!(
            (answer.header("content-encoding"), answer.body.as_slice()),
            (encoding, body),
            "{accept}"
        );
        assert_eq!(
            (answer.header("vary"), answer.header("cache-control")),
            ("Accept-Encoding", "no-cache")
        );
        let tag = answer.header("etag").to_owned();
        let again = get(
            to,
            "/pkg/demo.js",
            &[("Accept-Encoding", accept), ("If-None-Match", &tag)],
        )
        .await;
        assert_eq!((again.status, again.body.len()), (304, 0), "{accept}");
    }
    server.stop().await;
}

#[tokio::test]
async fn while_developing_files_come_fresh_from_the_folder_and_from_nowhere_else() {
    let folder = tempfile::tempdir().expect("a folder");
    let site = folder.path().join("site");
    std::fs::create_dir_all(site.join("pkg")).expect("a folder");
    std::fs::write(folder.path().join("secret.txt"), "secret").expect("a file");
    let server = Server::builder()
        .config(private())
        .client("demo", &[])
        .site(&site)
        .start()
        .await
        .expect("starts");
    let to = server.address();
    let missing = get(to, "/", &[]).await;
    assert_eq!(missing.status, 503);
    assert!(missing.text().contains("make run"), "{}", missing.text());
    for file in ["demo.js", "demo.wasm"] {
        std::fs::write(site.join("pkg").join(file), file).expect("a file");
    }
    assert!(get(to, "/", &[]).await.text().contains("\"/pkg/start.js\""));
    let answer = get(to, "/pkg/demo.js", &[]).await;
    assert_eq!(
        (answer.body.as_slice(), answer.header("cache-control")),
        (b"demo.js".as_slice(), "no-cache")
    );
    for path in [
        "/pkg/../../secret.txt",
        "/pkg/..%2f..%2fsecret.txt",
        "/../secret.txt",
        "/pkg/%2e%2e/%2e%2e/secret.txt",
        "/pkg//etc/passwd",
        "/pkg/%2fetc%2fpasswd",
        "/..%5csecret.txt",
        "/pkg/demo.js/",
        "/pkg/%00",
    ] {
        let answer = get(to, path, &[]).await;
        assert!(
            matches!(answer.status, 400 | 404),
            "{path}: {} {}",
            answer.status,
            answer.text()
        );
    }
    assert_eq!(
        get(to, "/dev/reload.js", &[]).await.status,
        404,
        "only under the watcher"
    );
    server.stop().await;
}
