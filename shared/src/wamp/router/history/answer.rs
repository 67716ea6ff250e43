//! The answer to a question about history: its arguments are spliced from those of the events, undecoded.

use serde::Serialize;

use crate::wamp::{
    codec::{CodecId, ListWriter},
    id::{PublicationId, SubscriptionId},
    message::EventDetails,
    payload::Payload,
    router::{meta_events::date, requests::Refusal},
    uri::{MatchPolicy, error},
};

use super::kept::{Kept, Page};

/// An event without its arguments.
#[derive(Serialize)]
struct Head {
    timestamp: String,
    subscription: SubscriptionId,
    publication: PublicationId,
    details: EventDetails,
}

#[derive(Serialize)]
struct About {
    more: bool,
}

/// One argument for each event, and whether there are more.
pub(super) fn encode(
    codec: CodecId,
    subscription: SubscriptionId,
    policy: MatchPolicy,
    page: &Page<'_>,
) -> Result<Payload, Refusal> {
    let unencodable = |text: String| (error::INVALID_ARGUMENT, text);
    let mut events = ListWriter::new(codec, page.events.len());
    for kept in &page.events {
        let Kept { event, .. } = kept;
        let head = Head {
            timestamp: date(event.time),
            subscription,
            publication: event.publication,
            details: kept.details(policy),
        };
        let arguments = event
            .payload
            .transcode(codec)
            .map_err(|refused| unencodable(refused.into_parts().message))?;
        let members = [("args", arguments.args()), ("kwargs", arguments.kwargs())];
        let members = members.into_iter().filter(|(_, bytes)| !bytes.is_empty());
        events.map_with(&head, members).map_err(unencodable)?;
    }
    let about = codec.value_to_bytes(&About { more: page.more }).map_err(unencodable)?;
    Ok(Payload::from_checked(codec, events.finish(), about))
}
