//! Which sockets are open, whose they are, and how to end them.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

use crate::{auth::TokenHash, config::ConnectionLimits, network::Network, telemetry};

/// Why the server ends a socket from outside its own task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CloseWhy {
    /// Its login has ended.
    LoggedOut,
    /// Its account has another role, password or state.
    AccountChanged,
}

impl CloseWhy {
    /// What the peer is told.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::LoggedOut => "You have logged out.",
            Self::AccountChanged => "Your account has changed.",
        }
    }
}

/// Whose socket it is.
#[derive(Clone, Debug)]
pub(crate) struct SocketOwner {
    /// None: from this machine, by a path that has rights of its own; not counted by address.
    pub(crate) network: Option<Network>,
    /// The login name; None for anonymous sockets.
    pub(crate) user: Option<String>,
    pub(crate) token: Option<TokenHash>,
}

/// Why a socket was not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    Address,
    User,
}

/// All open sockets of a server.
#[derive(Debug)]
pub(crate) struct Sockets {
    table: Mutex<Table>,
    /// Connections that are no sockets, or not yet.
    guests: Mutex<BTreeMap<Network, usize>>,
    per_address: usize,
    per_user: usize,
    requests_per_address: usize,
}

#[derive(Debug, Default)]
struct Table {
    next: u64,
    open: BTreeMap<u64, (SocketOwner, oneshot::Sender<CloseWhy>)>,
    addresses: BTreeMap<Network, usize>,
    users: BTreeMap<String, usize>,
}

impl Sockets {
    pub(crate) fn new(limits: &ConnectionLimits) -> Self {
        Self {
            table: Mutex::default(),
            guests: Mutex::default(),
            per_address: limits.per_address,
            per_user: limits.per_user,
            requests_per_address: limits.requests_per_address,
        }
    }

    /// Counts a connection in that has not said anything yet, unless its address has as many as it may.
    pub(crate) fn greet(self: &Arc<Self>, address: IpAddr) -> Result<Guest, Full> {
        let network = Network::from(address);
        let mut guests = self.guests();
        let count = guests.entry(network).or_default();
        if *count >= self.requests_per_address {
            metrics::counter!(telemetry::REFUSED, "reason" => "connections").increment(1);
            tracing::info!(%address, "connection refused: its address has too many that are no sockets");
            return Err(Full::Address);
        }
        *count += 1;
        drop(guests);
        Ok(Guest {
            network,
            sockets: self.clone(),
        })
    }

    /// Counts a socket in, unless its address or user has as many as they may.
    pub(crate) fn admit(self: &Arc<Self>, owner: SocketOwner) -> Result<OpenSocket, Full> {
        let mut table = self.table();
        let of_address = owner
            .network
            .and_then(|network| table.addresses.get(&network))
            .copied()
            .unwrap_or(0);
        if of_address >= self.per_address {
            return Err(Full::Address);
        }
        let of_user = owner
            .user
            .as_ref()
            .and_then(|user| table.users.get(user))
            .copied()
            .unwrap_or(0);
        if of_user >= self.per_user {
            return Err(Full::User);
        }
        if let Some(network) = owner.network {
            *table.addresses.entry(network).or_default() += 1;
        }
        if let Some(user) = &owner.user {
            *table.users.entry(user.clone()).or_default() += 1;
        }
        let (closer, closed) = oneshot::channel();
        let id = table.next;
        table.next += 1;
        table.open.insert(id, (owner, closer));
        metrics::gauge!(telemetry::CONNECTIONS).increment(1.0);
        Ok(OpenSocket {
            id,
            sockets: self.clone(),
            closed: Some(closed),
        })
    }

    /// Ends the sockets of a login.
    pub(crate) fn close_login(&self, token: TokenHash, why: CloseWhy) {
        self.close(why, |owner| owner.token == Some(token));
    }

    /// Ends the sockets of a user, who may come back with the rights that the account has now.
    pub(crate) fn close_user(&self, name: &str, why: CloseWhy) {
        self.close(why, |owner| owner.user.as_deref() == Some(name));
    }

    fn close(&self, why: CloseWhy, of: impl Fn(&SocketOwner) -> bool) {
        let mut table = self.table();
        let ids: Vec<u64> = table
            .open
            .iter()
            .filter(|(_, (owner, _))| of(owner))
            .map(|(id, _)| *id)
            .collect();
        for id in ids {
            table.remove(id, |closer| {
                // A socket that is just ending has dropped its end: nothing is left to do.
                let _ = closer.send(why);
            });
        }
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.table().open.len()
    }

    fn guests(&self) -> MutexGuard<'_, BTreeMap<Network, usize>> {
        self.guests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn remove(&mut self, id: u64, with: impl FnOnce(oneshot::Sender<CloseWhy>)) {
        let Some((owner, closer)) = self.open.remove(&id) else {
            return;
        };
        metrics::gauge!(telemetry::CONNECTIONS).decrement(1.0);
        if let Some(network) = owner.network {
            count_out(&mut self.addresses, &network);
        }
        if let Some(user) = &owner.user {
            count_out(&mut self.users, user);
        }
        with(closer);
    }
}

