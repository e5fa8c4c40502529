//! Counting on the real servers: what is produced is counted, exactly once, whatever
//! happens to the processes that count.

mod cpu;
mod house;
mod scenarios;
