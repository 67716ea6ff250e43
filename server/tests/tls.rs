//! TLS of our own: WebSocket, HTTP and RawSocket with a certificate, and files that are not right.

mod support;

use std::{path::Path, sync::Arc};

use coati_server::{
    ErrorKind, Running, Server,
    config::RawAddress,
    peer::websocket::Dial,
    router::{Limits, Open},
};
use futures::FutureExt;
use shared::{
    platform::default_platform,
    wamp::{
        Join, Payload, Peer, Uri,
        message::{CallOptions, RegisterOptions},
    },
};
use support::{PASSWORD, door, private, with_accounts};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig, RootCertStore,
        pki_types::{CertificateDer, ServerName, pem::PemObject},
    },
};

/// Writes a new certificate for this machine, which vouches for itself, and its key.
fn write_certificate(folder: &Path) {
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
    std::fs::write(folder.join("certificate.pem"), made.cert.pem()).expect("a writable folder");
    std::fs::write(folder.join("key.pem"), made.signing_key.serialize_pem()).expect("a writable folder");
}

async fn secured(folder: &Path) -> Running {
    let mut config = private();
    config.raw_sockets = vec![door(
        RawAddress::Tls("127.0.0.1:0".parse().expect("an address")),
        Some("anonymous"),
    )];
    Server::builder()
        .config(config)
        .authorizer(Box::new(Open))
        .role_limits("anonymous", Limits::COMPONENT)
        .tls(folder.join("certificate.pem"), folder.join("key.pem"))
        .start()
        .await
        .expect("the server starts")
}

fn dial(server: &Running, roots: Option<&Path>) -> Dial {
    Dial {
        roots: roots.map(Path::to_owned),
        ..Dial::new(format!("wss://localhost:{}/ws", server.address().port()))
    }
}

/// A connection that believes the certificate in a folder.
async fn connect(to: std::net::SocketAddr, folder: &Path) -> TlsStream<TcpStream> {
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_file(folder.join("certificate.pem")).expect("PEM");
    roots.add(certificate).expect("a certificate");
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("usual versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(to).await.expect("the server listens");
    let name = ServerName::try_from("localhost").expect("a name");
    let connector = TlsConnector::from(Arc::new(config));
    connector
        .connect(name, stream)
        .await
        .expect("the certificate is believed")
}

#[tokio::test]
async fn peers_that_believe_the_certificate_join_by_websocket_and_others_do_not() {
    let folder = tempfile::tempdir().expect("a folder");
    write_certificate(folder.path());
    let server = secured(folder.path()).await;
    let roots = folder.path().join("certificate.pem");
    let local = tokio::task::LocalSet::new();
    let conversation = async {
        let link = dial(&server, Some(&roots)).connect().await.expect("a socket");
        let join = Join::new(server.realm().name().clone());
        let peer = Peer::join(default_platform(), link, join).await.expect("a session");
        let echo = Uri::unchecked("echo");
        let handler = std::rc::Rc::new(|call: shared::wamp::Invocation| async move { Ok(call.payload) }.boxed_local());
        let _offer = peer
            .register(&echo, RegisterOptions::default(), handler)
            .await
            .expect("free");
        // More than one TLS record.
        let large = "x".repeat(100_000);
        let payload = Payload::encode(peer.codec(), &(&large,)).expect("text");
        let answer = peer
            .call(&echo, payload, CallOptions::default())
            .await
            .expect("an answer");
        assert_eq!(answer.decode_args::<(String,)>().expect("text").0, large);
    };
    local.run_until(conversation).await;
    let stranger = dial(&server, None)
        .connect()
        .await
        .map(|_| ())
        .expect_err("nobody knows who vouches");
    assert_eq!(stranger.kind(), ErrorKind::Link);
    let plain = Dial::new(format!("ws://{}/ws", server.address()));
    assert!(plain.connect().await.is_err(), "nothing is served in clear");
    server.stop().await;
}

#[tokio::test]
async fn rawsocket_speaks_tls_where_it_is_told_to() {
    let folder = tempfile::tempdir().expect("a folder");
    write_certificate(folder.path());
    let server = secured(folder.path()).await;
    let mut stream = connect(server.raw_addresses()[0], folder.path()).await;
    stream.write_all(&[0x7f, 0xf1, 0, 0]).await.expect("the server reads");
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).await.expect("the server answers");
    assert_eq!((answer[0], answer[1] & 0x0f), (0x7f, 1), "JSON, as was asked for");
    server.stop().await;
}

