//! Runs one request on a connection of its own: settings first, then the statement.
//! Blocking; it knows nothing of HTTP.

use std::io::Read;

use crate::engine::{Engine, QUERY_BYTES_MAX};
use crate::library::{Connection, EngineError, Parameters, QueryResult};
use crate::request::{Access, Request};
use crate::spool::Spool;
use crate::statement::{self, Statement};

/// How much of a body is looked at to find where an INSERT's rows begin.
const HEAD_BYTES_MAX: usize = 256 * 1024;
/// How many bytes of rows are handed to the engine at once.
const APPEND_BYTES: usize = 1024 * 1024;

/// A statement's result and the format that it is in.
pub(crate) struct Answer {
    pub(crate) result: QueryResult,
    pub(crate) format: String,
}

/// Runs the request with `body` behind its `query` parameter.
pub(crate) fn run(engine: &Engine, request: &Request, mut body: Spool) -> Result<Answer, EngineError> {
    let (text, statement, inline_rows) = statement(request, &mut body)?;
    if request.access == Access::Readonly {
        statement::check_sources(&text).map_err(refused)?;
    }
    let mut connection = engine.connect()?;
    prepare(&mut connection, request)?;
    let default_format = request.default_format.clone();
    match statement {
        Statement::Query { format } => {
            let asked = default_format.unwrap_or_else(|| "TabSeparated".to_owned());
            let result = connection.query(&text, &asked, &request.parameters)?;
            Ok(Answer { result, format: format.unwrap_or(asked) })
        }
        Statement::Insert { sql, format, .. } => {
            let format = format.or(default_format).unwrap_or_else(|| "Values".to_owned());
            let mut stream = connection.insert(&sql, &format, &request.parameters)?;
            let mut rows = inline_rows.chain(body);
            let mut buffer = vec![0; APPEND_BYTES];
            loop {
                let read = fill(&mut rows, &mut buffer)?;
                if read == 0 {
                    break;
                }
                stream.append(&buffer[..read])?;
            }
            Ok(Answer { result: stream.finish()?, format })
        }
    }
}

type InlineRows = std::io::Cursor<Vec<u8>>;

/// The SQL text, what it is, and the rows that stand behind it in the same text.
/// A `query` parameter comes before the body, as on a native server.
fn statement(request: &Request, body: &mut Spool) -> Result<(String, Statement, InlineRows), EngineError> {
    if let Some(query) = &request.query
        && let Ok(statement @ Statement::Insert { rows_at, .. }) = statement::read(query)
    {
        let rows = inline_rows(&query.as_bytes()[rows_at..]);
        return Ok((query.clone(), statement, rows));
    }
    let mut head = request.query.clone().map(String::into_bytes).unwrap_or_default();
    if !head.is_empty() {
        head.push(b'\n');
    }
    head.append(&mut body.take(HEAD_BYTES_MAX).map_err(storage)?);
    let readable = match std::str::from_utf8(&head) {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(&head[..error.valid_up_to()]).unwrap_or_default(),
    };
    if let Ok(statement @ Statement::Insert { rows_at, .. }) = statement::read(readable) {
        let text = readable[..rows_at].to_owned();
        let rows = inline_rows(&head[rows_at..]);
        return Ok((text, statement, rows));
    }
    head.append(&mut body.take(QUERY_BYTES_MAX).map_err(storage)?);
    let text = String::from_utf8(head).map_err(|_| {
        EngineError(
            "Code: 62. DB::Exception: Syntax error: the statement is not UTF-8. (SYNTAX_ERROR)".to_owned(),
        )
    })?;
    let statement = statement::read(&text).map_err(refused)?;
    Ok((text, statement, InlineRows::default()))
}

/// Rows begin after blanks and at most one line break.
fn inline_rows(bytes: &[u8]) -> InlineRows {
    let blanks = bytes.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\r')).count();
    let rest = &bytes[blanks..];
    InlineRows::new(rest.strip_prefix(b"\n").unwrap_or(rest).to_vec())
}

/// Reads until the buffer is full or nothing is left.
fn fill(rows: &mut impl Read, buffer: &mut [u8]) -> Result<usize, EngineError> {
    let mut filled = 0;
    while filled < buffer.len() {
        match rows.read(&mut buffer[filled..]).map_err(storage)? {
            0 => break,
            read => filled += read,
        }
    }
    Ok(filled)
}

fn prepare(connection: &mut Connection, request: &Request) -> Result<(), EngineError> {
    let none = Parameters::default();
    if let Some(database) = &request.database {
        let name = database.replace('\\', "\\\\").replace('`', "\\`");
        connection.query(&format!("USE `{name}`"), "TSV", &none)?;
    }
    let mut readonly = match request.access {
        Access::Full => None,
        Access::Get => Some("2"),
        Access::Readonly => Some("1"),
    };
    for (name, value) in &request.settings {
        if name == "readonly" && request.access != Access::Full {
            if value == "1" {
                readonly = Some("1");
            }
            continue;
        }
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            return Err(EngineError(format!(
                "Code: 115. DB::Exception: Unknown setting {name:?}. (UNKNOWN_SETTING)"
            )));
        }
        let value = value.replace('\\', "\\\\").replace('\'', "\\'");
        connection.query(&format!("SET {name} = '{value}'"), "TSV", &none)?;
    }
    if let Some(level) = readonly {
        connection.query(&format!("SET readonly = {level}"), "TSV", &none)?;
    }
    Ok(())
}

fn refused(reason: statement::Refused) -> EngineError {
    EngineError(reason.to_string())
}

fn storage(error: std::io::Error) -> EngineError {
    EngineError(format!(
        "Code: 243. DB::Exception: cannot read back the request body: {error}. (NOT_ENOUGH_SPACE)"
    ))
}
