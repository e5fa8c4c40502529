//! libchdb's C functions, loaded at run time from the shared library.
//!
//! This is the only file with `unsafe` calls into the engine. It wraps each C handle in a type
//! that frees it once, and says nothing about HTTP or about which statements are allowed.
//! Shapes come from chdb.h of version 26.7.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::mem::ManuallyDrop;
use std::path::Path;
use std::ptr::{NonNull, null};
use std::sync::Arc;

use libloading::Library;

/// An error in the engine's own words, for example `Code: 60. DB::Exception: …`.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub(crate) struct EngineError(pub(crate) String);

type Handle = *mut c_void;
type Connect = unsafe extern "C" fn(c_int, *mut *mut c_char) -> *mut Handle;
type Close = unsafe extern "C" fn(*mut Handle);
type Query = unsafe extern "C" fn(
    Handle,
    *const c_char,
    usize,
    *const c_char,
    usize,
    *const *const c_char,
    *const usize,
    *const *const c_char,
    *const usize,
    usize,
) -> Handle;
type Append = unsafe extern "C" fn(Handle, *const c_void, usize) -> c_int;
type OfHandle<T> = unsafe extern "C" fn(Handle) -> T;

/// The loaded functions. The library is never unloaded: some of its threads outlive a shutdown,
/// and unloading their code ends the process with a segmentation fault.
pub(crate) struct Functions {
    connect: Connect,
    close: Close,
    query: Query,
    stream_insert: Query,
    stream_append: Append,
    stream_done: OfHandle<Handle>,
    stream_cancel: OfHandle<()>,
    stream_error: OfHandle<*const c_char>,
    destroy_stream: OfHandle<()>,
    result_buffer: OfHandle<*const u8>,
    result_length: OfHandle<usize>,
    result_error: OfHandle<*const c_char>,
    result_rows: OfHandle<u64>,
    result_rows_read: OfHandle<u64>,
    result_bytes_read: OfHandle<u64>,
    result_rows_written: OfHandle<u64>,
    result_bytes_written: OfHandle<u64>,
    result_elapsed: OfHandle<f64>,
    destroy_result: OfHandle<()>,
    shutdown: unsafe extern "C" fn() -> c_int,
    _library: ManuallyDrop<Library>,
}

impl Functions {
    /// Loads the library and turns off the signal handlers that it would install.
    pub(crate) fn load(path: &Path) -> Result<Arc<Self>, libloading::Error> {
        // SAFETY: libchdb's initialisers have no preconditions; the symbols are looked up by
        // their documented names and given the types of chdb.h.
        unsafe {
            let library = Library::new(path)?;
            let set_handlers: unsafe extern "C" fn(c_int) =
                *library.get(b"chdb_set_signal_handlers_enabled")?;
            set_handlers(0);
            Ok(Arc::new(Self {
                connect: *library.get(b"chdb_connect")?,
                close: *library.get(b"chdb_close_conn")?,
                query: *library.get(b"chdb_query_with_params_n")?,
                stream_insert: *library.get(b"chdb_stream_insert_with_params_n")?,
                stream_append: *library.get(b"chdb_stream_append")?,
                stream_done: *library.get(b"chdb_stream_done")?,
                stream_cancel: *library.get(b"chdb_stream_cancel_insert")?,
                stream_error: *library.get(b"chdb_stream_insert_error")?,
                destroy_stream: *library.get(b"chdb_destroy_insert_stream")?,
                result_buffer: *library.get(b"chdb_result_buffer")?,
                result_length: *library.get(b"chdb_result_length")?,
                result_error: *library.get(b"chdb_result_error")?,
                result_rows: *library.get(b"chdb_result_rows_read")?,
                result_rows_read: *library.get(b"chdb_result_storage_rows_read")?,
                result_bytes_read: *library.get(b"chdb_result_storage_bytes_read")?,
                result_rows_written: *library.get(b"chdb_result_rows_written")?,
                result_bytes_written: *library.get(b"chdb_result_bytes_written")?,
                result_elapsed: *library.get(b"chdb_result_elapsed")?,
                destroy_result: *library.get(b"chdb_destroy_query_result")?,
                shutdown: *library.get(b"chdb_shutdown")?,
                _library: ManuallyDrop::new(library),
            }))
        }
    }

