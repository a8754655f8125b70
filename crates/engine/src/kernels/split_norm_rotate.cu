// Splits a projection into queries, keys and values; norms queries and keys (RMS norm of each head) and rotates them by
// their positions: the form that attention reads. Rounds once, at the end.
//
// Launch: a warp for each token and head, eight in a block (x); y is the part: 0 for queries, 1 for keys, 2 for values.

namespace split {

constexpr int PAIRS = 4;  // of a thread: heads have at most 256 values

template <class Element>
struct Arguments {
  const typename Element::Stored* qkv;  // tokens rows, each of 3 * heads * size values at its start
  const typename Element::Stored* scale;  // of this part's norm: (size)
  const float* cosines;  // (all tokens, size / 2)
  const float* sines;
  typename Element::Stored* out;  // (3, heads, all tokens, size)
  int tokens, stride, heads, size, first, all;
  float epsilon;
};

template <class Element>
DEVICE void run(const Arguments<Element>& of) {
  const int number = blockIdx.x * 8 + threadIdx.x / 32, lane = threadIdx.x % 32, part = blockIdx.y;
  if (number >= of.tokens * of.heads) return;
  const int token = number / of.heads, head = number % of.heads, pairs = of.size / 2;
  const u64 from = u64(token) * of.stride + u64(part * of.heads + head) * of.size;
  const u64 row = of.first + token;
  const u64 to = (u64(part * of.heads + head) * of.all + row) * of.size;
  float first[PAIRS], second[PAIRS], squares = 0;
  UNROLL for (int i = 0; i < PAIRS; i++) {
    const int pair = lane + i * 32;
    first[i] = second[i] = 0;
    if (pair < pairs) {
      Pair<Element> read = pair_at<Element>(of.qkv, from + 2 * pair);
      first[i] = Element::load(read.first);
      second[i] = Element::load(read.second);
    }
    squares += first[i] * first[i] + second[i] * second[i];
  }
  const float factor = 1 / sqrtf(warp_sum(squares) / of.size + of.epsilon);
  UNROLL for (int i = 0; i < PAIRS; i++) {
    const int pair = lane + i * 32;
    if (pair >= pairs) continue;
    if (part == 2) {
      store_pair<Element>(of.out, to + 2 * pair, first[i], second[i]);
      continue;
    }
    Pair<Element> scale = pair_at<Element>(of.scale, 2 * pair);
    const float a = first[i] * factor * Element::load(scale.first);
    const float b = second[i] * factor * Element::load(scale.second);
    const float cosine = of.cosines[row * pairs + pair], sine = of.sines[row * pairs + pair];
    store_pair<Element>(of.out, to + 2 * pair, a * cosine - b * sine, a * sine + b * cosine);
  }
}

}  // namespace split

// first: the place of this projection's tokens among all.
#define SPLIT_NORM_ROTATE(name, Element)                                                                        \
  KERNEL(256)                                                                                                   \
  split_norm_rotate_##name(const Element::Stored* qkv, const Element::Stored* query_scale,                      \
                           const Element::Stored* key_scale, const float* cosines, const float* sines,          \
                           Element::Stored* out, int tokens, int stride, int heads, int size, int first,        \
                           int all, float epsilon) {                                                            \
    const Element::Stored* scale = blockIdx.y == 0 ? query_scale : key_scale;                                   \
    split::run<Element>({qkv, scale, cosines, sines, out, tokens, stride, heads, size, first, all, epsilon});   \
  }

SPLIT_NORM_ROTATE(bf16, Bf16)
SPLIT_NORM_ROTATE(f16, F16)
SPLIT_NORM_ROTATE(f32, F32)
