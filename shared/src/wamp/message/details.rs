//! The options and details of messages as typed structs: unknown keys are ignored, absent keys are not written.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, DeserializeOwned, IgnoredAny, MapAccess},
    ser::SerializeMap,
};

use crate::wamp::{
    codec::{Details, FrameWriter},
    id::{RegistrationId, SessionId, SubscriptionId},
    role::Roles,
    uri::{MatchPolicy, Name, Uri},
    value::Dynamic,
};

mod disclosed;
mod passthru;

pub use disclosed::Disclosed;
pub use passthru::{Passthru, PassthruKeys};
use passthru::{Rest, named};

/// A map key, borrowed from the frame where the codec can.
struct Key<'de>(Cow<'de, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Key<'de>;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a text key")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_string(Visitor)
    }
}

/// A field that knows whether it is absent. An explicit null reads as absent.
trait Field: Sized {
    type Wire: DeserializeOwned;
    fn is_absent(&self) -> bool;
    fn of_wire(wire: Self::Wire) -> Self;
    fn write(&self, writer: &mut FrameWriter<'_>);
}

/// What an optional field can hold.
trait Item: DeserializeOwned {
    fn write(&self, writer: &mut FrameWriter<'_>);
}

impl<T: Item> Field for Option<T> {
    type Wire = Self;
    fn is_absent(&self) -> bool {
        self.is_none()
    }
    fn of_wire(wire: Self) -> Self {
        wire
    }
    fn write(&self, writer: &mut FrameWriter<'_>) {
        if let Some(item) = self {
            item.write(writer);
        }
    }
}

/// How the types of items are written.
macro_rules! item {
    ($($type:ty: |$item:ident, $writer:ident| $write:expr;)*) => { $(
        impl Item for $type {
            fn write(&self, $writer: &mut FrameWriter<'_>) {
                let $item = self;
                $write;
            }
        }
    )* };
}

item! {
    String: |text, writer| writer.write_text(text);
    Name: |text, writer| writer.write_text(text);
    Uri: |uri, writer| writer.write_text(uri.as_str());
    SessionId: |id, writer| writer.write_number(id.get());
    SubscriptionId: |id, writer| writer.write_number(id.get());
    RegistrationId: |id, writer| writer.write_number(id.get());
    u64: |number, writer| writer.write_number(*number);
    bool: |flag, writer| writer.write_flag(*flag);
    CancelMode: |mode, writer| writer.write_value(mode);
    Coati: |coati, writer| writer.write_value(coati);
    Extra: |extra, writer| writer.write_value(extra);
    Vec<String>: |list, writer| writer.write_value(list);
    Vec<SessionId>: |list, writer| writer.write_value(list);
    Vec<Forwarder>: |list, writer| writer.write_value(list);
}

/// Fields with a value that goes without saying: absent if they have it.
macro_rules! default_field {
    ($($type:ty),*) => { $(
        impl Field for $type {
            type Wire = Option<Self>;
            fn is_absent(&self) -> bool {
                *self == Self::default()
            }
            fn of_wire(wire: Option<Self>) -> Self {
                wire.unwrap_or_default()
            }
            fn write(&self, writer: &mut FrameWriter<'_>) {
                writer.write_value(self);
            }
        }
    )* };
}

default_field!(bool, MatchPolicy, InvokePolicy);

impl Field for Roles {
    type Wire = Self;
    /// Roles are required: they are written even if there are none.
    fn is_absent(&self) -> bool {
        false
    }
    fn of_wire(wire: Self) -> Self {
        wire
    }
    fn write(&self, writer: &mut FrameWriter<'_>) {
        writer.write_value(self);
    }
}

/// One of the entries in `forward_for`: a router or peer that the message came through.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forwarder {
    /// Its session there.
    #[serde(default)]
    pub session: u64,
    /// Its authid there.
    #[serde(default)]
    pub authid: Option<String>,
    /// Its authrole there.
    #[serde(default)]
    pub authrole: Option<String>,
}

macro_rules! details {
    (
        $(#[$doc:meta])*
        $name:ident {
            $( first $first:ident : $first_type:ty, )?
            $( $(#[$field_doc:meta])* $key:literal $field:ident : $type:ty, )*
            $( .. $rest:ident : $rest_type:ty )?
        }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct $name {
            $( /// Who it comes from.
               pub $first: $first_type, )?
            $( $(#[$field_doc])* pub $field: $type, )*
            $( /// Pass-through keys.
               pub $rest: $rest_type, )?
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let mut map = serializer.serialize_map(Some(Details::count(self) as usize))?;
                $( Rest::serialize(&self.$first, &mut map)?; )?
                $( if !Field::is_absent(&self.$field) { map.serialize_entry($key, &self.$field)?; } )*
                $( Rest::serialize(&self.$rest, &mut map)?; )?
                map.end()
            }
        }

        impl Details for $name {
            fn count(&self) -> u32 {
                0 $( + Rest::count(&self.$first) )? $( + u32::from(!Field::is_absent(&self.$field)) )* $( + Rest::count(&self.$rest) )?
            }

            fn write(&self, writer: &mut FrameWriter<'_>) {
                $( Rest::write(&self.$first, writer); )?
                $( if !Field::is_absent(&self.$field) {
                    writer.key($key);
                    Field::write(&self.$field, writer);
                } )*
                $( Rest::write(&self.$rest, writer); )?
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Visitor;
                impl<'de> de::Visitor<'de> for Visitor {
                    type Value = $name;
                    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                        formatter.write_str("a map")
                    }
                    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<$name, A::Error> {
                        let mut details = $name::default();
                        while let Some(Key(key)) = map.next_key::<Key<'de>>()? {
                            match &*key {
                                $( $key => {
                                    details.$field = Field::of_wire(map.next_value().map_err(|error| named(&key, &error))?);
                                } )*
                                _ => {
                                    let taken = false
                                        $( || Rest::read(&mut details.$first, &key, &mut map)? )?
                                        $( || Rest::read(&mut details.$rest, &key, &mut map)? )?;
                                    if !taken {
                                        map.next_value::<IgnoredAny>()?;
                                    }
                                }
                            }
                        }
                        Ok(details)
                    }
                }
                deserializer.deserialize_map(Visitor)
            }
        }
    };
}

/// What Coati peers say about themselves in HELLO.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coati {
    /// Version of Coati's own conventions on top of WAMP.
    #[serde(default)]
    pub protocol: u32,
    /// The build, for logs.
    #[serde(default)]
    pub build: String,
    /// Fingerprint of all contract signatures; a router that expects another one answers `client_outdated`.
    #[serde(default)]
    pub contracts: String,
}

/// Which callee gets a call when several share a procedure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InvokePolicy {
    /// There is only one.
    #[default]
    Single,
    /// Each in turn.
    RoundRobin,
    /// Any.
    Random,
    /// The one that registered first.
    First,
    /// The one that registered last.
    Last,
}

/// How a call is given up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CancelMode {
    /// The caller is answered at once, the callee is not told.
    Skip,
    /// The callee is interrupted and its answer is passed on.
    Kill,
    /// The callee is interrupted and the caller is answered at once.
    #[default]
    KillNoWait,
}

