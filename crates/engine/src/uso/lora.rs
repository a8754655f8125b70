//! The USO LoRA, merged into the transformer's weights while they load.
//!
//! The reference keeps the two low-rank products apart and adds them in every step; merged, they
//! cost nothing. Key names follow the reference's attention processors: in a double block `..1`
//! belongs to the image stream and `..2` to the text stream.

use candle_core::{DType, Device, Result, Shape, Tensor, bail};
use candle_nn::VarBuilder;
use candle_nn::var_builder::SimpleBackend;

use crate::config::LoraConfig;
use crate::weights::Weights;

/// A builder over `base` whose attention weights carry the deltas of `lora`.
pub fn merged(
    base: &Weights,
    lora: &Weights,
    config: &LoraConfig,
    dtype: DType,
    device: &Device,
) -> VarBuilder<'static> {
    let merged = Merged { base: base.clone(), lora: lora.clone(), config: config.clone() };
    VarBuilder::from_backend(Box::new(merged), dtype, device.clone())
}

struct Merged {
    base: Weights,
    lora: Weights,
    config: LoraConfig,
}

impl SimpleBackend for Merged {
    fn get(
        &self,
        shape: Shape,
        name: &str,
        init: candle_nn::Init,
        dtype: DType,
        device: &Device,
    ) -> Result<Tensor> {
        let Some(processor) = processor_of(name) else {
            return self.base.get(shape, name, init, dtype, device);
        };
        // The sum is formed in float32: a half-precision sum would lose most of a small delta.
        let weight = self.base.get(shape, name, init, DType::F32, device)?;
        let delta = self.delta(&processor, &weight, device).map_err(|error| {
            candle_core::Error::Msg(format!("in {}: {error}", self.lora.file().display()))
        })?;
        (weight + delta)?.to_dtype(dtype)
    }

    fn get_unchecked(&self, name: &str, dtype: DType, device: &Device) -> Result<Tensor> {
        self.base.get_unchecked(name, dtype, device)
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.base.contains_tensor(name)
    }
}

impl Merged {
    /// `scale * up @ down`, with rows of zeros below where the weight has more rows than `up`.
    fn delta(&self, processor: &str, weight: &Tensor, device: &Device) -> Result<Tensor> {
        let (rows, columns) = weight.dims2()?;
        let part = |side: &str| -> Result<(String, Tensor)> {
            let name = format!("{processor}.{side}.weight");
            let tensor = self.lora.tensor(&name, DType::F32, device)?;
            if tensor.rank() != 2 {
                bail!("tensor {name} has shape {:?}, a matrix was expected", tensor.dims());
            }
            Ok((name, tensor))
        };
        let ((down_name, down), (up_name, up)) = (part("down")?, part("up")?);
        let (rank, down_columns) = down.dims2()?;
        if down_columns != columns {
            bail!("tensor {down_name} has shape {:?}, the layer asks for [{rank}, {columns}]", down.dims());
        }
        let fused = processor.ends_with("qkv_lora");
        let (up_rows, up_rank) = up.dims2()?;
        let expected_rows = if fused { 3 * columns } else { rows };
        if up_rank != rank || up_rows != expected_rows {
            bail!("tensor {up_name} has shape {:?}, the layer asks for [{expected_rows}, {rank}]", up.dims());
        }
        let alpha = self.config.network_alpha.map_or(1.0, |alpha| alpha / rank as f64);
        let delta = (up.matmul(&down)? * (alpha * self.config.lora_weight))?;
        delta.pad_with_zeros(0, 0, rows - up_rows)
    }
}

/// The LoRA processor that changes a weight of the transformer, if one does.
fn processor_of(weight: &str) -> Option<String> {
    let (block, layer) = weight.strip_suffix(".weight").and_then(|name| {
        let (kind, rest) = name.split_once('.')?;
        let (index, layer) = rest.split_once('.')?;
        Some((format!("{kind}.{index}.processor"), (kind == "double_blocks", layer)))
    })?;
    let processor = match layer {
        (true, "img_attn.qkv") => "qkv_lora1",
        (true, "img_attn.proj") => "proj_lora1",
        (true, "txt_attn.qkv") => "qkv_lora2",
        (true, "txt_attn.proj") => "proj_lora2",
        // `linear1` fuses qkv with the first feed-forward layer; the delta covers only its qkv rows.
        (false, "linear1") => "qkv_lora",
        (false, "linear2") => "proj_lora",
        _ => return None,
    };
    Some(format!("{block}.{processor}"))
}

#[cfg(test)]
mod tests {
    use super::processor_of;

    #[test]
    fn each_attention_weight_has_its_processor() {
        let pairs = [
            ("double_blocks.7.img_attn.qkv.weight", Some("double_blocks.7.processor.qkv_lora1")),
            ("double_blocks.7.txt_attn.proj.weight", Some("double_blocks.7.processor.proj_lora2")),
            ("single_blocks.37.linear1.weight", Some("single_blocks.37.processor.qkv_lora")),
            ("single_blocks.37.linear2.weight", Some("single_blocks.37.processor.proj_lora")),
            ("double_blocks.7.img_attn.qkv.bias", None),
            ("double_blocks.7.img_mlp.0.weight", None),
            ("single_blocks.0.modulation.lin.weight", None),
            ("final_layer.linear.weight", None),
            ("img_in.weight", None),
        ];
        for (weight, processor) in pairs {
            assert_eq!(processor_of(weight).as_deref(), processor, "{weight}");
        }
    }
}
