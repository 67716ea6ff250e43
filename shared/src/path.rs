//! The address of a node: dotted, checked, and usable as a WAMP URI as it stands.

use std::{borrow::Borrow, cmp::Ordering, fmt, hash, str::FromStr, sync::Arc};

use arrayvec::ArrayString;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::error::{Error, ErrorKind};

mod resolver;

pub use resolver::{PathResolver, Query};

/// Longest path, in bytes. Leaves room for a method name within what routers accept as a URI.
pub const PATH_LIMIT: usize = 512;

/// Why a text is no path, or a query leads nowhere.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PathError {
    /// There is nothing between two dots, or nothing at all.
    #[error("{0:?} is no path: a name is empty")]
    EmptyName(String),
    /// A character that a strict WAMP URI does not have.
    #[error("{text:?} is no path: {character:?} is not one of a-z, 0-9, _")]
    BadCharacter {
        /// The whole text.
        text: String,
        /// The first offender.
        character: char,
    },
    /// Longer than [`PATH_LIMIT`].
    #[error("a path of {0} bytes is too long")]
    TooLong(usize),
    /// The name space that WAMP keeps for itself.
    #[error("{0:?} is no path: names below `wamp` are reserved")]
    Reserved(String),
    /// An `@` query where there is no base.
    #[error("{query:?} needs a base, and {path:?} has none")]
    NoBase {
        /// What was asked for.
        query: String,
        /// Where it was asked.
        path: String,
    },
    /// A `#` query for a name that the context does not know.
    #[error("the context of {path:?} has no reference #{name}")]
    UnknownReference {
        /// The name after `#`.
        name: String,
        /// Where it was asked.
        path: String,
    },
    /// [`Path::with_base`] with a base that the path is not below of.
    #[error("{path:?} is not below {base:?}")]
    NotBelow {
        /// The path.
        path: String,
        /// The would-be base.
        base: String,
    },
}

impl From<PathError> for Error {
    fn from(error: PathError) -> Self {
        let kind = match error {
            PathError::NoBase { .. } | PathError::UnknownReference { .. } => ErrorKind::NotFound,
            PathError::EmptyName(_)
            | PathError::BadCharacter { .. }
            | PathError::TooLong(_)
            | PathError::Reserved(_)
            | PathError::NotBelow { .. } => ErrorKind::InvalidArgument,
        };
        Self::new(kind, error.to_string())
    }
}

/// A method or signal of this name stands at the node's own path instead of below it.
pub const ITSELF: &str = "itself";

/// An absolute address, with the base that `@` stands for.
///
/// Equality, order, hash and serialised form are those of the absolute text: the base says how queries resolve, not
/// which node is meant.
#[derive(Clone)]
pub struct Path {
    text: Arc<str>,
    /// Length of the base in bytes; 0 = none.
    base: u16,
}

impl Path {
    /// A path without a base, such as `com.example.first`.
    ///
    /// # Errors
    /// All of [`PathError`] that speak of the text.
    pub fn new(text: &str) -> Result<Self, PathError> {
        check(text)?;
        if text == "wamp" || text.starts_with("wamp.") {
            return Err(PathError::Reserved(text.to_owned()));
        }
        Ok(Self {
            text: text.into(),
            base: 0,
        })
    }

    /// A path that is its own base, as a session root's is.
    ///
    /// # Errors
    /// As [`Path::new`].
    pub fn root(text: &str) -> Result<Self, PathError> {
        Self::new(text).map(Self::into_root)
    }

    /// The same address as its own base.
    #[must_use]
    pub fn into_root(self) -> Self {
        let base = self.text.len() as u16;
        Self { text: self.text, base }
    }

    /// The same address with another base, which it must be or be below of.
    ///
    /// # Errors
    /// [`PathError::NotBelow`].
    pub fn with_base(&self, base: &Self) -> Result<Self, PathError> {
        if self.is_within(base) {
            Ok(Self {
                text: self.text.clone(),
                base: base.text.len() as u16,
            })
        } else {
            Err(PathError::NotBelow {
                path: self.to_string(),
                base: base.to_string(),
            })
        }
    }

    /// The address of one or, dotted, several names below this one. The base stays; a path without a base becomes it.
    ///
    /// # Errors
    /// All of [`PathError`] that speak of the text.
    pub fn join(&self, names: &str) -> Result<Self, PathError> {
        check(names)?;
        let base = if self.base == 0 {
            self.text.len() as u16
        } else {
            self.base
        };
        joined(&self.text, names, base)
    }

