//! How much of a prompt was used, as it is recorded and logged.

use uso_queue::{JobId, PromptTokens, TokenCount};

/// The engine's count as receipts have it.
pub(crate) fn recorded(counted: uso_engine::PromptTokens) -> PromptTokens {
    let count = |count: uso_engine::TokenCount| TokenCount { tokens: count.tokens, cut: count.cut };
    PromptTokens { t5: count(counted.t5), clip: count(counted.clip) }
}

/// Says it in the log, where a prompt itself never stands.
pub(crate) fn log(job: &JobId, PromptTokens { t5, clip }: PromptTokens) {
    let (t5_tokens, t5_cut, clip_tokens, clip_cut) = (t5.tokens, t5.cut, clip.tokens, clip.cut);
    if t5.cut > 0 {
        tracing::info!(
            job.id = %job, t5_tokens, t5_cut, clip_tokens, clip_cut,
            "the prompt has {t5_tokens} T5 tokens; the last {t5_cut} were not used"
        );
    } else {
        tracing::debug!(job.id = %job, t5_tokens, t5_cut, clip_tokens, clip_cut, "the prompt fits T5");
    }
}
