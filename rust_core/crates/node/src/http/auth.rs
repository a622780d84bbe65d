//! Bearer tokens (RFC 6750).

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use subtle::ConstantTimeEq;

use super::App;
use super::reply::Problem;

/// The token that clients must show. Not printable: it must not reach a log.
#[derive(Clone)]
pub struct Token(Arc<str>);

impl Token {
    /// This token.
    pub fn new(token: &str) -> Token {
        Token(token.into())
    }

    /// Whether an `Authorization` header shows it; takes the same time wherever the first difference is.
    fn is_shown_by(&self, header: Option<&HeaderValue>) -> bool {
        let Some((scheme, shown)) = header.and_then(|value| value.to_str().ok()?.split_once(' ')) else {
            return false;
        };
        scheme.eq_ignore_ascii_case("bearer") && bool::from(shown.trim().as_bytes().ct_eq(self.0.as_bytes()))
    }
}

/// Lets a request through if it shows the token, or none is asked for.
pub async fn require_token(State(app): State<App>, request: Request, next: Next) -> Response {
    let shown = request.headers().get(header::AUTHORIZATION);
    if app.token.as_ref().is_some_and(|token| !token.is_shown_by(shown)) {
        let message =
            "expected the header `Authorization: Bearer TOKEN` with this cluster's token".to_owned();
        let mut response = Problem::none(StatusCode::UNAUTHORIZED, "unauthorized", message).reply(&app);
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        return response;
    }
    next.run(request).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_token_passes() {
        let token = Token::new("secret");
        let shown = |text: &str| token.is_shown_by(Some(&HeaderValue::from_str(text).unwrap()));
        assert!(shown("Bearer secret") && shown("bearer secret"));
        for wrong in ["secret", "Bearer secre", "Bearer secrets", "Bearer ", "Basic secret", "Bearer Secret"]
        {
            assert!(!shown(wrong), "{wrong}");
        }
        assert!(!token.is_shown_by(None));
    }
}
