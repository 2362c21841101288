//! The line between a site and the centre: a TCP proxy that can be cut and mended.
//!
//! While it is cut, open connections are dropped and new ones are closed at once.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// A line to an address.
#[derive(Debug)]
pub(super) struct Link {
    address: SocketAddr,
    whole: watch::Sender<bool>,
    // Dropping it ends the proxy and every connection through it.
    _proxy: JoinSet<()>,
}

impl Link {
    /// A line on a free port of this machine to `far`.
    pub(super) async fn to(far: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (whole, watched) = watch::channel(true);
        let mut proxy = JoinSet::new();
        proxy.spawn(accept(listener, far, watched));
        Ok(Self { address, whole, _proxy: proxy })
    }

    /// Where the near end listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Cuts the line, or mends it.
    pub(super) fn set_whole(&self, whole: bool) {
        self.whole.send_replace(whole);
    }
}

async fn accept(listener: TcpListener, far: SocketAddr, whole: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((near, _)) = accepted && *whole.borrow() {
                    connections.spawn(carry(near, far, whole.clone()));
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn carry(mut near: TcpStream, far: SocketAddr, mut whole: watch::Receiver<bool>) {
    let carried = async {
        let mut far = TcpStream::connect(far).await?;
        near.set_nodelay(true)?;
        far.set_nodelay(true)?;
        tokio::io::copy_bidirectional(&mut near, &mut far).await
    };
    tokio::select! {
        // A connection that breaks is what a line is for.
        _ = carried => {}
        _ = whole.wait_for(|whole| !whole) => {}
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    async fn echo() -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (mut read, mut write) = stream.into_split();
                tokio::spawn(async move { tokio::io::copy(&mut read, &mut write).await });
            }
        });
        address
    }

    async fn says_back(stream: &mut TcpStream) -> bool {
        let mut byte = [0];
        stream.write_all(b"x").await.is_ok() && matches!(stream.read(&mut byte).await, Ok(1))
    }

    #[tokio::test]
    async fn a_cut_line_drops_what_is_open_and_a_mended_one_carries_again() {
        let link = Link::to(echo().await).await.unwrap();
        let mut before = TcpStream::connect(link.address()).await.unwrap();
        assert!(says_back(&mut before).await);
        link.set_whole(false);
        assert!(!says_back(&mut before).await);
        let mut during = TcpStream::connect(link.address()).await.unwrap();
        assert!(!says_back(&mut during).await);
        link.set_whole(true);
        let mut after = TcpStream::connect(link.address()).await.unwrap();
        assert!(says_back(&mut after).await);
    }
}