    /// The absolute text, which is also the URI.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The URI of a node's method or signal: below its path, or the path itself for [`ITSELF`].
    #[must_use]
    pub fn endpoint(&self, name: &str) -> String {
        if name == ITSELF {
            self.to_string()
        } else {
            format!("{self}.{name}")
        }
    }

    /// The last name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.text.rsplit('.').next().unwrap_or(&self.text)
    }

    /// The names from first to last; never empty.
    pub fn names(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.text.split('.')
    }

    /// What `@` stands for.
    #[must_use]
    pub fn base(&self) -> Option<Self> {
        (self.base > 0).then(|| Self {
            text: self.text[..usize::from(self.base)].into(),
            base: self.base,
        })
    }

    /// The address one name up. At or above the base the result has no base.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        let (parent, _) = self.text.rsplit_once('.')?;
        let base = if usize::from(self.base) <= parent.len() {
            self.base
        } else {
            0
        };
        Some(Self {
            text: parent.into(),
            base,
        })
    }

    /// Whether this is `other` or below it.
    #[must_use]
    pub fn is_within(&self, other: &Self) -> bool {
        is_within(&self.text, &other.text)
    }
}

/// Names, which are checked already, below a path.
fn joined(path: &str, names: &str, base: u16) -> Result<Path, PathError> {
    let length = path.len() + 1 + names.len();
    if length > PATH_LIMIT {
        return Err(PathError::TooLong(length));
    }
    // On the stack: the path itself is the only memory that this takes.
    let mut text = ArrayString::<PATH_LIMIT>::new();
    text.push_str(path);
    text.push('.');
    text.push_str(names);
    Ok(Path {
        text: text.as_str().into(),
        base,
    })
}

/// Whether the dotted text `inner` is `outer` or below it.
pub(crate) fn is_within(inner: &str, outer: &str) -> bool {
    inner
        .strip_prefix(outer)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Checks dotted names; the reserved first name is not this function's business.
pub(crate) fn check(text: &str) -> Result<(), PathError> {
    if text.len() > PATH_LIMIT {
        return Err(PathError::TooLong(text.len()));
    }
    let (mut is_after_dot, mut has_empty) = (true, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'.' => has_empty |= std::mem::replace(&mut is_after_dot, true),
            b'a'..=b'z' | b'0'..=b'9' | b'_' => is_after_dot = false,
            _ => {
                return Err(PathError::BadCharacter {
                    text: text.to_owned(),
                    character: text[at..].chars().next().unwrap_or_default(),
                });
            }
        }
    }
    if has_empty || is_after_dot {
        return Err(PathError::EmptyName(text.to_owned()));
    }
    Ok(())
}

/// What the verbs of a node take as an address: a [`Path`], or text for one.
pub trait IntoPath {
    /// The path meant.
    ///
    /// # Errors
    /// If the text is no path.
    fn into_path(self) -> Result<Path, PathError>;
}

impl IntoPath for Path {
    fn into_path(self) -> Result<Path, PathError> {
        Ok(self)
    }
}

impl IntoPath for &Path {
    fn into_path(self) -> Result<Path, PathError> {
        Ok(self.clone())
    }
}

impl IntoPath for &str {
    fn into_path(self) -> Result<Path, PathError> {
        Path::new(self)
    }
}

impl IntoPath for &String {
    fn into_path(self) -> Result<Path, PathError> {
        Path::new(self)
    }
}

impl IntoPath for String {
    fn into_path(self) -> Result<Path, PathError> {
        Path::new(&self)
    }
}

impl PartialEq for Path {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Path {}

impl hash::Hash for Path {
    fn hash<H: hash::Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

impl PartialOrd for Path {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Path {
    fn cmp(&self, other: &Self) -> Ordering {
        self.text.cmp(&other.text)
    }
}

impl PartialEq<str> for Path {
    fn eq(&self, other: &str) -> bool {
        *self.text == *other
    }
}

impl PartialEq<&str> for Path {
    fn eq(&self, other: &&str) -> bool {
        *self.text == **other
    }
}

impl Borrow<str> for Path {
    fn borrow(&self) -> &str {
        &self.text
    }
}

impl AsRef<str> for Path {
    fn as_ref(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Path {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl fmt::Debug for Path {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.base() {
            Some(base) => write!(formatter, "Path({}, base {})", self.text, &*base.text),
            None => write!(formatter, "Path({})", self.text),
        }
    }
}

impl FromStr for Path {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        Self::new(text)
    }
}

impl Serialize for Path {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Path {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}
