// Sparse derivatives of programs: calls of jvp or vjp, a colour at a time. What the program writes in place is a copy.
#include <fmt/format.h>

#include <algorithm>

#include "runtime.h"
#include "sparse.h"

namespace fluxion::detail {
namespace {

class ProgramProblem final : public SparseHandle::Problem {
 public:
  ProgramProblem(ProgramHandle p, std::vector<int> wrt, std::vector<int> floats, bool star)
      : Problem(star), program_(std::move(p)), wrt_(std::move(wrt)), floats_(std::move(floats)), star_(star) {}

 private:
  using Transform = ProgramHandle::Transform;
  ProgramHandle program_, tangent_, adjoint_;
  std::vector<int> wrt_, floats_;  // positions of arguments
  bool star_;
  // ---- of the call
  BoundProgram bound_;
  std::vector<Argument> arguments_;
  std::vector<char> written_;  // by argument
  std::vector<std::vector<std::byte>> integers_;
  std::vector<std::int64_t> column_;  // by argument
  std::vector<Type> results_;         // what it returns
  std::vector<char> wanted_;          // of those: a row for each number
  bool reversible_ = true;
  Loc at_;

  const Function& f() const { return *bound_.function; }
  static Leaves leaves(const ArrayState& a) { return {a.element, a.count()}; }

  std::string begin(const Call& call) override {
    at_ = call.at;
    bound_ = program_.bound(call.arguments, at_);
    arguments_.assign(call.arguments.begin(), call.arguments.end());
    written_.assign(arguments_.size(), 0);
    column_.assign(arguments_.size(), -1);
    reversible_ = !star_;
    std::string key;
    integers_.assign(f().parameters.size(), {});
    for (std::size_t p = 0; p < f().parameters.size(); ++p) {
      const Parameter& q = f().parameters[p];
      const Argument& a = bound_.arguments[p];
      const int position = bound_.positions[p];
      if (q.kind == Parameter::Kind::scalar) {
        if (!is_float(f().type(q.value).dtype())) append_number(key, static_cast<std::int64_t>(a.bits));
        continue;
      }
      if (q.role != Role::in) {
        if (position < 0)
          throw KernelError(
              at_, fmt::format("a sparse derivative of program \"{}\", which writes the array \"{}\" outside of it; work on a copy, or "
                               "make it a parameter",
                               f().name, q.name));
        written_[static_cast<std::size_t>(position)] = 1;
        reversible_ = false;
      }
      const Type& t = f().type(q.value);
      for (int k = 0; k < t.rank; ++k) append_number(key, t.shape[static_cast<std::size_t>(k)]);
      if (!a.array || !has_integers(t.element)) continue;
      integers_[p] = bytes_of(*a.array, at_);
      append_integers(key, t.element, integers_[p]);
    }
    const Values& end = f().terminator(f().body).operands;
    std::size_t versions = 0;
    for (const Parameter& q : f().parameters) versions += q.kind == Parameter::Kind::array && q.role != Role::in;
    results_.clear();
    wanted_.clear();
    for (std::size_t k = versions; k < end.size(); ++k) {
      results_.push_back(f().type(end[k]));
      wanted_.push_back(has_float(results_.back()) && (!star_ || k + wrt_.size() >= end.size()));
    }
    return key;
  }
  void end() override {
    bound_ = {};
    arguments_.clear();
  }
  SparsityPattern trace() override {
    std::int64_t columns = 0;
    for (const int p : wrt_) {
      const auto at = static_cast<std::size_t>(p);
      column_[at] = columns;
      columns += arguments_[at].array ? leaves(*arguments_[at].array).count() : 1;
    }
    columns_ = column_;
    std::vector<DependencyArgument> list(f().parameters.size());
    for (std::size_t p = 0; p < list.size(); ++p) {
      const Parameter& q = f().parameters[p];
      DependencyArgument& d = list[p];
      d.bits = bound_.arguments[p].bits;
      if (q.kind == Parameter::Kind::array) {
        const Type& t = f().type(q.value);
        for (int k = 0; k < t.rank; ++k) d.extent[static_cast<std::size_t>(k)] = t.shape[static_cast<std::size_t>(k)];
      }
      if (!integers_[p].empty()) d.data = integers_[p].data();
      if (bound_.positions[p] >= 0) d.first_column = column_[static_cast<std::size_t>(bound_.positions[p])];
    }
    const std::size_t versions = f().terminator(f().body).operands.size() - results_.size();
    std::vector<char> wanted(versions, 0);
    wanted.insert(wanted.end(), wanted_.begin(), wanted_.end());
    return dependencies(f(), {1, 1, 1}, list, columns, wanted);
  }
  std::vector<std::int64_t> columns_;  // as column_, of the pattern that holds

