//! The document that describes the API (OpenAPI 3.1), made from the same table as the routes.
//!
//! We use neither `utoipa` nor `aide`. The schemas come from types of `uso-queue` that derive schemars' `JsonSchema`, which
//! `utoipa` cannot use. Codes and headers of refusals, links between operations and the security of each mode of access are
//! checked against a running fleet (`ops/test-api.sh`); with `aide` we would still write all of them by hand.

pub(crate) mod operation;
pub(crate) mod parts;
pub(crate) mod routes;
pub(crate) mod schema;
pub(crate) mod streams;
