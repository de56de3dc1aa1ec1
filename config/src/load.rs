//! From a file, or a text, to a proven configuration.
//!
//! The [`Fingerprint`] covers all that was read: the file and the secrets it names, so that a rotated token
//! is noticed like an edit. It stands for content only; whether two contents mean the same is asked of
//! [`Config`]'s equality.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use crate::compile;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::model::Config;
use crate::tree;
use crate::walk::{At, Report};

/// A configuration file's largest size.
const LARGEST: u64 = 4 << 20;

/// A configuration that was read from a file.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What it says.
    pub config: Arc<Config>,
    /// What is allowed and probably not meant.
    pub warnings: Vec<Diagnostic>,
    /// Of the file and the secrets it names.
    pub fingerprint: Fingerprint,
    /// The secrets it names.
    pub(crate) files: Vec<PathBuf>,
}

/// SHA-256 over the content of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Of these files as they are now.
    pub(crate) fn of<'a>(paths: impl IntoIterator<Item = &'a Path>) -> Self {
        Self::of_contents(
            paths
                .into_iter()
                .map(|path| content_hash(&read_bounded(path))),
        )
    }

    /// Of this content.
    pub(crate) fn of_bytes(content: &[u8]) -> Self {
        Self(Sha256::digest(content).into())
    }

    fn of_contents(hashes: impl IntoIterator<Item = ContentHash>) -> Self {
        let mut whole = Sha256::new();
        for hash in hashes {
            whole.update([u8::from(hash.is_some())]);
            whole.update(hash.unwrap_or_default());
        }
        Self(whole.finalize().into())
    }
}

/// Of one file; nothing for a file that can't be read.
pub(crate) type ContentHash = Option<[u8; 32]>;

pub(crate) fn content_hash(content: &io::Result<Vec<u8>>) -> ContentHash {
    content
        .as_ref()
        .ok()
        .map(|content| Sha256::digest(content).into())
}

/// Reads and proves a configuration file.
///
/// # Errors
/// Every mistake in it, in the order of the file.
pub fn load(path: &Path) -> Result<Loaded, Diagnostics> {
    attempt(path).outcome
}

/// A configuration file that was read, good or bad.
pub(crate) struct Attempt {
    pub(crate) outcome: Result<Loaded, Diagnostics>,
    /// Of what was read, not of what the files hold by now.
    pub(crate) fingerprint: Fingerprint,
    /// The secrets it names.
    pub(crate) files: Vec<PathBuf>,
}

pub(crate) fn attempt(path: &Path) -> Attempt {
    let file = path.display().to_string();
    let content = read_bounded(path);
    let own_hash = content_hash(&content);
    let report = Report::new(&file, folder_of(path));
    let outcome = text_of(content, &file).and_then(|text| compile(&text, &file, &report));
    let (files, hashes): (Vec<_>, Vec<_>) = report.files.take().into_iter().unzip();
    let fingerprint = Fingerprint::of_contents(std::iter::once(own_hash).chain(hashes));
    let outcome = outcome.map(|config| Loaded {
        config: Arc::new(config),
        warnings: report.warnings.take(),
        fingerprint,
        files: files.clone(),
    });
    Attempt {
        outcome,
        fingerprint,
        files,
    }
}

/// Proves a configuration given as text; `file` is what messages call it, and its folder is where the paths
/// of secrets start.
///
/// # Errors
/// Every mistake in it, in the order of the text.
pub fn parse(text: &str, file: &str) -> Result<Config, Diagnostics> {
    let report = Report::new(file, folder_of(Path::new(file)));
    compile(text, file, &report)
}

fn compile(text: &str, file: &str, report: &Report) -> Result<Config, Diagnostics> {
    let root = tree::read(text, file)?;
    let config = compile::config(&At::root(&root, report));
    let errors = report.errors.take();
    match config {
        Some(config) if errors.is_empty() => Ok(config),
        _ => Err(Diagnostics::new(errors)),
    }
}

fn folder_of(path: &Path) -> PathBuf {
    path.parent().unwrap_or(Path::new("")).to_owned()
}

fn text_of(content: io::Result<Vec<u8>>, file: &str) -> Result<String, Diagnostics> {
    let finding = |line, column, found: String| {
        Diagnostics::from(Diagnostic {
            file: file.to_owned(),
            line,
            column,
            path: String::new(),
            found,
            expected: "a YAML file that can be read".to_owned(),
            hint: None,
        })
    };
    let bytes = content.map_err(|error| finding(0, 0, format!("no way to read it ({error})")))?;
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let before = error.as_bytes().get(..valid).unwrap_or_default();
        let before = String::from_utf8_lossy(before);
        let line = before.split('\n').count() as u64;
        let column = before
            .rsplit('\n')
            .next()
            .map_or(0, |last| last.chars().count()) as u64
            + 1;
        finding(line, column, "bytes that are not UTF-8 text".to_owned())
    })
}

/// A file's content, unless it is absurdly large. A pipe is read only where it is ours already, as in `check -c <(…)`:
/// to open another waits for whoever writes into it, maybe for ever.
pub(crate) fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    use io::Read as _;
    let is_ours = || ["/dev/", "/proc/"].iter().any(|own| path.starts_with(own));
    let mut content = Vec::new();
    if !std::fs::metadata(path)?.is_file() && !is_ours() {
        return Err(io::Error::other("not a regular file"));
    }
    let file = std::fs::File::open(path)?;
    file.take(LARGEST + 1).read_to_end(&mut content)?;
    if content.len() as u64 > LARGEST {
        return Err(io::Error::other("larger than 4MiB"));
    }
    Ok(content)
}