#[tokio::test]
async fn cookies_are_for_secure_connections_only_and_browsers_are_told_to_stay() {
    let folder = tempfile::tempdir().expect("a folder");
    write_certificate(folder.path());
    let files = (folder.path().join("certificate.pem"), folder.path().join("key.pem"));
    let builder = Server::builder().config(private()).tls(files.0, files.1);
    let (server, _) = with_accounts(builder).await;
    let mut stream = connect(server.address(), folder.path()).await;
    let host = format!("localhost:{}", server.address().port());
    let body = format!("login=anna&password={}", PASSWORD.replace(' ', "+"));
    let request = format!(
        "POST /login HTTP/1.1\r\nHost: {host}\r\nOrigin: https://{host}\r\nSec-Fetch-Site: same-origin\r\nConnection: close\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.expect("the server reads");
    let mut answer = Vec::new();
    // The end may come without a farewell of TLS.
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8_lossy(&answer).to_ascii_lowercase();
    let cookie = answer
        .lines()
        .find(|line| line.starts_with("set-cookie: "))
        .unwrap_or(&answer);
    assert!(
        cookie.contains("__host-coati=") && cookie.contains("; secure"),
        "{cookie}"
    );
    assert!(answer.contains("strict-transport-security: "), "{answer}");
    server.stop().await;
}

#[tokio::test]
async fn a_renewed_certificate_is_used_from_the_next_connection_on_and_a_broken_one_is_not() {
    let folder = tempfile::tempdir().expect("a folder");
    write_certificate(folder.path());
    let server = secured(folder.path()).await;
    let first = folder.path().join("first.pem");
    std::fs::copy(folder.path().join("certificate.pem"), &first).expect("a copy");
    write_certificate(folder.path());
    server.reload_certificate().expect("the new files are right");
    let second = folder.path().join("certificate.pem");
    assert!(
        dial(&server, Some(&first)).connect().await.is_err(),
        "the first is not shown any more"
    );
    assert!(dial(&server, Some(&second)).connect().await.is_ok());
    std::fs::write(folder.path().join("key.pem"), "half-written").expect("a writable folder");
    let refused = server.reload_certificate().expect_err("there is no key");
    assert!(refused.to_string().contains("key.pem"), "{refused}");
    assert!(
        dial(&server, Some(&second)).connect().await.is_ok(),
        "what was there stays"
    );
    server.stop().await;
}

#[tokio::test]
async fn each_wrong_file_is_one_line_at_the_start() {
    let folder = tempfile::tempdir().expect("a folder");
    write_certificate(folder.path());
    let other = tempfile::tempdir().expect("a folder");
    write_certificate(other.path());
    let (certificate, key) = (folder.path().join("certificate.pem"), folder.path().join("key.pem"));
    let text = folder.path().join("text.pem");
    std::fs::write(&text, "no PEM").expect("a writable folder");
    let broken = folder.path().join("broken.pem");
    std::fs::write(&broken, "-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n").expect("a writable folder");
    let missing = folder.path().join("missing.pem");
    for (certificate, key, words) in [
        (&missing, &key, ["certificate", "missing.pem"]),
        (&certificate, &missing, ["key", "missing.pem"]),
        (&text, &key, ["no certificate", "text.pem"]),
        (&broken, &key, ["no certificate", "broken.pem"]),
        (&certificate, &text, ["no private key", "text.pem"]),
        (&key, &certificate, ["no certificate", "key.pem"]),
        (
            &certificate,
            &other.path().join("key.pem"),
            ["does not fit", "certificate.pem"],
        ),
    ] {
        let started = Server::builder().config(private()).tls(certificate, key).start().await;
        let refused = started.map(|_| ()).expect_err("the files are wrong");
        assert_eq!(refused.kind(), ErrorKind::Configuration);
        let refused = refused.to_string();
        assert!(!refused.contains('\n'), "{refused}");
        for word in words {
            assert!(refused.contains(word), "{refused:?} without {word:?}");
        }
    }
}
