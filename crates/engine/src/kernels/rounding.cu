// Rounding of a product's input to eight bits, with what it has to be multiplied by.

namespace rounding {

constexpr int THREADS = 256;
constexpr float MOST_E4M3 = 448, MOST_INT8 = 127;
constexpr float SMALLEST = 1.17549435e-38f;  // of normal numbers

// The larger one; NaN if either is, so that a fault is seen and not rounded away.
DEVICE float larger(float a, float b) { return a != a || a >= b ? a : b; }

// The largest over the threads of a block, in each of them.
DEVICE float block_largest(float value) {
  SHARED(float, values, THREADS / 32);
  for (int mask = 16; mask > 0; mask /= 2) value = larger(value, shuffle_xor(value, mask));
  if (threadIdx.x % 32 == 0) values[threadIdx.x / 32] = value;
  sync_threads();
  float largest = 0;
  for (int warp = 0; warp < THREADS / 32; warp++) largest = larger(largest, values[warp]);
  sync_threads();
  return largest;
}

// Launch: any number of blocks. out: a place for the scale, then the largest size of what each block reads.
template <class Element>
DEVICE void largest(const typename Element::Stored* x, float* out, int count) {
  float most = 0;
  for (u64 i = 2 * (u64(blockIdx.x) * THREADS + threadIdx.x); i < u64(count); i += 2 * u64(gridDim.x) * THREADS) {
    Pair<Element> read = pair_at<Element>(x, i);
    most = larger(most, fabsf(Element::load(read.first)));
    most = larger(most, fabsf(Element::load(read.second)));
  }
  most = block_largest(most);
  if (threadIdx.x == 0) out[1 + blockIdx.x] = most;
}

// The code of the e4m3 number nearest to `x`, the even one of two; numbers beyond 448 become 448.
DEVICE u32 e4m3(float x) {
  const float size = fabsf(x);
  const u32 sign = float_to_bits(x) >> 24 & 0x80;
  if (size != size) return sign | 0x7f;
  // Below the smallest normal number, codes are multiples of 1/512.
  if (size < 1.0f / 64) return sign | u32(rintf(size * 512));
  const u32 bits = float_to_bits(fminf(size, MOST_E4M3));
  // 20 bits of the mantissa fall away; exponents differ by 120.
  return sign | (((bits + 0x7ffff + (bits >> 20 & 1)) >> 20) - (120 << 3));
}

// Launch: a thread for each four values. x, out: count values, four times as many as a whole number. scale: one value.
template <class Element>
DEVICE void round_fp8(const typename Element::Stored* x, const float* scale, u8* out, int count) {
  const u64 i = 4 * (u64(blockIdx.x) * THREADS + threadIdx.x);
  if (i >= u64(count)) return;
  Pair<Element> low = pair_at<Element>(x, i), high = pair_at<Element>(x, i + 2);
  const float by = *scale;
  *reinterpret_cast<u32*>(out + i) = e4m3(Element::load(low.first) / by) | e4m3(Element::load(low.second) / by) << 8 |
                                     e4m3(Element::load(high.first) / by) << 16 |
                                     e4m3(Element::load(high.second) / by) << 24;
}

// Launch: a block for each row. x: (rows, size). out: for each row the scale that makes its largest size 127, or 1 if
// that would be no normal number.
template <class Element>
DEVICE void row_scales(const typename Element::Stored* x, float* out, int size) {
  const u64 row = u64(blockIdx.x) * size;
  float most = 0;
  for (int i = 2 * threadIdx.x; i < size; i += 2 * THREADS) {
    Pair<Element> read = pair_at<Element>(x, row + i);
    most = larger(most, fabsf(Element::load(read.first)));
    most = larger(most, fabsf(Element::load(read.second)));
  }
  most = block_largest(most);
  if (threadIdx.x == 0) out[blockIdx.x] = most < MOST_INT8 * SMALLEST ? 1 : most / MOST_INT8;
}

// The integer nearest to `x`, the even one of two, in the low byte.
DEVICE u32 int8(float x) { return u32(int(rintf(fminf(fmaxf(x, -MOST_INT8), MOST_INT8)))) & 0xff; }

// Launch: blocks of 1024 values (y) of each row (x). x, out: (rows, size), four times as many as a whole number.
// scales: (rows).
template <class Element>
DEVICE void round_int8(const typename Element::Stored* x, const float* scales, u8* out, int size) {
  const int i = 4 * (blockIdx.y * THREADS + threadIdx.x);
  if (i >= size) return;
  const u64 at = u64(blockIdx.x) * size + i;
  Pair<Element> low = pair_at<Element>(x, at), high = pair_at<Element>(x, at + 2);
  const float by = scales[blockIdx.x];
  *reinterpret_cast<u32*>(out + at) = int8(Element::load(low.first) / by) | int8(Element::load(low.second) / by) << 8 |
                                      int8(Element::load(high.first) / by) << 16 |
                                      int8(Element::load(high.second) / by) << 24;
}

// GELU in its tanh form.
DEVICE float gelu(float x) { return 0.5f * x * (1 + tanhf(0.7978845608f * (x + 0.044715f * x * x * x))); }

// Launch: blocks of 512 values (y) of each row (x). sums, out: (rows, size). row_scales: (rows). column_scales: (size).
// added: (size) with step 0, or (rows, size) with step size. activate: 1 for GELU at the end.
template <class Element>
DEVICE void scale_sums(const int* sums, const float* row_scales, const float* column_scales,
                       const typename Element::Stored* added, typename Element::Stored* out, int size, int step,
                       int activate) {
  const int i = 2 * (blockIdx.y * THREADS + threadIdx.x);
  if (i >= size) return;
  const u64 at = u64(blockIdx.x) * size + i;
  const float by = row_scales[blockIdx.x];
  Pair<Element> more = pair_at<Element>(added, u64(blockIdx.x) * step + i);
  float first = fmaf(float(sums[at]), by * column_scales[i], Element::load(more.first));
  float second = fmaf(float(sums[at + 1]), by * column_scales[i + 1], Element::load(more.second));
  store_pair<Element>(out, at, activate ? gelu(first) : first, activate ? gelu(second) : second);
}

}  // namespace rounding

