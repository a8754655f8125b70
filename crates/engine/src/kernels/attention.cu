// Softmax attention without a mask for heads of 128 values in bf16 or f16, by tensor cores. Scores, softmax and sums
// are in float32. Scores are never written out: each block keeps 128 queries in registers and walks over the keys in
// tiles of 64, with a running maximum and sum of each row ("online softmax": Milakov and Gimelshein 2018; the form of
// FlashAttention-2: Dao 2023).
//
// Launch: a block of 256 threads for each 128 queries (x) and head (y), with 65,536 bytes of shared memory.

namespace attention {

constexpr int THREADS = 256;
constexpr int SIZE = 128;     // values of a head
constexpr int QUERIES = 128;  // of a block: 16 for each warp
constexpr int KEYS = 64;      // of a tile
constexpr int CHUNKS = SIZE / 8;  // of 16 bytes, in a row
constexpr int TILE = KEYS * SIZE * 2;  // bytes

// Where a chunk of a row lies in a tile. Eight rows of one column of chunks lie in different banks.
DEVICE int place(int row, int chunk) { return (row * CHUNKS + (chunk ^ (row & 7))) * 16; }

// Begins to copy rows `first..first + ROWS` into a tile; rows after the last token are zero.
template <int ROWS>
DEVICE void load(u8* tile, const u16* rows, int first, int tokens) {
  UNROLL for (int turn = 0; turn < ROWS * CHUNKS / THREADS; turn++) {
    const int row = (turn * THREADS + threadIdx.x) / CHUNKS, chunk = threadIdx.x % CHUNKS;
    const bool inside = first + row < tokens;
    const u16* from = rows + u64(inside ? first + row : 0) * SIZE + chunk * 8;
    copy_async(tile + place(row, chunk), from, inside);
  }
}

// Scores of a warp's 16 queries with a tile's keys: four values of each 8 keys. A thread holds those of the rows
// lane / 4 and lane / 4 + 8 and of two neighbouring keys.
template <class Element>
DEVICE void scores_of(float (&scores)[KEYS / 8][4], const u32 (&query)[SIZE / 16][4], const u8* keys, int lane) {
  UNROLL for (int n = 0; n < KEYS / 8; n++) UNROLL for (int i = 0; i < 4; i++) scores[n][i] = 0;
  UNROLL for (int k = 0; k < SIZE / 16; k++) UNROLL for (int n = 0; n < KEYS / 16; n++) {
    u32 key[4];
    load_matrices(key, keys + place(n * 16 + lane % 8 + lane / 16 * 8, 2 * k + lane / 8 % 2));
    Element::multiply(scores[2 * n], query[k], key[0], key[1]);
    Element::multiply(scores[2 * n + 1], query[k], key[2], key[3]);
  }
}

// sums += probabilities * values, for a tile.
template <class Element>
DEVICE void add_values(float (&sums)[SIZE / 8][4], const float (&scores)[KEYS / 8][4], const u8* values, int lane) {
  UNROLL for (int k = 0; k < KEYS / 16; k++) {
    const float(&left)[4] = scores[2 * k];
    const float(&right)[4] = scores[2 * k + 1];
    u32 probability[4] = {Element::pack(left[0], left[1]), Element::pack(left[2], left[3]),
                          Element::pack(right[0], right[1]), Element::pack(right[2], right[3])};
    UNROLL for (int n = 0; n < SIZE / 16; n++) {
      u32 value[4];
      load_transposed_matrices(value, values + place(k * 16 + lane % 16, 2 * n + lane / 16));
      Element::multiply(sums[2 * n], probability, value[0], value[1]);
      Element::multiply(sums[2 * n + 1], probability, value[2], value[3]);
    }
  }
}

// Turns a tile's scores into powers of two relative to each row's maximum so far, and adapts what was summed before.
DEVICE void soften(float (&scores)[KEYS / 8][4], float (&sums)[SIZE / 8][4], float (&maximum)[2], float (&total)[2],
                   float scale) {
  UNROLL for (int half = 0; half < 2; half++) {
    float most = maximum[half];
    UNROLL for (int n = 0; n < KEYS / 8; n++) {
      most = fmaxf(most, fmaxf(scores[n][2 * half], scores[n][2 * half + 1]));
    }
    most = fmaxf(most, shuffle_xor(most, 1));
    most = fmaxf(most, shuffle_xor(most, 2));
    float factor = power_of_two((maximum[half] - most) * scale), added = 0;
    maximum[half] = most;
    UNROLL for (int n = 0; n < KEYS / 8; n++) UNROLL for (int i = 2 * half; i < 2 * half + 2; i++) {
      scores[n][i] = power_of_two(fmaf(scores[n][i], scale, -most * scale));
      added += scores[n][i];
    }
    // Each of the four threads of a row sums its own keys until the end.
    total[half] = fmaf(total[half], factor, added);
    UNROLL for (int n = 0; n < SIZE / 8; n++) UNROLL for (int i = 2 * half; i < 2 * half + 2; i++) {
      sums[n][i] *= factor;
    }
  }
}

// Keys after the last token get no weight.
DEVICE void mask(float (&scores)[KEYS / 8][4], int left, int lane) {
  UNROLL for (int n = 0; n < KEYS / 8; n++) UNROLL for (int i = 0; i < 4; i++) {
    if (n * 8 + lane % 4 * 2 + i % 2 >= left) scores[n][i] = negative_infinity();
  }
}

// query, key, value: (heads, tokens, 128). out: (tokens, heads, 128). scale: log2(e) / sqrt(128).
template <class Element>
DEVICE void attend(const u16* query, const u16* key, const u16* value, u16* out, int heads, int tokens, float scale) {
  DYNAMIC_SHARED(shared);
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int head = blockIdx.y, first = blockIdx.x * QUERIES;
  const u64 before = u64(head) * tokens * SIZE;
  // Queries go through the memory of the tiles.
  load<QUERIES>(shared, query + before, first, tokens);
  wait_for_copies();
  sync_threads();
  u32 own[SIZE / 16][4];
  UNROLL for (int k = 0; k < SIZE / 16; k++) {
    load_matrices(own[k], shared + place(warp * 16 + lane % 16, 2 * k + lane / 16));
  }
  sync_threads();

  float sums[SIZE / 8][4], total[2] = {0, 0}, maximum[2] = {negative_infinity(), negative_infinity()};
  UNROLL for (int n = 0; n < SIZE / 8; n++) UNROLL for (int i = 0; i < 4; i++) sums[n][i] = 0;
  load<KEYS>(shared, key + before, 0, tokens);
  load<KEYS>(shared + TILE, value + before, 0, tokens);
  for (int start = 0, turn = 0; start < tokens; start += KEYS, turn ^= 1) {
    u8* tile = shared + turn * 2 * TILE;
    u8* next = shared + (turn ^ 1) * 2 * TILE;
    wait_for_copies();
    // Also: everybody is done with the tile before, which the next one overwrites.
    sync_threads();
    if (start + KEYS < tokens) {
      load<KEYS>(next, key + before, start + KEYS, tokens);
      load<KEYS>(next + TILE, value + before, start + KEYS, tokens);
    }
    float scores[KEYS / 8][4];
    scores_of<Element>(scores, own, tile, lane);
    if (tokens - start < KEYS) mask(scores, tokens - start, lane);
    soften(scores, sums, maximum, total, scale);
    add_values<Element>(sums, scores, tile + TILE, lane);
  }

  UNROLL for (int half = 0; half < 2; half++) {
    total[half] += shuffle_xor(total[half], 1);
    total[half] += shuffle_xor(total[half], 2);
    const int row = first + warp * 16 + lane / 4 + half * 8;
    if (row >= tokens) continue;
    u32* to = reinterpret_cast<u32*>(out + (u64(row) * heads + head) * SIZE);
    UNROLL for (int n = 0; n < SIZE / 8; n++) {
      to[n * 4 + lane % 4] = Element::pack(sums[n][2 * half] / total[half], sums[n][2 * half + 1] / total[half]);
    }
  }
}

}  // namespace attention

KERNEL(256)
attend_bf16(const u16* query, const u16* key, const u16* value, u16* out, int heads, int tokens, float scale) {
  attention::attend<Bf16>(query, key, value, out, heads, tokens, scale);
}

KERNEL(256)
attend_f16(const u16* query, const u16* key, const u16* value, u16* out, int heads, int tokens, float scale) {
  attention::attend<F16>(query, key, value, out, heads, tokens, scale);
}
