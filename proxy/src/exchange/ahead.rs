//! Reads the beginning of a body ahead, for the routes that choose by what stands in it.
//!
//! No more than the limit is held. A larger body streams on, and what would stand in it counts as absent; the
//! part that was read is sent first.

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body_util::BodyExt;
use serin_config::model::Limits;
use tokio::time::timeout;

use super::pipe::ClientBody;
use crate::error::Failure;
use crate::route::Body;

/// A body, read ahead or not.
pub(crate) struct Ahead {
    /// What was read.
    pub(crate) bytes: Bytes,
    /// What was not; `None` when all was.
    pub(crate) rest: Option<ClientBody>,
    /// After the whole body.
    pub(crate) trailers: Option<HeaderMap>,
    was_asked: bool,
}

impl Ahead {
    /// Nothing read yet.
    pub(crate) const fn nothing(body: ClientBody) -> Self {
        Self {
            bytes: Bytes::new(),
            rest: Some(body),
            trailers: None,
            was_asked: false,
        }
    }

    /// There is no body.
    pub(crate) const fn empty() -> Self {
        Self {
            bytes: Bytes::new(),
            rest: None,
            trailers: None,
            was_asked: false,
        }
    }

    /// Nothing of the body is to come.
    pub(crate) fn is_over(&self) -> bool {
        self.rest
            .as_ref()
            .is_none_or(http_body::Body::is_end_stream)
    }

    /// The same body once more, if all of it was read.
    pub(crate) fn copy(&self) -> Option<Self> {
        self.rest.is_none().then(|| Self {
            bytes: self.bytes.clone(),
            rest: None,
            trailers: self.trailers.clone(),
            was_asked: self.was_asked,
        })
    }

    /// What routing may see of the body.
    pub(crate) fn seen(&self) -> Body<'_> {
        match (&self.rest, self.was_asked) {
            (_, false) => Body::Unread,
            (Some(_), true) => Body::TooLarge,
            (None, true) => Body::Whole(&self.bytes),
        }
    }

    /// Reads on until the body ends, or is found to be larger than may be held.
    pub(crate) async fn read(&mut self, limits: &Limits) -> Result<(), Failure> {
        self.was_asked = true;
        let most = limits.max_buffered_body;
        let mut gathered = BytesMut::new();
        while let Some(rest) = &mut self.rest {
            let declared = http_body::Body::size_hint(rest).lower();
            if gathered.len() as u64 + declared > most as u64 || gathered.len() > most {
                break;
            }
            let frame = timeout(limits.body_timeout, rest.frame())
                .await
                .map_err(|_| Failure::BodyLate)?;
            match frame.transpose().map_err(|_| Failure::BodyBroken)? {
                None => self.rest = None,
                Some(frame) => match frame.into_data() {
                    Ok(data) if gathered.is_empty() && http_body::Body::is_end_stream(rest) => {
                        // All of it in one piece: nothing to gather.
                        self.bytes = data;
                        self.rest = None;
                        return Ok(());
                    }
                    Ok(data) => gathered.extend_from_slice(&data),
                    Err(frame) => {
                        self.trailers = frame.into_trailers().ok();
                        self.rest = None;
                    }
                },
            }
        }
        self.bytes = gathered.freeze();
        Ok(())
    }
}
