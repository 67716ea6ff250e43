//! How a browser and a server make a session root together: the opening call, its members and the pairing of contexts.
//!
//! 1. The browser calls [`START_SESSION`] and learns its base. With the secret of an earlier root it gets the same base
//!    back, on whichever server answers.
//! 2. Both sides bind a member below the base: `@server` and `@client`.
//! 3. The browser asks [`ServerMember::open`] for an intent. The server elects a controller, binds it and asks
//!    [`ClientMember::create_view`] for its counterpart; then `#view` and `#controller` resolve on both sides.
//!    Every step can be repeated with the same name, so that coming back after a lost link is the same conversation.

use serde::{Deserialize, Serialize};

use crate::{error::Result, intent::Intent, prelude::contract};

/// The procedure that every browser session may call first.
pub const START_SESSION: &str = "coati.start_session";

/// Longest name of a context, in bytes.
pub const CONTEXT_NAME_LIMIT: usize = 64;

/// The secret half of a session root: whoever knows it, and is the same principal, may take the root over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resume {
    /// The base that the earlier answer gave.
    pub base: String,
    /// The secret that the earlier answer gave, 256 bits in hexadecimal. Never part of a URI.
    pub secret: String,
}

/// Argument of [`START_SESSION`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartSession {
    /// The root to take over, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resume: Option<Resume>,
}

/// Answer of [`START_SESSION`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionStarted {
    /// Base path of the session root, an address and no proof of anything.
    pub base: String,
    /// What [`Resume::secret`] wants next time.
    pub secret: String,
    /// Whether the base is the one that was asked for.
    pub resumed: bool,
    /// Login name of the user.
    pub login: String,
    /// The user's role.
    pub role: String,
}

/// What the server proposes to the browser: the counterpart of a controller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PairingOffer {
    /// Name of the context, the same below `@server` and `@client`.
    pub name: String,
    /// Which view the controller wants.
    pub view: String,
    /// Absolute path of the controller, `#controller` for the view.
    pub controller: String,
    /// Title for people.
    pub title: String,
}

/// The server's half of a session.
#[contract]
pub trait ServerMember {
    /// Elects a controller for the intent and pairs it with a view of the browser; answers the context's name.
    ///
    /// With the name of an open context it pairs that one again, which is how a browser comes back.
    async fn open(&self, intent: Intent, name: Option<String>) -> Result<String>;

    /// Stops a context; unknown names are fine, so that it can be repeated.
    async fn close(&self, name: String) -> Result<()>;

    /// Answers at once: shows that both directions of the link are alive.
    async fn ping(&self) -> Result<()>;
}

/// The browser's half of a session.
#[contract]
pub trait ClientMember {
    /// Makes the view that the offer names, or pairs an existing one again; answers the view's absolute path.
    async fn create_view(&self, offer: PairingOffer) -> Result<String>;

    /// The pair of a context is over: it was not completed, or its controller stopped it. The view goes, too.
    async fn drop_view(&self, name: String) -> Result<()>;
}
