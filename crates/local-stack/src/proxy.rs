//! A TCP proxy in front of one server, for tests of lost answers: it passes bytes both ways and
//! can cut connections, at once or at a chosen request, do something else at that very moment
//! (kill a process), and hold everything back. It knows no protocol: a request is told by bytes
//! that it holds. No runtime needed; two threads for each connection.
//!
//! ```no_run
//! # use local_stack::{Moment, Proxy};
//! let proxy = Proxy::before("127.0.0.1:15432")?;
//! println!("connect to {}", proxy.address());
//! proxy.cut_at(b"COMMIT", Moment::BeforeAnswer);
//! # Ok::<(), local_stack::Error>(())
//! ```
//!
//! Invariants: bytes that are passed on are passed in order and unchanged; a connection that was
//! cut passes nothing any more in either direction; dropping the proxy cuts every connection.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};

use crate::error::{Error, Result};

/// Bytes that are passed on at a time.
const CHUNK_BYTES: usize = 65_536;
/// Bytes of the chunk before that are looked at again, so that a marker may lie across two.
const TAIL_BYTES: usize = 64;

/// When a connection is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// The server never gets the request.
    BeforeRequest,
    /// The server has got the request, and may not have begun with it; its answer is lost.
    AfterRequest,
    /// The server has answered, and the client never gets the answer.
    BeforeAnswer,
}

/// A proxy on a free port of 127.0.0.1.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    switches: Arc<Switches>,
}

/// What the threads of all connections look at.
#[derive(Debug, Default)]
struct Switches {
    ended: AtomicBool,
    cuts: AtomicUsize,
    held: Mutex<bool>,
    moved: Condvar,
    trap: Mutex<Option<Trap>>,
    connections: Mutex<Vec<Weak<Connection>>>,
}

/// What is done at a moment, before the connection is cut.
type Deed = Box<dyn FnOnce() + Send>;

/// Bytes that are waited for.
struct Trap {
    marker: Vec<u8>,
    moment: Moment,
    deed: Deed,
}

impl std::fmt::Debug for Trap {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Trap").field("moment", &self.moment).finish_non_exhaustive()
    }
}

/// One client and its server.
struct Connection {
    client: TcpStream,
    server: TcpStream,
    is_cut: AtomicBool,
    /// The next bytes from the server cut the connection, after this was done.
    loses_answer: Mutex<Option<Deed>>,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Connection").field("client", &self.client).finish_non_exhaustive()
    }
}

impl Proxy {
    /// Listens, and connects every client to `target` (`host:port`).
    ///
    /// # Errors
    /// When it cannot listen.
    pub fn before(target: &str) -> Result<Self> {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(Error::io("listen for a proxy"))?;
        let address = listener.local_addr().map_err(Error::io("listen for a proxy"))?;
        let switches = Arc::new(Switches::default());
        let (seen, target) = (Arc::clone(&switches), target.to_owned());
        spawn("accept", move || accept(&listener, &target, &seen))?;
        Ok(Self { address, switches })
    }

    /// Where to connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Cuts all connections now; new ones are taken. How many there were.
    pub fn cut(&self) -> usize {
        let open: Vec<_> = locked(&self.switches.connections).iter().filter_map(Weak::upgrade).collect();
        open.iter().filter(|connection| connection.cut(&self.switches)).count()
    }

    /// Cuts, once, the connection of the next request that holds `marker` (up to 64 bytes),
    /// at that moment. It replaces a marker that has not been met yet.
    ///
    /// [`Moment::BeforeAnswer`] takes the first bytes of the server after the request for its
    /// answer, so the client must not send a request before the last one was answered.
    pub fn cut_at(&self, marker: &[u8], moment: Moment) {
        self.do_at(marker, moment, || ());
    }

    /// As [`Proxy::cut_at`], and `deed` is done at that moment, before the connection is cut:
    /// whoever is killed by it never sees the cut.
    pub fn do_at(&self, marker: &[u8], moment: Moment, deed: impl FnOnce() + Send + 'static) {
        let trap = Trap { marker: marker.to_vec(), moment, deed: Box::new(deed) };
        *locked(&self.switches.trap) = Some(trap);
    }

    /// No longer waits for a marker.
    pub fn disarm(&self) {
        *locked(&self.switches.trap) = None;
    }

    /// Whether a marker is still waited for.
    pub fn is_armed(&self) -> bool {
        locked(&self.switches.trap).is_some()
    }

    /// How many connections were cut so far.
    pub fn cuts(&self) -> usize {
        self.switches.cuts.load(Ordering::SeqCst)
    }

    /// Passes nothing on in either direction until [`Proxy::release`]; connections stay.
    pub fn hold(&self) {
        *locked(&self.switches.held) = true;
    }

