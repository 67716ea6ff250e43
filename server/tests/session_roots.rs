//! Session roots over real sockets: started, taken over by their secret only, and ended when abandoned.
#![cfg(feature = "data")]

mod support;

use std::{rc::Rc, sync::Arc, time::Duration};

use coati_server::{
    Running, Server,
    auth::MemoryAccounts,
    peer::websocket::Dial,
    service::{Candidate, Catalogue, Controller, Sessions},
};
use futures::{FutureExt, StreamExt, future::LocalBoxFuture, stream::FuturesUnordered};
use shared::{
    intent::{Intent, Operation},
    node::pairing::stop_pair,
    platform::default_platform,
    prelude::*,
    session_root::{ClientMember, PairingOffer, Resume, START_SESSION, ServerMember, SessionStarted, StartSession},
    wamp::{
        message::CallOptions,
        payload::Payload,
        peer::{Join, Peer},
        uri::Uri,
    },
};
use support::{PASSWORD, log_in, private};
use tokio::task::LocalSet;

#[contract]
trait Finishes {
    /// Stops its context.
    async fn finish(&self) -> Result<()>;
}

/// A controller that does nothing but end, for a view that lies.
#[node(Finishes)]
struct Plain {}

impl Finishes for Plain {
    async fn finish(&self) -> Result<()> {
        stop_pair(self).await
    }
}

impl Controller for Plain {
    fn paired(self: Rc<Self>) -> LocalBoxFuture<'static, Result<()>> {
        std::future::ready(Ok(())).boxed_local()
    }
}

/// A browser's member that answers the path that it was made with, whatever is asked of it.
#[node(ClientMember)]
struct Browser {
    answer: String,
    dropped: Value<Vec<String>>,
}

impl ClientMember for Browser {
    async fn create_view(&self, _offer: PairingOffer) -> Result<String> {
        Ok(self.answer.clone())
    }

    async fn drop_view(&self, name: String) -> Result<()> {
        self.dropped.update(|dropped| dropped.push(name));
        Ok(())
    }
}

fn plain() -> Catalogue {
    Catalogue::default().with(Candidate {
        operation: Operation::View,
        source: "plain",
        view: "plain",
        title: "Plain",
        roles: &["editor"],
        build: Box::new(|_, _| Ok(Plain::new())),
    })
}

/// How long the roots of these tests wait for their browser.
const KEEP_FOR: Duration = Duration::from_millis(300);

async fn server() -> Running {
    let accounts = Arc::new(MemoryAccounts::default());
    for name in ["anna", "bert"] {
        accounts.add(name, PASSWORD, "editor").await.expect("a fresh store");
    }
    let sessions = Sessions::new(plain(), accounts.clone()).keep_for(KEEP_FOR);
    let builder = Server::builder().config(private()).accounts(accounts);
    builder
        .service(Arc::new(sessions))
        .start()
        .await
        .expect("the server starts")
}

/// A browser's session: by cookie, from the server's own origin.
async fn join(server: &Running, name: &str) -> Peer {
    let address = server.address();
    let cookie = log_in(address, name, PASSWORD, "").await.cookie();
    let mut dial = Dial::new(format!("ws://{address}/ws"));
    dial.headers = vec![
        ("Cookie".into(), cookie),
        ("Origin".into(), format!("http://{address}")),
    ];
    let link = dial.connect().await.expect("the socket opens");
    Peer::join(default_platform(), link, Join::new(server.realm().name().clone()))
        .await
        .expect("the realm welcomes")
}

async fn call(peer: &Peer, procedure: &str, arguments: Payload) -> Result<Payload> {
    peer.call(&Uri::strict(procedure)?, arguments, CallOptions::default())
        .await
}

async fn start(peer: &Peer, resume: Option<Resume>) -> SessionStarted {
    let arguments = Payload::encode(peer.codec(), &(StartSession { resume },)).expect("it encodes");
    let answer = call(peer, START_SESSION, arguments).await.expect("a session starts");
    answer.decode_args::<(SessionStarted,)>().expect("it decodes").0
}

