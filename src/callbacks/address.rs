//! Where a request comes from: the socket's address, unless that is a proxy that is trusted to say better.

use std::net::IpAddr;

use axum::http::HeaderMap;
use ipnet::IpNet;

/// The right-most address of `X-Forwarded-For` that is not a trusted proxy; anybody can write what stands left of it.
pub(crate) fn client(peer: Option<IpAddr>, headers: &HeaderMap, trusted: &[IpNet]) -> Option<IpAddr> {
    let peer = peer?.to_canonical();
    let is_trusted = |address: &IpAddr| trusted.iter().any(|network| network.contains(address));
    if !is_trusted(&peer) {
        return Some(peer);
    }
    let named = headers.get_all("x-forwarded-for").into_iter().filter_map(|value| value.to_str().ok());
    let mut hops: Vec<&str> = named.flat_map(|value| value.split(',')).map(str::trim).collect();
    while let Some(hop) = hops.pop() {
        match hop.parse::<IpAddr>().map(|address| address.to_canonical()) {
            Ok(address) if is_trusted(&address) => {}
            Ok(address) => return Some(address),
            // A proxy of ours would have written an address: what stands here is somebody's invention.
            Err(_) => return None,
        }
    }
    Some(peer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client_of(peer: &str, forwarded: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append("x-forwarded-for", value.parse().unwrap());
        }
        let trusted = ["10.0.0.0/8".parse().unwrap()];
        client(Some(peer.parse().unwrap()), &headers, &trusted).map(|address| address.to_string())
    }

    #[test]
    fn a_peer_that_is_no_proxy_is_not_asked_whom_it_speaks_for() {
        assert_eq!(client_of("1.2.3.4", &["5.6.7.8"]).unwrap(), "1.2.3.4");
    }

    #[test]
    fn the_right_most_address_that_is_no_proxy_counts() {
        assert_eq!(client_of("10.0.0.1", &["9.9.9.9, 5.6.7.8, 10.0.0.2"]).unwrap(), "5.6.7.8");
        assert_eq!(client_of("10.0.0.1", &["9.9.9.9", "5.6.7.8"]).unwrap(), "5.6.7.8");
        assert_eq!(client_of("::ffff:10.0.0.1", &["5.6.7.8"]).unwrap(), "5.6.7.8");
    }

    #[test]
    fn a_proxy_that_names_nobody_is_the_client() {
        assert_eq!(client_of("10.0.0.1", &[]).unwrap(), "10.0.0.1");
        assert_eq!(client_of("10.0.0.1", &["10.0.0.2"]).unwrap(), "10.0.0.1");
    }

    #[test]
    fn what_is_no_address_is_nobody() {
        assert_eq!(client_of("10.0.0.1", &["unknown"]), None);
    }
}
