// Modulated layer norm and gated sum. Both round once, at the end.

namespace modulation {

constexpr int THREADS = 256;

// Launch: a block for each row. x, out: (rows, size). weight, bias: (size). The variance is the mean square of
// deviations from the mean, in a pass of its own: a difference of large numbers would lose digits.
template <class Element>
DEVICE void norm(const typename Element::Stored* x, const typename Element::Stored* weight,
                 const typename Element::Stored* bias, typename Element::Stored* out, int size, float epsilon) {
  const u64 row = u64(blockIdx.x) * size;
  float sum = 0, squares = 0;
  for (int i = 2 * threadIdx.x; i < size; i += 2 * THREADS) {
    Pair<Element> read = pair_at<Element>(x, row + i);
    sum += Element::load(read.first) + Element::load(read.second);
  }
  const float mean = block_sum<THREADS>(sum) / size;
  for (int i = 2 * threadIdx.x; i < size; i += 2 * THREADS) {
    Pair<Element> read = pair_at<Element>(x, row + i);
    const float a = Element::load(read.first) - mean, b = Element::load(read.second) - mean;
    squares += a * a + b * b;
  }
  const float factor = 1 / sqrtf(block_sum<THREADS>(squares) / size + epsilon);
  for (int i = 2 * threadIdx.x; i < size; i += 2 * THREADS) {
    Pair<Element> read = pair_at<Element>(x, row + i), w = pair_at<Element>(weight, i), b = pair_at<Element>(bias, i);
    store_pair<Element>(
        out, row + i,
        fmaf((Element::load(read.first) - mean) * factor, Element::load(w.first), Element::load(b.first)),
        fmaf((Element::load(read.second) - mean) * factor, Element::load(w.second), Element::load(b.second)));
  }
}

// Launch: blocks of 512 values (y) of each row (x). x, y, out: (rows, size). gate: (size).
template <class Element>
DEVICE void gated_add(const typename Element::Stored* x, const typename Element::Stored* gate,
                      const typename Element::Stored* y, typename Element::Stored* out, int size) {
  const int i = 2 * (blockIdx.y * THREADS + threadIdx.x);
  if (i >= size) return;
  const u64 at = u64(blockIdx.x) * size + i;
  Pair<Element> a = pair_at<Element>(x, at), b = pair_at<Element>(y, at), g = pair_at<Element>(gate, i);
  store_pair<Element>(out, at, fmaf(Element::load(g.first), Element::load(b.first), Element::load(a.first)),
                      fmaf(Element::load(g.second), Element::load(b.second), Element::load(a.second)));
}

}  // namespace modulation

#define MODULATION(name, Element)                                                                           \
  KERNEL(256)                                                                                               \
  modulated_norm_##name(const Element::Stored* x, const Element::Stored* weight, const Element::Stored* bias, \
                        Element::Stored* out, int size, float epsilon) {                                    \
    modulation::norm<Element>(x, weight, bias, out, size, epsilon);                                         \
  }                                                                                                         \
  KERNEL(256)                                                                                               \
  gated_add_##name(const Element::Stored* x, const Element::Stored* gate, const Element::Stored* y,         \
                   Element::Stored* out, int size) {                                                        \
    modulation::gated_add<Element>(x, gate, y, out, size);                                                  \
  }

MODULATION(bf16, Bf16)
MODULATION(f16, F16)
MODULATION(f32, F32)
