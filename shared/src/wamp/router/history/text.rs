//! A recorded event as text, for stores: JSON without control characters, the arguments in base64.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    error::{Error, ErrorKind, Result},
    wamp::{
        codec::CodecId,
        id::{PublicationId, SessionId},
        message::PublishOptions,
        payload::Payload,
        uri::Uri,
    },
};

use super::{Duration, Recorded};

/// The fields of the text.
#[derive(Serialize, Deserialize)]
struct Text {
    number: u64,
    publication: PublicationId,
    /// Milliseconds since 1970.
    time: u64,
    topic: Uri,
    session: SessionId,
    authid: String,
    authrole: String,
    options: PublishOptions,
    /// The WebSocket sub-protocol with that codec.
    codec: String,
    args: String,
    kwargs: String,
}

impl Recorded {
    /// The event as one line of text, without NUL and other control characters.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`], which does not happen to events that were published.
    pub fn to_text(&self) -> Result<String> {
        let text = Text {
            number: self.number,
            publication: self.publication,
            time: u64::try_from(self.time.as_millis()).unwrap_or(u64::MAX),
            topic: self.topic.clone(),
            session: self.session,
            authid: self.authid.clone(),
            authrole: self.authrole.clone(),
            options: self.options.clone(),
            codec: self.payload.codec().subprotocol().to_owned(),
            args: STANDARD.encode(self.payload.args()),
            kwargs: STANDARD.encode(self.payload.kwargs()),
        };
        serde_json::to_string(&text).map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))
    }

    /// The inverse of [`Self::to_text`].
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for text that is not such an event.
    pub fn from_text(text: &str) -> Result<Self> {
        let wrong = |what: String| Error::new(ErrorKind::InvalidArgument, format!("This is no stored event: {what}."));
        let text: Text = serde_json::from_str(text).map_err(|error| wrong(error.to_string()))?;
        let codec = CodecId::from_subprotocol(&text.codec).ok_or_else(|| wrong(format!("codec {:?}", text.codec)))?;
        let item = |encoded: &str| {
            let bytes = STANDARD.decode(encoded).map_err(|error| wrong(error.to_string()))?;
            if bytes.is_empty() || codec.may_nest(&bytes, 0) {
                Ok(Bytes::from(bytes))
            } else {
                Err(wrong(format!("arguments that are not {}", text.codec)))
            }
        };
        Ok(Self {
            payload: Payload::from_checked(codec, item(&text.args)?, item(&text.kwargs)?),
            number: text.number,
            publication: text.publication,
            time: Duration::from_millis(text.time),
            topic: text.topic,
            session: text.session,
            authid: text.authid,
            authrole: text.authrole,
            options: text.options,
        })
    }
}
