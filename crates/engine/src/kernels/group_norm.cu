// Group norm of the autoencoder, in float32: the moments of each row and group of a map, and the norm as a factor and
// an offset for each channel.

// Launch: a block for each group of each row. values: (rows * groups, size), the values of a group side by side.
// out: (2, rows * groups), means, then variances.
KERNEL(256)
group_moments_f32(const float* values, float* out, int size) {
  const float* own = values + u64(blockIdx.x) * size;
  float sum = 0, squares = 0;
  for (int i = threadIdx.x; i < size; i += 256) sum += own[i];
  const float mean = block_sum<256>(sum) / size;
  for (int i = threadIdx.x; i < size; i += 256) {
    const float deviation = own[i] - mean;
    squares += deviation * deviation;
  }
  squares = block_sum<256>(squares);
  if (threadIdx.x == 0) {
    out[blockIdx.x] = mean;
    out[gridDim.x + blockIdx.x] = squares / size;
  }
}

// Launch: a block for each channel of each row. x, out: (rows, channels, columns). factors, offsets: (channels).
// activate: 1 for SiLU after the norm.
KERNEL(128)
group_norm_f32(const float* x, const float* factors, const float* offsets, float* out, int channels, int columns,
               int activate) {
  const u64 start = u64(blockIdx.x) * columns;
  const float factor = factors[blockIdx.x % channels], offset = offsets[blockIdx.x % channels];
  for (int i = threadIdx.x; i < columns; i += 128) {
    float y = fmaf(x[start + i], factor, offset);
    if (activate) y = y / (1 + expf(-y));
    out[start + i] = y;
  }
}
