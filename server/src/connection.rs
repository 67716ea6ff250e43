//! The life of a connection between socket and realm, whatever the socket is made of.

use std::{
    pin::{Pin, pin},
    sync::Arc,
};

use shared::wamp::{CodecId, Uri, router::Principal, uri::close};

use crate::{
    config::ConnectionLimits,
    router::{
        queue::Outbound,
        realm::{Attached, Burst, Place},
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
///
/// Memory: the future of a connection lives as long as its peer is idle, and whatever an async function takes by value
/// it holds twice, as argument and as variable. So what is large is borrowed, and what is seldom needed is boxed.
struct Connection<'a> {
    limits: &'a ConnectionLimits,
    codec: CodecId,
    /// A frame may hold several messages.
    batched: bool,
    principal: Box<Principal>,
    /// The realm where `principal` counts; none = the first.
    home: Option<Uri>,
    from: Place,
    /// Its calls are counted and refused above the limit.
    counted: bool,
    /// What a person does by a token instead of by our pages is logged: such as at the operator's prompt.
    audited: bool,
}

/// A connection that is in a realm.
struct Entered {
    queue: Arc<Outbound>,
    attached: Attached,
    /// Where there are several realms.
    usher: Option<Box<Usher>>,
    /// The name of a user whose requests are logged.
    audited: Option<Box<str>>,
    rate: Option<CallRate>,
}

impl Connection<'_> {
    fn enter(self, realms: &Realms) -> Entered {
        let audited = self.audited.then(|| self.principal.authid.as_str().into());
        let queue = Arc::new(Outbound::new(self.limits.queue));
        let newcomer = Newcomer {
            codec: self.codec,
            principal: self.principal,
            home: self.home.unwrap_or_else(|| realms.first().name().clone()),
            queue: queue.clone(),
            from: self.from,
        };
        let attached = newcomer.enter(realms.first());
        let usher = realms
            .are_many()
            .then(|| Box::new(Usher::new(realms.clone(), newcomer)));
        Entered {
            queue,
            attached,
            usher,
            audited,
            rate: self.counted.then(|| CallRate::new(self.limits)),
        }
    }

    /// Lives until either side ends it. `login_ends` completes with a sentence when it may not go on.
    async fn run(
        self,
        realms: &Realms,
        incoming: &mut impl Incoming,
        outgoing: &mut impl Outgoing,
        login_ends: Pin<&mut impl Future<Output = &'static str>>,
    ) {
        let (limits, codec, batched) = (self.limits, self.codec, self.batched);
        let Entered {
            queue,
            attached,
            usher,
            audited,
            rate,
        } = self.enter(realms);
        let mut reader = Reader {
            incoming,
            codec,
            batched,
            queue: &queue,
            attached: &attached,
            usher,
            limits,
            granted: None,
            burst: Burst::default(),
            audited,
            rate,
        };
        // Each is pinned where it is made: a future that is moved into another takes its memory twice, in every task.
        let mut reading = pin!(reader.run());
        let mut writing = pin!(writer::run(outgoing, codec, &queue, &attached));
        let exchange = pin!(async {
            tokio::select! {
                // Both have their turn at each wake-up; nobody needs lots to be drawn for who is first.
                biased;
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
            tokio::time::sleep(limits.farewell).await;
        });
        let login = pin!(async {
            let text = login_ends.await;
            attached.kill(close::KILLED, Some(text.to_owned()));
            std::future::pending::<()>().await;
        });
        tokio::select! {
            biased;
            () = exchange => {}
            () = farewell => {}
            () = login => {}
        }
    }
}