    /// Stops the engine's threads. Every connection must be closed before.
    /// False when a connection is still open or a thread did not stop.
    pub(crate) fn shutdown(&self) -> bool {
        // SAFETY: takes nothing; refuses by itself while a connection is open.
        unsafe { (self.shutdown)() == 0 }
    }
}

/// One connection: its own settings, current database and temporary tables.
pub(crate) struct Connection {
    functions: Arc<Functions>,
    raw: NonNull<Handle>,
}

// SAFETY: chdb.h: a connection may be used from any thread, by one thread at a time; the methods
// take `&mut self`.
unsafe impl Send for Connection {}

impl Connection {
    /// Opens a connection. The first one of the process boots the engine on `arguments`' path.
    pub(crate) fn open(functions: &Arc<Functions>, arguments: &[CString]) -> Option<Self> {
        let mut argv: Vec<*mut c_char> =
            arguments.iter().map(|argument| argument.as_ptr().cast_mut()).collect();
        let argc = c_int::try_from(argv.len()).ok()?;
        // SAFETY: argv holds argc NUL-terminated strings that outlive the call; the engine copies
        // them and does not write through the pointers.
        let raw = unsafe { (functions.connect)(argc, argv.as_mut_ptr()) };
        NonNull::new(raw).map(|raw| Self { functions: Arc::clone(functions), raw })
    }

    fn handle(&self) -> Handle {
        // SAFETY: `raw` points at the engine's handle until `close` in Drop.
        unsafe { *self.raw.as_ptr() }
    }

    /// Runs a statement and returns its whole result in `format` (unless the SQL names another).
    pub(crate) fn query(
        &mut self,
        sql: &str,
        format: &str,
        parameters: &Parameters,
    ) -> Result<QueryResult, EngineError> {
        // SAFETY: every pointer is valid for the length beside it during the call.
        let raw = unsafe { self.call(self.functions.query, sql, format, parameters) };
        QueryResult::checked(&self.functions, raw)
    }

    /// Begins an INSERT whose rows follow by [`InsertStream::append`]. `sql` has no FORMAT clause.
    pub(crate) fn insert(
        &mut self,
        sql: &str,
        format: &str,
        parameters: &Parameters,
    ) -> Result<InsertStream<'_>, EngineError> {
        // SAFETY: every pointer is valid for the length beside it during the call.
        let raw = unsafe { self.call(self.functions.stream_insert, sql, format, parameters) };
        let stream = InsertStream { connection: self, raw };
        match stream.error() {
            Some(error) => Err(error),
            None => Ok(stream),
        }
    }

    /// # Safety
    /// `function` must be one of the engine's functions of this shape.
    unsafe fn call(&self, function: Query, sql: &str, format: &str, parameters: &Parameters) -> Handle {
        let count = parameters.names.len();
        let names: Vec<_> = parameters.names.iter().map(|name| name.as_ptr().cast()).collect();
        let name_lengths: Vec<_> = parameters.names.iter().map(String::len).collect();
        let values: Vec<_> = parameters.values.iter().map(|value| value.as_ptr().cast()).collect();
        let value_lengths: Vec<_> = parameters.values.iter().map(String::len).collect();
        let or_null = |pointer| if count == 0 { null() } else { pointer };
        let lengths_or_null = |pointer| if count == 0 { null() } else { pointer };
        // SAFETY: by the caller, and because all vectors live until the end of this function.
        unsafe {
            function(
                self.handle(),
                sql.as_ptr().cast(),
                sql.len(),
                format.as_ptr().cast(),
                format.len(),
                or_null(names.as_ptr()),
                lengths_or_null(name_lengths.as_ptr()),
                or_null(values.as_ptr()),
                lengths_or_null(value_lengths.as_ptr()),
                count,
            )
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // SAFETY: closed exactly once; results do not need their connection any more.
        unsafe { (self.functions.close)(self.raw.as_ptr()) }
    }
}

/// Query parameters, `{name:Type}` in the SQL. Values are in the engine's escaped text form.
#[derive(Debug, Default, Clone)]
pub(crate) struct Parameters {
    names: Vec<String>,
    values: Vec<String>,
}

impl Parameters {
    pub(crate) fn push(&mut self, name: String, value: String) {
        self.names.push(name);
        self.values.push(value);
    }
}

