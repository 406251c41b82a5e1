// A session by --json: inputs in, an object each out.
#pragma once
#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "driver.h"

namespace console_test {

/// The answers to these inputs.
inline std::vector<nlohmann::json> talk(const std::vector<std::string>& inputs) {
  std::string in;
  for (const std::string& each : inputs) in += nlohmann::json{{"code", each}}.dump() + "\n";
  const Outcome o = run({"--json"}, in);
  std::vector<nlohmann::json> out;
  std::size_t at = 0;
  while (at < o.out.size()) {
    const std::size_t end = o.out.find('\n', at);
    out.push_back(nlohmann::json::parse(o.out.substr(at, end - at)));
    at = end + 1;
  }
  INFO(o.error);
  REQUIRE(out.size() == inputs.size());
  return out;
}
/// The first value that an answer shows, "" where it shows none.
inline std::string value(const nlohmann::json& j) { return j["values"].empty() ? "" : j["values"][0]["text"].get<std::string>(); }
/// What an answer says is wrong, "" where nothing is.
inline std::string wrong(const nlohmann::json& j) { return j["ok"] == true ? "" : j["error"]["message"].get<std::string>(); }

/// An input, and the value that it has to show; "" for none.
struct Step {
  std::string input, expected;
};
/// Each input succeeds and shows its value.
inline void check_steps(const std::vector<Step>& steps) {
  std::vector<std::string> inputs;
  for (const Step& s : steps) inputs.push_back(s.input);
  const auto answers = talk(inputs);
  for (std::size_t k = 0; k < steps.size(); ++k) {
    INFO(steps[k].input);
    CHECK(wrong(answers[k]) == "");
    CHECK(value(answers[k]) == steps[k].expected);
  }
}

}  // namespace console_test
