//! What browsers may do from pages of other origins.

use super::answer::{self, Answer};
use super::config::{ApiConfig, Kind};
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode};

const TRUE: HeaderValue = HeaderValue::from_static("true");
const STAR: HeaderValue = HeaderValue::from_static("*");

/// The rules, as the reference reads them from its configuration.
pub(super) struct Cors {
    origins: Vec<String>,
    all_origins: bool,
    methods: Vec<String>,
    headers: Vec<String>,
    all_headers: bool,
    exposed: Option<HeaderValue>,
    credentials: bool,
    max_age_secs: i64,
}

impl Cors {
    pub(super) fn new<K: Kind>(config: &ApiConfig<K>) -> Self {
        let or = |given: &[String], default: &[&str]| -> Vec<String> {
            if given.is_empty() { default.iter().map(|t| (*t).to_owned()).collect() } else { given.to_vec() }
        };
        let lower = |list: Vec<String>| -> Vec<String> { list.iter().map(|t| t.to_lowercase()).collect() };
        let origins = &config.cors_allowed_origins;
        let headers = lower(or(&config.cors_allowed_headers, &["accept", "content-type", "x-requested-with"]));
        Self {
            all_origins: origins.is_empty() || origins.iter().any(|o| o == "*"),
            origins: lower(origins.clone()),
            methods: or(&config.cors_allowed_methods, &["GET", "POST", "HEAD"]),
            all_headers: headers.iter().any(|h| h == "*"),
            headers,
            exposed: (!config.cors_exposed_headers.is_empty())
                .then(|| HeaderValue::try_from(config.cors_exposed_headers.join(", ")).ok())
                .flatten(),
            credentials: config.cors_allow_credentials,
            max_age_secs: config.cors_max_age.0 / 1_000_000_000,
        }
    }

    /// The answer to a browser that asks beforehand; `None` for any other request.
    pub(super) fn preflight(&self, method: &Method, headers: &HeaderMap) -> Option<Answer> {
        let wanted = headers.get(ACCESS_CONTROL_REQUEST_METHOD).filter(|v| !v.is_empty())?;
        if method != Method::OPTIONS {
            return None;
        }
        let mut response = answer::bare(StatusCode::NO_CONTENT);
        let out = response.headers_mut();
        let vary = "Origin, Access-Control-Request-Method, Access-Control-Request-Headers";
        out.insert(VARY, HeaderValue::from_static(vary));
        let asked = headers.get(ACCESS_CONTROL_REQUEST_HEADERS);
        let allowed = self.allows_method(wanted) && asked.is_none_or(|list| self.allows_headers(list));
        let Some(origin) = headers.get(ORIGIN).filter(|o| allowed && self.allows_origin(o)) else {
            return Some(response);
        };
        out.insert(ACCESS_CONTROL_ALLOW_ORIGIN, self.origin_for(origin));
        out.insert(ACCESS_CONTROL_ALLOW_METHODS, wanted.clone());
        if let Some(list) = asked {
            out.insert(ACCESS_CONTROL_ALLOW_HEADERS, list.clone());
        }
        if self.credentials {
            out.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, TRUE);
        }
        if self.max_age_secs > 0 {
            out.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from(self.max_age_secs));
        }
        Some(response)
    }

    /// The headers of an ordinary answer.
    pub(super) fn decorate(&self, method: &Method, origin: Option<&HeaderValue>, out: &mut HeaderMap) {
        out.append(VARY, HeaderValue::from_static("Origin"));
        let method_allowed = *method == Method::OPTIONS || self.methods.iter().any(|m| m == method.as_str());
        let Some(origin) = origin.filter(|o| method_allowed && self.allows_origin(o)) else { return };
        out.insert(ACCESS_CONTROL_ALLOW_ORIGIN, self.origin_for(origin));
        if let Some(exposed) = &self.exposed {
            out.insert(ACCESS_CONTROL_EXPOSE_HEADERS, exposed.clone());
        }
        if self.credentials {
            out.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, TRUE);
        }
    }

    fn origin_for(&self, origin: &HeaderValue) -> HeaderValue {
        if self.all_origins { STAR } else { origin.clone() }
    }

    fn allows_method(&self, method: &HeaderValue) -> bool {
        method == "OPTIONS" || self.methods.iter().any(|m| method == m.as_str())
    }

    /// The list must be as browsers send it: lower case, sorted, separated by commas.
    fn allows_headers(&self, list: &HeaderValue) -> bool {
        let Ok(text) = list.to_str() else { return false };
        let names: Vec<&str> = text.split(',').map(str::trim).filter(|n| !n.is_empty()).collect();
        self.all_headers || (names.is_sorted() && names.iter().all(|n| self.headers.iter().any(|h| h == n)))
    }

    fn allows_origin(&self, origin: &HeaderValue) -> bool {
        let Ok(origin) = origin.to_str() else { return false };
        let origin = origin.to_lowercase();
        self.all_origins || self.origins.iter().any(|allowed| matches_origin(allowed, &origin))
    }
}

/// An allowed origin may have one `*`, which stands for anything, nothing included.
fn matches_origin(allowed: &str, origin: &str) -> bool {
    match allowed.split_once('*') {
        None => allowed == origin,
        Some((head, tail)) => {
            origin.len() >= head.len() + tail.len() && origin.starts_with(head) && origin.ends_with(tail)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::restapi::RestApiConfig;

    #[test]
    fn the_default_opens_get_to_every_page() {
        let cors = Cors::new(&RestApiConfig::default());
        let origin = HeaderValue::from_static("http://page.example");
        let (mut get, mut post) = (HeaderMap::new(), HeaderMap::new());

        cors.decorate(&Method::GET, Some(&origin), &mut get);
        cors.decorate(&Method::POST, Some(&origin), &mut post);

        assert_eq!(get.get(ACCESS_CONTROL_ALLOW_ORIGIN), Some(&STAR));
        assert_eq!(get.get(ACCESS_CONTROL_ALLOW_CREDENTIALS), Some(&TRUE));
        assert_eq!(post.get(ACCESS_CONTROL_ALLOW_ORIGIN), None);
        assert_eq!(post.get(VARY), Some(&HeaderValue::from_static("Origin")));
    }

    #[test]
    fn one_star_stands_for_anything() {
        assert!(matches_origin("http://*.example.com", "http://a.example.com"));
        assert!(matches_origin("http://*.example.com", "http://.example.com"));
        assert!(!matches_origin("http://*.example.com", "http://example.com"));
        assert!(!matches_origin("ab*ba", "aba"));
    }
}