async fn ping(peer: &Peer, base: &str) -> Result<()> {
    call(peer, &format!("{base}.server.ping"), Payload::empty(peer.codec()))
        .await
        .map(drop)
}

fn secret_of(started: &SessionStarted) -> Option<Resume> {
    Some(Resume {
        base: started.base.clone(),
        secret: started.secret.clone(),
    })
}

async fn local(test: impl AsyncFnOnce(&Running)) {
    LocalSet::new()
        .run_until(async {
            let server = server().await;
            test(&server).await;
            server.stop().await;
        })
        .await;
}

#[tokio::test]
async fn the_secret_takes_a_root_over_and_closes_the_older_link() {
    local(async |server| {
        let older = join(server, "anna").await;
        let first = start(&older, None).await;
        assert!(!first.resumed);
        ping(&older, &first.base).await.expect("its own base answers");

        let newer = join(server, "anna").await;
        let second = start(&newer, secret_of(&first)).await;
        assert_eq!((second.resumed, &second.base), (true, &first.base));
        let reason = older.closed().await;
        assert_eq!(reason.uri.as_str(), "coati.close.replaced");
        ping(&newer, &second.base)
            .await
            .expect("the tree answers the newer link");
    })
    .await;
}

#[tokio::test]
async fn neither_a_wrong_secret_nor_another_user_gets_a_root() {
    local(async |server| {
        let anna = join(server, "anna").await;
        let hers = start(&anna, None).await;
        let guess = Some(Resume {
            base: hers.base.clone(),
            secret: "0".repeat(64),
        });
        let again = join(server, "anna").await;
        assert_ne!(start(&again, guess).await.base, hers.base);

        let bert = join(server, "bert").await;
        let stolen = start(&bert, secret_of(&hers)).await;
        assert!(!stolen.resumed);
        assert_ne!(stolen.base, hers.base);
        let refused = ping(&bert, &hers.base).await.expect_err("another's base is closed");
        assert_eq!(refused.kind, ErrorKind::NotAuthorized);
        ping(&anna, &hers.base).await.expect("she noticed nothing");
    })
    .await;
}

