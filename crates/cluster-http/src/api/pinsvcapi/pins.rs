//! One pin: added, shown, replaced, removed.

use super::answer::{self, Answer};
use super::model::{PinStatus, RequestId, Wanted};
use crate::server::RequestBody;
use cluster_component::rpc::{Cluster, Rpc, RpcError, Target};
use cluster_types::{Pin, PinOptions, PinType};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use http_body_util::{BodyExt, Limited};

/// Most bytes of a body: all the metadata and origins that may be, and room.
const BODY_MAX: usize = 1 << 20;

pub(super) async fn add(rpc: &Rpc, body: RequestBody) -> Answer {
    let wanted = match read(body).await {
        Ok(wanted) => wanted,
        Err(refusal) => return refusal,
    };
    let mut options = PinOptions::default();
    wanted.apply(&mut options);
    match rpc.call::<Cluster::Pin>(Target::Local, Pin::new(wanted.cid, options)).await {
        Ok(pin) => taken(rpc, &pin).await,
        Err(failed) => answer::failure(&failed),
    }
}

async fn read(body: RequestBody) -> Result<Wanted, Answer> {
    let wrong = |text: &str| answer::bad_request(format!("error decoding request body: {text}"));
    match Limited::new(body, BODY_MAX).collect().await {
        Ok(body) => Wanted::read(&body.to_bytes()).map_err(|text| wrong(&text)),
        Err(error) => Err(wrong(&error.to_string())),
    }
}

/// The answer to an order that was carried out: the pin is part of the pinset.
async fn taken(rpc: &Rpc, pin: &Pin) -> Answer {
    match rpc.call::<Cluster::Status>(Target::Local, pin.cid).await {
        Ok(info) => answer::object(StatusCode::ACCEPTED, &PinStatus::new(pin, Some(&info)).taken()),
        Err(failed) => answer::failure(&failed),
    }
}

/// The pin that an id means; an error if there is none.
async fn find(rpc: &Rpc, id: &str, when_gone: &str) -> Result<Pin, Answer> {
    let id = RequestId::read(id).map_err(answer::bad_request)?;
    let gone = || answer::error(StatusCode::NOT_FOUND, when_gone);
    match rpc.call::<Cluster::PinGet>(Target::Local, id.cid).await {
        Ok(pin) if pin.kind == PinType::Data && id.means(&pin) => Ok(pin),
        Ok(_) => Err(gone()),
        Err(failed) if answer::is_not_there(&failed) => Err(gone()),
        Err(failed) => Err(answer::failure(&failed)),
    }
}

/// What is said of changes to a pin that is not there, in the reference's words.
const NOT_THERE: &str = "pin is not part of the pinset";

pub(super) async fn get(rpc: &Rpc, id: &str) -> Answer {
    let pin = match find(rpc, id, "pin not found").await {
        Ok(pin) => pin,
        Err(refusal) => return refusal,
    };
    match rpc.call::<Cluster::Status>(Target::Local, pin.cid).await {
        Ok(info) => answer::object(StatusCode::OK, &PinStatus::new(&pin, Some(&info))),
        Err(failed) => answer::failure(&failed),
    }
}

/// Puts a pin in the place of another, with everything of it that the body does not say otherwise.
pub(super) async fn replace(rpc: &Rpc, id: &str, body: RequestBody) -> Answer {
    let wanted = match read(body).await {
        Ok(wanted) => wanted,
        Err(refusal) => return refusal,
    };
    let old = match find(rpc, id, NOT_THERE).await {
        Ok(old) => old,
        Err(refusal) => return refusal,
    };
    match put_in_place(rpc, &old, &wanted).await {
        Ok(pin) => taken(rpc, &pin).await,
        Err(failed) => answer::failure(&failed),
    }
}

async fn put_in_place(rpc: &Rpc, old: &Pin, wanted: &Wanted) -> Result<Pin, RpcError> {
    let pin = rpc.call::<Cluster::Pin>(Target::Local, successor(old, wanted)).await?;
    if wanted.cid != old.cid {
        // The new one is safe now. If this fails both are there, and the client is told.
        match rpc.call::<Cluster::Unpin>(Target::Local, old.cid).await {
            Ok(_) => {}
            Err(error) if answer::is_not_there(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(pin)
}

/// The order that makes the successor of a pin.
pub(super) fn successor(old: &Pin, wanted: &Wanted) -> Pin {
    if wanted.cid != old.cid && wanted.origins.is_none() && wanted.meta.is_none() {
        // An update lets the daemon go from one to the other without walking what both have. It takes a name, no more.
        let options = PinOptions {
            name: wanted.name.clone().unwrap_or_default(),
            pin_update: Some(old.cid),
            ..PinOptions::default()
        };
        return Pin::new(wanted.cid, options);
    }
    let mut options = PinOptions { pin_update: None, ..old.options.clone() };
    wanted.apply(&mut options);
    Pin { allocations: old.allocations.clone(), ..Pin::new(wanted.cid, options) }
}

pub(super) async fn remove(rpc: &Rpc, id: &str) -> Answer {
    let pin = match find(rpc, id, NOT_THERE).await {
        Ok(pin) => pin,
        Err(refusal) => return refusal,
    };
    match rpc.call::<Cluster::Unpin>(Target::Local, pin.cid).await {
        Ok(_) => {
            let mut response = answer::bare(StatusCode::ACCEPTED);
            response.headers_mut().insert(CONTENT_TYPE, crate::api::door::answer::JSON);
            response
        }
        Err(failed) => answer::failure(&failed),
    }
}