/// Open-ended details.
pub type Extra = BTreeMap<String, Dynamic>;

details! {
    /// HELLO.Details
    HelloDetails {
        /// What the client can do.
        "roles" roles: Roles,
        /// Name and version of the client's software.
        "agent" agent: Option<String>,
        /// Ways to authenticate, best first.
        "authmethods" authmethods: Option<Vec<String>>,
        /// Who the client wants to be.
        "authid" authid: Option<String>,
        /// Which role the client wants.
        "authrole" authrole: Option<String>,
        /// Input to the ways to authenticate.
        "authextra" authextra: Option<Extra>,
        /// Coati's own part.
        "coati" coati: Option<Coati>,
    }
}

details! {
    /// WELCOME.Details
    WelcomeDetails {
        /// What the router can do.
        "roles" roles: Roles,
        /// Name and version of the router's software.
        "agent" agent: Option<String>,
        /// The realm that was joined.
        "realm" realm: Option<Uri>,
        /// Who the session is.
        "authid" authid: Option<String>,
        /// In which role.
        "authrole" authrole: Option<String>,
        /// How that was proven.
        "authmethod" authmethod: Option<String>,
        /// Who vouches for it.
        "authprovider" authprovider: Option<String>,
        /// Anything the way to authenticate adds.
        "authextra" authextra: Option<Extra>,
    }
}

details! {
    /// Details of ABORT and GOODBYE
    CloseDetails {
        /// A sentence for people.
        "message" message: Option<String>,
    }
}

details! {
    /// ERROR.Details
    ErrorDetails { .. passthru: Passthru }
}

details! {
    /// PUBLISH.Options
    PublishOptions {
        /// Answer with PUBLISHED or ERROR.
        "acknowledge" acknowledge: bool,
        /// Leave the publisher out; absent means yes.
        "exclude_me" exclude_me: Option<bool>,
        /// Sessions that get nothing.
        "exclude" exclude: Option<Vec<SessionId>>,
        /// Users that get nothing.
        "exclude_authid" exclude_authid: Option<Vec<String>>,
        /// Roles that get nothing.
        "exclude_authrole" exclude_authrole: Option<Vec<String>>,
        /// The only sessions that may get it; empty means nobody.
        "eligible" eligible: Option<Vec<SessionId>>,
        /// The only users that may get it; empty means nobody.
        "eligible_authid" eligible_authid: Option<Vec<String>>,
        /// The only roles that may get it; empty means nobody.
        "eligible_authrole" eligible_authrole: Option<Vec<String>>,
        /// Tell the receivers who published.
        "disclose_me" disclose_me: bool,
        /// Keep the event for later subscribers.
        "retain" retain: bool,
        /// Trace context of the request that led here.
        "_trace" trace: Option<String>,
        /// Routers that the message came through.
        "forward_for" forward_for: Option<Vec<Forwarder>>,
        .. passthru: Passthru
    }
}

