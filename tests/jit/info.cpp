// What a device tells about itself, and the program that prints it.
#include <array>
#include <catch2/catch.hpp>
#include <cstdio>
#include <cstdlib>

#include "fluxion/backend.h"
#include "fluxion/cache.h"
#include "inputs.h"

namespace fx = fluxion;
using Catch::Matchers::Contains;

namespace {
std::string output_of(const std::string& command, int& status) {
  std::string text;
  FILE* pipe = ::popen(command.c_str(), "r");
  REQUIRE(pipe);
  std::array<char, 4096> block;
  for (std::size_t n; (n = std::fread(block.data(), 1, block.size(), pipe)) > 0;) text.append(block.data(), n);
  status = ::pclose(pipe);
  return text;
}
}  // namespace

TEST_CASE("every device tells its memory and the CPU its features", "[jit][info]") {
  for (const fx::Device& d : fx::Device::list()) {
    INFO(d.name());
    CHECK(d.memory() > std::uint64_t{64} << 20);
    CHECK_FALSE(d.features().empty());
  }
  const auto features = fx::Device::cpu().features();
  CHECK(std::find(features.begin(), features.end(), "sse2") != features.end());
  CHECK(fx::Device::list().size() <= fx::Device::names().size());
}

TEST_CASE("fluxion-info prints devices and cache and environment", "[jit][info]") {
  int status = -1;
  const std::string text = output_of("FLUXION_INFO_TEST=seen '" FLUXION_INFO "' 2>&1", status);
  INFO(text);
  CHECK(status == 0);
  for (const fx::Device& d : fx::Device::list()) CHECK_THAT(text, Contains("\n" + d.name()));
  for (const char* word : {"processor", "threads", "memory", "features", "best", "sse2", "FLUXION_INFO_TEST=seen"})
    CHECK_THAT(text, Contains(word));
  CHECK_THAT(text, Contains(std::string("LLVM        ") + fx::llvm_version()));
  CHECK_THAT(text, Contains("cache       " + (fx::cache_folder().path.empty() ? std::string("off") : fx::cache_folder().path)));
  output_of("'" FLUXION_INFO "' --nonsense", status);
  CHECK(status != 0);
}

TEST_CASE("fluxion-info says what is missing where a device is", "[jit][info]") {
  int status = -1;
  const std::string text = output_of("FLUXION_VULKAN_DEVICE=no_such_device '" FLUXION_INFO "' 2>&1", status);
  INFO(text);
  CHECK(status == 0);
  CHECK_THAT(text, Contains("vulkan      not available: device vulkan: "));
  CHECK_THAT(output_of("FLUXION_DEVICE=abacus '" FLUXION_INFO "' 2>&1", status),
             Contains("best        none: no device is named \"abacus\""));
  CHECK(status == 0);
}
