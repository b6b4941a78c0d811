//! Carries the operator's API from inside a run to the host's loopback. A Unix socket in the run's directory is the bridge:
//! its path means the same in every network namespace, so the outer process needs no privilege and the run no route.

use std::fs::Permissions;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;

/// The socket's name in the run's directory.
pub(super) const SOCKET: &str = "api.sock";

/// Listens inside; anyone who can enter the run's directory may connect.
pub(super) fn listen(dir: &Path) -> anyhow::Result<tokio::net::UnixListener> {
    let path = dir.join(SOCKET);
    let listener = tokio::net::UnixListener::bind(&path)
        .with_context(|| format!("listening at {}", path.display()))?;
    std::fs::set_permissions(&path, Permissions::from_mode(0o666))?;
    Ok(listener)
}

/// Inside: hands every connection on to the API. Never ends by itself.
pub(super) async fn to_api(
    listener: tokio::net::UnixListener,
    api: &'static str,
) -> anyhow::Result<ExitCode> {
    loop {
        let (mut near, _) = listener.accept().await.context("accepting from the host")?;
        tokio::spawn(async move {
            if let Ok(mut far) = tokio::net::TcpStream::connect(api).await {
                drop(tokio::io::copy_bidirectional(&mut near, &mut far).await);
            }
        });
    }
}

/// Outside: hands every connection to the loopback on to the socket, in the background.
pub(super) fn from_loopback(listener: TcpListener, socket: PathBuf) {
    std::thread::spawn(move || {
        for near in listener.incoming().flatten() {
            let socket = socket.clone();
            std::thread::spawn(move || drop(carry(&near, &socket)));
        }
    });
}

fn carry(near: &TcpStream, socket: &Path) -> std::io::Result<()> {
    let far = UnixStream::connect(socket)?;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (mut from, mut to) = (near, &far);
            drop(std::io::copy(&mut from, &mut to));
            far.shutdown(Shutdown::Write)
        });
        let (mut from, mut to) = (&far, near);
        drop(std::io::copy(&mut from, &mut to));
        near.shutdown(Shutdown::Write)
    })
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn words_cross_both_ways() {
        let dir = tempfile::tempdir().unwrap();
        let api = TcpListener::bind("127.0.0.1:0").unwrap();
        let api_address: &'static str = api.local_addr().unwrap().to_string().leak();
        tokio::spawn(to_api(listen(dir.path()).unwrap(), api_address));
        let outer = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = outer.local_addr().unwrap();
        from_loopback(outer, dir.path().join(SOCKET));
        let answer = tokio::task::spawn_blocking(move || {
            let mut client = TcpStream::connect(address).unwrap();
            client.write_all(b"ping").unwrap();
            client.shutdown(Shutdown::Write).unwrap();
            let (mut server, _) = api.accept().unwrap();
            let mut asked = String::new();
            server.read_to_string(&mut asked).unwrap();
            server.write_all(asked.replace('i', "o").as_bytes()).unwrap();
            drop(server);
            let mut answer = String::new();
            client.read_to_string(&mut answer).unwrap();
            answer
        });
        assert_eq!(answer.await.unwrap(), "pong");
    }
}
