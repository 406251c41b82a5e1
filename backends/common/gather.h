// Adjoints of stencils as gathers. A kernel that adds v_k(i) to B[i + c_k] for several constant offsets c_k makes threads meet at
// every element. Turned around, thread i sums v_k(i - c_k) over k, in the order of the sites, and adds once: no two threads meet, at
// the price of computing what v_k needs once a site. Done late: derivatives are taken of the scatter.
#pragma once
#include <map>
#include <vector>

#include "access.h"
#include "fluxion/gather_sums.h"

namespace fluxion {

/// One accumulate: at index of the thread + offset, under some ifs.
struct GatherSite {
  OpId op;
  std::array<int, 3> offset{};  // by axis of the domain, relative to what the thread owns (Gatherable::base)
  struct Arm {
    OpId op;
    int arm;
  };
  std::vector<Arm> path;  // the ifs around it, outermost first
  std::size_t key = 0;    // sites of one key are one sum
};

/// The accumulates on one memory: thread i owns the element at i + symbol + base along the axes that move.
struct Gatherable {
  MemoryId memory{};
  std::array<int, 3> axis{-1, -1, -1};  // by axis of the memory: of the domain; -1: the index is the same for all threads
  std::array<ValueId, 3> symbol{};      // by axis of the memory, launch-invariant; may be invalid
  std::array<std::int32_t, 3> base{};   // by axis of the memory
  std::vector<GatherSite> sites;
  std::vector<OpId> keys;              // by key: the first site of it
  std::array<int, 3> least{}, most{};  // of the offsets, by axis of the domain
};

/// The memories whose accumulates can be turned around where that pays.
std::vector<Gatherable> find_gatherable(const Function& kernel, AddCost cost);

}  // namespace fluxion
