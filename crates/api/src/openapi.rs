//! The document that describes the API (OpenAPI 3.1), made from the same table as the routes.
//!
//! Made by our own builder and not by `utoipa` or `aide`: schemas come from the types of `uso-queue`, which
//! derive schemars', not utoipa's, and each refusal's codes, headers, links and the security of either mode of access are
//! checked against a running fleet; with either crate we would still write all of that, and the crate's calls too.

pub(crate) mod operation;
pub(crate) mod parts;
pub(crate) mod routes;
pub(crate) mod schema;
pub(crate) mod streams;
