//! One process follows another without losing a connection: listening sockets are handed over.
//!
//! A connection belongs to the listening socket that the kernel queued it on, and closing that socket resets it:
//! two processes with a socket each on one port lose connections whenever one of them leaves. So there is one
//! socket and one queue. It comes from whoever has it: the service manager (`LISTEN_FDS`), or the process that
//! serves now, which offers its listeners on a Unix socket in the state folder (`SCM_RIGHTS`). While both live both
//! accept; the one that leaves stops accepting, and what is queued is the other's.
//!
//! Whoever may open the socket file, which only its owner may, may have the listeners. A process of another network
//! namespace (two pods, one volume) is told no: its own address is elsewhere. When there is nothing to inherit,
//! listeners are bound anew (`SO_REUSEPORT`), and a replacement still works, less smoothly.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io::{self, IoSlice, IoSliceMut, Write as _};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use tokio::io::{AsyncReadExt as _, Interest};
use tokio::task::JoinSet;

use crate::gauge::Gauges;

/// The name of the socket file in the state folder.
const NAME: &str = "listeners.sock";
/// Listeners that one message can carry (the kernel's limit is 253).
const MOST: usize = 64;
/// Their addresses as text, and the namespace.
const LARGEST_LETTER: usize = 8 * 1024;
/// How long the process before may take to answer; it has a thread for it.
const PATIENCE: Duration = Duration::from_secs(1);
/// Ends a letter: one without it was cut off.
const END: &str = "\n.\n";
/// The answer for one listener.
const TAKEN: u8 = b'1';
const LEFT: u8 = b'0';

/// Listeners that others opened.
#[derive(Debug, Default)]
pub(crate) struct Inheritance {
    listeners: BTreeMap<SocketAddr, TcpListener>,
    /// Open for as long as this process accepts, so that the one before knows.
    bond: Option<UnixStream>,
}

/// Who else holds a listening socket of ours.
#[derive(Debug, Default)]
pub(crate) struct Holders {
    /// It is, or was once, in other hands: nothing may be done to the socket itself.
    shared: Cell<bool>,
    /// Processes that follow this one and accept on it.
    heirs: Cell<usize>,
    /// The service manager keeps it.
    kept: bool,
}

/// A listener that can be handed over.
#[derive(Debug)]
pub(crate) struct Heirloom {
    pub(crate) address: SocketAddr,
    pub(crate) socket: OwnedFd,
    pub(crate) holders: Rc<Holders>,
}

impl Holders {
    /// Of a listener that was inherited, or not.
    pub(crate) fn new(source: Source) -> Self {
        Self {
            shared: Cell::new(source != Source::Bound),
            heirs: Cell::new(0),
            kept: source == Source::Manager,
        }
    }

    /// Somebody else will accept what is queued.
    pub(crate) fn remain(&self) -> bool {
        self.kept || self.heirs.get() > 0
    }

    /// Nobody else ever had this socket.
    pub(crate) fn are_none(&self) -> bool {
        !self.shared.get()
    }

    fn lend(&self) {
        self.shared.set(true);
        self.heirs.set(self.heirs.get() + 1);
    }

    fn end_loan(&self) {
        self.heirs.set(self.heirs.get().saturating_sub(1));
    }
}

/// Where a listener came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// This process bound it.
    Bound,
    /// The process before handed it over.
    Process,
    /// The service manager opened it, and keeps it.
    Manager,
}

impl Inheritance {
    /// Whatever the process that serves now from this state folder will share of these addresses.
    pub(crate) fn claim(folder: &Path, wanted: &[SocketAddr]) -> Self {
        if folder.as_os_str().is_empty() {
            return Self::default();
        }
        let path = folder.join(NAME);
        match claim(&path, wanted) {
            Ok(inheritance) => inheritance,
            Err(error) => {
                // Nobody serves yet, as a rule.
                tracing::debug!(path = %path.display(), %error, "no listeners to take over");
                Self::default()
            }
        }
    }

    /// The listener of this address, if there is one.
    pub(crate) fn take(&mut self, address: SocketAddr) -> Option<TcpListener> {
        self.listeners.remove(&address)
    }

    /// What is to be held for as long as this process accepts.
    pub(crate) fn bond(&mut self) -> Option<UnixStream> {
        self.bond.take()
    }
}

/// Listeners that the service manager opened (systemd socket units), by their addresses.
pub(crate) fn from_manager() -> BTreeMap<SocketAddr, TcpListener> {
    let mut given = listenfd::ListenFd::from_env();
    let listeners = (0..given.len()).filter_map(|at| given.take_tcp_listener(at).ok().flatten());
    let listeners = listeners.filter(|listener| listener.set_nonblocking(true).is_ok());
    listeners
        .filter_map(|listener| Some((listener.local_addr().ok()?, listener)))
        .collect()
}

fn claim(path: &Path, wanted: &[SocketAddr]) -> io::Result<Inheritance> {
    let mut stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let (letter, sockets) = receive(&stream)?;
    let mut lines = letter.strip_suffix(END).unwrap_or_default().lines();
    if lines.next() != Some(&namespace()) {
        return Err(io::Error::other("it lives in another network"));
    }
    let mut inheritance = Inheritance::default();
    let mut answer = Vec::new();
    for (line, socket) in lines.zip(sockets) {
        let address = line.parse().ok().filter(|at| wanted.contains(at));
        let listener = TcpListener::from(socket);
        let is_it = address.is_some() && listener.local_addr().ok() == address;
        answer.push(if is_it { TAKEN } else { LEFT });
        if let Some(address) = address.filter(|_| is_it) {
            tracing::info!(%address, "took a listener over");
            inheritance.listeners.insert(address, listener);
        }
    }
    stream.write_all(&answer)?;
    inheritance.bond = (!inheritance.listeners.is_empty()).then_some(stream);
    Ok(inheritance)
}