details! {
    /// SUBSCRIBE.Options
    SubscribeOptions {
        /// How the topic matches.
        "match" policy: MatchPolicy,
        /// Deliver the retained event, if there is one.
        "get_retained" get_retained: bool,
        /// Coati's own: rather than be closed for reading too slowly, get one EVENT with `_behind` instead of the events
        /// that wait, and no more until this SUBSCRIBE is sent again. The subscriber then asks for what it has missed.
        "_resumable" resumable: bool,
        /// Routers that the message came through.
        "forward_for" forward_for: Option<Vec<Forwarder>>,
    }
}

details! {
    /// EVENT.Details
    EventDetails {
        /// The publisher's session.
        "publisher" publisher: Option<SessionId>,
        /// The publisher's user.
        "publisher_authid" publisher_authid: Option<Name>,
        /// The publisher's role.
        "publisher_authrole" publisher_authrole: Option<Name>,
        /// The topic that was published to, for pattern subscriptions.
        "topic" topic: Option<Uri>,
        /// This is the retained event.
        "retained" retained: bool,
        /// Autobahn's acknowledged delivery.
        "x_acknowledged_delivery" acknowledged_delivery: bool,
        /// Coati's own, instead of arguments: events were left out, this publication first or last among them. None
        /// follow until the subscriber sends its SUBSCRIBE again.
        "_behind" behind: bool,
        /// Trace context of the request that led here.
        "_trace" trace: Option<String>,
        /// Routers that the message came through.
        "forward_for" forward_for: Option<Vec<Forwarder>>,
        .. passthru: Passthru
    }
}

details! {
    /// Details of a revoking UNSUBSCRIBED
    UnsubscribedDetails {
        /// The subscription that is gone.
        "subscription" subscription: Option<SubscriptionId>,
        /// Why.
        "reason" reason: Option<Uri>,
    }
}

details! {
    /// Details of a revoking UNREGISTERED
    UnregisteredDetails {
        /// The registration that is gone.
        "registration" registration: Option<RegistrationId>,
        /// Why.
        "reason" reason: Option<Uri>,
    }
}

details! {
    /// CALL.Options
    CallOptions {
        /// Time limit in milliseconds; absent or 0 is none.
        "timeout" timeout: Option<u64>,
        /// The caller takes several results.
        "receive_progress" receive_progress: bool,
        /// More arguments follow under the same request.
        "progress" progress: bool,
        /// Tell the callee who calls. This router always does.
        "disclose_me" disclose_me: bool,
        /// Trace context of the request that led here.
        "_trace" trace: Option<String>,
        .. passthru: Passthru
    }
}

details! {
    /// Options of CANCEL and INTERRUPT
    CancelOptions {
        /// How.
        "mode" mode: Option<CancelMode>,
        /// Why.
        "reason" reason: Option<Uri>,
    }
}

details! {
    /// RESULT.Details
    ResultDetails {
        /// More results follow.
        "progress" progress: bool,
        .. passthru: Passthru
    }
}

details! {
    /// REGISTER.Options
    RegisterOptions {
        /// How the procedure matches.
        "match" policy: MatchPolicy,
        /// Who gets a call when several register.
        "invoke" invoke: InvokePolicy,
        /// The callee wants to know who calls. This router always says so.
        "disclose_caller" disclose_caller: bool,
        /// The callee runs the time limit of calls itself.
        "forward_timeout" forward_timeout: bool,
    }
}

details! {
    /// INVOCATION.Details
    InvocationDetails {
        first caller: Disclosed,
        /// The procedure that was called, for pattern registrations.
        "procedure" procedure: Option<Uri>,
        /// The caller takes several results.
        "receive_progress" receive_progress: bool,
        /// More arguments follow under the same request.
        "progress" progress: bool,
        /// Time limit in milliseconds that the callee has to keep.
        "timeout" timeout: Option<u64>,
        /// Trace context of the request that led here.
        "_trace" trace: Option<String>,
        .. passthru: Passthru
    }
}

details! {
    /// YIELD.Options
    YieldOptions {
        /// More results follow.
        "progress" progress: bool,
        .. passthru: Passthru
    }
}
