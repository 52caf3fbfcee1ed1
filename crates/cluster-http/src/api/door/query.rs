//! Parameters of the query, as any API reads them.

/// Decoded names and values, in order.
pub(in crate::api) type Pairs = Vec<(String, String)>;

/// Decodes a query; malformed pairs are dropped, as the reference does.
pub(in crate::api) fn parse(query: &str) -> Pairs {
    cluster_types::pin_query::parse_query(query)
}

/// The first value of a name, or the empty text.
pub(in crate::api) fn first<'a>(pairs: &'a Pairs, name: &str) -> &'a str {
    pairs.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
}
