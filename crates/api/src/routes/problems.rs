//! The page that each problem's `type` leads to: what the kind means. It needs no key and tells
//! nothing about any request.

use axum::http::StatusCode;
use axum::response::Html;

use crate::extract::PathOf;
use crate::problem::{Kind, Problem, ProblemBody};

/// What a problem's `type` means.
#[utoipa::path(
    get, path = "/problems/{name}", tag = "problems", operation_id = "describeProblem", security(()),
    params(("name" = String, Path, description = "What follows `/problems/` in a problem's `type`")),
    responses((status = 200, body = String, content_type = "text/html"), (status = 404, body = ProblemBody, content_type = "application/problem+json"))
)]
pub async fn describe(PathOf(name): PathOf<String>) -> Result<Html<String>, Problem> {
    let kind = Kind::named(&name).ok_or_else(|| Problem::not_found("kind of problem", &name))?;
    Ok(Html(page(kind)))
}

fn page(kind: Kind) -> String {
    let (status, name, title) = kind.facts();
    let advice = match status {
        _ if kind == Kind::IdempotencyInFlight => {
            "Send the same request again after as long as Retry-After says."
        }
        StatusCode::INTERNAL_SERVER_ERROR => "Whoever runs this Weir finds the reason in its log.",
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => {
            "Send the same request again after as long as Retry-After says."
        }
        StatusCode::REQUEST_TIMEOUT => "Send the same request again, faster or in smaller parts.",
        _ => {
            "The same request will be answered the same way; <code>detail</code>, and <code>errors</code> where there are any, say what to change."
        }
    };
    format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{name}</title>\
         <h1>{name}</h1><p>{title}. The answer's status is {status}.</p><p>{advice}</p>\
         <p><a href=\"/docs\">All routes</a></p></html>\n"
    )
}
