//! What a statement's text says about how to run it: which format its answer has, where an
//! INSERT's rows begin, and whether it asks for something that a server does not do.
//!
//! A tokeniser, not a parser: it knows quotes, comments and brackets, and leaves the rest of the
//! grammar, with its errors, to the engine. It keeps one invariant: text inside quotes, comments
//! or brackets never counts as a clause.

/// A statement, ready to be run.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Statement {
    /// Anything that gets its whole text at once. `format` is set when the text names one.
    Query { format: Option<String> },
    /// An INSERT with rows in a format: `sql` ends before FORMAT or VALUES, and `rows_at` is the
    /// byte of the text at which inline rows begin.
    Insert { sql: String, format: Option<String>, rows_at: usize },
}

/// Why a statement is refused before the engine sees it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    #[error("Code: 62. DB::Exception: Syntax error: Empty query. (SYNTAX_ERROR)")]
    Empty,
    #[error(
        "Code: 62. DB::Exception: Syntax error (Multi-statements are not allowed): send one statement a request. (SYNTAX_ERROR)"
    )]
    Several,
    #[error(
        "Code: 48. DB::Exception: {0} is not allowed over HTTP: files are read and written by the client. (NOT_IMPLEMENTED)"
    )]
    LocalFile(&'static str),
    #[error(
        "Code: 48. DB::Exception: BACKUP and RESTORE are not available in this development server. (NOT_IMPLEMENTED)"
    )]
    Backup,
    #[error(
        "Code: 497. DB::Exception: Not enough privileges: a read-only user may not use the table function {0}. (ACCESS_DENIED)"
    )]
    Source(String),
}

/// Functions that reach files, other machines or programs. This engine has no grants of its own
/// to keep a read-only user from them.
const OUTER_SOURCES: [&str; 28] = [
    "arrowFlight",
    "azureBlobStorage",
    "cluster",
    "clusterAllReplicas",
    "deltaLake",
    "executable",
    "file",
    "fileCluster",
    "filesystem",
    "gcs",
    "hdfs",
    "hudi",
    "iceberg",
    "icebergLocal",
    "icebergS3",
    "jdbc",
    "loop",
    "mongodb",
    "mysql",
    "odbc",
    "postgresql",
    "python",
    "redis",
    "remote",
    "remoteSecure",
    "s3",
    "sqlite",
    "url",
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Word,
    Quoted,
    Symbol,
}

/// A token outside brackets. `end` is the byte after it.
#[derive(Debug, Clone, Copy)]
struct Token<'a> {
    kind: Kind,
    text: &'a str,
    start: usize,
    end: usize,
}

impl Token<'_> {
    fn is(&self, keyword: &str) -> bool {
        self.kind == Kind::Word && self.text.eq_ignore_ascii_case(keyword)
    }

    /// A word as written, or a quoted name without its quotes.
    fn name(&self) -> Option<String> {
        match self.kind {
            Kind::Word => Some(self.text.to_owned()),
            Kind::Quoted => Some(self.text.trim_matches(['`', '"', '\'']).to_owned()),
            Kind::Symbol => None,
        }
    }
}

/// Reads the text's clauses. Rows behind an INSERT are not looked at.
pub(crate) fn read(sql: &str) -> Result<Statement, Refused> {
    let mut tokens = Tokens { sql, at: 0 };
    let first = tokens.next_outside().ok_or(Refused::Empty)?;
    if first.is("BACKUP") || first.is("RESTORE") {
        return Err(Refused::Backup);
    }
    if first.is("INSERT") { read_insert(sql, tokens) } else { read_query(tokens, first) }
}

/// Refuses functions that reach outside the data folder, wherever they stand in the text.
pub(crate) fn check_sources(sql: &str) -> Result<(), Refused> {
    let mut tokens = Tokens { sql, at: 0 };
    let mut previous: Option<Token<'_>> = None;
    while let Some(token) = tokens.next_token() {
        let called = previous.filter(|_| token.text == "(").and_then(|function| function.name());
        if let Some(name) = called
            && OUTER_SOURCES.iter().any(|outer| outer.eq_ignore_ascii_case(&name))
        {
            return Err(Refused::Source(name));
        }
        previous = Some(token);
    }
    Ok(())
}

