//! The OpenAPI document, generated from the handlers. `schemas/openapi.json` is a copy of it
//! that a test holds current.

use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::{Modify, OpenApi};

use crate::problem::{FieldError, ProblemBody};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Weir",
        description = "Usage in, quotas, usage and invoices out. Decimals are texts, times are RFC 3339 in UTC, errors are `application/problem+json`.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    components(schemas(ProblemBody, FieldError)),
    security(("api_key" = [])),
    modifiers(&BearerKey)
)]
pub(crate) struct Document;

struct BearerKey;

impl Modify for BearerKey {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let components = document.components.get_or_insert_with(Default::default);
        components.add_security_scheme("api_key", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
    }
}

/// The document.
pub fn openapi() -> utoipa::openapi::OpenApi {
    crate::router::documented().split_for_parts().1
}
