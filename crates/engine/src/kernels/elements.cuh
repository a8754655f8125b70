// The types of values that kernels read and write. They compute in float32.

struct F32 {
  typedef float Stored;
  DEVICE float load(Stored x) { return x; }
  DEVICE Stored store(float x) { return x; }
};

struct Bf16 {
  typedef u16 Stored;
  DEVICE float load(Stored x) { return bf16_to_float(x); }
  DEVICE Stored store(float x) { return float_to_bf16(x); }
  DEVICE u32 pack(float low, float high) { return pack_bf16(low, high); }
  DEVICE void multiply(float (&sum)[4], const u32 (&a)[4], u32 b0, u32 b1) { multiply_bf16(sum, a, b0, b1); }
};

struct F16 {
  typedef u16 Stored;
  DEVICE float load(Stored x) { return f16_to_float(x); }
  DEVICE Stored store(float x) { return float_to_f16(x); }
  DEVICE u32 pack(float low, float high) { return pack_f16(low, high); }
  DEVICE void multiply(float (&sum)[4], const u32 (&a)[4], u32 b0, u32 b1) { multiply_f16(sum, a, b0, b1); }
};

// Two neighbours, read and written at once.
template <class Element>
struct alignas(2 * sizeof(typename Element::Stored)) Pair {
  typename Element::Stored first, second;
};

template <class Element>
DEVICE Pair<Element> pair_at(const typename Element::Stored* values, u64 at) {
  return *reinterpret_cast<const Pair<Element>*>(values + at);
}

template <class Element>
DEVICE void store_pair(typename Element::Stored* values, u64 at, float first, float second) {
  *reinterpret_cast<Pair<Element>*>(values + at) = {Element::store(first), Element::store(second)};
}

// The sum over the threads of a warp, in each of them.
DEVICE float warp_sum(float value) {
  for (int mask = 16; mask > 0; mask /= 2) value += shuffle_xor(value, mask);
  return value;
}

// The sum over the threads of a block, in each of them.
template <int THREADS>
DEVICE float block_sum(float value) {
  SHARED(float, sums, THREADS / 32);
  value = warp_sum(value);
  if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = value;
  sync_threads();
  float sum = 0;
  for (int warp = 0; warp < THREADS / 32; warp++) sum += sums[warp];
  // The next sum may be written only when everybody has read this one.
  sync_threads();
  return sum;
}
