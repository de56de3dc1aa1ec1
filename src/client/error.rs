//! Why the admin API gave no answer, in words that say what to do.

use std::time::Duration;

use hyper::StatusCode;
use serde_json::Value;

use crate::cli::Failure;

/// A question to the admin API without the answer that was hoped for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    /// No connection, or it broke.
    #[error("admin not reachable at {url}: is `serin run` running? ({cause})")]
    Unreachable { url: String, cause: String },
    /// Connected, but no answer in time.
    #[error("admin at {url} did not answer within {after:?}")]
    TooSlow { url: String, after: Duration },
    /// Answered with a problem document.
    #[error("{message}")]
    Refused { status: StatusCode, message: String },
    /// Answered with something else: most likely not serin.
    #[error("the answer was not understood, is this serin's admin address? ({0})")]
    Malformed(String),
}

impl AskError {
    /// Worth asking again: nobody is there, which may change.
    pub(crate) const fn is_absence(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::TooSlow { .. })
    }

    /// From the client's error, whose own message hides the cause at the bottom.
    pub(super) fn unreachable(url: &str, error: &dyn std::error::Error) -> Self {
        let mut cause = error.to_string();
        let mut next = error.source();
        while let Some(deeper) = next {
            cause = deeper.to_string();
            next = deeper.source();
        }
        Self::Unreachable {
            url: url.to_owned(),
            cause,
        }
    }

    /// From an answer that is not a success; `detail` of its problem document when it has one.
    pub(super) fn refused(status: StatusCode, body: &[u8], with_token: bool) -> Self {
        let problem: Value = serde_json::from_slice(body).unwrap_or_default();
        let text = |member: &str| problem.get(member).and_then(Value::as_str);
        let mut message = text("detail")
            .or_else(|| text("title"))
            .map_or_else(|| format!("the admin API answered {status}"), str::to_owned);
        if status == StatusCode::UNAUTHORIZED {
            message.push_str(if with_token {
                " (is it the right --token-file?)"
            } else {
                " (give it with --token-file or SERIN_TOKEN_FILE)"
            });
        }
        Self::Refused { status, message }
    }
}

impl From<AskError> for Failure {
    fn from(error: AskError) -> Self {
        match error {
            // The value was understood as ours and is wrong: usage, as if it had been caught here.
            AskError::Refused {
                status: StatusCode::BAD_REQUEST,
                message,
            } => Self::usage(message),
            other => Self::no(other.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_speak_for_themselves() {
        let body =
            br#"{"title":"Conflict","detail":"digits is RolledBack: only retry revives it"}"#;
        let conflict = AskError::refused(StatusCode::CONFLICT, body, false);
        assert_eq!(
            Failure::from(conflict),
            Failure::no("digits is RolledBack: only retry revives it")
        );
        let bare = AskError::refused(StatusCode::BAD_GATEWAY, b"<html>", false);
        assert_eq!(bare.to_string(), "the admin API answered 502 Bad Gateway");
        let wrong = AskError::refused(StatusCode::BAD_REQUEST, br#"{"title":"bad weight"}"#, false);
        assert_eq!(Failure::from(wrong), Failure::usage("bad weight"));
        let closed = AskError::refused(
            StatusCode::UNAUTHORIZED,
            br#"{"title":"token needed"}"#,
            false,
        );
        assert!(closed.to_string().contains("--token-file"), "{closed}");
    }
}
