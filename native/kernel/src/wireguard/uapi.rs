//! The control socket that `wg show` asks, `/var/run/wireguard/NAME.sock`: read-only and without secrets.
//!
//! gotatun's own server would also take `set=1` and tell the private key; a second way to change peers behind the
//! enforcer's back is what this one leaves out. The path is one for the whole host, whatever the network namespace.

use std::fmt::Write as _;
use std::fs;
use std::future::Future;
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;

use super::peers::PeerState;
use crate::errors::{KernelError, Result};

const FOLDER: &str = "/var/run/wireguard";
/// A client that opens connections or sends without end gets no further than this.
const MOST_CONNECTIONS: usize = 8;
const LONGEST_REQUEST: usize = 256;
const PATIENCE: Duration = Duration::from_secs(5);

/// What one `get=1` answers.
pub struct Status {
    pub listen_port: u16,
    pub peers: Vec<PeerState>,
}

/// Owns the socket file; both go when it is dropped.
pub struct ControlSocket {
    path: PathBuf,
    server: AbortHandle,
}

impl ControlSocket {
    /// Must be called inside the runtime. A live socket of that name belongs to another device and is refused; a dead
    /// one is taken over.
    pub fn open<S, F>(name: &str, status: S) -> Result<Self>
    where
        S: Fn() -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Option<Status>> + Send + 'static,
    {
        let path = path_of(name);
        let open = || -> io::Result<UnixListener> {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(FOLDER)?;
            if is_live(&path) {
                return Err(io::Error::from_raw_os_error(libc::EADDRINUSE));
            }
            remove_if_present(&path)?;
            let listener = UnixListener::bind(&path)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
            Ok(listener)
        };
        let listener =
            open().map_err(|error| KernelError::from_io(format!("open the control socket of {name}"), &error))?;
        let server = tokio::spawn(serve(listener, status)).abort_handle();
        Ok(Self { path, server })
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        self.server.abort();
        // Nothing is left to tell: a file that stays is dead and the next owner takes it over.
        let _ = remove_if_present(&self.path);
    }
}

/// Removes sockets nobody listens on whose name begins with `prefix`; answers the names.
pub fn remove_dead(prefix: &str) -> Result<Vec<String>> {
    let entries = match fs::read_dir(FOLDER) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(KernelError::from_io(format!("read {FOLDER}"), &error)),
    };
    let mut removed = Vec::new();
    for entry in entries.flatten() {
        let file = entry.file_name().to_string_lossy().into_owned();
        let Some(name) = file.strip_suffix(".sock").filter(|name| name.starts_with(prefix)) else { continue };
        if !entry.file_type().is_ok_and(|kind| kind.is_socket()) || is_live(&entry.path()) {
            continue;
        }
        remove_if_present(&entry.path())
            .map_err(|error| KernelError::from_io(format!("remove the control socket of {name}"), &error))?;
        removed.push(name.to_string());
    }
    Ok(removed)
}

fn path_of(name: &str) -> PathBuf {
    Path::new(FOLDER).join(format!("{name}.sock"))
}

fn is_live(path: &Path) -> bool {
    StdUnixStream::connect(path).is_ok()
}

fn remove_if_present(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

async fn serve<S, F>(listener: UnixListener, status: S)
where
    S: Fn() -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Option<Status>> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let status = status.clone();
        tokio::spawn(async move {
            let _ = tokio::time::timeout(PATIENCE, answer(stream, status)).await;
            drop(place);
        });
    }
}

async fn answer<S, F>(mut stream: UnixStream, status: S) -> io::Result<()>
where
    S: Fn() -> F,
    F: Future<Output = Option<Status>>,
{
    let mut request = [0; LONGEST_REQUEST];
    let mut length = 0;
    while !request[..length].ends_with(b"\n\n") {
        match stream.read(&mut request[length..]).await? {
            0 => return Ok(()),
            read => length += read,
        }
    }
    let text = match &request[..length] {
        b"get=1\n\n" => match status().await {
            Some(status) => text_of(&status, SystemTime::now()),
            None => format!("errno={}\n\n", libc::ENODEV),
        },
        _ => format!("errno={}\n\n", libc::EPERM),
    };
    stream.write_all(text.as_bytes()).await
}

/// The cross-platform form of <https://www.wireguard.com/xplatform/>, without private and pre-shared keys.
fn text_of(status: &Status, now: SystemTime) -> String {
    let mut text = format!("listen_port={}\n", status.listen_port);
    for peer in &status.peers {
        // Writing to a String cannot fail.
        let _ = write_peer(&mut text, peer, now);
    }
    text.push_str("errno=0\n\n");
    text
}

fn write_peer(text: &mut String, peer: &PeerState, now: SystemTime) -> std::fmt::Result {
    text.push_str("public_key=");
    for byte in peer.public_key {
        write!(text, "{byte:02x}")?;
    }
    text.push('\n');
    if let Some(endpoint) = peer.endpoint {
        writeln!(text, "endpoint={endpoint}")?;
    }
    if let Some(at) = peer.handshake_age_ms.and_then(|age| handshake_time(now, age)) {
        writeln!(text, "last_handshake_time_sec={}\nlast_handshake_time_nsec={}", at.as_secs(), at.subsec_nanos())?;
    }
    writeln!(text, "rx_bytes={}\ntx_bytes={}", peer.received_bytes, peer.sent_bytes)?;
    writeln!(text, "persistent_keepalive_interval={}", peer.keepalive)?;
    for allowed in &peer.allowed_ips {
        writeln!(text, "allowed_ip={allowed}")?;
    }
    Ok(())
}

fn handshake_time(now: SystemTime, age_ms: f64) -> Option<Duration> {
    let age = Duration::try_from_secs_f64(age_ms / 1000.0).ok()?;
    now.checked_sub(age)?.duration_since(SystemTime::UNIX_EPOCH).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_is_what_wg_parses_and_tells_no_secret() {
        let status = Status {
            listen_port: 51840,
            peers: vec![PeerState {
                public_key: [0xab; 32],
                endpoint: Some("[2001:db8::1]:51840".parse().unwrap()),
                allowed_ips: vec!["10.0.0.0/8".parse().unwrap()],
                handshake_age_ms: Some(1500.0),
                received_bytes: 3,
                sent_bytes: 4,
                keepalive: 25,
            }],
        };
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
        let expected = format!(
            "listen_port=51840\npublic_key={}\nendpoint=[2001:db8::1]:51840\nlast_handshake_time_sec=998\n\
             last_handshake_time_nsec=500000000\nrx_bytes=3\ntx_bytes=4\npersistent_keepalive_interval=25\nallowed_ip=10.0.0.0/8\nerrno=0\n\n",
            "ab".repeat(32)
        );
        assert_eq!(text_of(&status, now), expected);
    }
}
