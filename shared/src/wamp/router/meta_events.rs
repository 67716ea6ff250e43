//! The meta events: what the router tells about sessions, registrations and subscriptions that come and go.
//!
//! Only sessions that may use the meta API get them, whatever they subscribe to. Our own trees do not show in them, and
//! neither do subscriptions below `wamp.`.

use std::{sync::Arc, time::Duration};

use serde::Serialize;

use crate::wamp::{
    codec::CodecId,
    id::{PublicationId, RegistrationId, RequestId, SessionId, SubscriptionId},
    message::{InvokePolicy, Publish, PublishOptions},
    payload::Payload,
    uri::{MatchPolicy, Uri},
};

use super::{Output, Router, SessionInfo, broker::Ended};

/// A session as the meta API shows it: no address, no headers.
#[derive(Debug, Serialize)]
pub(super) struct SessionShown<'a> {
    session: SessionId,
    authid: &'a str,
    authrole: &'a str,
    authmethod: &'a str,
    authprovider: &'a str,
    transport: Transport,
}

/// Nothing is told about it.
#[derive(Debug, Serialize)]
struct Transport {}

impl<'a> SessionShown<'a> {
    pub(super) fn of(info: &'a SessionInfo) -> Self {
        Self {
            session: info.session,
            authid: &info.principal.authid,
            authrole: &info.principal.authrole,
            authmethod: &info.principal.authmethod,
            authprovider: &info.principal.authprovider,
            transport: Transport {},
        }
    }
}

/// A registration or subscription as the meta API shows it.
#[derive(Debug, Serialize)]
pub(super) struct Shown {
    pub(super) id: u64,
    pub(super) created: String,
    pub(super) uri: Uri,
    #[serde(rename = "match")]
    pub(super) policy: MatchPolicy,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) invoke: Option<InvokePolicy>,
}

/// A Unix time as a date, in RFC 3339 with milliseconds.
pub(super) fn date(unix: Duration) -> String {
    let milliseconds = i64::try_from(unix.as_millis()).unwrap_or(i64::MAX);
    chrono::DateTime::from_timestamp_millis(milliseconds)
        .unwrap_or_default()
        .to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}

impl Router {
    /// A moment on the router's clock as a date.
    pub(super) fn date(&self, moment: Duration) -> String {
        date(self.config.epoch.saturating_add(moment))
    }

    /// Publishes a meta event, if anybody may hear it.
    fn tell<A: Serialize>(&mut self, topic: &str, args: impl FnOnce(&Self) -> A, out: &mut Vec<Output>) {
        if !self.broker.is_heard(topic) {
            return;
        }
        let Ok(payload) = Payload::encode(CodecId::Msgpack, &args(self)) else {
            return;
        };
        let publish = Publish {
            request: RequestId::wrapped(1),
            options: PublishOptions::default(),
            topic: Uri::unchecked(topic),
            payload,
        };
        let publication = PublicationId::wrapped(self.ids.next_id());
        let own = Arc::clone(&self.own);
        self.broker.publish(&own, &publish, publication, true, out);
    }

    pub(super) fn tell_joined(&mut self, session: SessionId, out: &mut Vec<Output>) {
        let Some(info) = self.shown(session) else { return };
        self.tell("wamp.session.on_join", |_| (SessionShown::of(&info),), out);
    }

    pub(super) fn tell_left(&mut self, info: &SessionInfo, out: &mut Vec<Output>) {
        if info.principal.internal {
            return;
        }
        let (authid, authrole) = (&info.principal.authid, &info.principal.authrole);
        self.tell("wamp.session.on_leave", |_| (info.session, authid, authrole), out);
    }

    fn shown(&self, session: SessionId) -> Option<SessionInfo> {
        let info = &self.joined(session)?.info;
        (!info.principal.internal).then(|| info.clone())
    }

    pub(super) fn tell_registered(
        &mut self,
        session: SessionId,
        id: RegistrationId,
        created: bool,
        out: &mut Vec<Output>,
    ) {
        if self.shown(session).is_none() {
            return;
        }
        if created {
            let shown = |router: &Self| (session, router.shown_registration(id));
            self.tell("wamp.registration.on_create", shown, out);
        }
        self.tell("wamp.registration.on_register", |_| (session, id), out);
    }

    pub(super) fn tell_unregistered(
        &mut self,
        info: &SessionInfo,
        id: RegistrationId,
        ended: &Ended,
        out: &mut Vec<Output>,
    ) {
        if info.principal.internal {
            return;
        }
        self.tell("wamp.registration.on_unregister", |_| (info.session, id), out);
        if ended.deleted {
            self.tell("wamp.registration.on_delete", |_| (info.session, id), out);
        }
    }

    pub(super) fn tell_subscribed(
        &mut self,
        session: SessionId,
        id: SubscriptionId,
        created: bool,
        out: &mut Vec<Output>,
    ) {
        let is_meta = self.broker.show(id).is_none_or(|(uri, _, _)| uri.is_within("wamp"));
        if is_meta || self.shown(session).is_none() {
            return;
        }
        if created {
            let shown = |router: &Self| (session, router.shown_subscription(id));
            self.tell("wamp.subscription.on_create", shown, out);
        }
        self.tell("wamp.subscription.on_subscribe", |_| (session, id), out);
    }

    pub(super) fn tell_unsubscribed(
        &mut self,
        info: &SessionInfo,
        id: SubscriptionId,
        ended: &Ended,
        out: &mut Vec<Output>,
    ) {
        if info.principal.internal || ended.uri.is_within("wamp") {
            return;
        }
        self.tell("wamp.subscription.on_unsubscribe", |_| (info.session, id), out);
        if ended.deleted {
            self.tell("wamp.subscription.on_delete", |_| (info.session, id), out);
        }
    }

    pub(super) fn shown_registration(&self, id: RegistrationId) -> Option<Shown> {
        let (uri, policy, invoke, created) = self.dealer.show(id)?;
        Some(Shown {
            id: id.get(),
            created: self.date(created),
            uri: uri.clone(),
            policy,
            invoke: Some(invoke),
        })
    }

    pub(super) fn shown_subscription(&self, id: SubscriptionId) -> Option<Shown> {
        let (uri, policy, created) = self.broker.show(id)?;
        Some(Shown {
            id: id.get(),
            created: self.date(created),
            uri: uri.clone(),
            policy,
            invoke: None,
        })
    }
}
