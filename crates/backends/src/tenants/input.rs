//! Rules for what people give a tenant: names, domains, addresses. Pure; a rule that is
//! broken becomes words, never an error of the store.

use super::error::FieldProblem;

/// The longest name, in characters.
pub const NAME_CHARS_MAX: usize = 200;
/// The longest domain, as DNS has it.
pub const DOMAIN_BYTES_MAX: usize = 253;
/// The longest mail address, as SMTP has it.
pub const EMAIL_BYTES_MAX: usize = 254;

/// Collects what is wrong with the members of one request.
#[derive(Debug, Default)]
pub struct Problems(Vec<FieldProblem>);

impl Problems {
    /// Notes a problem.
    pub fn add(&mut self, pointer: &str, detail: impl Into<String>) {
        self.0.push(FieldProblem::new(pointer, detail));
    }

    /// Checks the name for people.
    pub fn check_name(&mut self, pointer: &str, name: &str) {
        if name.trim().is_empty() {
            self.add(pointer, "is empty; give a name that people know it by");
        } else if name.chars().count() > NAME_CHARS_MAX || name.chars().any(char::is_control) {
            self.add(
                pointer,
                format!("must have at most {NAME_CHARS_MAX} characters, none a control character"),
            );
        }
    }

    /// Checks a domain name.
    pub fn check_domain(&mut self, pointer: &str, domain: &str) {
        if !is_domain(domain) {
            self.add(pointer, "is not a domain name such as acme.example.com");
        }
    }

    /// Checks a mail address.
    pub fn check_email(&mut self, pointer: &str, address: &str) {
        let fits = address.len() <= EMAIL_BYTES_MAX
            && !address.chars().any(|c| c.is_control() || c.is_whitespace())
            && address.rsplit_once('@').is_some_and(|(local, domain)| {
                (1..=64).contains(&local.len()) && !local.contains('@') && is_domain(domain)
            });
        if !fits {
            self.add(pointer, "is not a mail address such as billing@acme.example.com");
        }
    }

    /// What was found.
    pub fn into_inner(self) -> Vec<FieldProblem> {
        self.0
    }
}

/// Two or more labels of letters, digits and inner hyphens (international names in their
/// `xn--` form).
fn is_domain(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= DOMAIN_BYTES_MAX && text.contains('.') && text.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_and_addresses() {
        for (text, fits) in [
            ("acme.example.com", true),
            ("xn--bcher-kva.example", true),
            ("localhost", false),
            ("-a.example", false),
            ("a..b", false),
            ("a b.example", false),
            ("", false),
        ] {
            assert_eq!(is_domain(text), fits, "{text}");
        }
        for (text, fits) in [
            ("ops@acme.example", true),
            ("a+b@acme.example", true),
            ("ops@acme", false),
            ("@acme.example", false),
            ("a@b@acme.example", false),
            ("a b@acme.example", false),
            ("ops", false),
        ] {
            let mut problems = Problems::default();
            problems.check_email("/adminEmail", text);
            assert_eq!(problems.into_inner().is_empty(), fits, "{text}");
        }
    }
}
