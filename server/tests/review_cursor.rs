//! Cursors whose callers give up at the wrong moment.
#![cfg(feature = "data")]
#![allow(clippy::unwrap_used, missing_docs, reason = "a test stops at the first surprise")]

mod data_support;
mod support;

use std::{rc::Rc, sync::Arc, time::Duration};

use coati_server::{
    Server,
    auth::MemoryAccounts,
    data::FeedOptions,
    peer::websocket::Dial,
    service::{Candidate, Catalogue, Controller, CursorNode, Sessions},
};
use data_support::Bench;
use futures::{FutureExt, future::LocalBoxFuture};
use shared::{
    data::{Query, Range},
    error::Result,
    intent::{Intent, Operation},
    platform::default_platform,
    prelude::*,
    session_root::{ClientMember, PairingOffer, START_SESSION, SessionStarted, StartSession},
    wamp::{
        message::CallOptions,
        payload::Payload,
        peer::{Join, Peer},
        uri::Uri,
    },
};
use support::{PASSWORD, log_in, private};
use tokio::task::LocalSet;

#[node]
struct Page {
    rows: Rc<CursorNode>,
}

#[handlers]
impl Page {
    #[handler(on_node_bind)]
    async fn add_rows(&self) -> Result<()> {
        self.node_add("rows", self.rows.clone()).await
    }
}

impl Controller for Page {
    fn paired(self: Rc<Self>) -> LocalBoxFuture<'static, Result<()>> {
        std::future::ready(Ok(())).boxed_local()
    }
}

#[node(ClientMember)]
struct Browser {}

impl ClientMember for Browser {
    async fn create_view(&self, offer: PairingOffer) -> Result<String> {
        Ok(offer.controller.replace(".server.", ".client."))
    }
    async fn drop_view(&self, _: String) -> Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn windows_whose_preparation_was_given_up_are_not_kept() {
    LocalSet::new()
        .run_until(async {
            let bench = Bench::new().await;
            let (hub, _frames) = bench.hub(FeedOptions::default()).await;
            let accounts = Arc::new(MemoryAccounts::default());
            accounts.add("anna", PASSWORD, "admin").await.unwrap();
            let rows = hub.clone();
            let catalogue = Catalogue::default().with(Candidate {
                operation: Operation::View,
                source: "assessments",
                view: "page",
                title: "Page",
                roles: &["admin"],
                build: Box::new(move |scope, _| {
                    Ok(Page::new(CursorNode::over(rows.clone(), "assessments", scope)) as Rc<dyn Controller>)
                }),
            });
            let sessions = Sessions::new(catalogue, accounts.clone()).keep_for(Duration::from_millis(100));
            let mut config = private();
            config.connections.calls_burst = 10_000;
            let server = Server::builder()
                .config(config)
                .accounts(accounts)
                .service(Arc::new(sessions))
                .start()
                .await
                .unwrap();
            let address = server.address();
            let cookie = log_in(address, "anna", PASSWORD, "").await.cookie();
            let mut dial = Dial::new(format!("ws://{address}/ws"));
            dial.headers = vec![
                ("Cookie".into(), cookie),
                ("Origin".into(), format!("http://{address}")),
            ];
            let link = dial.connect().await.unwrap();
            let peer = Peer::join(default_platform(), link, Join::new(server.realm().name().clone()))
                .await
                .unwrap();
            let call = async |procedure: &str, arguments: Payload| {
                peer.call(&Uri::strict(procedure)?, arguments, CallOptions::default())
                    .await
            };
            let codec = peer.codec();
            let answer = call(
                START_SESSION,
                Payload::encode(codec, &(StartSession::default(),)).unwrap(),
            )
            .await
            .unwrap();
            let (started,): (SessionStarted,) = answer.decode_args().unwrap();
            let context = NodeContext::root(default_platform(), Some(peer.clone()));
            let browser = Browser::new();
            browser
                .node_bind(Path::root(&started.base).unwrap().join("client").unwrap(), &context)
                .await
                .unwrap();
            for page in 0..8_u64 {
                let name = format!("page_{page}");
                let intent = Payload::encode(codec, &(Intent::view("assessments"), Some(&name))).unwrap();
                call(&format!("{}.server.open", started.base), intent).await.unwrap();
                let prepare = format!("{}.server.{name}.rows.prepare", started.base);
                for number in 0..40_u64 {
                    let range = Range::new(page * 1000 + number, 10);
                    let arguments = Payload::encode(codec, &(Query::default(), range)).unwrap();
                    let mut calling = std::pin::pin!(call(&prepare, arguments));
                    // Dropping the call cancels it; the moment wanders over the time that a call takes.
                    let until = std::time::Instant::now() + Duration::from_micros(3 * number);
                    while std::time::Instant::now() < until && calling.as_mut().now_or_never().is_none() {
                        tokio::task::yield_now().await;
                    }
                }
            }
            assert!(hub.stats().windows > 0, "some were prepared");
            peer.leave("wamp.close.normal").await;
            tokio::time::sleep(Duration::from_millis(1500)).await;
            let after = hub.stats().windows;
            assert_eq!(after, 0, "windows that nobody holds are kept for ever");
            server.stop().await;
            hub.shutdown();
        })
        .await;
}
