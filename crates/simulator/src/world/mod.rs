//! The world that the engine counts in while it is simulated: every call goes over the stage.

mod books;
mod ids;
mod journal;
mod ledger;
mod outbox;
mod projection;
mod runtime;

pub(crate) use ids::{Disk, SimIds};
pub(crate) use journal::{Feed, SimReader, SimWriter};
pub(crate) use ledger::SimLedger;
pub(crate) use outbox::SimReceivers;
pub(crate) use projection::SimProjection;
pub(crate) use runtime::{EventTimes, SimRuntime};

use weir_pipeline::world::World;

/// The simulated world.
pub(crate) struct SimWorld;

impl World for SimWorld {
    type Reader = SimReader;
    type Writer = SimWriter;
    type Ledger = SimLedger;
    type Projection = SimProjection;
    type Ids = SimIds;
    type Outbox = SimLedger;
    type Receivers = SimReceivers;
    type Runtime = SimRuntime;
}
