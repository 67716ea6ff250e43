//! Testaments: events that a session leaves behind for when it ends, however it ends.

use std::sync::Arc;

use crate::wamp::{
    id::{PublicationId, RequestId},
    message::{Publish, PublishOptions},
    payload::Payload,
    uri::{MatchPolicy, Syntax, Uri, error},
    value::Dynamic,
};

use super::{
    Action, Decision, Output, Router, SessionInfo,
    broker::Member,
    meta::{Arguments, missing, result},
    requests::Refusal,
};

/// When a testament is published: `detached` ones before `destroyed` ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Scope {
    /// When the connection is gone.
    Detached,
    /// When the session is gone, which here is the same moment.
    #[default]
    Destroyed,
}

/// An event for later.
#[derive(Debug)]
pub(super) struct Testament {
    scope: Scope,
    publish: Publish,
    publication: PublicationId,
}

impl Router {
    /// `wamp.session.add_testament(topic, args, kwargs, publish_options=, scope=)`
    pub(super) fn add_testament(&mut self, member: &Member, arguments: &Arguments) -> Result<Payload, Refusal> {
        let topic = arguments.text(0, "topic")?;
        let topic = Uri::checked(topic, Syntax::Loose, MatchPolicy::Exact)
            .map_err(|refused| (error::INVALID_URI, refused.into_parts().message))?;
        let scope = scope(arguments, "destroyed")?.unwrap_or_default();
        let options = match arguments.named("publish_options") {
            None => PublishOptions::default(),
            Some(options) => {
                let bytes = member.codec.value_to_bytes(options);
                bytes
                    .and_then(|bytes| member.codec.value_from_slice(&bytes))
                    .map_err(|text| (error::INVALID_ARGUMENT, format!("publish_options: {text}")))?
            }
        };
        let payload = self.testament_payload(member, arguments)?;
        self.permit(member, Action::Publish, &topic, MatchPolicy::Exact)?;
        let publication = PublicationId::wrapped(self.ids.next_id());
        let Some(joined) = self.joined_mut(member.session) else {
            return Err((error::CANCELED, "The session is over.".to_owned()));
        };
        let most = joined.limits.testaments;
        if joined.testaments.len() >= most {
            return Err((error::BUSY, format!("{most} testaments are the most for one session.")));
        }
        let request = RequestId::wrapped(1);
        let publish = Publish {
            request,
            options,
            topic,
            payload,
        };
        joined.testaments.push(Testament {
            scope,
            publish,
            publication,
        });
        result(member, &(publication,))
    }

    fn testament_payload(&self, member: &Member, arguments: &Arguments) -> Result<Payload, Refusal> {
        let empty = Dynamic::Null;
        let args = arguments.get(1, "args").unwrap_or(&empty);
        if !matches!(args, Dynamic::List(_) | Dynamic::Null) {
            return Err(missing("args", "a list"));
        }
        let payload = Payload::encode(member.codec, args);
        let payload = match arguments.get(2, "kwargs") {
            None => payload,
            Some(kwargs) => payload.and_then(|payload| payload.with_kwargs(kwargs)),
        };
        payload.map_err(|refused| (error::INVALID_ARGUMENT, refused.into_parts().message))
    }

    /// `wamp.session.flush_testaments(scope=)`: how many there were.
    pub(super) fn flush_testaments(&mut self, member: &Member, arguments: &Arguments) -> Result<Payload, Refusal> {
        let scope = scope(arguments, "destroyed")?.unwrap_or_default();
        let Some(joined) = self.joined_mut(member.session) else {
            return Err((error::CANCELED, "The session is over.".to_owned()));
        };
        let before = joined.testaments.len();
        joined.testaments.retain(|testament| testament.scope != scope);
        let flushed = before - joined.testaments.len();
        result(member, &(flushed,))
    }

    /// The session is out of the realm: its testaments are published, those that it may publish now.
    pub(super) fn fire(
        &mut self,
        info: &SessionInfo,
        member: &Arc<Member>,
        mut testaments: Vec<Testament>,
        most_retained: usize,
        out: &mut Vec<Output>,
    ) {
        // Stable: within a scope they come in the order of being added.
        testaments.sort_by_key(|testament| testament.scope);
        for Testament {
            publish, publication, ..
        } in testaments
        {
            let decision = self
                .config
                .authorizer
                .authorize(info, Action::Publish, &publish.topic, MatchPolicy::Exact);
            if decision == Decision::Allow {
                self.send_event(member, &publish, publication, most_retained, out);
            }
        }
    }
}

fn scope(arguments: &Arguments, fallback: &str) -> Result<Option<Scope>, Refusal> {
    let scope = arguments.named("scope").map_or(Some(fallback), Dynamic::as_str);
    match scope {
        Some("destroyed") => Ok(Some(Scope::Destroyed)),
        Some("detached") => Ok(Some(Scope::Detached)),
        Some(_) | None => Err(missing("scope", "detached or destroyed")),
    }
}
