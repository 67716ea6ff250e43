//! Session roots under users who do what the page never does.
#![cfg(feature = "data")]
#![allow(missing_docs, reason = "tests")]

mod support;

use std::{sync::Arc, time::Duration};

use coati_server::{
    Running, Server,
    auth::MemoryAccounts,
    peer::websocket::Dial,
    service::{Candidate, Catalogue, Sessions},
};
use shared::{
    error::{Error, ErrorKind, Result},
    intent::{Intent, Operation},
    platform::default_platform,
    session_root::{Resume, START_SESSION, SessionStarted, StartSession},
    wamp::{
        message::CallOptions,
        payload::Payload,
        peer::{Join, Peer},
        uri::Uri,
    },
};
use support::{PASSWORD, log_in, private};
use tokio::task::LocalSet;

fn catalogue() -> Catalogue {
    Catalogue::default().with(Candidate {
        operation: Operation::View,
        source: "secrets",
        view: "view",
        title: "For admins",
        roles: &["admin"],
        build: Box::new(|_, _| Err(Error::new(ErrorKind::Refused, "elected"))),
    })
}

async fn server() -> (Running, Arc<MemoryAccounts>) {
    let accounts = Arc::new(MemoryAccounts::default());
    accounts.add("anna", PASSWORD, "admin").await.expect("a fresh store");
    let sessions = Sessions::new(catalogue(), accounts.clone());
    let mut config = private();
    config.logins.recheck = Duration::from_millis(100);
    let builder = Server::builder().config(config).accounts(accounts.clone());
    let server = builder.service(Arc::new(sessions)).start().await.expect("it starts");
    (server, accounts)
}

async fn cookie(server: &Running) -> String {
    log_in(server.address(), "anna", PASSWORD, "").await.cookie()
}

async fn join(server: &Running, cookie: &str) -> Peer {
    let address = server.address();
    let mut dial = Dial::new(format!("ws://{address}/ws"));
    dial.headers = vec![
        ("Cookie".into(), cookie.to_owned()),
        ("Origin".into(), format!("http://{address}")),
    ];
    let link = dial.connect().await.expect("the socket opens");
    Peer::join(default_platform(), link, Join::new(server.realm().name().clone()))
        .await
        .expect("the realm welcomes")
}

async fn start(peer: &Peer, resume: Option<Resume>) -> Result<SessionStarted> {
    let arguments = Payload::encode(peer.codec(), &(StartSession { resume },))?;
    let answer = peer
        .call(&Uri::strict(START_SESSION)?, arguments, CallOptions::default())
        .await?;
    Ok(answer.decode_args::<(SessionStarted,)>()?.0)
}

fn resume(started: &SessionStarted) -> Option<Resume> {
    Some(Resume {
        base: started.base.clone(),
        secret: started.secret.clone(),
    })
}

async fn open(peer: &Peer, base: &str) -> Error {
    let arguments = Payload::encode(peer.codec(), &(Intent::view("secrets"), None::<String>)).expect("it encodes");
    let procedure = Uri::strict(&format!("{base}.server.open")).expect("a name");
    peer.call(&procedure, arguments, CallOptions::default())
        .await
        .expect_err("the candidate always refuses")
}

#[tokio::test]
async fn a_lost_role_is_lost_in_a_root_that_is_taken_over_too() {
    LocalSet::new()
        .run_until(async {
            let (server, accounts) = server().await;
            let cookie = cookie(&server).await;
            let before = join(&server, &cookie).await;
            let started = start(&before, None).await.expect("it starts");
            assert_eq!(
                open(&before, &started.base).await.message,
                "elected",
                "an admin gets the page"
            );

            accounts
                .add("anna", PASSWORD, "reader")
                .await
                .expect("the role changes");
            before.closed().await;
            let after = join(&server, &cookie).await;
            let again = start(&after, resume(&started)).await.expect("it starts again");
            assert_eq!(again.role, "reader");
            let refused = open(&after, &again.base).await;
            assert_eq!(
                refused.kind,
                ErrorKind::NotFound,
                "a reader got the admin's page: {refused:?}"
            );
            server.stop().await;
        })
        .await;
}

#[tokio::test]
async fn one_socket_gets_one_root_however_often_it_asks() {
    LocalSet::new()
        .run_until(async {
            let (server, _) = server().await;
            let cookie = cookie(&server).await;
            let peer = join(&server, &cookie).await;
            let trees = || server.realm().stats().router.sessions;
            let before = trees();
            // At once, and then one after the other.
            let started = futures::future::join_all((0..12).map(|_| start(&peer, None))).await;
            assert_eq!(started.iter().filter(|outcome| outcome.is_ok()).count(), 1);
            for _ in 0..100 {
                assert!(start(&peer, None).await.is_err());
            }
            assert_eq!(trees() - before, 1);
            server.stop().await;
        })
        .await;
}
