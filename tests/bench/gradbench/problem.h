// A problem of the suite with its input: Fluxion's two evaluations and their results, the golden primals, and what a
// peer offers. Each problem is made in the file of its name.
#pragma once
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "inputs.h"

namespace gradbench {

struct Problem {
  /// One evaluation: when it returns, the result is in memory.
  std::function<void()> primal, derivative;
  /// The last evaluation's result in the shape of the golden file.
  std::function<nlohmann::json()> primal_json, derivative_json;
  std::function<void()> golden, golden_fast;
  std::vector<std::pair<std::string, std::function<void()>>> peers;  // derivatives by others
};

Problem make_gmm(const Gmm& in);
Problem make_ba(const Ba& in);
Problem make_ht(const Ht& in);
Problem make_lstm(const Lstm& in);
Problem make_ode(const Ode& in);
Problem make_llsq(const Llsq& in);
Problem make_lse(const Lse& in);

/// Names as in the suite. Throws std::runtime_error for others.
Problem make_problem(const std::string& name, const nlohmann::json& input);

/// Golden primals and ADOL-C's derivative, where there is one, for the input.
template <class Input>
void add_rivals(Problem& p, const Input& in);

/// Rows of `width` numbers each.
nlohmann::json rows(const std::vector<double>& flat, int width, std::size_t count);

}  // namespace gradbench
