//! A leg's monitor: what it is told at the end of each tick.

use crate::media::leg::{Leg, LegEvent};
use crate::media::quality::impairment::equipment;
use crate::media::quality::monitor::{Counted, Situation};
use crate::time::Duration;

impl Leg {
    /// A tick is over, which ran so late: measures it, and each second judges.
    pub(crate) fn watch(&mut self, late: Duration) {
        let skipped = std::mem::take(&mut self.missed_ticks);
        let jitter = self.inbound.playout.statistics();
        let lost = jitter.lost.saturating_sub(jitter.recovered);
        let played = jitter.played;
        if !self.quality.tick(late, skipped, played, lost) {
            return;
        }
        let counted = self.counted();
        let situation = self.situation();
        self.quality.judge(&counted, &situation);
        while let Some(change) = self.quality.poll_change() {
            self.events.push(LegEvent::Quality(change));
        }
    }

    fn counted(&self) -> Counted {
        let jitter = self.inbound.playout.statistics();
        let made = self.inbound.playout.concealment();
        let receive = self.session.receive_stats();
        Counted {
            received: receive.packets,
            missing: receive.lost,
            played: jitter.played,
            lost: jitter.lost.saturating_sub(jitter.recovered),
            late: jitter.late + receive.late,
            dropped: jitter.overrun + jitter.discarded,
            waited: jitter.total_delay,
            sound: made.played,
            concealed: made.concealed,
            jitter: receive.jitter,
            sent: self.session.send_stats().packets,
            control: self.session.control_stats().received,
            peer: self.session.peer_stats(),
        }
    }

    /// A peer need not be heard before it is waited for (a call that is not answered), nor while it
    /// has said that it is silent, and who holds us neither hears nor speaks.
    fn situation(&self) -> Situation {
        let direction = self.line.direction;
        let is_reachable = self.destination().is_some();
        let is_awaited = self.line.media_timeout.is_some() || self.silence.has_started();
        let mut formats = self.inbound.formats.iter();
        let received = formats.find(|f| f.payload_type == self.last_payload_type);
        let received = received.or(self.inbound.formats.first());
        let sent = equipment(&self.outbound.rtp_map());
        Situation {
            receives: is_reachable && direction.receive,
            converses: is_awaited && direction.send && !self.inbound.playout.is_pausing(),
            sends: is_reachable && direction.send,
            received: received.map_or(sent, |f| equipment(&f.codec.rtp_map())),
            sent,
        }
    }
}
