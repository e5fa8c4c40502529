//! Where a webhook may go: http or https, no user information, and no address of a private
//! or local network unless the settings allow it. Names are looked up by the sender when it
//! connects; here only what the URL itself says is judged.

use std::net::IpAddr;

use axum::http::Uri;
use weir_backends::private_address::is_private;

/// The longest URL.
const URL_BYTES_MAX: usize = 2_048;

/// Says what is wrong with a webhook's URL.
pub fn check(url: &str, allow_private: bool) -> Result<(), String> {
    if url.len() > URL_BYTES_MAX {
        return Err(format!("has more than {URL_BYTES_MAX} bytes"));
    }
    let not_a_url = || "is not a URL such as https://hooks.example.com/weir".to_owned();
    let uri: Uri = url.parse().map_err(|_| not_a_url())?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err("must begin with https:// or http://".to_owned());
    }
    let authority = uri.authority().ok_or_else(not_a_url)?;
    if authority.as_str().contains('@') {
        return Err("must not hold a user name or password".to_owned());
    }
    let host = authority.host().trim_start_matches('[').trim_end_matches(']').trim_end_matches('.');
    if host.is_empty() {
        return Err(not_a_url());
    }
    if !allow_private && is_private_host(host) {
        return Err(format!("leads to {host}, an address of a private or local network"));
    }
    Ok(())
}

fn is_private_host(host: &str) -> bool {
    if let Ok(address) = host.parse::<IpAddr>() {
        return is_private(address);
    }
    // Spellings of addresses that only some resolvers read: 127.1, 0x7f000001, 2130706433.
    let last = host.rsplit('.').next().unwrap_or(host);
    let numeric = last.starts_with(|c: char| c.is_ascii_digit());
    let host = host.to_ascii_lowercase();
    let local = ["localhost", "local", "internal", "home.arpa"];
    numeric
        || !host.contains('.')
        || local.iter().any(|name| host == *name || host.ends_with(&format!(".{name}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (url, fits) in [
            ("https://hooks.example.com/weir?x=1", true),
            ("http://8.8.8.8:8080/", true),
            ("https://[2606:4700::1111]/", true),
            ("ftp://hooks.example.com/", false),
            ("https://user:secret@hooks.example.com/", false),
            ("hooks.example.com", false),
            ("http://127.0.0.1/", false),
            ("http://127.1/", false),
            ("http://0x7f000001/", false),
            ("http://2130706433/", false),
            ("http://localhost/", false),
            ("http://LOCALHOST./", false),
            ("http://db.internal/", false),
            ("http://10.1.2.3/", false),
            ("http://169.254.169.254/latest", false),
            ("http://100.64.0.1/", false),
            ("http://[::1]/", false),
            ("http://[::ffff:10.0.0.1]/", false),
            ("http://[fd00::1]/", false),
            ("http://0.0.0.0/", false),
        ] {
            assert_eq!(check(url, false).is_ok(), fits, "{url}");
        }
        assert!(check("http://127.0.0.1:9000/hook", true).is_ok());
    }
}
