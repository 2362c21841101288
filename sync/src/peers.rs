//! How long somebody's device has to wait after wrong tries, whoever it tried to be: to sign in at an edge, or to become an
//! edge of the hub.
//!
//! Each wrong try fills the device's measure by one, and time empties it: who has used it up waits until one more has been
//! forgotten. Right ones cost nothing and forgive nothing. A device is the network address that a connection came from, and
//! no header says another; of IPv6 it is the network, of which one device may have every address. Kept in memory: a restart
//! forgets it. What has to outlive that is counted elsewhere.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};

/// How many wrong tries cost nothing: a morning of a whole shift at one screen.
pub const TRIES_FREE: u32 = 20;
/// How long it takes until one wrong try is forgotten, in milliseconds.
pub const FORGET_MS: u64 = 15_000;
/// How many devices are remembered. Of more, those with the fewest wrong tries are forgotten first.
pub const PEERS_MAX: usize = 4_096;

/// There have been too many wrong tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// How long to wait, in milliseconds.
    pub ms: u64,
}

/// The wrong tries of each device, on the monotonic clock of this process.
#[derive(Debug, Default)]
pub struct Peers {
    /// When all of its wrong tries will have been forgotten, in milliseconds.
    empty_at_ms: Mutex<HashMap<IpAddr, u64>>,
}

impl Peers {
    /// Lets a device try something, and counts the try if it was wrong. A try counts while it is under way.
    ///
    /// # Errors
    /// [`Wait`] when the device has to come back later; what the attempt says.
    pub async fn let_try<T, E: From<Wait>>(
        &self,
        peer: IpAddr,
        now_ms: u64,
        attempt: impl Future<Output = Result<T, E>>,
        is_wrong: impl Fn(&E) -> bool,
    ) -> Result<T, E> {
        self.take_turn(peer, now_ms)?;
        let tried = attempt.await;
        if !tried.as_ref().is_err_and(is_wrong) {
            self.give_back(peer);
        }
        tried
    }

    fn take_turn(&self, peer: IpAddr, now_ms: u64) -> Result<(), Wait> {
        let mut empty_at_ms = self.lock();
        let peer = device(peer);
        if !empty_at_ms.contains_key(&peer) && empty_at_ms.len() >= PEERS_MAX {
            forget_some(&mut empty_at_ms, now_ms);
        }
        let empty_at = empty_at_ms.entry(peer).or_default();
        let after = (*empty_at).max(now_ms).saturating_add(FORGET_MS);
        let full = now_ms.saturating_add(u64::from(TRIES_FREE) * FORGET_MS);
        if after > full {
            return Err(Wait { ms: after - full });
        }
        *empty_at = after;
        Ok(())
    }

    /// Takes back what a try counted that was right, or was none.
    fn give_back(&self, peer: IpAddr) {
        if let Some(empty_at) = self.lock().get_mut(&device(peer)) {
            *empty_at = empty_at.saturating_sub(FORGET_MS);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<IpAddr, u64>> {
        self.empty_at_ms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Forgets whom nothing is held against, and, if that is nobody, half of the others.
fn forget_some(empty_at_ms: &mut HashMap<IpAddr, u64>, now_ms: u64) {
    empty_at_ms.retain(|_, empty_at| *empty_at > now_ms);
    if empty_at_ms.len() >= PEERS_MAX {
        let mut all: Vec<(u64, IpAddr)> = empty_at_ms.drain().map(|(peer, empty_at)| (empty_at, peer)).collect();
        all.sort_unstable_by(|left, right| right.cmp(left));
        empty_at_ms.extend(all.into_iter().take(PEERS_MAX / 2).map(|(empty_at, peer)| (peer, empty_at)));
    }
}

fn device(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u32) -> IpAddr {
        std::net::Ipv4Addr::from(0x0a00_0000 + last).into()
    }

    fn try_all(peers: &Peers, peer: IpAddr, now_ms: u64) -> u32 {
        (0..).take_while(|_| peers.take_turn(peer, now_ms).is_ok()).count().try_into().unwrap()
    }

    #[test]
    fn wrong_tries_use_the_measure_up_and_time_gives_one_back_after_another() {
        let peers = Peers::default();
        assert_eq!(try_all(&peers, address(1), 1_000), TRIES_FREE);
        assert_eq!(peers.take_turn(address(1), 1_000), Err(Wait { ms: FORGET_MS }));
        assert_eq!(peers.take_turn(address(1), 1_000 + FORGET_MS - 1), Err(Wait { ms: 1 }), "asking costs nothing");
        assert_eq!(try_all(&peers, address(1), 1_000 + FORGET_MS), 1);
        assert_eq!(try_all(&peers, address(2), 1_000), TRIES_FREE, "another device's is its own");
        peers.give_back(address(1));
        assert_eq!(try_all(&peers, address(1), 1_000 + FORGET_MS), 1);
        assert_eq!(try_all(&peers, address(1), u64::MAX / 2), TRIES_FREE, "all is forgotten some day");
    }

    #[test]
    fn one_device_is_not_many_by_its_addresses() {
        let peers = Peers::default();
        assert_eq!(try_all(&peers, "2001:db8::1".parse().unwrap(), 0), TRIES_FREE);
        assert_eq!(try_all(&peers, "2001:db8::ffff:2".parse().unwrap(), 0), 0);
        assert_eq!(try_all(&peers, "2001:db8:0:1::1".parse().unwrap(), 0), TRIES_FREE);
        assert_eq!(try_all(&peers, address(1), 0), TRIES_FREE);
        assert_eq!(try_all(&peers, "::ffff:10.0.0.1".parse().unwrap(), 0), 0);
    }

    #[test]
    fn a_crowd_of_addresses_takes_bounded_memory_and_does_not_wash_the_worst_away() {
        let peers = Peers::default();
        assert_eq!(try_all(&peers, address(0), 0), TRIES_FREE);
        for last in 1..3 * u32::try_from(PEERS_MAX).unwrap() {
            assert_eq!(peers.take_turn(address(last), 0), Ok(()));
        }
        assert!(peers.lock().len() <= PEERS_MAX);
        assert_eq!(try_all(&peers, address(0), 0), 0);
    }
}
