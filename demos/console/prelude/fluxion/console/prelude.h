// What every session starts with; compiled once (prelude_cache.h).
#pragma once
#include <algorithm>
#include <chrono>
#include <cmath>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <iostream>
#include <memory>
#include <numeric>
#include <random>
#include <ranges>
#include <set>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <vector>

#include "fluxion/console/commands.h"
#include "fluxion/console/show.h"
#include "fluxion/fluxion.h"

namespace fx = fluxion;
using namespace fluxion::literals;
