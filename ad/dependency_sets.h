// Sets of inputs, as the dependency run holds them. Small unions are made at once; large ones are nodes that remember
// their parts until somebody needs the members, so that a sum over n elements costs n and not n^2. Nodes belong to an arena
// that is emptied after each thread; members that outlive a thread are shared lists.
#pragma once
#include <algorithm>
#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "fluxion/layout.h"

namespace fluxion::ad {

using Members = std::vector<std::int32_t>;          // sorted, each once
using MembersPtr = std::shared_ptr<const Members>;  // null: empty

struct SetNode {
  MembersPtr flat;
  SetNode *a = nullptr, *b = nullptr;  // where flat is not known
  std::uint32_t seen = 0;
};
using Set = SetNode*;  // null: empty

class SetArena {
 public:
  explicit SetArena(std::int64_t columns) : mark_(static_cast<std::size_t>(columns)) {}

  Set of(MembersPtr m) {
    if (!m) return nullptr;
    nodes_.push_back({std::move(m), nullptr, nullptr, 0});
    return &nodes_.back();
  }
  Set unite(Set a, Set b) {
    if (!a || a == b) return b;
    if (!b) return a;
    if (a->flat && b->flat) {
      if (a->flat == b->flat) return a;
      constexpr std::size_t kSmall = 48;
      if (a->flat->size() + b->flat->size() <= kSmall) {
        if (std::includes(a->flat->begin(), a->flat->end(), b->flat->begin(), b->flat->end())) return a;
        if (std::includes(b->flat->begin(), b->flat->end(), a->flat->begin(), a->flat->end())) return b;
        auto m = std::make_shared<Members>();
        std::set_union(a->flat->begin(), a->flat->end(), b->flat->begin(), b->flat->end(), std::back_inserter(*m));
        return of(std::move(m));
      }
    }
    nodes_.push_back({nullptr, a, b, 0});
    return &nodes_.back();
  }
  const MembersPtr& flatten(Set s) {
    static const MembersPtr kNone;
    if (!s) return kNone;
    if (s->flat) return s->flat;
    const std::uint32_t now = ++round_;
    auto m = std::make_shared<Members>();
    MembersPtr widest;
    stack_.assign(1, s);
    while (!stack_.empty()) {
      SetNode* n = stack_.back();
      stack_.pop_back();
      if (n->seen == now) continue;
      n->seen = now;
      if (n->flat) {
        add(*n->flat, *m, now);
        if (!widest || n->flat->size() > widest->size()) widest = n->flat;
      } else {
        stack_.push_back(n->a);
        stack_.push_back(n->b);
      }
    }
    if (widest->size() == m->size()) s->flat = widest;
    else {
      std::sort(m->begin(), m->end());
      s->flat = std::move(m);
    }
    s->a = s->b = nullptr;
    return s->flat;
  }
  MembersPtr merge(const MembersPtr& a, const std::vector<MembersPtr>& others) {
    const std::uint32_t now = ++round_;
    auto m = std::make_shared<Members>();
    if (a) add(*a, *m, now);
    const std::size_t before = m->size();
    for (const MembersPtr& o : others)
      if (o) add(*o, *m, now);
    if (m->size() == before) return a;
    std::sort(m->begin(), m->end());
    return m;
  }
  /// What was made since there were `n` nodes goes.
  void rewind(std::size_t n) { nodes_.resize(n); }
  std::size_t nodes() const { return nodes_.size(); }

 private:
  std::deque<SetNode> nodes_;
  std::vector<SetNode*> stack_;
  std::vector<std::uint32_t> mark_;
  std::uint32_t round_ = 0;
  void add(const Members& from, Members& to, std::uint32_t now) {
    for (const std::int32_t c : from)
      if (mark_[static_cast<std::size_t>(c)] != now) {
        mark_[static_cast<std::size_t>(c)] = now;
        to.push_back(c);
      }
  }
};

/// A scalar: its bits where integers alone decide them, and the inputs it can change with.
struct Abstract {
  std::uint64_t bits = 0;
  bool known = false;
  Set deps = nullptr;
};

/// Elements of a memory or array.
struct AbstractArray {
  struct Cell {
    std::uint64_t bits = 0;
    MembersPtr deps;
    bool known = false;
  };
  LayoutId layout;
  std::array<std::int64_t, 3> extent{1, 1, 1};
  std::size_t leaves = 1;
  std::vector<Cell> cells;                       // by element, then leaf
  std::vector<std::vector<MembersPtr>> waiting;  // of sums: what is still to be united, by cell; empty until the first
  bool depends = false;                          // some cell may have members

  std::int64_t count() const { return extent[0] * extent[1] * extent[2]; }
};

struct AbstractSeq;
/// A value of a function: one of the three.
struct AbstractValue {
  Abstract scalar;
  std::shared_ptr<AbstractArray> array;
  std::shared_ptr<AbstractSeq> seq;
};
/// `summary`: of unknown length; its one item, if there is any, stands for all.
struct AbstractSeq {
  bool summary = false;
  std::vector<AbstractValue> items;
};

}  // namespace fluxion::ad
