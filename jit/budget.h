// Which states of which loops to keep within a budget of bytes, so that the fewest iterations run again.
#pragma once
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "workspace_use.h"

namespace fluxion {

/// Two numbers for each loop: iterations in a strip, and states kept.
using Settings = std::vector<std::int32_t>;
using Measure = std::function<WorkspaceUse(const Settings&)>;

/// Runs of one iteration, on average, that `trips` iterations with `states` states and strips of `strip` cost beyond the first.
double recomputation(double trips, double strip, double states);
/// `loops`: how many; `least` becomes the fewest bytes that any settings take.
std::optional<Settings> within_budget(std::size_t loops, const Measure& measure, double bytes, double& least);

}  // namespace fluxion