fn read_query(mut tokens: Tokens<'_>, first: Token<'_>) -> Result<Statement, Refused> {
    if first.text == ";" {
        return Err(Refused::Empty);
    }
    let mut format = None;
    let mut before = [None, Some(first)];
    loop {
        let token = tokens.next_outside();
        let ends = token.is_none_or(|token| token.text == ";" || token.is("SETTINGS"));
        if let [Some(keyword), Some(name)] = before
            && ends
            && keyword.is("FORMAT")
        {
            format = format.or(name.name());
        }
        let Some(token) = token else { return Ok(Statement::Query { format }) };
        if let Some(previous) = before[1] {
            if previous.text == ";" && token.text != ";" {
                return Err(Refused::Several);
            }
            if previous.is("INTO") && token.is("OUTFILE") {
                return Err(Refused::LocalFile("INTO OUTFILE"));
            }
        }
        before = [before[1], Some(token)];
    }
}

fn read_insert(sql: &str, mut tokens: Tokens<'_>) -> Result<Statement, Refused> {
    let mut end = sql.len();
    let mut previous: Option<Token<'_>> = None;
    while let Some(token) = tokens.next_outside() {
        // The word after INTO, TABLE, FUNCTION or a dot is a name, whatever it spells.
        let names_target = previous.is_none_or(|before| {
            before.is("INTO") || before.is("TABLE") || before.is("FUNCTION") || before.text == "."
        });
        if !names_target {
            if token.is("SELECT") || token.is("WITH") || token.is("WATCH") || token.is("EXPLAIN") {
                return read_query(tokens, token);
            }
            if previous.is_some_and(|before| before.is("FROM")) && token.is("INFILE") {
                return Err(Refused::LocalFile("FROM INFILE"));
            }
            if token.is("VALUES") {
                let sql = head(sql, token.start);
                return Ok(Statement::Insert { sql, format: Some("Values".to_owned()), rows_at: token.end });
            }
            if token.is("FORMAT") {
                let name = tokens.next_outside();
                let rows_at = name.map_or(token.end, |name| name.end);
                let format = name.and_then(|name| name.name());
                return Ok(Statement::Insert { sql: head(sql, token.start), format, rows_at });
            }
            if token.text == ";" {
                end = token.start;
                break;
            }
        }
        previous = Some(token);
    }
    Ok(Statement::Insert { sql: head(sql, end), format: None, rows_at: sql.len() })
}

/// The text up to `end`, closed by a line break so that a trailing `--` comment ends.
fn head(sql: &str, end: usize) -> String {
    format!("{}\n", sql[..end].trim_end())
}

struct Tokens<'a> {
    sql: &'a str,
    at: usize,
}