/// An INSERT under way. Dropped without [`InsertStream::finish`] it inserts nothing more.
pub(crate) struct InsertStream<'a> {
    connection: &'a mut Connection,
    raw: Handle,
}

impl InsertStream<'_> {
    fn error(&self) -> Option<EngineError> {
        // SAFETY: `raw` is a live stream; the text belongs to it and is copied at once.
        unsafe { text((self.connection.functions.stream_error)(self.raw)) }
    }

    /// Hands over bytes in the stream's format; blocks when the engine is behind.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<(), EngineError> {
        // SAFETY: the engine copies `len` bytes before it returns.
        let state = unsafe {
            (self.connection.functions.stream_append)(self.raw, bytes.as_ptr().cast(), bytes.len())
        };
        if state == 0 {
            return Ok(());
        }
        Err(self.error().unwrap_or_else(|| EngineError("the engine refused the rows".to_owned())))
    }

    /// Says that all rows were given, waits until they are stored.
    pub(crate) fn finish(self) -> Result<QueryResult, EngineError> {
        let functions = &self.connection.functions;
        // SAFETY: `raw` is live; the result is a handle of its own.
        let raw = unsafe { (functions.stream_done)(self.raw) };
        QueryResult::checked(functions, raw)
    }
}

impl Drop for InsertStream<'_> {
    fn drop(&mut self) {
        // SAFETY: cancelling a finished stream does nothing; destroyed exactly once.
        unsafe {
            (self.connection.functions.stream_cancel)(self.raw);
            (self.connection.functions.destroy_stream)(self.raw);
        }
    }
}

/// A whole result. Its bytes stay in the engine's memory until it is dropped.
pub(crate) struct QueryResult {
    functions: Arc<Functions>,
    raw: Handle,
}

// SAFETY: a finished result is plain memory that nothing else refers to and nothing changes.
unsafe impl Send for QueryResult {}
// SAFETY: as above; all methods only read.
unsafe impl Sync for QueryResult {}

/// What a statement read and wrote, for `X-ClickHouse-Summary`.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Summary {
    pub(crate) read_rows: u64,
    pub(crate) read_bytes: u64,
    pub(crate) written_rows: u64,
    pub(crate) written_bytes: u64,
    pub(crate) result_rows: u64,
    pub(crate) elapsed_seconds: f64,
}

impl QueryResult {
    fn checked(functions: &Arc<Functions>, raw: Handle) -> Result<Self, EngineError> {
        let result = Self { functions: Arc::clone(functions), raw };
        if raw.is_null() {
            return Err(EngineError("the engine returned no result".to_owned()));
        }
        // SAFETY: `raw` is live; the text belongs to it and is copied at once.
        match unsafe { text((functions.result_error)(raw)) } {
            Some(error) => Err(error),
            None => Ok(result),
        }
    }

    pub(crate) fn summary(&self) -> Summary {
        let functions = &self.functions;
        // SAFETY: `raw` is a live result; the functions only read.
        unsafe {
            Summary {
                read_rows: (functions.result_rows_read)(self.raw),
                read_bytes: (functions.result_bytes_read)(self.raw),
                written_rows: (functions.result_rows_written)(self.raw),
                written_bytes: (functions.result_bytes_written)(self.raw),
                result_rows: (functions.result_rows)(self.raw),
                elapsed_seconds: (functions.result_elapsed)(self.raw),
            }
        }
    }
}

impl AsRef<[u8]> for QueryResult {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: the buffer holds `length` bytes until the result is destroyed in Drop.
        unsafe {
            let length = (self.functions.result_length)(self.raw);
            let buffer = (self.functions.result_buffer)(self.raw);
            if length == 0 || buffer.is_null() {
                return &[];
            }
            std::slice::from_raw_parts(buffer, length)
        }
    }
}

impl Drop for QueryResult {
    fn drop(&mut self) {
        // SAFETY: destroyed exactly once; the engine accepts null.
        unsafe { (self.functions.destroy_result)(self.raw) }
    }
}

/// # Safety
/// `pointer` is null or a NUL-terminated string that lives during the call.
unsafe fn text(pointer: *const c_char) -> Option<EngineError> {
    if pointer.is_null() {
        return None;
    }
    // SAFETY: by the caller.
    let text = unsafe { CStr::from_ptr(pointer) };
    Some(EngineError(text.to_string_lossy().into_owned()))
}
