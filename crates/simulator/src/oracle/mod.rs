//! The oracle: what must have come out, worked out from the journal alone by a plain fold
//! with sets and maps. It shares no code with the engine beyond names, times and quantities,
//! and reads the records' bytes itself.

mod alerts;
mod compare;
mod deliveries;
mod fold;
mod invoices;
mod presence;
mod reading;
mod tallies;

pub(crate) use compare::check;
pub(crate) use presence::Presence;
