//! `mcp-manager certs`: a throw-away certificate authority and one certificate for each node.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use mcp_chaos_evidence::{NodeId, node_name};
use rcgen::KeyUsagePurpose;
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};

use crate::failure::Failure;
use crate::tls::certificate_name;

/// Writes `ca.pem` and, for each node, `nI.pem` and `nI.key` (PEM, keys readable by the owner alone).
///
/// The authority's own key is not kept: nobody can issue a further certificate under it, and no directory
/// handed to a node holds more than it needs. The certificates do not expire (rcgen's default validity), so
/// that faults of the clock are faults of the protocol's timing and not of TLS.
pub fn write_certificates(out: &Path, nodes: u64) -> Result<(), Failure> {
    if nodes == 0 {
        return Err(Failure::Usage("--nodes: expected at least 1".to_owned()));
    }
    if out.join("ca.pem").exists() {
        return Err(Failure::Usage(format!(
            "{} holds certificates already; name another directory, or remove this one",
            out.display()
        )));
    }
    std::fs::create_dir_all(out).map_err(|error| other(out, &error))?;
    let authority = authority().map_err(|error| other(out, &error))?;
    for id in 1..=nodes {
        let (certificate, key) = leaf(id, &authority.issuer).map_err(|error| other(out, &error))?;
        write(&out.join(format!("{}.pem", node_name(id))), &certificate, 0o644)?;
        write(&out.join(format!("{}.key", node_name(id))), &key, 0o600)?;
    }
    // Last: its presence says that the set is whole.
    write(&out.join("ca.pem"), &authority.pem, 0o644)
}

struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

fn authority() -> Result<Authority, rcgen::Error> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name.push(DnType::CommonName, "mcp-manager peers");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate()?;
    let pem = params.self_signed(&key)?.pem();
    Ok(Authority { pem, issuer: Issuer::new(params, key) })
}

fn leaf(id: NodeId, issuer: &Issuer<'static, KeyPair>) -> Result<(String, String), rcgen::Error> {
    let mut params = CertificateParams::new(vec![certificate_name(id)])?;
    params.distinguished_name.push(DnType::CommonName, node_name(id));
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    // Every node both dials and is dialled.
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate()?;
    Ok((params.signed_by(&key, issuer)?.pem(), key.serialize_pem()))
}

fn write(path: &Path, content: &str, mode: u32) -> Result<(), Failure> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .and_then(|mut file| file.write_all(content.as_bytes()))
        .map_err(|error| other(path, &error))
}

fn other(path: &Path, error: &dyn std::fmt::Display) -> Failure {
    Failure::Other(format!("{}: cannot write certificates: {error}", path.display()))
}
