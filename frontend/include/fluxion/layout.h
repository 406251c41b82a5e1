// How one element of an array lies in memory: its scalar leaves with their offsets.
// Layouts are interned, so equal layouts have equal ids; the first kDTypeCount ids are the bare scalars.
#pragma once
#include <string>
#include <vector>

#include "fluxion/type.h"

namespace fluxion {

struct Leaf {
  DType dtype;
  std::uint32_t offset;  // bytes from the start of the element
  bool operator==(const Leaf&) const = default;
};

struct Layout {
  std::vector<Leaf> leaves;
  std::uint32_t size = 0;  // bytes from one element to the next
  bool operator==(const Layout&) const = default;
};

struct LayoutId {
  std::uint16_t index = static_cast<std::uint16_t>(DType::f32);
  constexpr LayoutId() = default;
  constexpr LayoutId(DType t) : index(static_cast<std::uint16_t>(t)) {}
  constexpr explicit LayoutId(std::uint16_t i) : index(i) {}
  constexpr bool is_scalar() const { return index < kDTypeCount; }
  constexpr DType scalar() const { return static_cast<DType>(index); }  // needs is_scalar()
  constexpr bool operator==(const LayoutId&) const = default;
};

FLUXION_API LayoutId intern(const Layout& layout);
FLUXION_API const Layout& layout_of(LayoutId id);
/// `n` leaves of one dtype, packed: what Vec<T, n> and Mat<T, r, c> (row-major) are in memory.
FLUXION_API LayoutId packed(DType t, int n);
/// "f32", "{f32, f32}", or with offsets where they are not C's natural ones: "{f64, i32 @12; 16}".
FLUXION_API std::string to_string(LayoutId id);

}  // namespace fluxion
