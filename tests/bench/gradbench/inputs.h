// The problems' inputs as plain arrays, row-major, read from the suite's JSON: what the programs, the golden functions
// and the peers all start from.
#pragma once
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace gradbench {

using Numbers = std::vector<double>;

struct Gmm {
  int d = 0, k = 0, n = 0, m = 0;
  double gamma = 0;
  Numbers x;                // (n, d)
  Numbers alpha, mu, q, l;  // (k), (k, d), (k, d), (k, d (d - 1) / 2)
  int strict() const { return d * (d - 1) / 2; }
};

struct Ba {
  int n = 0, m = 0, p = 0;    // cameras, points, observations
  Numbers cameras, points;    // (n, 11), (m, 3)
  Numbers weights, features;  // (p), (p, 2)
};

struct Ht {
  int bones = 0, vertices = 0, count = 0;  // count: of correspondences
  bool complicated = false, mirrored = false;
  Numbers theta;                         // 26
  std::vector<int> parents;              // (bones); -1 is the root's
  Numbers relatives, inverse_absolutes;  // (bones, 4, 4)
  Numbers positions, weights;            // (vertices, 4), (vertices, bones)
  std::vector<int> triangles;            // (any, 3)
  std::vector<int> correspondences;      // (count): vertices, or triangles when complicated
  Numbers points, us;                    // (count, 3), (count, 2)
};

struct Lstm {
  int layers = 0, characters = 0, bits = 0;
  Numbers main, extra;      // (2 layers, 4 bits): weights and biases by turns; (3, bits)
  Numbers state, sequence;  // (2 layers, bits): h and z by turns; (characters, bits)
};

struct Ode {
  Numbers x;
  int steps = 0;
};

struct Llsq {
  Numbers x;
  int n = 0;
};

struct Lse {
  Numbers x;
};

Gmm read_gmm(const nlohmann::json& j);
Ba read_ba(const nlohmann::json& j);
Ht read_ht(const nlohmann::json& j);
Lstm read_lstm(const nlohmann::json& j);
Ode read_ode(const nlohmann::json& j);
Llsq read_llsq(const nlohmann::json& j);
Lse read_lse(const nlohmann::json& j);

/// The JSON of a file, gzipped or not. Throws std::runtime_error with the path.
nlohmann::json read_json(const std::string& path);

}  // namespace gradbench
