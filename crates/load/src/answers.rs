//! Asks for quota answers at a fixed rate whatever the server does (an open loop): each request
//! has its moment, and its time runs from that moment and not from when it could be sent. So a
//! server that stands still for a while is seen in every request that was due meanwhile.

use std::thread;
use std::time::{Duration, Instant};

use crate::connection::{Connection, Request};
use crate::error::LoadError;
use crate::profile::{meter_key, tenant_id};

const ATTEMPT: &str = "ask for a quota";

/// What is asked, and how often.
#[derive(Clone, Debug)]
pub struct Asking {
    /// `host:port` of the API.
    pub address: String,
    /// A key that may read the usage of every tenant.
    pub key: String,
    /// Tenants that are asked about, in turn.
    pub tenants: u32,
    /// The meter.
    pub meter: u32,
    /// Requests a second, all connections together.
    pub rate: u32,
    /// Connections, a thread each; every one carries an equal part of the rate.
    pub connections: u32,
    /// For how long.
    pub lasting: Duration,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Answered {
    /// How long each answer took, from the moment its request was due.
    pub took: Vec<Duration>,
    /// How long after its moment each request was sent.
    pub sent_late: Vec<Duration>,
}

/// Asks until the time is over, on threads of its own.
///
/// # Errors
/// [`LoadError::Refused`] at the first answer that is not 200, [`LoadError::Connection`].
pub fn ask(asking: &Asking) -> Result<Answered, LoadError> {
    let began = Instant::now() + Duration::from_millis(100);
    let results: Vec<Result<Answered, LoadError>> = thread::scope(|scope| {
        let threads: Vec<_> =
            (0..asking.connections.max(1)).map(|nth| scope.spawn(move || one(asking, nth, began))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or(Err(LoadError::Ended))).collect()
    });
    let mut all = Answered::default();
    for result in results {
        let mut one = result?;
        all.took.append(&mut one.took);
        all.sent_late.append(&mut one.sent_late);
    }
    Ok(all)
}

/// A request for a tenant's quota.
pub fn quota_request(address: &str, key: &str, tenant: u32, meter: u32) -> Request {
    let path = format!("/api/v1/quota/{}/{}", tenant_id(tenant), meter_key(meter));
    Request::new("GET", address, &path, &[("authorization", &format!("Bearer {key}"))], "")
}

/// One connection's part: the requests `nth`, `nth + connections`, and so on.
fn one(asking: &Asking, nth: u32, began: Instant) -> Result<Answered, LoadError> {
    let request = |tenant| quota_request(&asking.address, &asking.key, tenant, asking.meter);
    let requests: Vec<_> = (0..asking.tenants.max(1)).map(request).collect();
    let broken = |source| LoadError::Connection { attempt: ATTEMPT, source };
    let mut connection = Connection::open(&asking.address).map_err(broken)?;
    let mut done = Answered::default();
    let mut number = u64::from(nth);
    loop {
        let due = Duration::from_nanos(number * 1_000_000_000 / u64::from(asking.rate.max(1)));
        if due >= asking.lasting {
            return Ok(done);
        }
        let due = began + due;
        if let Some(early) = due.checked_duration_since(Instant::now()) {
            thread::sleep(early);
        }
        done.sent_late.push(due.elapsed());
        let asked = &requests[usize::try_from(number % u64::from(asking.tenants.max(1))).unwrap_or(0)];
        let (status, body) = connection.ask(asked).map_err(broken)?;
        if status != 200 {
            let body = String::from_utf8_lossy(body).into_owned();
            return Err(LoadError::Refused { attempt: ATTEMPT.to_owned(), status, body });
        }
        done.took.push(due.elapsed());
        number += u64::from(asking.connections.max(1));
    }
}
