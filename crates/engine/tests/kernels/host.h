// A GPU's blocks and threads on a processor, so that the very source of the kernels can be run and compared here.
//
// The threads of a block are fibers of one thread of the system. Each runs until it meets others: at a barrier of the
// block, or where a warp works together. A block in which threads wait for others that never come ends the program.
// Names are those of src/kernels/device.cuh.
//
// `LATE` decides what hardware leaves open, to be run both ways: threads run in rising order and copies into shared
// memory happen when they are waited for, or threads run in falling order and copies happen at once. Shared memory
// begins as NaN.

#pragma once

#include <csetjmp>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <ucontext.h>
#include <vector>

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

#define KERNEL(threads) extern "C" void
#define DEVICE static inline
#define SHARED(type, name, count) static type name[count]
#define DYNAMIC_SHARED(name) u8* name = host::shared
#define UNROLL

struct Index {
  unsigned x, y, z;
};
static Index threadIdx, blockIdx, blockDim, gridDim;

namespace host {

static bool LATE = true;
static u8* shared;

[[noreturn]] static void fail(const char* reason) {
  fprintf(stderr, "block %u, %u, thread %u: %s\n", blockIdx.x, blockIdx.y, threadIdx.x, reason);
  exit(1);
}

constexpr int WARP = 32;
constexpr size_t STACK = 256 << 10;

struct Copy {
  u8* to;
  const void* from;  // null: zeros
};

struct Fiber {
  jmp_buf at;
  ucontext_t first;
  std::vector<u8> stack;
  std::vector<Copy> copies;
  bool started, ended;
};

// Where a number of threads meet. What they bring lies in one of two tables, because the fastest may already be at the
// next meeting while the slowest reads.
struct Meeting {
  int arrived = 0;
  unsigned round = 0;
  const char* purpose = nullptr;
  u8 brought[2][WARP][32];
};

static std::vector<Fiber> fibers;
static std::vector<Meeting> warps;
static Meeting block;
static jmp_buf scheduler;
static u64 progress;

static void pause() {
  if (_setjmp(fibers[threadIdx.x].at) == 0) _longjmp(scheduler, 1);
}

static void meet(Meeting& meeting, int count, const char* purpose) {
  if (meeting.arrived > 0 && strcmp(meeting.purpose, purpose) != 0) fail("threads meet for different purposes");
  meeting.purpose = purpose;
  progress++;
  const unsigned round = meeting.round;
  if (++meeting.arrived == count) {
    meeting.arrived = 0;
    meeting.round++;
  }
  while (meeting.round == round) pause();
}

// What each thread of the warp has brought.
template <class T>
static const T* together(const T& own, const char* purpose, T (&all)[WARP]) {
  static_assert(sizeof(T) <= sizeof(Meeting::brought[0][0]), "a thread brings at most 32 bytes");
  Meeting& warp = warps[threadIdx.x / WARP];
  auto& table = warp.brought[warp.round % 2];
  memcpy(table[threadIdx.x % WARP], &own, sizeof(T));
  meet(warp, WARP, purpose);
  for (int lane = 0; lane < WARP; lane++) memcpy(&all[lane], table[lane], sizeof(T));
  return all;
}

static std::function<void()> kernel;

static void begin() {
  kernel();
  fibers[threadIdx.x].ended = true;
  progress++;
  _longjmp(scheduler, 1);
}

// Runs a thread until it has to wait.
static void resume(unsigned thread) {
  Fiber& fiber = fibers[thread];
  threadIdx = {thread, 0, 0};
  if (_setjmp(scheduler) != 0) return;
  if (fiber.started) _longjmp(fiber.at, 1);
  fiber.started = true;
  setcontext(&fiber.first);
}

static void run_block() {
  const unsigned count = blockDim.x;
  warps.assign(count / WARP, Meeting());
  block = Meeting();
  for (Fiber& fiber : fibers) {
    fiber.started = fiber.ended = false;
    fiber.copies.clear();
    getcontext(&fiber.first);
    fiber.first.uc_stack.ss_sp = fiber.stack.data();
    fiber.first.uc_stack.ss_size = fiber.stack.size();
    fiber.first.uc_link = nullptr;
    makecontext(&fiber.first, begin, 0);
  }
  for (bool running = true; running;) {
    const u64 before = progress;
    running = false;
    for (unsigned i = 0; i < count; i++) {
      const unsigned thread = LATE ? i : count - 1 - i;
      if (fibers[thread].ended) continue;
      resume(thread);
      running |= !fibers[thread].ended;
    }
    if (running && progress == before) fail("threads wait for others that never come");
  }
}

static void launch(Index grid, unsigned threads, unsigned shared_bytes, std::function<void()> run) {
  if (threads % WARP != 0) fail("a block has whole warps");
  gridDim = grid;
  blockDim = {threads, 1, 1};
  kernel = std::move(run);
  fibers = std::vector<Fiber>(threads);
  for (Fiber& fiber : fibers) fiber.stack.resize(STACK);
  std::vector<u8> memory(shared_bytes + 128);
  shared = memory.data() + (128 - uintptr_t(memory.data()) % 128);
  for (blockIdx.y = 0; blockIdx.y < grid.y; blockIdx.y++) {
    for (blockIdx.x = 0; blockIdx.x < grid.x; blockIdx.x++) {
      memset(shared, 0xff, shared_bytes);
      run_block();
    }
  }
}

static float from_bits(u32 bits) {
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

static u32 to_bits(float x) {
  u32 bits;
  memcpy(&bits, &x, sizeof bits);
  return bits;
}

// The part of a 16 x 8 product that a thread holds, from what all threads of the warp bring.
struct Operands {
  u32 a[4], b[2];
};

static void multiply(float (&sum)[4], const u32 (&a)[4], u32 b0, u32 b1, float (*to_float)(u16)) {
  Operands all[WARP];
  together<Operands>({{a[0], a[1], a[2], a[3]}, {b0, b1}}, "a product", all);
  const int lane = threadIdx.x % WARP;
  for (int i = 0; i < 4; i++) {
    const int row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
    for (int k = 0; k < 16; k++) {
      const u32 left = all[row % 8 * 4 + k % 8 / 2].a[row / 8 + k / 8 * 2];
      const u32 right = all[column * 4 + k % 8 / 2].b[k / 8];
      sum[i] += to_float(u16(left >> k % 2 * 16)) * to_float(u16(right >> k % 2 * 16));
    }
  }
}

static void load_matrices(u32 (&to)[4], const u8* row, bool transposed) {
  const u8* rows[WARP];
  if (uintptr_t(row) % 16 != 0) fail("a row of a matrix must lie at a multiple of 16 bytes");
  together(row, transposed ? "transposed matrices" : "matrices", rows);
  const int lane = threadIdx.x % WARP;
  for (int i = 0; i < 4; i++) {
    u16 pair[2];
    for (int j = 0; j < 2; j++) {
      const int from = transposed ? lane % 4 * 2 + j : lane / 4, column = transposed ? lane / 4 : lane % 4 * 2 + j;
      memcpy(&pair[j], rows[i * 8 + from] + column * 2, 2);
    }
    to[i] = pair[0] | u32(pair[1]) << 16;
  }
}

static void copy(const Copy& copy) {
  if (copy.from) memcpy(copy.to, copy.from, 16);
  else memset(copy.to, 0, 16);
}

}  // namespace host

DEVICE float negative_infinity() { return -INFINITY; }
DEVICE void sync_threads() { host::meet(host::block, blockDim.x, "a barrier"); }
DEVICE float power_of_two(float x) { return exp2f(x); }

DEVICE float shuffle_xor(float value, int mask) {
  float all[host::WARP];
  return host::together(value, "a shuffle", all)[threadIdx.x % host::WARP ^ mask];
}

DEVICE u32 float_to_bits(float x) { return host::to_bits(x); }

DEVICE float bf16_to_float(u16 x) { return host::from_bits(u32(x) << 16); }

// To the nearest, ties to even.
DEVICE u16 float_to_bf16(float x) {
  const u32 bits = host::to_bits(x);
  if (x != x) return 0x7fff;
  return u16((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

DEVICE float f16_to_float(u16 x) {
  const int exponent = x >> 10 & 31, fraction = x & 1023;
  const float sign = x >> 15 ? -1 : 1;
  if (exponent == 31) return fraction ? NAN : sign * INFINITY;
  return sign * (exponent ? ldexpf(1024 + fraction, exponent - 25) : ldexpf(fraction, -24));
}

DEVICE u16 float_to_f16(float x) {
  const u16 sign = u16(host::to_bits(x) >> 16 & 0x8000);
  if (x != x) return 0x7fff;
  const float size = fabsf(x);
  if (size == 0) return sign;
  if (size >= 65520) return sign | 0x7c00;
  int exponent;
  frexpf(size, &exponent);
  // The step of f16 at this size; rintf rounds ties to even.
  const int step = exponent < -13 ? -24 : exponent - 11;
  const int steps = int(rintf(ldexpf(size, -step)));
  return sign | u16(step == -24 ? steps : ((step + 24) << 10) + steps);
}

DEVICE u32 pack_bf16(float low, float high) { return float_to_bf16(low) | u32(float_to_bf16(high)) << 16; }
DEVICE u32 pack_f16(float low, float high) { return float_to_f16(low) | u32(float_to_f16(high)) << 16; }

DEVICE void multiply_bf16(float (&sum)[4], const u32 (&a)[4], u32 b0, u32 b1) {
  host::multiply(sum, a, b0, b1, bf16_to_float);
}
DEVICE void multiply_f16(float (&sum)[4], const u32 (&a)[4], u32 b0, u32 b1) {
  host::multiply(sum, a, b0, b1, f16_to_float);
}
DEVICE void load_matrices(u32 (&to)[4], const u8* row) { host::load_matrices(to, row, false); }
DEVICE void load_transposed_matrices(u32 (&to)[4], const u8* row) { host::load_matrices(to, row, true); }

DEVICE void copy_async(u8* to, const void* from, bool inside) {
  if (uintptr_t(to) % 16 != 0 || uintptr_t(from) % 16 != 0) host::fail("a copy must lie at multiples of 16 bytes");
  const host::Copy copy = {to, inside ? from : nullptr};
  if (host::LATE) host::fibers[threadIdx.x].copies.push_back(copy);
  else host::copy(copy);
}

DEVICE void wait_for_copies() {
  for (const host::Copy& copy : host::fibers[threadIdx.x].copies) host::copy(copy);
  host::fibers[threadIdx.x].copies.clear();
}
