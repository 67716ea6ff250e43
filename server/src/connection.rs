//! The life of a connection between socket and realm, whatever the socket is made of.

use std::{pin::pin, sync::Arc};

use shared::wamp::{CodecId, Uri, router::Principal, uri::close};

use crate::{
    config::ConnectionLimits,
    router::{
        SocketLimits,
        queue::Outbound,
        realm::Place,
        realms::{Newcomer, Realms, Usher},
    },
};

mod batch;
pub mod fuzzing;
mod patience;
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
    /// The realm where `principal` counts; none = the first.
    home: Option<Uri>,
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
        realms: &Realms,
        incoming: impl Incoming,
        outgoing: impl Outgoing,
        login_ends: impl Future<Output = &'static str>,
    ) {
        let user = self.principal.authid.clone();
        let queue = Arc::new(Outbound::new(self.limits.queue));
        let newcomer = Newcomer {
            codec: self.codec,
            principal: self.principal,
            home: self.home.unwrap_or_else(|| realms.first().name().clone()),
            queue: queue.clone(),
            from: self.from,
        };
        let attached = newcomer.enter(realms.first());
        let reader = Reader {
            incoming,
            codec: self.codec,
            batched: self.batched,
            queue: &queue,
            attached: &attached,
            usher: realms.are_many().then(|| Usher::new(realms.clone(), newcomer)),
            limits: &self.limits,
            granted: SocketLimits::default(),
            audited: self.audited.then_some(user),
            rate: self.counted.then(|| CallRate::new(&self.limits)),
        };
        // Each is pinned where it is made: a future that is moved into another takes its memory twice, in every task.
        let mut reading = pin!(reader.run());
        let mut writing = pin!(writer::run(outgoing, self.codec, &queue, &attached));
        let exchange = pin!(async {
            tokio::select! {
                end = reading.as_mut() => match end {
                    End::Gone => {}
                    End::Refused => writing.as_mut().await,
                },
                // The farewell is out. What still comes is read and ignored, lest the system takes the farewell back.
                () = writing.as_mut() => {
                    reading.as_mut().await;
                }
            }
        });
        let farewell = pin!(async {
            queue.ended().await;
            tokio::time::sleep(self.limits.farewell).await;
        });
        let login_ends = pin!(login_ends);
        let login = pin!(async {
            let text = login_ends.await;
            attached.kill(close::KILLED, Some(text.to_owned()));
            std::future::pending::<()>().await;
        });
        tokio::select! {
            () = exchange => {}
            () = farewell => {}
            () = login => {}
        }
    }
}