#[tokio::test]
async fn an_abandoned_root_ends_but_its_secret_still_gives_the_same_base() {
    local(async |server| {
        let anna = join(server, "anna").await;
        let first = start(&anna, None).await;
        let registrations = server.realm().stats().router.registrations;
        anna.leave("wamp.close.normal").await;
        let ended = async {
            while server.realm().stats().router.registrations >= registrations {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(KEEP_FOR * 20, ended)
            .await
            .expect("the tree's registrations go with it");

        let back = join(server, "anna").await;
        let second = start(&back, secret_of(&first)).await;
        assert_eq!((second.resumed, &second.base), (true, &first.base));
        ping(&back, &second.base)
            .await
            .expect("a new tree answers at the old base");
    })
    .await;
}

#[tokio::test]
async fn a_session_gets_one_root() {
    local(async |server| {
        let anna = join(server, "anna").await;
        let first = start(&anna, None).await;
        let arguments = Payload::encode(anna.codec(), &(StartSession { resume: None },)).expect("it encodes");
        let refused = call(&anna, START_SESSION, arguments)
            .await
            .expect_err("a second one is refused");
        assert_eq!(refused.kind, ErrorKind::Refused);
        ping(&anna, &first.base).await.expect("the first one stays");
    })
    .await;
}

#[tokio::test]
async fn a_view_is_below_the_browsers_own_member_and_nowhere_else() {
    local(async |server| {
        let anna = join(server, "anna").await;
        let base = start(&anna, None).await.base;
        let context = NodeContext::root(default_platform(), Some(anna.clone()));
        let at = Path::root(&base).expect("a base").join("client").expect("a path");
        let open = async |answer: String| {
            let browser = Browser::new(answer);
            browser.node_bind(&at, &context).await.expect("it binds");
            let server = browser.remote::<dyn ServerMember>("@server").expect("it resolves");
            let opened = server.open(Intent::view("plain"), None).await;
            browser.node_unbind().await.expect("it unbinds");
            opened.map_err(|error| error.kind)
        };
        let elsewhere = format!("session.{}.server", "0".repeat(32));
        assert_eq!(open(elsewhere).await, Err(ErrorKind::InvalidArgument));
        assert_eq!(open(format!("{base}.clients")).await, Err(ErrorKind::InvalidArgument));
        assert_eq!(open(format!("{base}.client.plain_1")).await, Ok("plain_1".to_owned()));
    })
    .await;
}

#[tokio::test]
async fn a_controller_that_stops_its_context_takes_the_view_away() {
    local(async |server| {
        let anna = join(server, "anna").await;
        let base = start(&anna, None).await.base;
        let context = NodeContext::root(default_platform(), Some(anna.clone()));
        let at = Path::root(&base).expect("a base").join("client").expect("a path");
        let browser = Browser::new(format!("{at}.plain_1"));
        browser.node_bind(&at, &context).await.expect("it binds");
        let members = browser.remote::<dyn ServerMember>("@server").expect("it resolves");
        for _ in 0..2 {
            let opened = members.open(Intent::view("plain"), None).await;
            assert_eq!(opened.as_deref(), Ok("plain_1"), "the name is free again");
            let controller = browser.remote::<dyn Finishes>("@server.plain_1").expect("it resolves");
            let ended = controller.finish().await.map_err(|error| error.kind);
            assert_eq!(ended, Err(ErrorKind::Canceled), "it ends in the midst of its own call");
        }
        let heard = async {
            while browser.dropped.get().len() < 2 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let heard = tokio::time::timeout(Duration::from_secs(5), heard).await;
        heard.expect("the browser is told");
        assert_eq!(browser.dropped.get(), ["plain_1", "plain_1"]);
    })
    .await;
}

#[tokio::test]
async fn pages_that_are_opened_at_once_pass_the_limit_one_by_one_and_those_given_up_leave_no_name_taken() {
    local(async |server| {
        let anna = join(server, "anna").await;
        let base = start(&anna, None).await.base;
        // The browser answers no invitation, so that all stay on their way.
        let open = |name: String| {
            let payload = Payload::encode(anna.codec(), &(Intent::view("plain"), Some(name))).expect("it encodes");
            let (anna, procedure) = (anna.clone(), format!("{base}.server.open"));
            async move { call(&anna, &procedure, payload).await.map_err(|error| error.kind) }
        };
        let mut busy = 0;
        {
            let mut all = (0..40)
                .map(|number| open(format!("page_{number}")))
                .collect::<FuturesUnordered<_>>();
            while busy < 8 {
                // Without a browser's half, the others fail too or wait; these are told at once.
                match all.next().await {
                    Some(Err(ErrorKind::Busy)) => busy += 1,
                    other => assert!(other.is_some(), "fewer than 8 of 40 were refused"),
                }
            }
        }
        let again = async {
            loop {
                match open("page_0".to_owned()).await {
                    Err(ErrorKind::Conflict | ErrorKind::Busy) => tokio::time::sleep(Duration::from_millis(20)).await,
                    other => break other,
                }
            }
        };
        let again = tokio::time::timeout(Duration::from_secs(20), again)
            .await
            .expect("the name is free again");
        assert_eq!(
            again.map(drop),
            Err(ErrorKind::NoSuchProcedure),
            "nobody shows views here"
        );
    })
    .await;
}

#[tokio::test]
async fn a_browser_whose_tree_ends_is_closed_and_gets_a_new_one() {
    local(async |server| {
        let anna = join(server, "anna").await;
        let first = start(&anna, None).await;
        // The tree joined the realm in the name of its base.
        let reason = Uri::strict("wamp.close.killed").expect("a reason");
        server.realm().kill_user(&first.base, reason, None);
        let closed = tokio::time::timeout(Duration::from_secs(5), anna.closed()).await;
        assert_eq!(
            closed.expect("no browser sits on a dead root").uri.as_str(),
            "wamp.close.killed"
        );
        let back = join(server, "anna").await;
        let second = start(&back, secret_of(&first)).await;
        assert_eq!(second.base, first.base);
        ping(&back, &second.base).await.expect("the new tree answers");
    })
    .await;
}
