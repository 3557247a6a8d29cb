//! What others see of a call.

use trunkline_signaling_api::{CallMessage, CallView, DeviceState, EndReason, LegState, LegView, Party};

use super::Call;

impl Call {
    /// The call as one device sees it.
    pub fn view(&self, party: &Party) -> CallView {
        let legs = self.legs.iter().map(|(party, leg)| LegView {
            user: party.user.clone(),
            device: party.device.clone(),
            state: leg.state,
            media: leg.media,
        });
        CallView {
            call: self.id.clone(),
            conv: self.conv.clone(),
            state: self.state,
            ver: self.ver,
            caller: self.caller.clone(),
            media: self.media,
            ring_until: self.ring_until,
            you: self.part_of(party),
            legs: legs.collect(),
            reason: self.reason,
            at: self.at,
        }
    }

    /// A device's own part. One without a leg is told what its user did on another device, so that a ring that has not
    /// been confirmed yet stops too.
    fn part_of(&self, party: &Party) -> DeviceState {
        if let Some(leg) = self.legs.get(party) {
            return leg.state.into();
        }
        if party.user == self.caller.user {
            return DeviceState::None;
        }
        let mut part = DeviceState::None;
        for (_, leg) in self.legs.iter().filter(|(other, _)| other.user == party.user) {
            match leg.state {
                LegState::Joined => return DeviceState::AnsweredElsewhere,
                LegState::Declined => part = DeviceState::Declined,
                LegState::Inviting | LegState::Ringing | LegState::Left | LegState::AnsweredElsewhere => {}
            }
        }
        part
    }

    /// The body of the message that the call leaves behind; `None` while it lives.
    pub fn epitaph(&self) -> Option<CallMessage> {
        let reason: EndReason = self.reason?;
        Some(CallMessage {
            call: self.id.clone(),
            outcome: reason.outcome(),
            caller: self.caller.user.clone(),
            video: self.media.video,
            seconds: self.seconds(),
        })
    }
}