  std::vector<Argument> primals() const {
    std::vector<Argument> list = arguments_;
    for (std::size_t k = 0; k < list.size(); ++k) {
      if (!written_[k]) continue;
      const Array from(list[k].array), copy = Array::make(from.device(), from.element(), from.shape(), Array::Fill::none, at_);
      copy.copy_from(from, at_);
      list[k].array = copy.shared();
    }
    return list;
  }
  Argument seed(const Sweep& s, LayoutId element, std::span<const std::int64_t> shape, bool scalar, const Device& device,
                std::int64_t first) const {
    Argument a;
    if (scalar) {
      a.bits = float_bits(element.scalar(), first >= 0 && s.slot(first) == 0 ? 1 : 0);
      return a;
    }
    const Array array = Array::make(device, element, shape, Array::Fill::zeros, at_);
    if (first >= 0) array.write(seeds({element, array.size()}, s, first).data(), at_);
    a.array = array.shared();
    return a;
  }
  Device device() const {
    for (const Argument& a : bound_.arguments)
      if (a.array) return a.array->device;
    return Device::best();
  }

  int width() const override { return 1; }
  void forward(const Sweep& s, Products& products) override {
    if (!made_tangent_) tangent_ = program_.transformed(Transform::jvp, {}), made_tangent_ = true;
    std::vector<Argument> list = primals();
    for (const int k : floats_) {
      const auto at = static_cast<std::size_t>(k);
      const ArrayState* a = arguments_[at].array.get();
      DType t = DType::f32;
      for (std::size_t p = 0; p < bound_.positions.size(); ++p)
        if (!a && bound_.positions[p] == k) t = f().type(f().parameters[p].value).dtype();
      const LayoutId element = a ? adjoint_layout(a->element) : LayoutId(is_half(t) ? DType::f32 : t);
      list.push_back(seed(s, element, a ? Array(arguments_[at].array).shape() : std::vector<std::int64_t>{}, !a, device(), columns_[at]));
    }
    const std::vector<Array> out = tangent_.call(list, at_);
    std::size_t next = results_.size();
    double* to = products[static_cast<std::size_t>(s.first)].data();
    for (std::size_t k = 0; k < results_.size(); ++k) {
      if (!has_float(results_[k])) continue;
      const Array& t = out[next++];
      if (!wanted_[k]) continue;
      const Leaves l{t.element(), t.size()};
      l.read(bytes_of(*t.shared(), at_).data(), to);
      to += l.count();
    }
  }
  bool can_reverse() const override { return reversible_; }
  void backward(const Sweep& s, std::vector<double>& product) override {
    if (!made_adjoint_) adjoint_ = program_.transformed(Transform::vjp, wrt_), made_adjoint_ = true;
    std::vector<Argument> list = arguments_;
    std::int64_t row = 0;
    for (const Type& t : results_) {
      if (!has_float(t)) continue;
      list.push_back(seed(s, adjoint_layout(t.element), {t.shape.data(), static_cast<std::size_t>(std::max<int>(t.rank, 0))}, t.is_scalar(),
                          device(), row));
      row += t.count() * Leaves::floats(t.element);
    }
    const std::vector<Array> out = adjoint_.call(list, at_);
    double* to = product.data();
    for (const Array& g : out) {
      const Leaves l{g.element(), g.size()};
      l.read(bytes_of(*g.shared(), at_).data(), to);
      to += l.count();
    }
  }
  bool made_tangent_ = false, made_adjoint_ = false;
};

}  // namespace

SparseHandle SparseHandle::jacobian(const ProgramHandle& p, std::vector<int> wrt, std::vector<int> floats) {
  return SparseHandle(std::make_shared<ProgramProblem>(p, std::move(wrt), std::move(floats), false));
}
SparseHandle SparseHandle::hessian(const ProgramHandle& p, std::vector<int> wrt, std::vector<int> floats) {
  return SparseHandle(std::make_shared<ProgramProblem>(p, std::move(wrt), std::move(floats), true));
}

}  // namespace fluxion::detail
