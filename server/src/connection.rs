//! The life of a connection between socket and realm, whatever the socket is made of.

use std::sync::Arc;

use shared::wamp::{CodecId, router::Principal, uri::close};

use crate::{
    config::ConnectionLimits,
    router::{RealmHandle, queue::Outbound, realm::Place},
};

mod batch;
pub mod fuzzing;
mod rate;
mod rawsocket;
mod reader;
mod sockets;
mod websocket;
mod wire;
mod writer;

pub(crate) use rawsocket::RawListener;
pub(crate) use sockets::{CloseWhy, Sockets};
pub(crate) use websocket::upgrade;

use rate::CallRate;
use reader::{End, Reader};
use wire::{Incoming, Outgoing};

/// A socket that was let in.
struct Connection {
    limits: ConnectionLimits,
    codec: CodecId,
    /// A frame may hold several messages.
    batched: bool,
    principal: Principal,
    from: Place,
    /// Its calls are counted and refused above the limit.
    counted: bool,
    /// What a person does by a token instead of by our pages is logged: such as at the operator's prompt.
    audited: bool,
}

impl Connection {
    /// Lives until either side ends it. `login_ends` completes with a sentence when it may not go on.
    async fn run(
        self,
        realm: &RealmHandle,
        incoming: impl Incoming,
        outgoing: impl Outgoing,
        login_ends: impl Future<Output = &'static str>,
    ) {
        let user = self.principal.authid.clone();
        let queue = Arc::new(Outbound::new(self.limits.queue));
        let attached = realm.attach_socket(self.codec, self.principal, queue.clone(), self.from);
        let reader = Reader {
            incoming,
            codec: self.codec,
            batched: self.batched,
            queue: &queue,
            attached: &attached,
            limits: &self.limits,
            audited: self.audited.then_some(user),
            rate: self.counted.then(|| CallRate::new(&self.limits)),
        };
        let exchange = async {
            let (reading, writing) = (reader.run(), writer::run(outgoing, self.codec, &queue, &attached));
            tokio::pin!(reading, writing);
            tokio::select! {
                end = &mut reading => match end {
                    End::Gone => {}
                    End::Refused => writing.await,
                },
                // The farewell is out. What still comes is read and ignored, lest the system takes the farewell back.
                () = &mut writing => {
                    reading.await;
                }
            }
        };
        let farewell = async {
            queue.ended().await;
            tokio::time::sleep(self.limits.farewell).await;
        };
        let login = async {
            let text = login_ends.await;
            attached.kill(close::KILLED, Some(text.to_owned()));
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = exchange => {}
            () = farewell => {}
            () = login => {}
        }
    }
}

/// Somebody who did not say who they are, with a name of their own each, so that publishers can pick out one of many.
fn anonymous(role: &str) -> Principal {
    Principal {
        authid: anonymous_name(),
        authrole: role.to_owned(),
        authmethod: "anonymous".to_owned(),
        authprovider: "static".to_owned(),
        internal: false,
    }
}

fn anonymous_name() -> String {
    let mut bytes = [0; 8];
    match getrandom::fill(&mut bytes) {
        Ok(()) => format!("anonymous-{:016x}", u64::from_ne_bytes(bytes)),
        Err(error) => {
            tracing::error!(%error, "the system gives no randomness");
            "anonymous".to_owned()
        }
    }
}
