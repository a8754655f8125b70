//! How fast a device is.

use serde::Serialize;

use crate::weights::StoredType;

/// Speed of a device, in operations and bytes per second.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Speed {
    /// Name of the device.
    pub name: String,
    /// Operations per second of products in bf16 and f16 with sums in float32.
    pub products: f64,
    /// Operations per second of products in float32.
    pub wide_products: f64,
    /// Operations per second of products of eight-bit floats with sums in float32; 0 if it has none.
    pub fp8_products: f64,
    /// Operations per second of products of eight-bit integers; 0 if it has none.
    pub int8_products: f64,
    /// Bytes per second of its memory.
    pub memory: f64,
    /// Bytes per second between it and host memory.
    pub link: f64,
    /// Fraction of `products` and `wide_products` that large products reach.
    pub reached_products: f64,
    /// Fraction of `memory` that is reached.
    pub reached_memory: f64,
    /// Fraction of `link` that is reached.
    pub reached_link: f64,
}

impl Speed {
    /// Operations per second of products of eight-bit numbers of a type; 0 if it has none.
    pub(super) fn eight_bits(&self, stored: StoredType) -> f64 {
        match stored {
            StoredType::F8E4M3 => self.fp8_products,
            StoredType::I8 => self.int8_products,
            _ => 0.0,
        }
    }
}
