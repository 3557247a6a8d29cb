//! `a=rid` and `a=simulcast` (RFC 8851, 8853).

use std::collections::BTreeSet;

use rtc_sdp::description::common::Attribute;

use super::offer::{value, values};
use super::{NegotiationError, Place, RID_LEN_MAX, RIDS_MAX};

/// The rids that the client would send at once, in its order; empty without simulcast. Of alternatives the first is
/// taken; a layer that starts paused counts.
pub(super) fn read_rids(place: Place, attributes: &[Attribute]) -> Result<Vec<String>, NegotiationError> {
    let Some(line) = value(attributes, "simulcast") else { return Ok(Vec::new()) };
    let mut words = line.split_ascii_whitespace();
    let streams = loop {
        match (words.next(), words.next()) {
            (Some("send"), Some(streams)) => break streams,
            (Some("recv"), Some(_)) => {}
            (None, None) => return Ok(Vec::new()),
            _ => return Err(place.misbehaved("its a=simulcast line is not `send|recv rids` (RFC 8853 §5.1)")),
        }
    };
    let declared: BTreeSet<&str> = values(attributes, "rid")
        .filter_map(|line| {
            let mut words = line.split_ascii_whitespace();
            let rid = words.next()?;
            (words.next() == Some("send")).then_some(rid)
        })
        .collect();
    let mut rids: Vec<String> = Vec::new();
    for alternatives in streams.split(';') {
        let first = alternatives.split(',').next().unwrap_or_default();
        let rid = first.strip_prefix('~').unwrap_or(first);
        let alphanumeric = rid.bytes().all(|b| b.is_ascii_alphanumeric());
        if rid.is_empty() || rid.len() > RID_LEN_MAX || !alphanumeric {
            return Err(place.misbehaved("a rid is not 1–16 letters and digits"));
        }
        if !declared.contains(rid) {
            return Err(place.misbehaved("a=simulcast names a rid without its `a=rid:… send` line"));
        }
        if rids.iter().any(|r| r == rid) {
            return Err(place.misbehaved("a=simulcast names a rid twice"));
        }
        if rids.len() == RIDS_MAX {
            return Err(place.limit("simulcast layers", RIDS_MAX));
        }
        rids.push(rid.to_owned());
    }
    Ok(rids)
}
