//! The life of releases outside of upgrades: listed, unpacked, installed, made permanent, removed.
//!
//! Where the product has a release handler of its own, that one is asked, and its words are the answer; else the host's release store
//! does it, in the same words. One call at a time, and none while an order is done.

mod handler;
mod own;

use upshift_model::release::{ReleaseAnswer, ReleaseCall};
use upshift_wire::protocol::ReleaseOrder;

use crate::durable::Lock;
use crate::error::{NodeError, Result};
use crate::host::Host;
use crate::{orders, records};

/// Does what is asked.
///
/// # Errors
/// Where the host cannot keep its records, or a younger controller has been here.
pub fn call(host: &Host, order: &ReleaseOrder) -> Result<ReleaseAnswer> {
    let layout = &host.layout;
    let looks = matches!(order.call, ReleaseCall::List | ReleaseCall::Root);
    if looks {
        return answer(host, order);
    }
    let token = order
        .token
        .ok_or_else(|| NodeError::refused("releases are changed only by who holds the fleet"))?;
    if let Some(newer) = records::fence(layout, &order.fleet, token)? {
        return Err(NodeError::refused(format!(
            "another controller has taken over (its token is {newer}); this one changes nothing any more"
        )));
    }
    let _lock = Lock::take(&layout.orders_lock())?;
    orders::settle(layout, orders::Records::MustBeKept)?;
    answer(host, order)
}

fn answer(host: &Host, order: &ReleaseOrder) -> Result<ReleaseAnswer> {
    match &order.handler {
        Some(handler) => handler::answer(host, order, handler),
        None => own::answer(host, order),
    }
}