// Launch: one block. out: what `largest` has written for `parts` blocks; its first place gets the scale that makes the
// largest of them 448, or 1 if the scale would be no normal number.
KERNEL(256)
fp8_scale_f32(float* out, int parts) {
  float most = 0;
  for (int i = threadIdx.x; i < parts; i += rounding::THREADS) most = rounding::larger(most, out[1 + i]);
  most = rounding::block_largest(most);
  if (threadIdx.x == 0) out[0] = most < rounding::MOST_E4M3 * rounding::SMALLEST ? 1 : most / rounding::MOST_E4M3;
}

#define ROUNDING(name, Element)                                                        \
  KERNEL(256)                                                                          \
  largest_##name(const Element::Stored* x, float* out, int count) {                    \
    rounding::largest<Element>(x, out, count);                                         \
  }                                                                                    \
  KERNEL(256)                                                                          \
  round_fp8_##name(const Element::Stored* x, const float* scale, u8* out, int count) { \
    rounding::round_fp8<Element>(x, scale, out, count);                                \
  }                                                                                    \
  KERNEL(256)                                                                          \
  row_scales_##name(const Element::Stored* x, float* out, int size) {                  \
    rounding::row_scales<Element>(x, out, size);                                       \
  }                                                                                    \
  KERNEL(256)                                                                          \
  round_int8_##name(const Element::Stored* x, const float* scales, u8* out, int size) { \
    rounding::round_int8<Element>(x, scales, out, size);                               \
  }                                                                                    \
  KERNEL(256)                                                                          \
  scale_sums_##name(const int* sums, const float* row_scales, const float* column_scales, \
                    const Element::Stored* added, Element::Stored* out, int size, int step, int activate) { \
    rounding::scale_sums<Element>(sums, row_scales, column_scales, added, out, size, step, activate); \
  }

ROUNDING(bf16, Bf16)
ROUNDING(f16, F16)
ROUNDING(f32, F32)