    /// Passes on what was held, and everything after it.
    pub fn release(&self) {
        *locked(&self.switches.held) = false;
        self.switches.moved.notify_all();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.switches.ended.store(true, Ordering::SeqCst);
        self.release();
        self.cut();
        // Wakes the thread that accepts; it has ended when nobody can be reached.
        let _ = TcpStream::connect(self.address);
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn spawn(part: &str, run: impl FnOnce() + Send + 'static) -> Result<()> {
    let thread = std::thread::Builder::new().name(format!("proxy-{part}"));
    thread.spawn(run).map_err(Error::io("start a thread of a proxy"))?;
    Ok(())
}

fn accept(listener: &TcpListener, target: &str, switches: &Arc<Switches>) {
    for client in listener.incoming() {
        if switches.ended.load(Ordering::SeqCst) {
            return;
        }
        // A client that cannot be served sees its connection end, as without a proxy.
        let Ok(client) = client else { continue };
        let Ok(server) = TcpStream::connect(target) else { continue };
        let _ = pass(client, server, switches);
    }
}

/// Begins to pass bytes both ways.
fn pass(client: TcpStream, server: TcpStream, switches: &Arc<Switches>) -> Result<()> {
    let failed = || Error::io("set up a proxied connection");
    client.set_nodelay(true).map_err(failed())?;
    server.set_nodelay(true).map_err(failed())?;
    let (is_cut, loses_answer) = (AtomicBool::new(false), Mutex::new(None));
    let connection = Arc::new(Connection { client, server, is_cut, loses_answer });
    let mut connections = locked(&switches.connections);
    connections.retain(|one| one.strong_count() > 0);
    connections.push(Arc::downgrade(&connection));
    drop(connections);
    let (there, back) = (Arc::clone(&connection), connection);
    let (seen_there, seen_back) = (Arc::clone(switches), Arc::clone(switches));
    spawn("requests", move || there.pass_requests(&seen_there))?;
    spawn("answers", move || back.pass_answers(&seen_back))
}

impl Switches {
    /// Waits while everything is held back.
    fn wait(&self, connection: &Connection) {
        let mut held = locked(&self.held);
        while *held && !connection.is_cut.load(Ordering::SeqCst) {
            held = self.moved.wait(held).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Whether the marker that is waited for ends in `chunk`; it is waited for no longer then.
    fn spring(&self, tail: &[u8], chunk: &[u8]) -> Option<(Moment, Deed)> {
        let mut trap = locked(&self.trap);
        let marker = &trap.as_ref()?.marker;
        let near = tail.len().min(marker.len().saturating_sub(1));
        let seen = [&tail[tail.len() - near..], chunk].concat();
        if !seen.windows(marker.len().max(1)).any(|window| window == marker) {
            return None;
        }
        trap.take().map(|trap| (trap.moment, trap.deed))
    }
}

impl Connection {
    /// Ends both directions; true for whoever comes first.
    fn cut(&self, switches: &Switches) -> bool {
        let first = !self.is_cut.swap(true, Ordering::SeqCst);
        if first {
            switches.cuts.fetch_add(1, Ordering::SeqCst);
            // Either side may have gone before.
            let _ = self.client.shutdown(Shutdown::Both);
            let _ = self.server.shutdown(Shutdown::Both);
            // The lock is taken so that no thread goes to sleep between looking and waiting.
            drop(locked(&switches.held));
            switches.moved.notify_all();
        }
        first
    }

    fn end(&self, deed: Deed, switches: &Switches) {
        deed();
        self.cut(switches);
    }

    fn pass_requests(&self, switches: &Switches) {
        let (mut client, mut server) = (&self.client, &self.server);
        let mut chunk = vec![0; CHUNK_BYTES];
        let mut tail = Vec::new();
        while let Ok(length @ 1..) = client.read(&mut chunk) {
            switches.wait(self);
            let bytes = &chunk[..length];
            let mut after_request = None;
            match switches.spring(&tail, bytes) {
                Some((Moment::BeforeRequest, deed)) => self.end(deed, switches),
                // An answer may come before the deed is done: it waits for the lock, and the cut.
                Some((Moment::AfterRequest, deed)) => {
                    after_request = Some((locked(&self.loses_answer), deed));
                }
                Some((Moment::BeforeAnswer, deed)) => *locked(&self.loses_answer) = Some(deed),
                None => {}
            }
            if self.is_cut.load(Ordering::SeqCst) || server.write_all(bytes).is_err() {
                break;
            }
            if let Some((_answers_wait, deed)) = after_request {
                self.end(deed, switches);
            }
            tail.extend_from_slice(bytes);
            tail.drain(..tail.len().saturating_sub(TAIL_BYTES));
        }
        let _ = server.shutdown(Shutdown::Write);
    }

    fn pass_answers(&self, switches: &Switches) {
        let (mut client, mut server) = (&self.client, &self.server);
        let mut chunk = vec![0; CHUNK_BYTES];
        while let Ok(length @ 1..) = server.read(&mut chunk) {
            switches.wait(self);
            let deed = locked(&self.loses_answer).take();
            if let Some(deed) = deed {
                self.end(deed, switches);
            }
            if self.is_cut.load(Ordering::SeqCst) || client.write_all(&chunk[..length]).is_err() {
                break;
            }
        }
        let _ = client.shutdown(Shutdown::Write);
    }
}
