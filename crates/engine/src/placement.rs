//! Where the parts of a model may lie and how they may be kept.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use crate::Error;
use crate::matrix::Tier;

/// How large matrices are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Keep {
    /// Quantised numbers as their file has them, all others in the compute type.
    AsStored,
    /// In a tier. What is quantised in its file stays so, unless the tier is the compute type.
    Tier(#[serde(serialize_with = "as_text")] Tier),
}

fn as_text<S: serde::Serializer>(value: &impl fmt::Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

/// Where T5 is, and where it computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum T5Place {
    /// On the device.
    Device,
    /// In the host's memory, computed by the processor.
    Host,
    /// The same in q8_0.
    HostQ8,
    /// In the host's memory, brought to the device block by block for each prompt.
    Streamed,
}

impl T5Place {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Device, Self::Host, Self::HostQ8, Self::Streamed];

    /// Whether the processor computes it.
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
            reason: format!("{name:?} is none of {}", Self::ALL.map(|place| place.to_string()).join(", ")),
        })
    }
}

/// Where a part is that is on the device or on the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// On the device.
    Device,
    /// In the host's memory.
    Host,
}

/// Where the transformer's blocks are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Blocks {
    /// All on the device.
    Resident,
    /// In the host's memory, from where each is copied ahead of its turn into one of two slots.
    Streamed,
}

/// Where everything is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Placement {
    /// How the matrices of the transformer's blocks are kept.
    pub keep: Keep,
    /// Where the blocks are.
    pub blocks: Blocks,
    /// Where T5 is.
    pub t5: T5Place,
    /// Where CLIP, SigLIP and the style projector are. From the host they are brought to the device for each use.
    pub encoders: Place,
    /// Where the autoencoder keeps whole maps. Its weights are on the device.
    pub maps: Place,
    /// Where the weights are that make a job's modulations. From the host they are streamed for each job.
    pub modulations: Place,
}

impl Default for Placement {
    /// Numbers as their files have them, all on the device.
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
    /// What is said of the blocks: `resident` or `streamed`, and what is not on the device.
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
        assert_eq!(error, "t5: \"gpu\" is none of device, host, host-q8_0, streamed");
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
