//! Shards out: WebDataset files, what describes them, verification, export.
