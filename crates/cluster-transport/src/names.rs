//! What a `/dnsaddr` stands for: addresses that its owner wrote into TXT records.
//!
//! Dialing resolves such addresses by itself when it is known whom to dial. Here it is found out who is meant.

use hickory_resolver::TokioResolver;
use hickory_resolver::proto::rr::RData;
use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;

/// Records may name further `/dnsaddr`s, so many deep.
const DEPTH_MAX: usize = 4;

/// Addresses that are taken. Others are passed over.
const ADDRESSES_MAX: usize = 16;

/// Records of one name that are read.
const RECORDS_MAX: usize = 64;

/// Why a name stands for nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The system's settings for names could not be read.
    #[error("the settings of the name resolver could not be read: {0}")]
    Settings(String),
    /// The question was not answered.
    #[error("lookup {name}: {reason}")]
    Lookup {
        /// What was asked for.
        name: String,
        /// Why there is no answer.
        reason: String,
    },
    /// There is no address among the answers. Worded as the reference.
    #[error("resolving {0} returned 0 results: is there a TXT record with dnsaddr=<multiaddr> that ends in /p2p/<id>?")]
    Nothing(Multiaddr),
}

/// Asks for what stands behind names.
#[derive(Clone)]
pub struct Names(TokioResolver);

impl std::fmt::Debug for Names {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Names").finish_non_exhaustive()
    }
}

impl Names {
    /// Asks whom the system asks.
    ///
    /// # Errors
    /// When its settings cannot be read.
    pub fn system() -> Result<Self, NameError> {
        let builder = TokioResolver::builder_tokio().map_err(|error| NameError::Settings(error.to_string()))?;
        Ok(Self(builder.build().map_err(|error| NameError::Settings(error.to_string()))?))
    }

    /// Addresses that end with the name of a peer, in the order of the records. What stands behind the name in the
    /// address chooses among them, as `/dnsaddr/example.org/p2p/<id>`.
    ///
    /// # Errors
    /// When a name server does not answer, or there is no such address.
    pub async fn of_dnsaddr(&self, address: &Multiaddr) -> Result<Vec<Multiaddr>, NameError> {
        let mut found = Vec::new();
        let mut open = vec![address.clone()];
        for _ in 0..DEPTH_MAX {
            let mut deeper = Vec::new();
            for address in open {
                for candidate in self.records(&address).await? {
                    if is_dnsaddr(&candidate) {
                        deeper.push(candidate);
                    } else if matches!(candidate.iter().last(), Some(Protocol::P2p(_))) {
                        found.push(candidate);
                    }
                }
            }
            deeper.truncate(ADDRESSES_MAX);
            open = deeper;
            if open.is_empty() || found.len() >= ADDRESSES_MAX {
                break;
            }
        }
        found.truncate(ADDRESSES_MAX);
        if found.is_empty() { Err(NameError::Nothing(address.clone())) } else { Ok(found) }
    }

    async fn records(&self, address: &Multiaddr) -> Result<Vec<Multiaddr>, NameError> {
        let mut parts = address.iter();
        let Some(Protocol::Dnsaddr(domain)) = parts.next() else { return Ok(Vec::new()) };
        let suffix: Multiaddr = parts.collect();
        let name = format!("_dnsaddr.{}.", domain.trim_end_matches('.'));
        let answer = self.0.txt_lookup(name.as_str()).await;
        let answer = answer.map_err(|error| NameError::Lookup { name, reason: error.to_string() })?;
        let texts = answer.answers().iter().take(RECORDS_MAX).filter_map(|record| match &record.data {
            RData::TXT(text) => Some(text.txt_data.concat()),
            _ => None,
        });
        Ok(texts.filter_map(|text| read(&text)).filter(|candidate| candidate.ends_with(&suffix)).collect())
    }
}

fn is_dnsaddr(address: &Multiaddr) -> bool {
    matches!(address.iter().next(), Some(Protocol::Dnsaddr(_)))
}

/// The address in a record; others are none of ours.
fn read(text: &[u8]) -> Option<Multiaddr> {
    std::str::from_utf8(text).ok()?.strip_prefix("dnsaddr=")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
    use hickory_resolver::net::runtime::TokioRuntimeProvider;
    use hickory_resolver::proto::op::{Message, ResponseCode};
    use hickory_resolver::proto::rr::Record;
    use hickory_resolver::proto::rr::rdata::TXT;
    use libp2p::PeerId;
    use std::collections::BTreeMap;

    /// A name server that knows these TXT records, and whoever asks it.
    async fn names(known: &[(&str, &[String])]) -> Names {
        let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
        let at = socket.local_addr().expect("an address");
        let known: BTreeMap<String, Vec<String>> =
            known.iter().map(|(name, texts)| (format!("_dnsaddr.{name}."), texts.to_vec())).collect();
        drop(tokio::spawn(async move {
            let mut buffer = [0; 1_500];
            while let Ok((count, from)) = socket.recv_from(&mut buffer).await {
                let asked = Message::from_vec(&buffer[..count]).expect("a question");
                let name = asked.queries[0].name().clone();
                let mut answer = asked.into_response();
                match known.get(&name.to_string()) {
                    None => answer.metadata.response_code = ResponseCode::NXDomain,
                    Some(texts) => {
                        for text in texts {
                            let record = RData::TXT(TXT::new(vec![text.clone()]));
                            answer.add_answer(Record::from_rdata(name.clone(), 60, record));
                        }
                    }
                }
                socket.send_to(&answer.to_vec().expect("written"), from).await.expect("sent");
            }
        }));
        let mut connection = ConnectionConfig::udp();
        connection.port = at.port();
        let server = NameServerConfig::new(at.ip(), true, vec![connection]);
        let config = ResolverConfig::from_name_servers(vec![server]);
        let builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        Names(builder.build().expect("a resolver"))
    }

    fn text(address: &str) -> String {
        format!("dnsaddr={address}")
    }

    async fn ask(names: &Names, address: &str) -> Result<Vec<String>, NameError> {
        let found = names.of_dnsaddr(&address.parse().expect("an address")).await?;
        Ok(found.iter().map(ToString::to_string).collect())
    }

    #[tokio::test]
    async fn a_name_stands_for_the_peers_in_its_records() {
        let (one, two) = (PeerId::random(), PeerId::random());
        let (first, second) = (format!("/ip4/1.2.3.4/tcp/1/p2p/{one}"), format!("/ip6/::1/tcp/2/p2p/{two}"));
        let top = [text("/dnsaddr/deep.example"), "v=spf1".into(), text(&first), text("/ip4/1.2.3.4/tcp/3")];
        let names = names(&[("top.example", &top), ("deep.example", &[text(&second)])]).await;

        assert_eq!(ask(&names, "/dnsaddr/top.example").await, Ok(vec![first.clone(), second]));
        assert_eq!(ask(&names, &format!("/dnsaddr/top.example/p2p/{one}")).await, Ok(vec![first]));
    }

    #[tokio::test]
    async fn names_that_stand_for_nothing_end() {
        let names = names(&[("loop.example", &[text("/dnsaddr/loop.example")])]).await;

        let looped = ask(&names, "/dnsaddr/loop.example").await.expect_err("no peer");
        assert!(looped.to_string().starts_with("resolving /dnsaddr/loop.example returned 0 results"), "{looped}");
        let missing = ask(&names, "/dnsaddr/missing.example").await.expect_err("no record");
        assert!(matches!(&missing, NameError::Lookup { name, .. } if name == "_dnsaddr.missing.example."), "{missing}");
    }
}
