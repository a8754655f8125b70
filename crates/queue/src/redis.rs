//! How this process speaks to Redis: commands to the primary that has their keys, and functions by name.

mod address;
mod cluster;
mod connection;
mod durability;
mod link;
pub(crate) mod migrate;
mod node;
mod open;
mod refusal;
mod sentinel;
mod slots;
mod wake;

pub(crate) use connection::Connection;
pub use durability::Durability;
pub use migrate::LAYOUT;
pub use wake::Wakeups;
