//! From a position in the stream to its event. Pure: the same profile and position give the same
//! event, so a duplicate is made by asking for an earlier position again.

use crate::chance::{below, high, low, mix};
use crate::error::LoadError;
use crate::profile::{Kind, Profile, kind_of};
use crate::skew::Skew;

/// How far behind its first sending an event may be sent again, in records.
const REPEATED_WITHIN: u64 = 1_000_000;
/// How far before the stream's time an event may have happened, in milliseconds.
const JITTER_MS: u32 = 60_000;
/// Further back than Weir's window of 35 days.
const LATE_MS: i64 = 40 * 86_400_000;
const MILLION: u32 = 1_000_000;

/// One event. Numbers only; the writers of Avro and JSON know the texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// The seed's half of its id.
    pub seed: u32,
    /// The position's half of its id.
    pub serial: u64,
    /// Its tenant.
    pub tenant: u32,
    /// Its meter.
    pub meter: u32,
    /// What its meter does.
    pub kind: Kind,
    /// Its value of the dimension `region`, when there is one.
    pub region: Option<u32>,
    /// Its quantity in thousandths; what a sum meter adds up.
    pub thousandths: u32,
    /// When it happened, in milliseconds since 1970 UTC.
    pub time_ms: i64,
    /// Which of eight gateways emitted it.
    pub gateway: u32,
    /// Whether Weir counts it: it is neither late nor sent before.
    pub counts: bool,
}

/// A stream, ready to be walked from any position.
#[derive(Debug)]
pub struct Stream {
    profile: Profile,
    skew: Skew,
    key: u64,
    /// Every so many records one goes to the next tenant in turn, so that all are active.
    turn: Option<u64>,
}

impl Stream {
    /// The stream of a profile.
    ///
    /// # Errors
    /// [`LoadError::Profile`] when it describes none.
    pub fn new(profile: Profile) -> Result<Self, LoadError> {
        profile.check()?;
        let skew = Skew::new(profile.tenants, profile.skew);
        let key = mix(u64::from(profile.seed));
        let turn = profile.events / u64::from(profile.tenants);
        Ok(Self { profile, skew, key, turn: (turn >= 2).then_some(turn) })
    }

    /// What it was made of.
    pub fn profile(&self) -> &Profile {
        &self.profile
    }

    /// The event that is sent at a position.
    pub fn event(&self, position: u64) -> Event {
        let fate = mix(self.key ^ mix(position));
        match self.repeated(position, fate) {
            Some(earlier) => Event { counts: false, ..self.first_sent(earlier, self.fate(earlier)) },
            None => self.first_sent(position, fate),
        }
    }

    fn fate(&self, position: u64) -> u64 {
        mix(self.key ^ mix(position))
    }

    fn is_repeat(&self, fate: u64) -> bool {
        below(high(fate), MILLION) < self.profile.duplicates_ppm
    }

    /// The earlier position whose event is sent again here: one that was new itself.
    fn repeated(&self, position: u64, fate: u64) -> Option<u64> {
        if position == 0 || !self.is_repeat(fate) {
            return None;
        }
        let back = 1 + u64::from(low(fate)) % position.min(REPEATED_WITHIN);
        let earlier = position - back;
        // A repeat of a repeat would need its original's original; such a record is new instead.
        (!self.is_repeat(self.fate(earlier)) || earlier == 0).then_some(earlier)
    }

    fn first_sent(&self, position: u64, fate: u64) -> Event {
        let profile = &self.profile;
        let draw = mix(fate);
        let shape = mix(draw);
        let meter = below(high(shape), profile.meters);
        let kind = kind_of(meter);
        let late = below(low(mix(shape)), MILLION) < profile.late_ppm;
        Event {
            seed: profile.seed,
            serial: mix(position ^ self.key),
            tenant: self.tenant(position, draw),
            meter,
            kind,
            region: (profile.dimensions > 0).then(|| below(low(draw) ^ high(shape), profile.dimensions)),
            thousandths: quantity(low(shape)),
            time_ms: self.time(position, high(fate)) - if late { LATE_MS } else { 0 },
            gateway: low(fate) % 8,
            counts: !late,
        }
    }

    fn tenant(&self, position: u64, draw: u64) -> u32 {
        match self.turn {
            Some(turn) if position.is_multiple_of(turn) => {
                u32::try_from(position / turn % u64::from(self.profile.tenants)).unwrap_or(0)
            }
            _ => self.skew.draw(draw),
        }
    }

    fn time(&self, position: u64, bits: u32) -> i64 {
        let profile = &self.profile;
        let moved = i128::from(profile.span_ms) * i128::from(position) / i128::from(profile.events);
        profile.from_ms + i64::try_from(moved).unwrap_or(0) - i64::from(below(bits, JITTER_MS))
    }
}

/// 0.001 to 999.999 of which three quarters are whole.
fn quantity(bits: u32) -> u32 {
    if bits & 3 == 0 { 1 + below(bits, 999_999) } else { 1_000 * (1 + below(bits, 999)) }
}