impl<'a> Tokens<'a> {
    /// The next token that is in no bracket.
    fn next_outside(&mut self) -> Option<Token<'a>> {
        let mut depth = 0_usize;
        while let Some(token) = self.next_token() {
            match (token.kind, token.text) {
                (Kind::Symbol, "(" | "[" | "{") => depth += 1,
                (Kind::Symbol, ")" | "]" | "}") => depth = depth.saturating_sub(1),
                _ if depth == 0 => return Some(token),
                _ => {}
            }
        }
        None
    }

    fn next_token(&mut self) -> Option<Token<'a>> {
        self.skip_blank();
        let start = self.at;
        let rest = &self.sql[start..];
        let first = rest.chars().next()?;
        let (kind, length) = if matches!(first, '\'' | '"' | '`') {
            (Kind::Quoted, quoted_length(rest, first))
        } else if is_word(first) {
            (Kind::Word, rest.find(|c| !is_word(c)).unwrap_or(rest.len()))
        } else {
            (Kind::Symbol, first.len_utf8())
        };
        self.at = start + length;
        Some(Token { kind, text: &rest[..length], start, end: self.at })
    }

    fn skip_blank(&mut self) {
        loop {
            let rest = &self.sql[self.at..];
            let trimmed = rest.trim_start();
            let blank = rest.len() - trimmed.len();
            let comment = if trimmed.starts_with("--") || trimmed.starts_with("#!") {
                trimmed.find('\n').unwrap_or(trimmed.len())
            } else if trimmed.starts_with("/*") {
                trimmed.find("*/").map_or(trimmed.len(), |end| end + 2)
            } else {
                0
            };
            self.at += blank + comment;
            if comment == 0 {
                return;
            }
        }
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Bytes from an opening quote to after its closing one; a doubled or escaped quote is inside.
fn quoted_length(text: &str, quote: char) -> usize {
    let mut characters = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = characters.next() {
        if c == '\\' {
            characters.next();
        } else if c == quote {
            if characters.peek().is_some_and(|(_, next)| *next == quote) {
                characters.next();
            } else {
                return at + quote.len_utf8();
            }
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn insert(sql: &str, format: Option<&str>, rows: &str, text: &str) -> Statement {
        let rows_at = text.len() - rows.len();
        Statement::Insert { sql: format!("{sql}\n"), format: format.map(str::to_owned), rows_at }
    }

    #[test]
    fn queries_name_their_format() {
        for (sql, format) in [
            ("SELECT 1", None),
            ("SELECT 1 FORMAT JSON", Some("JSON")),
            ("select 1 format `CSV`;", Some("CSV")),
            ("SELECT 1 FORMAT JSON SETTINGS max_threads = 1", Some("JSON")),
            ("SELECT ' FORMAT JSON'", None),
            ("SELECT 1 -- FORMAT JSON", None),
            ("SELECT format('{}', 1) /* FORMAT X */ AS x", None),
            ("INSERT INTO t SELECT 1", None),
            ("INSERT INTO t (a, values) WITH 1 AS x SELECT x", None),
            ("CREATE TABLE t (format String) ENGINE = Memory", None),
        ] {
            let format = format.map(str::to_owned);
            assert_eq!(read(sql), Ok(Statement::Query { format }), "{sql}");
        }
    }

    #[test]
    fn inserts_end_where_their_rows_begin() {
        for (text, sql, format, rows) in [
            ("INSERT INTO t FORMAT RowBinary", "INSERT INTO t", Some("RowBinary"), ""),
            ("INSERT INTO t(`a`,`b`) FORMAT CSV\n1,2", "INSERT INTO t(`a`,`b`)", Some("CSV"), "\n1,2"),
            ("INSERT INTO t VALUES (1, 'x')", "INSERT INTO t", Some("Values"), " (1, 'x')"),
            ("insert into values values(1)", "insert into values", Some("Values"), "(1)"),
            ("INSERT INTO d.format FORMAT TSV", "INSERT INTO d.format", Some("TSV"), ""),
            ("INSERT INTO t (a) SETTINGS x=1 FORMAT TSV", "INSERT INTO t (a) SETTINGS x=1", Some("TSV"), ""),
            ("INSERT INTO t (a, b)", "INSERT INTO t (a, b)", None, ""),
            ("INSERT INTO t", "INSERT INTO t", None, ""),
            ("/* x */ INSERT INTO `a b` FORMAT TSV", "/* x */ INSERT INTO `a b`", Some("TSV"), ""),
        ] {
            assert_eq!(read(text), Ok(insert(sql, format, rows, text)), "{text}");
        }
    }

    #[test]
    fn what_a_server_does_not_do_is_refused() {
        assert_eq!(read(" -- nothing\n"), Err(Refused::Empty));
        assert_eq!(read("SELECT 1; DROP TABLE t"), Err(Refused::Several));
        assert_eq!(read("SELECT 1 INTO OUTFILE '/x'"), Err(Refused::LocalFile("INTO OUTFILE")));
        assert_eq!(read("INSERT INTO t FROM INFILE '/x' FORMAT CSV"), Err(Refused::LocalFile("FROM INFILE")));
        assert_eq!(
            check_sources("SELECT * FROM (SELECT * FROM File ('/etc/passwd'))"),
            Err(Refused::Source("File".to_owned()))
        );
        assert_eq!(check_sources("SELECT file FROM numbers(3)"), Ok(()));
        assert_eq!(read("SELECT ';'; -- end"), Ok(Statement::Query { format: None }));
    }
}
