//! Where the parts of a model are, and how they are stored.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use crate::Error;
use crate::matrix::Tier;

/// How large matrices are stored in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Keep {
    /// Quantised numbers as in their file, all others in the compute type.
    AsStored,
    /// In a tier. A matrix that is quantised in its file stays as it is, unless the tier is the compute type.
    Tier(#[serde(serialize_with = "as_text")] Tier),
}

fn as_text<S: serde::Serializer>(value: &impl fmt::Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

/// Where T5's weights are, and where it computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum T5Place {
    /// On the device.
    Device,
    /// In host memory, computed by the processor.
    Host,
    /// In host memory in q8_0, computed by the processor.
    HostQ8,
    /// In host memory, copied to the device block by block for each prompt.
    Streamed,
}

impl T5Place {
    /// All places.
    pub const ALL: [Self; 4] = [Self::Device, Self::Host, Self::HostQ8, Self::Streamed];

    /// Whether the processor computes T5.
    pub(crate) const fn is_host(self) -> bool {
        matches!(self, Self::Host | Self::HostQ8)
    }
}

impl fmt::Display for T5Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Device => "device",
            Self::Host => "host",
            Self::HostQ8 => "host-q8_0",
            Self::Streamed => "streamed",
        })
    }
}

impl FromStr for T5Place {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        Self::ALL.into_iter().find(|place| place.to_string() == name).ok_or_else(|| Error::Request {
            parameter: "t5",
            reason: format!("{name:?} is not one of {}", Self::ALL.map(|place| place.to_string()).join(", ")),
        })
    }
}

/// Device or host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// On the device.
    Device,
    /// In host memory.
    Host,
}

/// Where the transformer's blocks are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Blocks {
    /// All on the device.
    Resident,
    /// In host memory. Each block is copied ahead of its turn into one of two slots.
    Streamed,
}

/// Where all parts are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Placement {
    /// How the matrices of the transformer's blocks are stored.
    pub keep: Keep,
    /// Where the blocks are.
    pub blocks: Blocks,
    /// Where T5 is.
    pub t5: T5Place,
    /// Where CLIP, SigLIP and the style projector are. From the host they are copied to the device for each use.
    pub encoders: Place,
    /// Where the autoencoder keeps whole feature maps. Its weights are on the device.
    pub maps: Place,
    /// Where the weights for a job's modulations are. From the host they are streamed for each job.
    pub modulations: Place,
}

impl Default for Placement {
    /// Everything on the device, stored as in the files.
    fn default() -> Self {
        Self {
            keep: Keep::AsStored,
            blocks: Blocks::Resident,
            t5: T5Place::Device,
            encoders: Place::Device,
            maps: Place::Device,
            modulations: Place::Device,
        }
    }
}

impl Placement {
    /// Describes the blocks as resident or `streamed`, and names the parts that are not on the device.
    pub(crate) fn describe(&self, tier: &str) -> String {
        let mut text = tier.to_owned();
        if self.blocks == Blocks::Streamed {
            text.push_str(" streamed");
        }
        text.push_str(match self.t5 {
            T5Place::Device => ", T5 on the device",
            T5Place::Host => ", T5 on the host",
            T5Place::HostQ8 => ", T5 on the host in q8_0",
            T5Place::Streamed => ", T5 streamed",
        });
        if self.encoders == Place::Host {
            text.push_str(", CLIP and SigLIP on the host");
        }
        if self.maps == Place::Host {
            text.push_str(", autoencoder's maps on the host");
        }
        text
    }

    /// Where the weights for modulations are, to follow [`Placement::describe`] where two placements differ only there.
    pub(crate) const fn describe_modulations(&self) -> &'static str {
        match self.modulations {
            Place::Device => ", modulations on the device",
            Place::Host => ", modulations on the host",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_as_it_is_written() {
        for place in T5Place::ALL {
            assert_eq!(place.to_string().parse::<T5Place>().unwrap(), place);
        }
        let error = "gpu".parse::<T5Place>().unwrap_err().to_string();
        assert_eq!(error, "t5: \"gpu\" is not one of device, host, host-q8_0, streamed");
    }

    #[test]
    fn a_placement_is_said_in_a_line() {
        let placement = Placement {
            keep: Keep::Tier(Tier::Q8_0),
            blocks: Blocks::Streamed,
            t5: T5Place::HostQ8,
            encoders: Place::Host,
            ..Placement::default()
        };
        assert_eq!(
            placement.describe("q8_0"),
            "q8_0 streamed, T5 on the host in q8_0, CLIP and SigLIP on the host"
        );
        let json = serde_json::to_value(placement).unwrap();
        assert_eq!(json["keep"], serde_json::json!({"tier": "q8_0"}));
    }
}
