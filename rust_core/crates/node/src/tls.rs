//! Who a peer is: mutual TLS 1.3, each node's certificate naming it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use mcp_chaos_evidence::{NodeId, node_name};
use rustls::client::verify_server_name;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use crate::failure::Failure;

/// The DNS name that a node's certificate carries as its subject alternative name.
pub fn certificate_name(id: NodeId) -> String {
    format!("{}.mcp-manager.internal", node_name(id))
}

/// That name as rustls wants it.
pub fn server_name(id: NodeId) -> ServerName<'static> {
    ServerName::try_from(certificate_name(id)).expect("a letter, digits and dots form a DNS name")
}

/// Both sides' TLS configuration.
#[derive(Clone, Debug)]
pub struct Tls {
    /// For connections that this node dials.
    pub dialler: Arc<ClientConfig>,
    /// For connections that it accepts.
    pub acceptor: Arc<ServerConfig>,
}

impl Tls {
    /// Reads `ca.pem`, `ID.pem` and `ID.key` from `directory`.
    pub fn load(directory: &Path, id: NodeId) -> Result<Tls, Failure> {
        let authority = directory.join("ca.pem");
        let mut roots = RootCertStore::empty();
        for certificate in certificates(&authority)? {
            roots.add(certificate).map_err(|error| unusable(&authority, &error))?;
        }
        let roots = Arc::new(roots);
        let own = directory.join(format!("{}.pem", node_name(id)));
        let chain = certificates(&own)?;
        let names_us = chain.first().is_some_and(|leaf| names(leaf, id));
        if !names_us {
            return Err(Failure::Usage(format!(
                "{}: expected a certificate for {}; `mcp-manager certs` writes such ones",
                own.display(),
                certificate_name(id)
            )));
        }
        let key_file = directory.join(format!("{}.key", node_name(id)));
        let key = PrivateKeyDer::from_pem_file(&key_file).map_err(|error| unusable(&key_file, &error))?;

        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let versions = &[&rustls::version::TLS13];
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider))
            .build()
            .map_err(|error| unusable(&authority, &error))?;
        let mut acceptor = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)
            .map_err(|error| unusable(&own, &error))?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain.clone(), key.clone_key())
            .map_err(|error| unusable(&own, &error))?;
        // Streams are one-way: the acceptor has nothing to say after the handshake, tickets least of all.
        acceptor.send_tls13_tickets = 0;
        let mut dialler = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .map_err(|error| unusable(&own, &error))?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .map_err(|error| unusable(&own, &error))?;
        dialler.resumption = rustls::client::Resumption::disabled();
        Ok(Tls { dialler: Arc::new(dialler), acceptor: Arc::new(acceptor) })
    }
}

/// Which of `known` a certificate (already verified against the authority) speaks for. `None` unless it is
/// exactly one.
pub fn identify(certificate: &CertificateDer<'_>, known: impl Iterator<Item = NodeId>) -> Option<NodeId> {
    let mut matching = known.filter(|id| names(certificate, *id));
    let found = matching.next()?;
    matching.next().is_none().then_some(found)
}

fn names(certificate: &CertificateDer<'_>, id: NodeId) -> bool {
    ParsedCertificate::try_from(certificate)
        .is_ok_and(|parsed| verify_server_name(&parsed, &server_name(id)).is_ok())
}

fn certificates(path: &PathBuf) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let found: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match found {
        Ok(list) if !list.is_empty() => Ok(list),
        Ok(_) => Err(unusable(path, &"no certificate in it")),
        Err(error) => Err(unusable(path, &error)),
    }
}

fn unusable(path: &Path, error: &dyn std::fmt::Display) -> Failure {
    Failure::Usage(format!(
        "{}: cannot be used for TLS: {error}; --tls-dir needs ca.pem, and ID.pem and ID.key of this node \
         (`mcp-manager certs` writes them)",
        path.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certs::write_certificates;

    #[test]
    fn a_certificate_speaks_for_its_node_alone() {
        let directory = tempfile::tempdir().unwrap();
        let out = directory.path().join("tls");
        write_certificates(&out, 12).unwrap();
        let leaf = |name: &str| certificates(&out.join(format!("{name}.pem"))).unwrap().remove(0);
        assert_eq!(identify(&leaf("n1"), 1..=12), Some(1));
        assert_eq!(identify(&leaf("n12"), 1..=12), Some(12));
        assert_eq!(identify(&leaf("n1"), 2..=12), None);
        assert_eq!(identify(&leaf("ca"), 1..=12), None);
        Tls::load(&out, 3).unwrap();
    }

    #[test]
    fn what_is_missing_or_anothers_is_said() {
        let directory = tempfile::tempdir().unwrap();
        let out = directory.path().join("tls");
        let message = Tls::load(&out, 1).unwrap_err().to_string();
        assert!(message.contains("ca.pem") && message.contains("certs"), "{message}");
        write_certificates(&out, 2).unwrap();
        std::fs::copy(out.join("n2.pem"), out.join("n1.pem")).unwrap();
        let message = Tls::load(&out, 1).unwrap_err().to_string();
        assert!(message.contains("expected a certificate for n1.mcp-manager.internal"), "{message}");
        assert!(write_certificates(&out, 2).is_err(), "an existing set is never overwritten");
    }
}
