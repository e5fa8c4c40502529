//! What is counted in a simulation: meters, tenants, limits and bounds, small enough that a
//! few hundred records reach every corner of them, and what is done to it: the acts.

mod acts;
mod cast;
mod events;
mod plans;
mod plots;
mod widening;

pub(crate) use acts::Script;
pub use acts::{Act, Change};
pub(crate) use cast::{
    BEGIN_MS, Cast, EndpointFacts, FUTURE_MS, LEGAL_ENTITIES, METERS, MeterFacts, Tally, TenantCast,
    WINDOW_MS,
};
pub use events::{Draft, Happened};
pub(crate) use plans::{Cost, GRACE_MS, PLANS, PlanFacts};
