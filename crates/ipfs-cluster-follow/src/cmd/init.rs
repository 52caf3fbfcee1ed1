//! `init`: an identity, and where the configuration is.

use crate::failure::{Doing, Failure};
use crate::follower::Follower;
use cluster_component::config::{Document, Environment};
use cluster_node::identity::Identity;

pub(crate) fn run(follower: &Follower, url: Option<&str>, gateway: &str) -> Result<(), Failure> {
    let url = url.filter(|url| !url.is_empty()).ok_or_else(|| Failure::new("configuration URL not provided"))?;
    let folder = follower.folder();
    if follower.is_initialized() {
        return Err(Failure::new(format!(
            "Configuration for this cluster already exists.\nPlease delete {} if you wish to re-initialize.",
            folder.path().display()
        )));
    }
    let source = source(url, gateway);
    let identity = new_identity()?;
    let text = Document::pointing_to(&source).to_text();
    folder.create().doing("creating the folder")?;
    folder.write_private(&folder.identity_json(), &identity.to_text()).doing("saving the identity")?;
    println!("Identity written to {}.", folder.identity_json().display());
    folder.write_private(&folder.service_json(), &text).doing("saving the configuration")?;
    println!("Configuration written to {}.", folder.service_json().display());
    let name = follower.name();
    println!("Cluster \"{name}\" follower peer initialized.\n");
    println!("You can now use \"ipfs-cluster-follow {name} run\" to start a follower peer for this cluster.");
    println!("(Remember to start your IPFS daemon before)");
    Ok(())
}

/// The URL; a name without a scheme is one that the gateway resolves.
fn source(url: &str, gateway: &str) -> String {
    if url.starts_with("http://") || url.starts_with("https://") {
        return url.to_owned();
    }
    println!("{url} will be assumed to be an DNSLink-powered address: /ipns/{url}.");
    println!("It will be resolved using the local IPFS daemon's gateway ({gateway}).");
    println!("If this is not the case, specify the full url starting with http:// or https://.");
    println!("(You can override the gateway URL by setting IPFS_GATEWAY)\n");
    format!("{gateway}/ipns/{url}")
}

/// A new one, or the one that both variables give.
fn new_identity() -> Result<Identity, Failure> {
    let doing = "error applying environment variables to the identity";
    let environment = Environment::of_process().map_err(|e| e.message).doing(doing)?;
    match (environment.get("CLUSTER_ID"), environment.get("CLUSTER_PRIVATEKEY")) {
        (Some(id), Some(key)) => Identity::from_texts(id, key).doing(doing),
        _ => Identity::generate().doing("error generating the identity"),
    }
}
