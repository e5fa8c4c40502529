//! The outbox: what must be told after a commit. Rows are written by the transaction
//! that makes them true and delivered later, at least once, under one id.