fn count_out<K: Ord>(counts: &mut BTreeMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

/// A counted connection that is no socket, or not yet; dropping it counts it out.
#[derive(Debug)]
pub(crate) struct Guest {
    network: Network,
    sockets: Arc<Sockets>,
}

impl Drop for Guest {
    fn drop(&mut self) {
        count_out(&mut self.sockets.guests(), &self.network);
    }
}

/// A counted socket; dropping it counts it out.
#[derive(Debug)]
pub(crate) struct OpenSocket {
    id: u64,
    sockets: Arc<Sockets>,
    closed: Option<oneshot::Receiver<CloseWhy>>,
}

impl OpenSocket {
    /// Completes when somebody ends this socket. To be taken once.
    pub(crate) fn closed(&mut self) -> impl Future<Output = CloseWhy> + Send + 'static {
        let closed = self.closed.take();
        async move {
            match closed {
                Some(closed) => match closed.await {
                    Ok(why) => why,
                    Err(_) => std::future::pending().await,
                },
                None => std::future::pending().await,
            }
        }
    }
}

impl Drop for OpenSocket {
    fn drop(&mut self) {
        self.sockets.table().remove(self.id, drop);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(last: u8, user: &str) -> SocketOwner {
        let token = Some(TokenHash::of(user));
        SocketOwner {
            network: Some(IpAddr::from([192, 0, 2, last]).into()),
            user: Some(user.to_owned()),
            token,
        }
    }

    #[test]
    fn addresses_and_users_have_their_limits_and_a_closed_socket_makes_room() {
        let limits = ConnectionLimits {
            per_address: 2,
            per_user: 3,
            ..ConnectionLimits::default()
        };
        let sockets = Arc::new(Sockets::new(&limits));
        let first = sockets.admit(owner(1, "anna")).expect("room");
        let _second = sockets.admit(owner(1, "anna")).expect("room");
        assert_eq!(sockets.admit(owner(1, "bert")).map(|_| ()), Err(Full::Address));
        let _third = sockets.admit(owner(2, "anna")).expect("room");
        assert_eq!(sockets.admit(owner(3, "anna")).map(|_| ()), Err(Full::User));
        drop(first);
        let _fourth = sockets.admit(owner(1, "anna")).expect("room again");
        assert_eq!(sockets.len(), 3);
    }

    #[test]
    fn an_address_has_so_many_connections_that_are_no_sockets_and_others_do_not_count() {
        let limits = ConnectionLimits {
            requests_per_address: 2,
            ..ConnectionLimits::default()
        };
        let sockets = Arc::new(Sockets::new(&limits));
        let [one, other] = [1, 2].map(|last| IpAddr::from([192, 0, 2, last]));
        let first = sockets.greet(one).expect("room");
        let _second = sockets.greet(one).expect("room");
        assert_eq!(sockets.greet(one).map(|_| ()), Err(Full::Address));
        assert!(sockets.greet(other).is_ok());
        drop(first);
        assert!(sockets.greet(one).is_ok());
        assert_eq!(sockets.guests().len(), 1, "who is gone leaves nothing behind");
    }

    #[test]
    fn connections_and_sockets_of_one_ipv6_network_share_their_limits() {
        let limits = ConnectionLimits {
            per_address: 2,
            requests_per_address: 2,
            ..ConnectionLimits::default()
        };
        let sockets = Arc::new(Sockets::new(&limits));
        let [one, two, three, beside] =
            ["2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8:0:1::1"].map(|text| text.parse().expect("v6"));
        let owner = |address: IpAddr| SocketOwner {
            network: Some(address.into()),
            user: None,
            token: None,
        };
        let _guests = [one, two].map(|address| sockets.greet(address).expect("room"));
        assert_eq!(sockets.greet(three).map(|_| ()), Err(Full::Address));
        assert!(sockets.greet(beside).is_ok());
        let _open = [one, two].map(|address| sockets.admit(owner(address)).expect("room"));
        assert_eq!(sockets.admit(owner(three)).map(|_| ()), Err(Full::Address));
        assert!(sockets.admit(owner(beside)).is_ok());
    }

    #[tokio::test]
    async fn ending_a_login_ends_its_sockets_and_no_others() {
        let sockets = Arc::new(Sockets::new(&ConnectionLimits::default()));
        let mut anna = sockets.admit(owner(1, "anna")).expect("room");
        let mut bert = sockets.admit(owner(1, "bert")).expect("room");
        sockets.close_login(TokenHash::of("anna"), CloseWhy::LoggedOut);
        assert_eq!(anna.closed().await, CloseWhy::LoggedOut);
        let waiting = tokio::time::timeout(std::time::Duration::from_millis(20), bert.closed());
        assert!(waiting.await.is_err());
        assert_eq!(sockets.len(), 1);
    }
}
