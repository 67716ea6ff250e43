//! The calls that every node answers beside those of its contracts.

use std::rc::Rc;

use crate::{
    contract::DESCRIBE,
    error::{Error, ErrorKind, Result},
    node::{Answer, Arguments, Node, call::decode_first},
    signal::SignalPort,
    wamp::{codec::CodecId, value::Dynamic},
};

/// Name of the call that answers the events that a signal keeps: `[name, value]` each, the oldest first.
pub(crate) const REPLAY: &str = "node_replay";

/// Name of the call that answers the current version of a mirrored field: `[epoch, version, [value]]`.
pub(crate) const STATE: &str = "node_state";

/// The answer to a built-in call, or the arguments back if it is none.
pub(crate) fn answer(node: &Rc<dyn Node>, method: &str, arguments: Arguments) -> Result<Result<Answer>, Arguments> {
    match method {
        DESCRIBE => Ok(describe(node, arguments)),
        REPLAY => Ok(replay(node, arguments)),
        STATE => Ok(state(node, arguments)),
        _ => Err(arguments),
    }
}

fn describe(node: &Rc<dyn Node>, arguments: Arguments) -> Result<Answer> {
    let (_none, reply) = arguments.take::<[(); 0]>(DESCRIBE, &[])?;
    let known = node.node_contracts().iter();
    let all: Vec<_> = known
        .map(|known| (known.name.to_owned(), known.fingerprint_text()))
        .collect();
    Answer::new(all, reply)
}

fn replay(node: &Rc<dyn Node>, arguments: Arguments) -> Result<Answer> {
    let ((name,), reply) = arguments.take::<(String,)>(REPLAY, &["signal"])?;
    let signals = node.node_signals();
    let found = signals.iter().find(|(known, _)| *known == name);
    let (_, port) = found.ok_or_else(|| Error::new(ErrorKind::NotFound, format!("There is no signal {name}.")))?;
    Answer::new(past(*port)?, reply)
}

fn state(node: &Rc<dyn Node>, arguments: Arguments) -> Result<Answer> {
    let ((name,), reply) = arguments.take::<(String,)>(STATE, &["name"])?;
    let sources = node.node_core().mirrored().unwrap_or_default();
    let update = sources.get(&name, CodecId::Msgpack)?;
    Answer::new(decode_first::<Dynamic>(&update)?, reply)
}

fn past(port: &dyn SignalPort) -> Result<Vec<(String, Dynamic)>> {
    let (mut position, mut past) = (0, Vec::new());
    while let Some((next, parcel)) = port.kept_after(position) {
        position = next;
        let name = parcel.mark().map(ToString::to_string).unwrap_or_default();
        // Of the codecs, this one tells all values apart.
        past.push((name, decode_first(&parcel.payload(CodecId::Msgpack)?)?));
    }
    Ok(past)
}
