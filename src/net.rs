//! Which addresses this machine can be reached at.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// The address to show for something that listens on `listening`: that one itself, and for a wildcard the one that
/// this machine's default route starts from, else loopback.
#[must_use]
pub fn reachable(listening: IpAddr) -> IpAddr {
    match listening {
        IpAddr::V4(ip) if ip.is_unspecified() => {
            default_route(SocketAddr::from(([192, 0, 2, 1], 9))).unwrap_or(Ipv4Addr::LOCALHOST.into())
        }
        IpAddr::V6(ip) if ip.is_unspecified() => {
            let documentation = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
            default_route(SocketAddr::from((documentation, 9))).unwrap_or(Ipv6Addr::LOCALHOST.into())
        }
        other => other,
    }
}

/// Every address of this machine's interfaces; none where the system does not tell.
#[must_use]
pub fn interfaces() -> Vec<IpAddr> {
    match if_addrs::get_if_addrs() {
        Ok(interfaces) => interfaces.iter().map(if_addrs::Interface::ip).collect(),
        Err(error) => {
            tracing::warn!(%error, "this machine's addresses cannot be listed: the relay denies only those it is told");
            Vec::new()
        }
    }
}

/// The source address that the kernel would choose towards `beyond`. Connecting a UDP socket sends nothing.
fn default_route(beyond: SocketAddr) -> Option<IpAddr> {
    let any: IpAddr =
        if beyond.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect(beyond).ok()?;
    socket.local_addr().ok().map(|address| address.ip()).filter(|ip| !ip.is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chosen_address_is_kept_and_a_wildcard_never_is() {
        let chosen = IpAddr::from([127, 0, 0, 5]);
        assert_eq!(reachable(chosen), chosen);
        for wildcard in [IpAddr::from(Ipv4Addr::UNSPECIFIED), Ipv6Addr::UNSPECIFIED.into()] {
            assert!(!reachable(wildcard).is_unspecified());
        }
    }
}
