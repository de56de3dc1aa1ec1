//! How a verb ends: the three exit codes that scripts rely on.
//!
//! 0 is "good", 1 is "the answer is no" (unhealthy, rolled back, unknown rollout, not reachable, not allowed
//! now), 2 is "you asked wrongly" (usage or configuration). A verb returns one of these and never exits the
//! process itself, so that what it holds is dropped in order.

use std::io;
use std::process::ExitCode;

/// A question that was asked rightly and answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Yes,
    No,
}

/// Why there is nothing more to print but a message.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The answer is no.
    #[error("{0}")]
    No(String),
    /// Wrong usage or configuration.
    #[error("{0}")]
    Usage(String),
    /// Nobody reads our output any more (`serin status | head -1`).
    #[error("output closed")]
    OutputClosed,
}

impl Failure {
    /// The answer is no, because …
    pub(crate) fn no(why: impl Into<String>) -> Self {
        Self::No(why.into())
    }

    /// Asked wrongly: …
    pub(crate) fn usage(why: impl Into<String>) -> Self {
        Self::Usage(why.into())
    }

    /// What stands on standard error, if anything.
    pub(crate) fn message(&self) -> Option<String> {
        match self {
            Self::No(why) | Self::Usage(why) => Some(why.clone()),
            Self::OutputClosed => None,
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::OutputClosed,
            _ => Self::No(format!("cannot write output: {error}")),
        }
    }
}

/// The exit code of a verb's end.
pub(crate) fn exit_code(end: &Result<Answer, Failure>) -> ExitCode {
    ExitCode::from(code(end))
}

fn code(end: &Result<Answer, Failure>) -> u8 {
    match end {
        Ok(Answer::Yes) => 0,
        Ok(Answer::No) | Err(Failure::No(_) | Failure::OutputClosed) => 1,
        Err(Failure::Usage(_)) => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_codes() {
        assert_eq!(code(&Ok(Answer::Yes)), 0);
        assert_eq!(code(&Ok(Answer::No)), 1);
        assert_eq!(code(&Err(Failure::no("not reachable"))), 1);
        assert_eq!(code(&Err(Failure::usage("no such file"))), 2);
    }

    #[test]
    fn a_closed_pipe_is_silent() {
        let failure = Failure::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!(failure.message(), None);
        let full = Failure::from(io::Error::from(io::ErrorKind::StorageFull));
        assert!(full.message().unwrap().contains("cannot write output"));
    }
}
