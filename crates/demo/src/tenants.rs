//! The tenants of the story, and which recorded series stands for which of their meters.

use anyhow::Result;
use chrono::{DateTime, NaiveDate, Utc};

use crate::calendar::{Period, days_before};
use crate::series::Recording;

/// What an event measures. The demo's own words for the meters in `data/catalog.toml`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Measure {
    /// Requests.
    Calls,
    /// Bytes over the network.
    Bandwidth,
    /// Bytes to disk.
    Storage,
    /// Per cent of a processor.
    Compute,
    /// A user.
    Users,
}

impl Measure {
    /// The CloudEvents `type` of its events.
    pub fn event_type(self) -> &'static str {
        match self {
            Self::Calls => "api.requests",
            Self::Bandwidth => "network.bytes",
            Self::Storage => "disk.write",
            Self::Compute => "cpu.reading",
            Self::Users => "user.seen",
        }
    }

    /// The member of `data` that holds the value.
    pub fn property(self) -> &'static str {
        match self {
            Self::Calls => "calls",
            Self::Bandwidth | Self::Storage => "bytes",
            Self::Compute => "cpu_percent",
            Self::Users => "user",
        }
    }
}

/// How events of a feed reach Weir.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// Batches of CloudEvents over HTTP.
    Http,
    /// Avro to Kafka, partitioned as Weir asks for.
    Kafka,
    /// Avro to Kafka with librdkafka's default partitioner: most stand in foreign partitions.
    KafkaElsewhere,
}

/// A recorded series in the service of a tenant.
#[derive(Clone, Copy, Debug)]
pub struct Feed {
    /// What it measures.
    pub measure: Measure,
    /// Which series; `Users` has none.
    pub recording: Option<Recording>,
    /// One reading in so many is sent.
    pub one_in: usize,
    /// How its events travel.
    pub route: Route,
}

/// A tenant as the catalogue of the story has it.
#[derive(Clone, Copy, Debug)]
pub struct Profile {
    /// Tenant id, Kafka key.
    pub id: &'static str,
    /// For people.
    pub name: &'static str,
    /// Plan of `data/catalog.toml`.
    pub plan: &'static str,
    /// IANA billing zone.
    pub zone: &'static str,
    /// ISO 4217.
    pub currency: &'static str,
    /// How many local days ago the anchor lies.
    pub anchor_days_ago: u64,
    /// Region in its events.
    pub region: &'static str,
    /// Where it begins in the series.
    pub first_reading: usize,
    /// Its usage.
    pub feeds: &'static [Feed],
}

const fn feed(measure: Measure, recording: Recording, one_in: usize, route: Route) -> Feed {
    Feed { measure, recording: Some(recording), one_in, route }
}

const fn users(one_in: usize, route: Route) -> Feed {
    Feed { measure: Measure::Users, recording: None, one_in, route }
}

/// Everyone in the story.
pub const PROFILES: [Profile; 6] = [
    Profile {
        id: "hudson-data",
        name: "Hudson Data",
        plan: "pro",
        zone: "America/New_York",
        currency: "USD",
        anchor_days_ago: 33,
        region: "us-east-1",
        first_reading: 0,
        feeds: &[
            feed(Measure::Calls, Recording::Requests, 2, Route::Kafka),
            feed(Measure::Bandwidth, Recording::NetworkLarge, 4, Route::Http),
            feed(Measure::Compute, Recording::CpuDatabase, 4, Route::KafkaElsewhere),
            users(12, Route::Http),
        ],
    },
    Profile {
        id: "kaveri-cloud",
        name: "Kaveri Cloud",
        plan: "desi",
        zone: "Asia/Kolkata",
        currency: "INR",
        anchor_days_ago: 33,
        region: "ap-south-1",
        first_reading: 500,
        feeds: &[
            feed(Measure::Calls, Recording::Requests, 4, Route::Http),
            feed(Measure::Compute, Recording::CpuOne, 3, Route::Kafka),
            users(18, Route::Kafka),
        ],
    },
    Profile {
        id: "sakura-games",
        name: "Sakura Games",
        plan: "samurai",
        zone: "Asia/Tokyo",
        currency: "JPY",
        anchor_days_ago: 32,
        region: "ap-northeast-1",
        first_reading: 1000,
        feeds: &[
            feed(Measure::Calls, Recording::Requests, 4, Route::KafkaElsewhere),
            feed(Measure::Compute, Recording::CpuTwo, 4, Route::Http),
        ],
    },
    Profile {
        id: "spree-werke",
        name: "Spree Werke",
        plan: "werkstatt",
        zone: "Europe/Berlin",
        currency: "EUR",
        anchor_days_ago: 33,
        region: "eu-central-1",
        first_reading: 1500,
        feeds: &[
            feed(Measure::Calls, Recording::Requests, 3, Route::Http),
            feed(Measure::Bandwidth, Recording::NetworkSmall, 4, Route::Kafka),
            feed(Measure::Storage, Recording::DiskTwo, 6, Route::Kafka),
            users(24, Route::KafkaElsewhere),
        ],
    },
    Profile {
        id: "nimbus-labs",
        name: "Nimbus Labs",
        plan: "studio",
        zone: "UTC",
        currency: "USD",
        anchor_days_ago: 32,
        region: "eu-west-1",
        first_reading: 2000,
        feeds: &[
            feed(Measure::Calls, Recording::Requests, 6, Route::Kafka),
            feed(Measure::Bandwidth, Recording::NetworkLarge, 6, Route::KafkaElsewhere),
            feed(Measure::Storage, Recording::DiskOne, 6, Route::Http),
        ],
    },
    Profile {
        id: "himal-net",
        name: "Himal Net",
        plan: "studio",
        zone: "Asia/Kathmandu",
        currency: "USD",
        anchor_days_ago: 33,
        region: "ap-south-2",
        first_reading: 2500,
        feeds: &[
            feed(Measure::Calls, Recording::Requests, 6, Route::Kafka),
            feed(Measure::Storage, Recording::DiskTwo, 6, Route::Http),
        ],
    },
];

impl Profile {
    /// First day of its billing period 0, when the story begins at `now`.
    pub fn anchor(&self, now: DateTime<Utc>) -> Result<NaiveDate> {
        days_before(self.zone, now, self.anchor_days_ago)
    }

    /// Its billing period `number`: 0 is over when the story begins, 1 runs.
    pub fn period(&self, now: DateTime<Utc>, number: u32) -> Result<Period> {
        Period::of(self.zone, self.anchor(now)?, number)
    }

    /// Its feed of a measure.
    pub fn feed(&self, measure: Measure) -> Option<&'static Feed> {
        self.feeds.iter().find(|feed| feed.measure == measure)
    }
}
