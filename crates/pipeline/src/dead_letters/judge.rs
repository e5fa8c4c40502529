//! Which letters are worth sending again, and in words why others are not. Pure. It is kinder
//! than counting where it cannot know (totals, ids), never stricter: what it lets through is
//! judged again where it is counted.

use weir_core::{Generation, TenantId, Timestamp};
use weir_metering::catalogue::Catalogue;
use weir_metering::event::{EventBuffer, UsageEvent};
use weir_metering::outcome::Verdict;
use weir_metering::record::RecordBody;
use weir_wire::dead_letter::verdict_code;

use super::letter::Letter;
use super::verdicts::Counted;

/// What a letter is judged by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Judge<'a> {
    pub(super) catalogue: &'a Catalogue,
    /// The usage topic.
    pub(super) topic: &'a str,
    /// The generation that is counted.
    pub(super) generation: Generation,
    pub(super) now: Timestamp,
    pub(super) window_ms: i64,
    pub(super) future_ms: i64,
    /// Whether letters of earlier generations are sent too.
    pub(super) earlier_generations: bool,
}

impl Judge<'_> {
    /// The tenant that the record is to be keyed by, or why it is not sent. `body` is what the
    /// record to send holds.
    pub(super) fn judge(
        &self,
        letter: &Letter,
        counted: Counted,
        body: &RecordBody,
    ) -> Result<TenantId, String> {
        self.check_place(letter)?;
        self.check_whole(letter)?;
        self.check_counted(letter, counted)?;
        match body {
            RecordBody::Event { event, .. } => self.check_event(event),
            RecordBody::Limits { .. } | RecordBody::Tick => {
                Err("a control record is not sent again: set the limits anew".to_owned())
            }
            RecordBody::Adjustment { .. } => {
                Err("a control record is not sent again: adjust the usage anew".to_owned())
            }
            RecordBody::Unreadable { detail, .. } => Err(detail.clone()),
        }
    }

    /// Ids of an earlier generation are forgotten, so nothing would keep its records from being
    /// counted twice.
    fn check_place(&self, letter: &Letter) -> Result<(), String> {
        if letter.info.topic != self.topic {
            return Err(format!("it stood in topic {}, not in {}", letter.info.topic, self.topic));
        }
        let generation = letter.origin.generation.min(letter.info.position.generation);
        if letter.origin.generation.max(letter.info.position.generation) > self.generation {
            return Err("it is of a generation that the ledger does not know".to_owned());
        }
        if generation < self.generation && !self.earlier_generations {
            return Err(format!(
                "it is of generation {generation}, whose event ids are forgotten: if it was sent again since, it \
                 would count twice; --earlier-generations takes that risk"
            ));
        }
        Ok(())
    }

    fn check_whole(&self, letter: &Letter) -> Result<(), String> {
        if letter.info.code == verdict_code(Verdict::Conflict) {
            return Err("its id was counted before with other facts, and the first stands".to_owned());
        }
        if letter.info.truncated_from.is_some() {
            return Err("its value was too long to be kept whole".to_owned());
        }
        if letter.info.headers_left_out.is_some() {
            return Err("its headers were too long to be kept whole".to_owned());
        }
        Ok(())
    }

    /// A letter is written before the commit: what was decided in the end, the ledger says.
    fn check_counted(&self, letter: &Letter, counted: Counted) -> Result<(), String> {
        match counted {
            Counted::Accepted => Err("it was counted after all".to_owned()),
            Counted::Not(Verdict::Duplicate) => Err("its event was counted from another record".to_owned()),
            Counted::Not(Verdict::Conflict) => {
                Err("its id was counted before with other facts, and the first stands".to_owned())
            }
            Counted::Not(Verdict::Forwarded) => {
                Err("it was forwarded after all to its own partition".to_owned())
            }
            Counted::NotYet if letter.info.position.generation == self.generation => {
                Err("its batch is not committed yet: counting decides first".to_owned())
            }
            Counted::NotYet | Counted::Not(Verdict::Rejected(_) | Verdict::Control) => Ok(()),
        }
    }

    fn check_event(&self, event: &UsageEvent) -> Result<TenantId, String> {
        let buffer = EventBuffer::of(event);
        let read = buffer.get(0);
        read.validate().map_err(|error| error.to_string())?;
        let Some((tenant, _)) = self.catalogue.tenants.get_key_value(event.tenant.as_str()) else {
            return Err(format!("there is no tenant {}", event.tenant));
        };
        let time = event.time_or(self.now);
        if time < self.now.plus_millis(-self.window_ms) {
            return Err("it happened too long ago to be counted, by its own time and the present".to_owned());
        }
        if time > self.now.plus_millis(self.future_ms) {
            return Err("it happens too far ahead, by its own time and the present".to_owned());
        }
        self.catalogue.measure(read, time).map_err(|error| error.to_string())?;
        Ok(tenant.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use weir_backends::journal::OwnedRecord;
    use weir_core::{HourAlignment, Position};
    use weir_metering::catalogue::TenantFacts;
    use weir_metering::meter::Meter;
    use weir_metering::outcome::RejectReason;
    use weir_wire::dead_letter::DeadLetterInfo;

    use super::*;

    const DAY_MS: i64 = 86_400_000;
    const NOW: i64 = 100 * DAY_MS;

    fn letter(change: impl FnOnce(&mut DeadLetterInfo)) -> Letter {
        let mut info = DeadLetterInfo {
            topic: "usage".to_owned(),
            position: Position { generation: 2, partition: 3, offset: 7 },
            broker_time: Timestamp::clamped(NOW - 3 * DAY_MS),
            code: "unknown_tenant".to_owned(),
            message: String::new(),
            truncated_from: None,
            headers_left_out: None,
        };
        change(&mut info);
        let headers = info.headers().into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let record =
            OwnedRecord { offset: 1, broker_time_ms: NOW, key: None, payload: Some(vec![1].into()), headers };
        Letter::of(0, record).unwrap()
    }

    fn event(change: impl FnOnce(&mut UsageEvent)) -> RecordBody {
        let mut event = UsageEvent {
            tenant: "acme".into(),
            source: "s".into(),
            id: "1".into(),
            event_type: "use".into(),
            time: Some(Timestamp::clamped(NOW - 3 * DAY_MS)),
            data: vec![("value".into(), "7".into())],
        };
        change(&mut event);
        RecordBody::Event { event, hops: 0 }
    }

    fn judged(
        letter: &Letter,
        counted: Counted,
        body: &RecordBody,
        earlier_generations: bool,
    ) -> Result<TenantId, String> {
        let meter: Meter = serde_json::from_str(
            r#"{"key":"bytes","version":1,"unit":"B","event_type":"use","aggregation":"sum","value_property":"value"}"#,
        )
        .unwrap();
        let facts = TenantFacts { alignment: HourAlignment::default(), periods: Vec::new() };
        let tenants = HashMap::from([(TenantId::new("acme").unwrap(), facts)]);
        let catalogue = Catalogue::new(1, vec![meter], tenants, weir_core::Homes::new(1));
        let judge = Judge {
            catalogue: &catalogue,
            topic: "usage",
            generation: 2,
            now: Timestamp::clamped(NOW),
            window_ms: 35 * DAY_MS,
            future_ms: 3_600_000,
            earlier_generations,
        };
        judge.judge(letter, counted, body)
    }

    const REJECTED: Counted = Counted::Not(Verdict::Rejected(RejectReason::UnknownTenant));

    #[test]
    fn what_can_be_counted_now_is_sent() {
        let check = |letter: Letter, counted, body: RecordBody| {
            assert_eq!(judged(&letter, counted, &body, false).as_ref().map(TenantId::as_str), Ok("acme"));
        };
        check(letter(|_| {}), REJECTED, event(|_| {}));
        check(letter(|_| {}), REJECTED, event(|event| event.time = None));
        let edge = |ago: i64| event(move |event| event.time = Some(Timestamp::clamped(NOW - ago)));
        check(letter(|_| {}), REJECTED, edge(35 * DAY_MS));
        check(letter(|_| {}), REJECTED, edge(-3_600_000));
        check(letter(|info| info.code = "in_future".into()), REJECTED, event(|_| {}));
    }

    #[test]
    fn everything_else_stays_and_says_why() {
        let check = |letter: Letter, counted, body: RecordBody, words: &str| {
            let why = judged(&letter, counted, &body, false).unwrap_err();
            assert!(why.contains(words), "{why:?} does not say {words:?}");
        };
        let kept = || letter(|_| {});
        check(letter(|info| info.topic = "other".into()), REJECTED, event(|_| {}), "stood in topic other");
        check(letter(|info| info.position.generation = 1), REJECTED, event(|_| {}), "--earlier-generations");
        check(letter(|info| info.position.generation = 3), REJECTED, event(|_| {}), "does not know");
        check(letter(|info| info.code = "conflict".into()), REJECTED, event(|_| {}), "the first stands");
        check(letter(|info| info.truncated_from = Some(9)), REJECTED, event(|_| {}), "value was too long");
        check(
            letter(|info| info.headers_left_out = Some(9)),
            REJECTED,
            event(|_| {}),
            "headers were too long",
        );
        check(kept(), Counted::Accepted, event(|_| {}), "counted after all");
        check(kept(), Counted::NotYet, event(|_| {}), "not committed yet");
        check(kept(), Counted::Not(Verdict::Duplicate), event(|_| {}), "from another record");
        check(kept(), Counted::Not(Verdict::Conflict), event(|_| {}), "the first stands");
        check(kept(), Counted::Not(Verdict::Forwarded), event(|_| {}), "forwarded after all");
        check(kept(), REJECTED, RecordBody::Tick, "control record");
        check(kept(), REJECTED, event(|event| event.id.clear()), "id is empty");
        check(kept(), REJECTED, event(|event| event.tenant = "nobody".into()), "no tenant nobody");
        check(kept(), REJECTED, event(|event| event.data[0].1 = "NaN".into()), "value");
        let at = |ms: i64| event(move |event| event.time = Some(Timestamp::clamped(ms)));
        check(kept(), REJECTED, at(NOW - 35 * DAY_MS - 1), "too long ago");
        check(kept(), REJECTED, at(NOW + 3_600_001), "too far ahead");
        let reason = RejectReason::Malformed;
        let body = RecordBody::Unreadable { reason, detail: "no known format".into() };
        check(kept(), REJECTED, body, "no known format");
    }

    #[test]
    fn earlier_generations_are_sent_when_somebody_takes_the_risk() {
        let earlier = letter(|info| info.position.generation = 1);
        assert!(judged(&earlier, Counted::NotYet, &event(|_| {}), true).is_ok());
        assert!(judged(&earlier, Counted::Accepted, &event(|_| {}), true).is_err());
    }
}
