//! The development server, run as its users run it: a process, a data folder, and requests.

mod client;
mod http;
mod support;
