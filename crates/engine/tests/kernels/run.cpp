// Runs a kernel on the host:
//   run late|early KERNEL GRID_X GRID_Y THREADS SHARED_BYTES ARGUMENT...
// An argument is a number or, for a pointer, a file: inputs are read, outputs read and written back. Behind each
// tensor lies a page that nobody may touch.

#include "host.h"

#include "elements.cuh"

#include "attention.cu"
#include "attention_f32.cu"
#include "group_norm.cu"
#include "modulation.cu"
#include "rounding.cu"
#include "split_norm_rotate.cu"

#include <fstream>
#include <iterator>
#include <map>
#include <string>
#include <sys/mman.h>
#include <tuple>
#include <type_traits>
#include <unistd.h>

// A file in memory that ends where an untouchable page begins.
struct Mapped {
  std::string file;
  u8* values;
  size_t bytes;

  explicit Mapped(const std::string& name) : file(name) {
    std::ifstream stream(name, std::ios::binary);
    const std::vector<char> read((std::istreambuf_iterator<char>(stream)), std::istreambuf_iterator<char>());
    if (read.empty()) {
      fprintf(stderr, "%s is missing or empty\n", name.c_str());
      exit(2);
    }
    const size_t page = sysconf(_SC_PAGESIZE);
    bytes = read.size();
    const size_t room = (bytes + page - 1) / page * page;
    void* memory = mmap(nullptr, room + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED || mprotect(static_cast<u8*>(memory) + room, page, PROT_NONE) != 0) {
      perror("memory");
      exit(2);
    }
    // Copies of 16 bytes want their alignment.
    values = static_cast<u8*>(memory) + (room - bytes) / 16 * 16;
    memcpy(values, read.data(), bytes);
  }

  void write() const {
    std::ofstream stream(file, std::ios::binary);
    stream.write(reinterpret_cast<const char*>(values), std::streamsize(bytes));
    stream.close();
    if (!stream) {
      fprintf(stderr, "cannot write %s\n", file.c_str());
      exit(2);
    }
  }
};

static std::vector<Mapped> outputs;

template <class T>
static T argument(const std::string& text) {
  if constexpr (std::is_pointer_v<T>) {
    Mapped mapped(text);
    if (!std::is_const_v<std::remove_pointer_t<T>>) outputs.push_back(mapped);
    return reinterpret_cast<T>(mapped.values);
  } else if constexpr (std::is_floating_point_v<T>) {
    return std::stof(text);
  } else {
    return std::stoi(text);
  }
}

using Launch = std::function<void(Index, unsigned, unsigned, const std::vector<std::string>&)>;

template <class... A, size_t... I>
static Launch with_arguments(void (*kernel)(A...), std::index_sequence<I...>) {
  return [kernel](Index grid, unsigned threads, unsigned shared, const std::vector<std::string>& texts) {
    if (texts.size() != sizeof...(A)) {
      fprintf(stderr, "%zu arguments instead of %zu\n", texts.size(), sizeof...(A));
      exit(2);
    }
    const std::tuple<A...> arguments{argument<A>(texts[I])...};
    host::launch(grid, threads, shared, [&] { std::apply(kernel, arguments); });
  };
}

template <class... A>
static Launch taking(void (*kernel)(A...)) {
  return with_arguments(kernel, std::index_sequence_for<A...>());
}

int main(int count, char** words) {
#define THREE(name) {#name "_bf16", taking(name##_bf16)}, {#name "_f16", taking(name##_f16)}, {#name "_f32", taking(name##_f32)}
  const std::map<std::string, Launch> kernels = {
      THREE(attend), THREE(split_norm_rotate), THREE(modulated_norm), THREE(gated_add),
      {"group_moments_f32", taking(group_moments_f32)},
      {"group_norm_f32", taking(group_norm_f32)},
      THREE(largest), THREE(round_fp8), THREE(row_scales), THREE(round_int8), THREE(scale_sums),
      {"fp8_scale_f32", taking(fp8_scale_f32)},
  };
  const std::vector<std::string> arguments(words + 1, words + count);
  if (arguments.size() < 6 || kernels.count(arguments[1]) == 0) {
    fprintf(stderr, "no such kernel, or too few arguments\n");
    return 2;
  }
  host::LATE = arguments[0] == "late";
  const auto number = [&](int i) { return unsigned(std::stoul(arguments[i])); };
  kernels.at(arguments[1])({number(2), number(3), 1}, number(4), number(5), {arguments.begin() + 6, arguments.end()});
  for (const Mapped& output : outputs) output.write();
}
