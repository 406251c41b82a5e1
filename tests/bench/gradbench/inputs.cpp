// JSON to plain arrays. Rows are flattened; what a file repeats is written out.
#include "inputs.h"

#include <zlib.h>

#include <nlohmann/json.hpp>
#include <stdexcept>

namespace gradbench {
namespace {

void flatten(const nlohmann::json& j, Numbers& out) {
  if (!j.is_array()) return out.push_back(j.get<double>());
  for (const auto& item : j) flatten(item, out);
}
Numbers numbers(const nlohmann::json& j) {
  Numbers out;
  flatten(j, out);
  return out;
}
std::vector<int> integers(const nlohmann::json& j) {
  std::vector<int> out;
  for (const double v : numbers(j)) out.push_back(static_cast<int>(v));
  return out;
}
Numbers repeated(const Numbers& one, int times) {
  Numbers out;
  for (int k = 0; k < times; ++k) out.insert(out.end(), one.begin(), one.end());
  return out;
}

}  // namespace

Gmm read_gmm(const nlohmann::json& j) {
  return {j["d"],           j["k"],          j["n"],         j["m"], j["gamma"], numbers(j["x"]), numbers(j["alpha"]),
          numbers(j["mu"]), numbers(j["q"]), numbers(j["l"])};
}

Ba read_ba(const nlohmann::json& j) {
  Ba b;
  b.n = j["n"];
  b.m = j["m"];
  b.p = j["p"];
  b.cameras = repeated(numbers(j["cam"]), b.n);
  b.points = repeated(numbers(j["x"]), b.m);
  b.weights = repeated(numbers(j["w"]), b.p);
  b.features = repeated(numbers(j["feat"]), b.p);
  return b;
}

Ht read_ht(const nlohmann::json& j) {
  const auto& data = j["data"];
  const auto& model = data["model"];
  Ht h;
  h.bones = model["bone_count"];
  h.vertices = static_cast<int>(model["base_positions"].size());
  h.theta = numbers(j["theta"]);
  h.parents = integers(model["parents"]);
  h.relatives = numbers(model["base_relatives"]);
  h.inverse_absolutes = numbers(model["inverse_base_absolutes"]);
  h.positions = numbers(model["base_positions"]);
  h.weights = numbers(model["weights"]);
  h.triangles = integers(model["triangles"]);
  h.mirrored = model["is_mirrored"];
  h.correspondences = integers(data["correspondences"]);
  h.count = static_cast<int>(h.correspondences.size());
  h.points = numbers(data["points"]);
  h.complicated = j.contains("us") && !j["us"].empty();
  if (h.complicated) h.us = numbers(j["us"]);
  return h;
}

Lstm read_lstm(const nlohmann::json& j) {
  Lstm s;
  s.layers = static_cast<int>(j["main_params"].size()) / 2;
  s.bits = static_cast<int>(j["sequence"][0].size());
  s.characters = static_cast<int>(j["sequence"].size());
  s.main = numbers(j["main_params"]);
  s.extra = numbers(j["extra_params"]);
  s.state = numbers(j["state"]);
  s.sequence = numbers(j["sequence"]);
  return s;
}

Ode read_ode(const nlohmann::json& j) { return {numbers(j["x"]), j["s"]}; }
Llsq read_llsq(const nlohmann::json& j) { return {numbers(j["x"]), j["n"]}; }
Lse read_lse(const nlohmann::json& j) { return {numbers(j["x"])}; }

nlohmann::json read_json(const std::string& path) {
  gzFile file = gzopen(path.c_str(), "rb");  // reads what is not compressed as it is
  if (!file) throw std::runtime_error("cannot open " + path);
  std::string text;
  char part[1 << 16];
  int got;
  while ((got = gzread(file, part, sizeof part)) > 0) text.append(part, static_cast<std::size_t>(got));
  const bool whole = gzclose(file) == Z_OK && got == 0;
  if (!whole) throw std::runtime_error("cannot read " + path);
  return nlohmann::json::parse(text);
}

}  // namespace gradbench
