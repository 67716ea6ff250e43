//! How a query such as `@server.rows`, `#view` or `com.example.first` becomes a path.

use super::{Path, PathError, check, is_within, joined};
use crate::node::NodeContext;

/// A query, taken apart and checked but not yet resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Query {
    /// `@`, `@a.b` or `@.a`: from the base. Holds the names behind it, possibly none.
    Base(String),
    /// `#name.rest`: from what the context calls `name`; `#` alone means `#context`.
    Reference {
        /// The name in the context.
        name: String,
        /// The names behind it, possibly none.
        rest: String,
    },
    /// Anything else is absolute.
    Absolute(Path),
}

impl Query {
    /// Takes a query apart. Every form is held to the same alphabet.
    ///
    /// # Errors
    /// All of [`PathError`] that speak of the text.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        if let Some(names) = below_base(text)? {
            return Ok(Self::Base(names.to_owned()));
        }
        if let Some(rest) = text.strip_prefix('#') {
            let rest = checked(text, rest)?;
            let (name, rest) = rest.split_once('.').unwrap_or((rest, ""));
            let name = if name.is_empty() { "context" } else { name };
            return Ok(Self::Reference {
                name: name.to_owned(),
                rest: rest.to_owned(),
            });
        }
        Path::new(text).map(Self::Absolute)
    }
}

/// The names behind `@`, possibly none; `None` if the query is not of that form.
fn below_base(text: &str) -> Result<Option<&str>, PathError> {
    let Some(rest) = text.strip_prefix('@') else {
        return Ok(None);
    };
    let rest = rest.strip_prefix('.').filter(|rest| !rest.is_empty()).unwrap_or(rest);
    checked(text, rest).map(Some)
}

fn checked<'a>(text: &str, names: &'a str) -> Result<&'a str, PathError> {
    if !names.is_empty() {
        check(names).map_err(|error| match error {
            PathError::EmptyName(_) => PathError::EmptyName(text.to_owned()),
            PathError::BadCharacter { character, .. } => PathError::BadCharacter {
                text: text.to_owned(),
                character,
            },
            PathError::TooLong(_)
            | PathError::Reserved(_)
            | PathError::NoBase { .. }
            | PathError::UnknownReference { .. }
            | PathError::NotBelow { .. } => error,
        })?;
    }
    Ok(names)
}

/// A rule of the application's own for queries that do not start with `@`.
///
/// Contexts carry resolvers ([`NodeContext::add_resolver`]); the innermost is asked first. They are asked each time, so
/// an answer may be another one the next time.
pub trait PathResolver {
    /// The path meant, `None` if this is another's business.
    ///
    /// # Errors
    /// An error ends the search.
    fn resolve(&self, from: &Path, query: &Query, context: &NodeContext) -> Option<Result<Path, PathError>>;
}

impl Path {
    /// Resolves a query at this path, with the references and resolvers of a context. The result keeps this path's
    /// base if it is below it.
    ///
    /// # Errors
    /// If the text is no query, or leads nowhere.
    pub fn resolve(&self, query: &str, context: Option<&NodeContext>) -> Result<Self, PathError> {
        if let Some(names) = below_base(query)? {
            let base = &self.text[..usize::from(self.base)];
            return match (base, names) {
                ("", _) => Err(PathError::NoBase {
                    query: query.to_owned(),
                    path: self.to_string(),
                }),
                (_, "") => Ok(Self {
                    text: base.into(),
                    base: self.base,
                }),
                _ => joined(base, names, self.base),
            };
        }
        let parsed = Query::parse(query)?;
        if let Some(context) = context {
            for resolver in context.resolvers() {
                if let Some(found) = resolver.resolve(self, &parsed, context) {
                    return found.map(|found| self.rebased(found));
                }
            }
        }
        let found = match parsed {
            Query::Absolute(path) => path,
            Query::Base(_) => self.clone(),
            Query::Reference { name, rest } => {
                let target = context.and_then(|context| context.reference(&name)).ok_or_else(|| {
                    PathError::UnknownReference {
                        name,
                        path: self.to_string(),
                    }
                })?;
                if rest.is_empty() { target } else { target.join(&rest)? }
            }
        };
        Ok(self.rebased(found))
    }

    fn rebased(&self, found: Self) -> Self {
        let base = &self.text[..usize::from(self.base)];
        if !base.is_empty() && is_within(&found.text, base) {
            Self {
                base: self.base,
                ..found
            }
        } else {
            found
        }
    }
}
