//! What joined sessions ask for: each request is checked, authorized, and answered or passed on.

use std::sync::Arc;

use crate::wamp::{
    id::{PublicationId, RequestId},
    message::{
        Call, CallResult, Event, EventDetails, Message, Publish, Register, Registered, ResultDetails, Subscribe,
        Subscribed, Unregister, Unregistered, Unsubscribe, Unsubscribed, code,
    },
    payload::Payload,
    uri::{MatchPolicy, Uri, error},
};

use super::{
    Action, ConnectionId, Decision, Outgoing, Output, Router,
    authorizer::looks_inside,
    broker::{Member, send_retained},
    calls::{Part, Refused, refusal, reply},
    deciding::{Judged, REAUTHORIZE},
    session::{Joined, State, control},
};

/// Why a request is refused: error URI and a sentence.
pub(super) type Refusal = (&'static str, String);

impl Router {
    /// A message from any connection.
    pub(super) fn message(&mut self, connection: ConnectionId, mut message: Box<Message>, out: &mut Vec<Output>) {
        let member = match self.connections.get(&connection).map(|known| &known.state) {
            Some(State::Joined(joined)) if joined.decisions.is_waiting() => {
                return self.wait(connection, joined.info.session, message, out);
            }
            Some(State::Joined(joined)) => Arc::clone(&joined.member),
            Some(State::Attached | State::Challenged(_) | State::Asking(_)) => {
                return self.first_message(connection, *message, out);
            }
            Some(State::Closing) | None => return,
        };
        if let Some(question) = self.open_question(&member, &message) {
            return self.decide_first(member.session, message, question, out);
        }
        match *message {
            Message::Publish(publish) => self.publish(&member, &publish, out),
            Message::Subscribe(subscribe) => self.subscribe(&member, subscribe, out),
            Message::Unsubscribe(unsubscribe) => self.unsubscribe(&member, &unsubscribe, out),
            Message::Call(ref mut call) => self.call(&member, call, out),
            Message::Cancel(cancel) => self.calls.cancel(member.session, &cancel, out),
            Message::Register(register) => self.register(&member, register, out),
            Message::Unregister(unregister) => self.unregister(&member, &unregister, out),
            Message::Yield(ref mut message) => {
                let request = message.request;
                if !self.calls.answer(member.session, message, self.now, out) {
                    self.violation(
                        connection,
                        format!("YIELD for invocation {request}, which never was"),
                        out,
                    );
                }
            }
            Message::Error(message) if message.request_type == code::INVOCATION => {
                let request = message.request;
                if !self.calls.error(member.session, message, out) {
                    self.violation(
                        connection,
                        format!("ERROR for invocation {request}, which never was"),
                        out,
                    );
                }
            }
            Message::Error(message) => {
                let text = format!("ERROR for a request of type {}", message.request_type);
                self.violation(connection, text, out);
            }
            Message::Goodbye(_) => self.goodbye(connection, member.session, out),
            Message::Abort(_) => self.aborted(connection, member.session, out),
            Message::EventReceived(_) => {}
            Message::Hello(_)
            | Message::Welcome(_)
            | Message::Challenge(_)
            | Message::Authenticate(_)
            | Message::Published(_)
            | Message::Subscribed(_)
            | Message::Unsubscribed(_)
            | Message::Event(_)
            | Message::Result(_)
            | Message::Registered(_)
            | Message::Unregistered(_)
            | Message::Invocation(_)
            | Message::Interrupt(_) => {
                self.violation(
                    connection,
                    format!("{} from a client with a session", message.name()),
                    out,
                );
            }
        }
    }

    /// Whether the session may do this with the name: syntax first, then what is reserved, then the authorizer.
    pub(super) fn permit(
        &self,
        member: &Member,
        action: Action,
        uri: &Uri,
        policy: MatchPolicy,
    ) -> Result<&Joined, Refusal> {
        if !uri.is_valid(self.config.syntax, policy) {
            return Err((error::INVALID_URI, format!("'{uri}' is not a valid URI.")));
        }
        let joined = self
            .joined(member.session)
            .ok_or_else(|| (error::CANCELED, "The session is over.".to_owned()))?;
        if action == Action::Call && !member.meta && looks_inside(uri) {
            return Err((error::NOT_AUTHORIZED, format!("You may not look into '{uri}'.")));
        }
        if uri.is_within("wamp") {
            return match action {
                // Calls are answered by `meta_call`, which has rules of its own.
                Action::Call => Err((error::NO_SUCH_PROCEDURE, format!("There is no procedure '{uri}'."))),
                Action::Subscribe if member.meta => Ok(joined),
                Action::Subscribe => Err((error::NOT_AUTHORIZED, format!("You may not subscribe to '{uri}'."))),
                Action::Register | Action::Publish => {
                    Err((error::INVALID_URI, "Names below 'wamp.' are reserved.".to_owned()))
                }
            };
        }
        if matches!(action, Action::Register | Action::Publish) && uri.resembles_wamp() {
            return Err((
                error::INVALID_URI,
                format!("'{uri}' could be taken for a reserved name."),
            ));
        }
        match self.config.judge(&joined.info, action, uri, policy) {
            Decision::Allow => Ok(joined),
            Decision::Deny => Err(denied(uri)),
            Decision::Ask => match joined.decisions.of(&(action, uri.clone(), policy), self.now) {
                Some(Judged::Allowed { .. }) => Ok(joined),
                Some(Judged::Denied) => Err(denied(uri)),
                Some(Judged::Failed) | None => {
                    let text = "Whether you may do this cannot be decided at the moment.".to_owned();
                    Err((error::AUTHORIZATION_FAILED, text))
                }
            },
        }
    }

    fn publish(&mut self, member: &Arc<Member>, publish: &Publish, out: &mut Vec<Output>) {
        let most = match self.permit(member, Action::Publish, &publish.topic, MatchPolicy::Exact) {
            Ok(joined) => joined.limits.retained,
            Err(refusal) => {
                // Without acknowledgement there is no answer, not even this one.
                if publish.options.acknowledge {
                    refuse(member, code::PUBLISH, publish.request, &refusal, out);
                }
                return;
            }
        };
        let publication = PublicationId::wrapped(self.ids.next_id());
        let stored_as = if self.must_disclose(member, publish) {
            let mut disclosed = publish.clone();
            disclosed.options.disclose_me = true;
            self.send_event(member, &disclosed, publication, most, out)
        } else {
            self.send_event(member, publish, publication, most, out)
        };
        if publish.options.acknowledge {
            self.acknowledge(member, publish.request, publication, stored_as, out);
        }
    }

    /// Whether the authorizer wants receivers to know who published.
    fn must_disclose(&self, member: &Member, publish: &Publish) -> bool {
        if publish.options.disclose_me || !self.config.authorizers.contains_key(&*member.authrole) {
            return false;
        }
        let wish = (Action::Publish, publish.topic.clone(), MatchPolicy::Exact);
        let judged = self
            .joined(member.session)
            .and_then(|joined| joined.decisions.of(&wish, self.now));
        judged == Some(Judged::Allowed { discloses: true })
    }

    /// Sends an event that may be published to all who may have it, records it, and retains it if that is wanted;
    /// `most` is how many the publisher may have retained. The number under which the shell stores it, if it does.
    pub(super) fn send_event(
        &mut self,
        publisher: &Arc<Member>,
        publish: &Publish,
        publication: PublicationId,
        most: usize,
        out: &mut Vec<Output>,
    ) -> Option<u64> {
        self.broker.publish(publisher, publish, publication, false, out);
        if publish.options.retain && most > 0 {
            self.retained.keep(publisher, publish, publication, most);
        }
        self.record(publisher, publish, publication, out)
    }

    fn subscribe(&mut self, member: &Arc<Member>, subscribe: Subscribe, out: &mut Vec<Output>) {
        let Subscribe {
            request,
            options,
            topic,
        } = subscribe;
        let policy = options.policy;
        let permitted = self
            .permit(member, Action::Subscribe, &topic, policy)
            .and_then(|joined| {
                let held = self.broker.find(member.session, policy, &topic);
                let count = self.broker.count(member.session);
                if held.is_none() {
                    within_limits(joined, policy, count, joined.limits.subscriptions)?;
                }
                Ok(held)
            });
        match permitted {
            Ok(held) => {
                let before = self.broker.len();
                if held.is_none() {
                    self.count_pattern(member, policy, true);
                }
                let resumable = options.resumable;
                let subscription = self
                    .broker
                    .subscribe(member, policy, topic.clone(), resumable, self.now);
                reply(member, Message::Subscribed(Subscribed { request, subscription }), out);
                // Only of one topic: a pattern could ask for all that is retained at once.
                if options.get_retained && policy == MatchPolicy::Exact {
                    let mut kept = self.retained.of(&topic);
                    kept.any(|kept| send_retained(member, subscription, kept, out));
                }
                if held.is_none() {
                    self.tell_subscribed(member.session, subscription, self.broker.len() > before, out);
                }
            }
            Err(refusal) => refuse(member, code::SUBSCRIBE, request, &refusal, out),
        }
    }

    /// A subscriber has to do without events: tells it once.
    pub(super) fn fall_behind(&mut self, connection: ConnectionId, message: &Outgoing, out: &mut Vec<Output>) {
        let (Some(session), Message::Event(event)) = (self.session_at(connection), message.message()) else {
            return;
        };
        if !self.broker.fall_behind(session, event.subscription) {
            return;
        }
        let marker = Event {
            details: EventDetails {
                behind: true,
                topic: event.details.topic.clone(),
                ..EventDetails::default()
            },
            payload: Payload::empty(event.payload.codec()),
            ..event.clone()
        };
        control(connection, Message::Event(marker), out);
    }

    fn unsubscribe(&mut self, member: &Member, unsubscribe: &Unsubscribe, out: &mut Vec<Output>) {
        let request = unsubscribe.request;
        match self.broker.unsubscribe(member.session, unsubscribe.subscription) {
            Some(ended) => {
                self.count_pattern(member, ended.policy, false);
                let answer = Unsubscribed {
                    request: Some(request),
                    details: None,
                };
                reply(member, Message::Unsubscribed(answer), out);
                if let Some(info) = self.session(member.session).cloned() {
                    self.tell_unsubscribed(&info, unsubscribe.subscription, &ended, out);
                }
            }
            None => {
                let text = format!("You have no subscription {}.", unsubscribe.subscription);
                refuse(
                    member,
                    code::UNSUBSCRIBE,
                    request,
                    &(error::NO_SUCH_SUBSCRIPTION, text),
                    out,
                );
            }
        }
    }

    fn register(&mut self, member: &Member, register: Register, out: &mut Vec<Output>) {
        let Register {
            request,
            options,
            procedure,
        } = register;
        let permitted = self
            .permit(member, Action::Register, &procedure, options.policy)
            .and_then(|joined| {
                if self.is_asked_of_others(&procedure, &joined.info.principal) {
                    return Err(denied(&procedure));
                }
                let count = self.dealer.count(member.session);
                within_limits(joined, options.policy, count, joined.limits.registrations)
            });
        let name = procedure.clone();
        let registered = permitted.and_then(|()| {
            let before = (self.dealer.count(member.session), self.dealer.len());
            let text = format!("'{procedure}' is registered already.");
            let id = self.dealer.register(member.session, &options, procedure, self.now);
            let id = id.ok_or((error::PROCEDURE_ALREADY_EXISTS, text))?;
            Ok((
                id,
                self.dealer.count(member.session) > before.0,
                self.dealer.len() > before.1,
            ))
        });
        match registered {
            Ok((registration, is_new, created)) => {
                reply(member, Message::Registered(Registered { request, registration }), out);
                if is_new {
                    self.count_pattern(member, options.policy, true);
                    self.tell_registered(member.session, registration, created, out);
                    self.authorizer_registered(&name);
                }
            }
            Err(refusal) => refuse(member, code::REGISTER, request, &refusal, out),
        }
    }

    fn unregister(&mut self, member: &Member, unregister: &Unregister, out: &mut Vec<Output>) {
        let request = unregister.request;
        match self.dealer.unregister(member.session, unregister.registration) {
            Some(ended) => {
                self.count_pattern(member, ended.policy, false);
                let answer = Unregistered {
                    request: Some(request),
                    details: None,
                };
                reply(member, Message::Unregistered(answer), out);
                if let Some(info) = self.session(member.session).cloned() {
                    self.tell_unregistered(&info, unregister.registration, &ended, out);
                }
            }
            None => {
                let text = format!("You have no registration {}.", unregister.registration);
                refuse(
                    member,
                    code::UNREGISTER,
                    request,
                    &(error::NO_SUCH_REGISTRATION, text),
                    out,
                );
            }
        }
    }

    fn call(&mut self, member: &Member, call: &mut Call, out: &mut Vec<Output>) {
        let (request, more) = (call.request, call.options.progress);
        if let Err(refused) = self.try_call(member, call, out) {
            match refused {
                Refused::Violation(text) => self.violation(member.connection, text, out),
                Refused::Answer(error, text) => {
                    if more {
                        self.calls.over_too_soon((member.session, request));
                    }
                    refuse(member, code::CALL, request, &(error, text), out);
                }
            }
        }
    }

    fn try_call(&mut self, member: &Member, call: &mut Call, out: &mut Vec<Output>) -> Result<(), Refused> {
        match self.calls.check(member.session, call)? {
            Part::First => {}
            Part::More(callee, invocation) => {
                self.calls.more((callee, invocation), call, out);
                return Ok(());
            }
            Part::Late => return Ok(()),
        }
        if call.procedure.is_within("wamp") || call.procedure == REAUTHORIZE {
            let answer = self.meta_call(member, call, out);
            let payload = answer.map_err(|(error, text)| Refused::Answer(error, text))?;
            let (request, details) = (call.request, ResultDetails::default());
            let result = CallResult {
                request,
                details,
                payload,
            };
            reply(member, Message::Result(result), out);
            return Ok(());
        }
        self.permit(member, Action::Call, &call.procedure, MatchPolicy::Exact)
            .map_err(|(error, text)| Refused::Answer(error, text))?;
        let target = self
            .dealer
            .route(call.procedure.as_str(), &mut self.ids)
            .ok_or_else(|| {
                Refused::Answer(
                    error::NO_SUCH_PROCEDURE,
                    format!("There is no procedure '{}'.", call.procedure),
                )
            })?;
        self.calls.call(member, call, target, self.now, out)
    }

    pub(super) fn count_pattern(&mut self, member: &Member, policy: MatchPolicy, added: bool) {
        if policy == MatchPolicy::Exact {
            return;
        }
        if let Some(joined) = self.joined_mut(member.session) {
            joined.patterns = if added {
                joined.patterns + 1
            } else {
                joined.patterns.saturating_sub(1)
            };
        }
    }
}

fn denied(uri: &Uri) -> Refusal {
    (error::NOT_AUTHORIZED, format!("You may not use '{uri}' like this."))
}

fn within_limits(joined: &Joined, policy: MatchPolicy, count: usize, most: usize) -> Result<(), Refusal> {
    if count >= most {
        return Err((error::BUSY, format!("{most} is the most that one session may have.")));
    }
    if policy != MatchPolicy::Exact && joined.patterns >= joined.limits.patterns {
        return Err((
            error::BUSY,
            format!("{} patterns are the most for one session.", joined.limits.patterns),
        ));
    }
    Ok(())
}

fn refuse(member: &Member, request_type: u64, request: RequestId, refused: &Refusal, out: &mut Vec<Output>) {
    reply(
        member,
        refusal(member, request_type, request, refused.0, &refused.1),
        out,
    );
}
