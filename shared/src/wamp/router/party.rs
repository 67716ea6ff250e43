//! A session as the dealer sees it, and what is sent to it.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};

use crate::wamp::{
    id::RequestId,
    message::{CancelMode, CancelOptions, ErrorDetails, ErrorMessage, Interrupt, Invocation, Message},
    payload::Payload,
    uri::Uri,
};

use super::{
    Class, Outgoing, Output,
    broker::Member,
    calls::{InFlight, Key},
    in_flight::InOrder,
};

/// A session as caller and callee.
#[derive(Debug)]
pub(super) struct Party {
    pub(super) member: Arc<Member>,
    /// Announced `call_canceling` as callee.
    pub(super) cancels: bool,
    /// Announced `progressive_call_results` as callee. The specification wants `call_canceling` with it, but there are
    /// clients that announce only this.
    pub(super) progresses: bool,
    /// Announced `progressive_call_invocations` as callee, and `call_canceling`.
    pub(super) takes_streams: bool,
    /// Announced `call_timeout` as callee.
    pub(super) times_out: bool,
    /// Announced `progressive_call_invocations` as caller.
    pub(super) streams: bool,
    /// Its calls that were answered before it had sent all arguments: the rest is still on its way, for nobody.
    pub(super) unfinished: BTreeSet<RequestId>,
    pub(super) most_calls: usize,
    /// Its calls in flight: their callee and invocation.
    pub(super) calls: InOrder<Key>,
    /// The invocations that it has not answered yet.
    pub(super) serves: InOrder<InFlight>,
    /// The last invocation's number.
    pub(super) invocations: u64,
    /// The place of the last INVOCATION message; streamed arguments take several under one number.
    pub(super) places: u64,
    /// Invocations that found no room, in order.
    pub(super) held: VecDeque<Arc<Outgoing>>,
    /// Since one found no room, and until there is some for all.
    pub(super) stalled: bool,
}

impl Party {
    /// Sends an invocation, or holds it behind those that already wait for room. Returns its place.
    #[inline]
    pub(super) fn invoke(&mut self, invocation: Invocation, out: &mut Vec<Output>) -> u64 {
        self.places += 1;
        let message = Outgoing::shared(self.places, Message::Invocation(invocation));
        if self.stalled {
            self.held.push_back(message);
        } else {
            out.push(Output::Send {
                connection: self.member.connection,
                message,
                class: Class::Invocation,
            });
        }
        self.places
    }

    /// Whether the invocation that began a call still waits for room, so that the callee has not heard of it.
    pub(super) fn holds(&self, begins: u64) -> bool {
        self.held.iter().any(|held| held.place() == begins)
    }
}

pub(super) fn number_of(message: &Outgoing) -> Option<RequestId> {
    if let Message::Invocation(invocation) = message.message() {
        Some(invocation.request)
    } else {
        None
    }
}

pub(super) fn interrupt(
    party: &Party,
    request: RequestId,
    mode: CancelMode,
    reason: Option<Uri>,
    out: &mut Vec<Output>,
) {
    let message = Message::Interrupt(Interrupt {
        request,
        options: CancelOptions {
            mode: Some(mode),
            reason,
        },
    });
    let message = Arc::new(Outgoing::new(message));
    out.push(Output::Send {
        connection: party.member.connection,
        message,
        class: Class::Control,
    });
}

pub(super) fn reply(member: &Member, message: Message, out: &mut Vec<Output>) {
    let message = Outgoing::shared(0, message);
    out.push(Output::Send {
        connection: member.connection,
        message,
        class: Class::Reply,
    });
}

/// An ERROR of the router's own, with a sentence as its argument.
pub(super) fn refusal(member: &Member, request_type: u64, request: RequestId, error: &str, text: &str) -> Message {
    let payload = Payload::encode(member.codec, &(text,)).unwrap_or_else(|_| Payload::empty(member.codec));
    let (details, error) = (ErrorDetails::default(), Uri::unchecked(error));
    Message::Error(ErrorMessage {
        request_type,
        request,
        details,
        error,
        payload,
    })
}