fn receive(stream: &UnixStream) -> io::Result<(String, Vec<OwnedFd>)> {
    let mut letter = vec![0; LARGEST_LETTER];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = rustix::io::retry_on_intr(|| {
        let mut text = [IoSliceMut::new(&mut letter)];
        recvmsg(stream, &mut text, &mut control, RecvFlags::CMSG_CLOEXEC)
    })?;
    let mut sockets = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            sockets.extend(rights);
        }
    }
    letter.truncate(received.bytes);
    let letter = String::from_utf8(letter).map_err(io::Error::other)?;
    Ok((letter, sockets))
}

/// Which network this process lives in; the same text for all where there are no namespaces.
fn namespace() -> String {
    fs::read_link("/proc/self/ns/net")
        .map(|link| link.display().to_string())
        .unwrap_or_default()
}

/// Offers the listeners to whoever comes next, until dropped. It must run on the thread that accepts.
pub(crate) async fn offer(folder: PathBuf, heirlooms: Vec<Heirloom>, gauges: Arc<Gauges>) {
    if folder.as_os_str().is_empty() || heirlooms.is_empty() {
        return;
    }
    let heirlooms: Rc<[Heirloom]> = heirlooms.into();
    let path = folder.join(NAME);
    let publish = || {
        publish(&folder, &path).inspect_err(|error| {
            let path = path.display();
            tracing::warn!(%path, %error, "listeners cannot be offered to a replacement");
        })
    };
    let Ok(mut listener) = publish() else {
        return;
    };
    let mut heirs = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    heirs.spawn_local(hand_over(stream, Rc::clone(&heirlooms), Arc::clone(&gauges)));
                }
                Err(error) => {
                    tracing::debug!(%error, "cannot accept a replacement");
                    tokio::time::sleep(PATIENCE).await;
                }
            },
            Some(ended) = heirs.join_next() => {
                if let Ok(Err(error)) = ended {
                    tracing::debug!(%error, "listeners were not handed over");
                }
                // It offered in its turn, under the same name, and left before this process.
                match publish() {
                    Ok(anew) => listener = anew,
                    Err(_) => return,
                }
            }
        }
    }
}

/// The name is taken in one step: there is never a moment with nobody behind it.
fn publish(folder: &Path, path: &Path) -> io::Result<tokio::net::UnixListener> {
    fs::create_dir_all(folder)?;
    let draft = folder.join(format!("{NAME}.{}", std::process::id()));
    // One that a process of the same number left behind.
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = tokio::net::UnixListener::bind(&draft)?;
    fs::set_permissions(&draft, Permissions::from_mode(0o600))?;
    fs::rename(&draft, path)?;
    Ok(listener)
}

/// Sends everything, notes what was taken, and returns when the other process accepts no longer.
async fn hand_over(
    mut stream: tokio::net::UnixStream,
    heirlooms: Rc<[Heirloom]>,
    gauges: Arc<Gauges>,
) -> io::Result<()> {
    let heirlooms = heirlooms.get(..MOST).unwrap_or(&heirlooms);
    let mut letter = namespace();
    for heirloom in heirlooms {
        letter.push('\n');
        letter.push_str(&heirloom.address.to_string());
    }
    letter.push_str(END);
    // From here on they may be in other hands.
    let loans: Vec<Loan<'_>> = heirlooms.iter().map(Loan::new).collect();
    let sockets: Vec<_> = heirlooms.iter().map(|it| it.socket.as_fd()).collect();
    let send = || {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !control.push(SendAncillaryMessage::ScmRights(&sockets)) {
            return Err(io::Error::other("too many listeners"));
        }
        let text = [IoSlice::new(letter.as_bytes())];
        Ok(sendmsg(&stream, &text, &mut control, SendFlags::NOSIGNAL)?)
    };
    if stream.async_io(Interest::WRITABLE, send).await? < letter.len() {
        return Err(io::Error::other("the letter was cut off"));
    }
    let mut answer = vec![LEFT; heirlooms.len()];
    let answered = tokio::time::timeout(PATIENCE * 2, stream.read_exact(&mut answer));
    answered.await.map_err(io::Error::other)??;
    let kept = loans.into_iter().zip(&answer);
    let kept: Vec<Loan<'_>> = kept
        .filter(|(_, answer)| **answer == TAKEN)
        .map(|(loan, _)| loan)
        .collect();
    let _heir = (!kept.is_empty()).then(|| gauges.heir());
    tracing::info!(
        listeners = kept.len(),
        "another process accepts connections beside this one"
    );
    // It says nothing more; the end is what is waited for.
    _ = stream.read(&mut [0]).await;
    Ok(())
}

/// A listener in the hands of a process that follows; over when dropped.
struct Loan<'h>(&'h Heirloom);

impl<'h> Loan<'h> {
    fn new(heirloom: &'h Heirloom) -> Self {
        heirloom.holders.lend();
        Self(heirloom)
    }
}

impl Drop for Loan<'_> {
    fn drop(&mut self) {
        self.0.holders.end_loan();
    }
}
