//! Listening: a port that may be busy for a while, connections that are bounded in number and patience.
//!
//! During a replacement the old process holds the admin port; the new one tries until it is free and serves
//! traffic meanwhile. HTTP/1.1 and HTTP/2 with prior knowledge, as on the data plane.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use serin_config::tls::ServerTls;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

use super::answer::AdminBody;

/// Connections at a time, per listener; one more is closed at once.
const MAX_CONNECTIONS: usize = 256;
/// For a request's whole head.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// Streams on one HTTP/2 connection.
const MAX_STREAMS: u32 = 32;
/// Of a request's head.
const MAX_HEAD_BYTES: usize = 32 << 10;
/// Between two attempts to bind a busy port.
const RETRY: Duration = Duration::from_millis(250);

/// How connections begin: with a handshake, or not. Follows reloads.
#[derive(Debug, Default)]
pub(super) struct Greeting(ArcSwapOption<ServerTls>);

impl Greeting {
    /// For the connections to come. One that is equal stays: clients hold its session tickets.
    pub(super) fn set(&self, tls: Option<&ServerTls>) {
        if self.0.load().as_deref() != tls {
            self.0.store(tls.cloned().map(Arc::new));
        }
    }
}

/// A listener that may not be bound yet.
#[derive(Debug)]
pub(super) struct Port {
    name: &'static str,
    address: SocketAddr,
    first: Option<std::net::TcpListener>,
    greeting: Arc<Greeting>,
    bound: Arc<OnceLock<SocketAddr>>,
}

impl Port {
    /// Tries to bind once, so that the address is known at once when the port is free.
    pub(super) fn open(name: &'static str, address: SocketAddr, greeting: Arc<Greeting>) -> Self {
        let bound = Arc::new(OnceLock::new());
        let first = bind(address)
            .inspect_err(|error| {
                tracing::warn!(listener = name, %address, %error, "port not free, trying again");
            })
            .ok();
        if let Some(address) = first.as_ref().and_then(|port| port.local_addr().ok()) {
            _ = bound.set(address);
        }
        Self {
            name,
            address,
            first,
            greeting,
            bound,
        }
    }

    /// Where it listens, once it does.
    pub(super) fn bound(&self) -> Arc<OnceLock<SocketAddr>> {
        Arc::clone(&self.bound)
    }

    /// Binds, however long that takes, and serves every request with `answer`.
    pub(super) async fn serve<A, F>(mut self, answer: A)
    where
        A: Fn(SocketAddr, Request<Incoming>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<AdminBody>> + Send + 'static,
    {
        let listener = self.listen().await;
        let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => {
                    if let Ok(permit) = Arc::clone(&room).try_acquire_owned() {
                        let answer = answer.clone();
                        let greeting = self.greeting.0.load_full();
                        tokio::spawn(async move {
                            greet(stream, peer, greeting, answer).await;
                            drop(permit);
                        });
                    }
                }
                Err(error) => {
                    tracing::warn!(listener = self.name, %error, "cannot accept");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    async fn listen(&mut self) -> TcpListener {
        loop {
            let listener = match self.first.take() {
                Some(listener) => Ok(listener),
                None => bind(self.address),
            };
            match listener.and_then(TcpListener::from_std) {
                Ok(listener) => {
                    let address = listener.local_addr().unwrap_or(self.address);
                    _ = self.bound.set(address);
                    tracing::info!(listener = self.name, %address, "listening");
                    return listener;
                }
                Err(error) => {
                    tracing::debug!(listener = self.name, %error, "port not free");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }
}

/// Like tokio's own `bind`, without a runtime.
fn bind(address: SocketAddr) -> std::io::Result<std::net::TcpListener> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Shakes hands where that is asked for.
async fn greet<A, F>(
    stream: TcpStream,
    peer: SocketAddr,
    greeting: Option<Arc<ServerTls>>,
    answer: A,
) where
    A: Fn(SocketAddr, Request<Incoming>) -> F,
    F: Future<Output = Response<AdminBody>> + Send + 'static,
{
    _ = stream.set_nodelay(true);
    let Some(tls) = greeting else {
        return converse(stream, peer, answer).await;
    };
    let accepting = TlsAcceptor::from(Arc::clone(tls.config())).accept(stream);
    match tokio::time::timeout(HEADER_TIMEOUT, accepting).await {
        Ok(Ok(stream)) => converse(stream, peer, answer).await,
        Ok(Err(error)) => tracing::debug!(%peer, %error, "no TLS handshake on the admin port"),
        Err(_) => {}
    }
}

/// One connection, from its first byte to its last.
async fn converse<S, A, F>(stream: S, peer: SocketAddr, answer: A)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
    A: Fn(SocketAddr, Request<Incoming>) -> F,
    F: Future<Output = Response<AdminBody>> + Send + 'static,
{
    let spoke = AtomicBool::new(false);
    let service = service_fn(|request| {
        spoke.store(true, Relaxed);
        let answered = answer(peer, request);
        async move { Ok::<_, Infallible>(answered.await) }
    });
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(MAX_HEAD_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEAD_BYTES as u32)
        .keep_alive_interval(Some(Duration::from_secs(30)));
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    // Telling HTTP/1.1 from HTTP/2 takes bytes, and hyper waits for them for ever.
    let silent = async {
        tokio::time::sleep(HEADER_TIMEOUT).await;
        if spoke.load(Relaxed) {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        ended = &mut connection => {
            if let Err(error) = ended {
                tracing::debug!(%peer, %error, "admin connection ended");
            }
        }
        () = silent => {}
    }
}
