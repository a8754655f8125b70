// Softmax attention without a mask for heads of 128 values in float32, without tensor cores. As attention.cu, with 64
// queries in a block.
//
// Launch: a block of 256 threads for each 64 queries (x) and head (y), with 82,432 bytes of shared memory.

namespace attention_f32 {

constexpr int SIZE = 128;  // values of a head
constexpr int SIDE = 16;   // threads across: each has 4 rows and every 16th column
constexpr int ROWS = 64;   // queries of a block, and keys of a tile
constexpr int OWN = ROWS / SIDE;
// One more than the columns: threads that read different rows use different banks.
constexpr int TILE_STRIDE = SIZE + 1, SCORE_STRIDE = ROWS + 1;

// Rows after the last token are zero.
DEVICE void load(float* tile, int stride, const float* rows, int first, int tokens) {
  for (int i = threadIdx.x; i < ROWS * SIZE; i += SIDE * SIDE) {
    int row = i / SIZE, column = i % SIZE;
    tile[row * stride + column] = first + row < tokens ? rows[u64(first + row) * SIZE + column] : 0;
  }
}

// The sum or the maximum over the 16 threads of a row.
template <bool IS_SUM>
DEVICE float over_row(float value) {
  for (int mask = SIDE / 2; mask > 0; mask /= 2) {
    float other = shuffle_xor(value, mask);
    value = IS_SUM ? value + other : fmaxf(value, other);
  }
  return value;
}

struct Rows {
  float maximum[OWN], total[OWN], sums[OWN][SIZE / SIDE];
};

// The scores of a tile's keys, as powers of two relative to each row's maximum so far.
DEVICE void probabilities(float* scores, Rows& rows, const float* queries, const float* keys, int left, float scale) {
  const int x = threadIdx.x % SIDE, y = threadIdx.x / SIDE;
  float own[OWN][OWN] = {};
  for (int k = 0; k < SIZE; k++) {
    UNROLL for (int i = 0; i < OWN; i++) UNROLL for (int j = 0; j < OWN; j++) {
      own[i][j] = fmaf(queries[(y * OWN + i) * SIZE + k], keys[(x + j * SIDE) * TILE_STRIDE + k], own[i][j]);
    }
  }
  UNROLL for (int i = 0; i < OWN; i++) {
    float most = rows.maximum[i];
    UNROLL for (int j = 0; j < OWN; j++) {
      if (x + j * SIDE >= left) own[i][j] = negative_infinity();
      most = fmaxf(most, own[i][j]);
    }
    most = over_row<false>(most);
    float factor = power_of_two((rows.maximum[i] - most) * scale), added = 0;
    rows.maximum[i] = most;
    UNROLL for (int j = 0; j < OWN; j++) {
      float probability = power_of_two((own[i][j] - most) * scale);
      added += probability;
      scores[(y * OWN + i) * SCORE_STRIDE + x + j * SIDE] = probability;
    }
    rows.total[i] = fmaf(rows.total[i], factor, over_row<true>(added));
    UNROLL for (int j = 0; j < SIZE / SIDE; j++) rows.sums[i][j] *= factor;
  }
}

DEVICE void add_values(Rows& rows, const float* scores, const float* values) {
  const int x = threadIdx.x % SIDE, y = threadIdx.x / SIDE;
  for (int k = 0; k < ROWS; k++) {
    UNROLL for (int i = 0; i < OWN; i++) UNROLL for (int j = 0; j < SIZE / SIDE; j++) {
      float& sum = rows.sums[i][j];
      sum = fmaf(scores[(y * OWN + i) * SCORE_STRIDE + k], values[k * TILE_STRIDE + x + j * SIDE], sum);
    }
  }
}

// query, key, value: (heads, tokens, 128). out: (tokens, heads, 128). scale: log2(e) / sqrt(128).
DEVICE void attend(const float* query, const float* key, const float* value, float* out, int heads, int tokens,
                   float scale) {
  DYNAMIC_SHARED(shared);
  float* queries = reinterpret_cast<float*>(shared);
  float* tile = queries + ROWS * SIZE;
  float* scores = tile + ROWS * TILE_STRIDE;
  const int x = threadIdx.x % SIDE, y = threadIdx.x / SIDE;
  const int head = blockIdx.y, first = blockIdx.x * ROWS;
  const u64 before = u64(head) * tokens * SIZE;
  load(queries, SIZE, query + before, first, tokens);
  Rows rows = {};
  UNROLL for (int i = 0; i < OWN; i++) rows.maximum[i] = negative_infinity();
  for (int start = 0; start < tokens; start += ROWS) {
    load(tile, TILE_STRIDE, key + before, start, tokens);
    sync_threads();
    probabilities(scores, rows, queries, tile, tokens - start, scale);
    sync_threads();
    // Values take the place of the keys.
    load(tile, TILE_STRIDE, value + before, start, tokens);
    sync_threads();
    add_values(rows, scores, tile);
    sync_threads();
  }
  UNROLL for (int i = 0; i < OWN; i++) {
    const int row = first + y * OWN + i;
    if (row >= tokens) continue;
    UNROLL for (int j = 0; j < SIZE / SIDE; j++) {
      out[(u64(row) * heads + head) * SIZE + x + j * SIDE] = rows.sums[i][j] / rows.total[i];
    }
  }
}

}  // namespace attention_f32

KERNEL(256)
attend_f32(const float* query, const float* key, const float* value, float* out, int heads, int tokens, float scale) {
  attention_f32::attend(query, key, value, out, heads, tokens, scale);
}
