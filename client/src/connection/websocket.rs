//! The browser's WebSocket as a link that moves messages.

use std::{cell::RefCell, rc::Rc, time::Duration};

use bytes::Bytes;
use futures::{
    StreamExt,
    channel::{mpsc, oneshot},
    future::LocalBoxFuture,
};
use js_sys::{Array, ArrayBuffer, Uint8Array};
use shared::{
    error::{Error, ErrorKind, Result},
    platform::PlatformRef,
    wamp::{
        codec::CodecId,
        message::Message,
        transport::{Link, LinkError, MessageSink, MessageSource, SendError},
    },
};
use wasm_bindgen::{JsCast, JsValue, closure::Closure};
use web_sys::{BinaryType, CloseEvent, MessageEvent, WebSocket};

/// Bytes that may wait in the browser before senders have to wait.
const FULL: u32 = 256 * 1024;
/// How often it is looked whether there is room again; the browser does not tell.
const LOOK: Duration = Duration::from_millis(20);
/// What is offered, best first.
const CODECS: [CodecId; 2] = [CodecId::Msgpack, CodecId::Json];

type Incoming = std::result::Result<Bytes, LinkError>;

/// A socket with the closures that listen to it. Dropping it closes the socket and frees them.
struct Socket {
    socket: WebSocket,
    closed: RefCell<Option<mpsc::UnboundedSender<Incoming>>>,
    _on_message: Closure<dyn FnMut(MessageEvent)>,
    _on_close: Closure<dyn FnMut(CloseEvent)>,
    _on_open: Closure<dyn FnMut(JsValue)>,
}

impl Socket {
    fn close(&self) {
        self.socket.set_onmessage(None);
        self.socket.set_onclose(None);
        self.socket.set_onopen(None);
        if let Some(incoming) = self.closed.take() {
            // A half-open link would answer to a close only after a long time: for the peer it is over now.
            let _ = incoming.unbounded_send(Err(LinkError::Closed(None)));
        }
        // Fails only for a code or reason that is not permitted, and none is given.
        let _ = self.socket.close();
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.close();
    }
}

/// Ends a link from outside, at once.
#[derive(Clone)]
pub struct Closer(std::rc::Weak<Socket>);

impl Closer {
    /// Ends the link.
    pub fn close(&self) {
        if let Some(socket) = self.0.upgrade() {
            socket.close();
        }
    }
}

/// Opens a WebSocket and waits until it is open. Dropping the future gives up.
///
/// # Errors
/// [`ErrorKind::Disconnected`] if it cannot be opened; browsers do not say why.
pub async fn open(url: &str, platform: PlatformRef) -> Result<(Link, Closer)> {
    let names: Array = CODECS
        .iter()
        .map(|codec| JsValue::from_str(codec.subprotocol()))
        .collect();
    let socket = WebSocket::new_with_str_sequence(url, &names).map_err(|_| unreachable_server())?;
    socket.set_binary_type(BinaryType::Arraybuffer);
    let (incoming, queue) = mpsc::unbounded();
    let (opened, opening) = oneshot::channel();
    let opened = Rc::new(RefCell::new(Some(opened)));

    let frames = incoming.clone();
    let on_message = Closure::<dyn FnMut(MessageEvent)>::new(move |event: MessageEvent| {
        // The queue ends with the peer that reads it; then nobody misses the frame.
        let _ = frames.unbounded_send(Ok(bytes_of(&event.data())));
    });
    let (frames, waiting) = (incoming.clone(), opened.clone());
    let on_close = Closure::<dyn FnMut(CloseEvent)>::new(move |event: CloseEvent| {
        drop(waiting.take());
        let reason = Some(event.reason()).filter(|reason| !reason.is_empty());
        let _ = frames.unbounded_send(Err(LinkError::Closed(reason)));
    });
    let on_open = Closure::<dyn FnMut(JsValue)>::new(move |_| {
        if let Some(opened) = opened.take() {
            let _ = opened.send(());
        }
    });
    socket.set_onmessage(Some(on_message.as_ref().unchecked_ref()));
    socket.set_onclose(Some(on_close.as_ref().unchecked_ref()));
    socket.set_onopen(Some(on_open.as_ref().unchecked_ref()));
    let socket = Rc::new(Socket {
        socket,
        closed: RefCell::new(Some(incoming)),
        _on_message: on_message,
        _on_close: on_close,
        _on_open: on_open,
    });
    opening.await.map_err(|_| unreachable_server())?;
    let codec = CodecId::from_subprotocol(&socket.socket.protocol()).ok_or_else(|| {
        Error::new(
            ErrorKind::Protocol,
            "The server speaks none of the offered sub-protocols.",
        )
    })?;
    let closer = Closer(Rc::downgrade(&socket));
    let outgoing = Box::new(Sink {
        socket: socket.clone(),
        codec,
        platform,
    });
    let incoming = Box::new(Source {
        _socket: socket,
        queue,
        codec,
    });
    Ok((
        Link {
            codec,
            outgoing,
            incoming,
        },
        closer,
    ))
}

fn unreachable_server() -> Error {
    Error::new(ErrorKind::Disconnected, "The server could not be reached.")
}

fn bytes_of(data: &JsValue) -> Bytes {
    match data.dyn_ref::<ArrayBuffer>() {
        Some(buffer) => Uint8Array::new(buffer).to_vec().into(),
        None => data.as_string().unwrap_or_default().into(),
    }
}

struct Sink {
    socket: Rc<Socket>,
    codec: CodecId,
    platform: PlatformRef,
}

impl MessageSink for Sink {
    fn try_send(&self, message: Message) -> std::result::Result<(), SendError> {
        let socket = &self.socket.socket;
        if socket.ready_state() != WebSocket::OPEN {
            return Err(SendError::Closed);
        }
        if socket.buffered_amount() > FULL && !message.has_reserved_room() {
            return Err(SendError::Full(Box::new(message)));
        }
        let frame = self.codec.encode(&message);
        let sent = if self.codec.is_text() {
            socket.send_with_str(&String::from_utf8_lossy(&frame))
        } else {
            socket.send_with_u8_array(&frame)
        };
        sent.map_err(|_| SendError::Closed)
    }

    fn room(&self) -> LocalBoxFuture<'_, ()> {
        Box::pin(async {
            let socket = &self.socket.socket;
            while socket.ready_state() == WebSocket::OPEN && socket.buffered_amount() > FULL {
                self.platform.sleep(LOOK).await;
            }
        })
    }

    fn close(&self) {
        // What was sent before goes out first; the close event ends the way in.
        let _ = self.socket.socket.close();
    }
}

struct Source {
    _socket: Rc<Socket>,
    queue: mpsc::UnboundedReceiver<Incoming>,
    codec: CodecId,
}

impl MessageSource for Source {
    fn receive(&mut self) -> LocalBoxFuture<'_, std::result::Result<Message, LinkError>> {
        Box::pin(async {
            let frame = self.queue.next().await.unwrap_or(Err(LinkError::Closed(None)))?;
            self.codec
                .decode(frame)
                .map_err(|error| LinkError::Malformed(error.to_string()))
        })
    }
}
