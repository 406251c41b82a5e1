// Sparse derivatives of kernels: launches of jvp with several tangents, or of vjp. What the kernel writes goes to copies, which
// are kept for the next call.
#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "fluxion/ad.h"
#include "runtime.h"
#include "sparse.h"

namespace fluxion::detail {
namespace {

std::string text_of(const Parameter& p) { return p.kind == Parameter::Kind::memory ? name_of(p.role) : "a scalar"; }

/// `k` is the kernel, or for a Hessian its gradient: then `from` says for each of its parameters which argument of the call it
/// gets (-1: the cotangent, -2 - p: the gradient of parameter p of the kernel).
class KernelProblem final : public SparseHandle::Problem {
 public:
  KernelProblem(KernelHandle user, KernelHandle k, std::vector<int> columns, std::vector<int> from, bool star)
      : Problem(star), user_(std::move(user)), k_(std::move(k)), from_(std::move(from)), star_(star) {
    const Function& f = *k_.function();
    column_.assign(from_.size(), -1);
    for (const int p : columns) column_[static_cast<std::size_t>(p)] = 0;
    for (std::size_t p = 0; p < from_.size(); ++p) {
      const bool written = memory(p) && f.parameters[p].role != Role::in;
      if (written) wanted_.push_back(star ? from_[p] <= -2 : has_float(Type::array(layout(p), {})));
    }
  }

 private:
  KernelHandle user_, k_;
  std::vector<int> from_;
  bool star_;
  std::vector<std::int64_t> column_;  // by parameter: the first column; -1: none
  std::vector<char> wanted_;          // by written memory
  // ---- of the call
  std::vector<Argument> arguments_;
  std::vector<std::vector<std::byte>> integers_;  // by parameter: the bytes of what holds integers
  std::array<std::int64_t, 3> domain_{1, 1, 1};
  int rank_ = 1;
  Device device_;
  Loc at_;
  std::int64_t columns_ = 0;
  // ---- kept between calls
  std::map<std::tuple<int, std::size_t, int, int>, Array> kept_;  // (what for, parameter, first colour, number of colours)

  const Function& f() const { return *k_.function(); }
  bool memory(std::size_t p) const { return f().parameters[p].kind == Parameter::Kind::memory; }
  Role role(std::size_t p) const { return f().parameters[p].role; }
  LayoutId layout(std::size_t p) const { return f()[f().parameters[p].memory].element; }
  bool floats(std::size_t p) const {
    return memory(p) ? has_float(Type::array(layout(p), {})) : is_float(f().type(f().parameters[p].value).dtype());
  }
  std::vector<std::int64_t> shape(std::size_t p) const { return Array(arguments_[p].array).shape(); }
  Leaves leaves(std::size_t p) const { return {layout(p), arguments_[p].array->count()}; }

  std::string begin(const Call& call) override {
    const Function& user = *user_.function();

    at_ = call.at;
    arguments_.assign(from_.size(), {});
    device_ = {};
    std::int64_t results = 0;
    for (std::size_t p = 0; p < call.arguments.size(); ++p) {
      const Argument& a = call.arguments[p];
      const Parameter& q = user.parameters[p];
      if (q.kind != Parameter::Kind::memory) continue;
      if (!a.array) throw ShapeError(at_, fmt::format("kernel \"{}\": argument {} (\"{}\") is an empty array", user.name, p + 1, q.name));
      storage_of(*a.array);  // memory, not a traced value
      if (a.array->element != user[q.memory].element || a.array->rank != user[q.memory].rank)
        throw ShapeError(at_, fmt::format("kernel \"{}\": argument {} (\"{}\") has another element or number of axes than the kernel wants",
                                          user.name, p + 1, q.name));
      if (device_ && a.array->device != device_)
        throw DeviceError(at_, fmt::format("kernel \"{}\": \"{}\" is on device {}, another array on {}", user.name, q.name,
                                           a.array->device.name(), device_.name()));
      device_ = a.array->device;
      if (q.role != Role::in) results += a.array->count() * Leaves::floats(a.array->element);
    }
    for (std::size_t p = 0; p < call.arguments.size(); ++p)
      for (std::size_t q = 0; q < call.arguments.size(); ++q)
        if (p != q && call.arguments[p].array && call.arguments[q].array && user.parameters[p].role != Role::in &&
            call.arguments[p].array->storage == call.arguments[q].array->storage)
          throw KernelError(
              at_, fmt::format("a sparse derivative of kernel \"{}\" gets one array as \"{}\" and as \"{}\" and the kernel writes to it; "
                               "pass a copy",
                               user.name, user.parameters[p].name, user.parameters[q].name));
    if (!device_) device_ = Device::best();
    if (star_ && results != 1)
      throw ShapeError(
          at_, fmt::format("sparse_hessian of kernel \"{}\": it writes {} floating point numbers here; a Hessian belongs to one: make "
                           "the result an Accum of one element",
                           user.name, results));
    domain_ = user_.domain(call.domain, call.rank, call.arguments, at_);
    rank_ = std::max(1, user.domain_rank);
    std::string key;
    for (const std::int64_t n : domain_) append_number(key, n);
    for (std::size_t p = 0; p < from_.size(); ++p) {
      Argument& a = arguments_[p];
      if (from_[p] >= 0) {
        a = call.arguments[static_cast<std::size_t>(from_[p])];
      } else if (from_[p] == -1) {
        const auto one = std::find_if(call.arguments.begin(), call.arguments.end(), [&](const Argument& x) {
          return x.array && user.parameters[static_cast<std::size_t>(&x - call.arguments.data())].role != Role::in &&
                 has_float(Type::array(x.array->element, {}));
        });
        a.array = kept('1', p, 0, 0, layout(p), Array(one->array).shape()).shared();
      } else {
        const Argument& primal = call.arguments[static_cast<std::size_t>(-2 - from_[p])];
        a.array = kept('g', p, 0, 0, layout(p), primal.array ? Array(primal.array).shape() : std::vector<std::int64_t>{1}).shared();
      }
    }
    integers_.assign(from_.size(), {});
    for (std::size_t p = 0; p < from_.size(); ++p) {
      if (!memory(p)) {
        if (!floats(p)) append_number(key, static_cast<std::int64_t>(arguments_[p].bits));
        continue;
      }
      for (const std::int64_t n : arguments_[p].array->extent) append_number(key, n);
      if (!has_integers(layout(p)) || role(p) == Role::out) continue;
      integers_[p] = bytes_of(*arguments_[p].array, at_);
      append_integers(key, layout(p), integers_[p]);
    }
    return key;
  }
  void end() override { arguments_.clear(); }
  void forget() override {
    for (auto it = kept_.begin(); it != kept_.end();) {
      const char what = static_cast<char>(std::get<0>(it->first));
      it = what == '1' || what == 'g' ? std::next(it) : kept_.erase(it);
    }
  }

  SparsityPattern trace() override {
    columns_ = 0;
    std::vector<DependencyArgument> list(from_.size());
    for (std::size_t p = 0; p < from_.size(); ++p) {
      DependencyArgument& d = list[p];
      d.bits = arguments_[p].bits;
      if (memory(p)) d.extent = arguments_[p].array->extent;
      if (!integers_[p].empty()) d.data = integers_[p].data();
      if (column_[p] < 0) continue;
      d.first_column = column_[p] = columns_;
      columns_ += memory(p) ? leaves(p).count() : 1;
    }
    if (columns_ > std::int64_t{0x7fffffff}) throw ShapeError(at_, "a sparse derivative has more than 2^31 - 1 columns");
    return dependencies(f(), domain_, list, columns_, wanted_);
  }

  Array& kept(char what, std::size_t p, int first, int n, LayoutId element, std::vector<std::int64_t> shape) {
    Array& a = kept_[{what, p, first, n}];
    if (a && (a.shape() != shape || a.device() != device_)) a = Array();
    if (!a) {
      Array fresh = Array::make(device_, element, shape, Array::Fill::zeros, at_);
      if (what == '1') {
        const Leaves l{element, fresh.size()};
        const Coloring one{{0}, 1};
        fresh.write(seeds(l, {one, 0, 1}, 0).data(), at_);
      }
      a = std::move(fresh);
    }
    return a;
  }
  static void clear(const Array& a, Loc at) {
    const std::vector<std::byte> zeros(layout_of(a.element()).size);
    a.fill(zeros.data(), at);
  }
  /// What is passed for parameter p: what is written is a copy.
  Argument primal(std::size_t p) {
    Argument a = arguments_[p];
    if (!memory(p) || role(p) == Role::in) return a;
    Array& work = kept('w', p, 0, 0, layout(p), shape(p));
    if (role(p) == Role::inout) work.copy_from(Array(a.array), at_);
    else clear(work, at_);
    a.array = work.shared();
    return a;
  }
  /// Seeds of the numbers from `first` on (-1: none) for parameter p, in an array of its own where they are written over.
  Array seeded(std::size_t p, const Sweep& s, std::int64_t first, LayoutId element, std::vector<std::int64_t> shape, bool written) {
    const Leaves l{element, arguments_[p].array->count()};
    Array* of = &kept_[{first < 0 ? 'z' : 's', p, first < 0 ? 0 : s.first, s.n}];
    if (!*of) {
      Array fresh = Array::make(device_, element, shape, Array::Fill::zeros, at_);
      if (first >= 0) fresh.write(seeds(l, s, first).data(), at_);
      *of = std::move(fresh);
    }
    if (!written) return *of;
    Array& work = kept('t', p, 0, s.n, element, std::move(shape));
    work.copy_from(*of, at_);
    return work;
  }
  void read(const Array& from, std::size_t p, int n, std::int64_t row, Products& products, int first) {
    const std::vector<std::byte> bytes = bytes_of(*from.shared(), at_);
    const Leaves l{from.element(), arguments_[p].array->count()};
    for (int t = 0; t < n; ++t)
      l.read(bytes.data() + static_cast<std::size_t>(t) * l.bytes(), products[static_cast<std::size_t>(first + t)].data() + row);
  }

  int width() const override {
    for (std::size_t p = 0; p < from_.size(); ++p)
      if (memory(p) && floats(p) && f()[f().parameters[p].memory].rank > 2) return 1;  // there is no fourth axis
    return 8;
  }
  void forward(const Sweep& s, Products& products) override {
    const bool many = width() > 1;
    const KernelHandle j = many ? k_.jvp(s.n) : k_.jvp();
    const Function& g = *j.function();
    std::vector<Argument> list;
    for (std::size_t p = 0; p < from_.size(); ++p) list.push_back(primal(p));
    std::vector<std::pair<std::size_t, Array>> results;
    std::size_t written = 0;
    for (std::size_t p = 0; p < from_.size(); ++p) {
      const bool wanted = memory(p) && role(p) != Role::in && wanted_[written++];
      if (!floats(p)) continue;
      if (!memory(p)) {
        const DType t = g.type(g.parameters[list.size()].value).dtype();
        for (int k = 0; k < s.n; ++k) {
          Argument a;
          a.bits = float_bits(t, column_[p] >= 0 && s.slot(column_[p]) == k ? 1 : 0);
          list.push_back(a);
        }
        continue;
      }
      std::vector<std::int64_t> extents = shape(p);
      if (many) extents.insert(extents.begin(), s.n);
      const Array tangent = seeded(p, s, column_[p], g[g.parameters[list.size()].memory].element, extents, role(p) != Role::in);
      if (wanted) results.push_back({p, tangent});
      list.emplace_back().array = tangent.shared();
    }
    j.launch(domain_, rank_, list, at_);
    std::int64_t row = 0;
    for (const auto& [p, tangent] : results) {
      read(tangent, p, s.n, row, products, s.first);
      row += leaves(p).count();
    }
  }

  bool can_reverse() const override { return !star_; }
  void backward(const Sweep& s, std::vector<double>& product) override {
    std::vector<int> wrt;
    for (std::size_t p = 0; p < from_.size(); ++p)
      if (column_[p] >= 0 && (!memory(p) || role(p) == Role::in)) wrt.push_back(static_cast<int>(p));
    const bool all = wrt.empty();  // only old contents count: take what there is
    if (all)
      for (std::size_t p = 0; p < from_.size(); ++p)
        if (floats(p) && (!memory(p) || role(p) == Role::in)) wrt.push_back(static_cast<int>(p));
    const KernelHandle v = k_.vjp(all ? std::vector<int>{} : wrt);
    const Function& g = *v.function();
    std::vector<Argument> list;
    for (std::size_t p = 0; p < from_.size(); ++p)
      if (!memory(p) || role(p) == Role::in || role(p) == Role::inout) list.push_back(arguments_[p]);
    std::int64_t row = 0;
    std::vector<std::pair<std::size_t, Array>> results;
    for (std::size_t p = 0; p < from_.size(); ++p) {
      if (!memory(p) || role(p) == Role::in || !floats(p)) continue;
      const Array w = seeded(p, s, row, g[g.parameters[list.size()].memory].element, shape(p), role(p) == Role::inout);
      if (column_[p] >= 0) results.push_back({p, w});
      list.emplace_back().array = w.shared();
      row += leaves(p).count();
    }
    for (const int k : wrt) {
      const auto p = static_cast<std::size_t>(k);
      const LayoutId element = g[g.parameters[list.size()].memory].element;
      Array& gradient = kept('b', p, 0, 0, element, memory(p) ? shape(p) : std::vector<std::int64_t>{1});
      clear(gradient, at_);
      if (column_[p] >= 0) results.push_back({p, gradient});
      list.emplace_back().array = gradient.shared();
    }
    v.launch(domain_, rank_, list, at_);
    for (const auto& [p, gradient] : results) {
      const std::vector<std::byte> bytes = bytes_of(*gradient.shared(), at_);
      Leaves{gradient.element(), gradient.size()}.read(bytes.data(), product.data() + column_[p]);
    }
  }
};

/// The parameters to differentiate with respect to; all that can be where none is named.
std::vector<int> columns_of(const Function& f, std::vector<int> wrt, bool old_contents, const char* what) {
  const auto can = [&](std::size_t p) {
    const Parameter& q = f.parameters[p];
    if (q.kind != Parameter::Kind::memory) return is_float(f.type(q.value).dtype());
    return has_float(Type::array(f[q.memory].element, {})) && !f[q.memory].scratch &&
           (q.role == Role::in || (old_contents && q.role == Role::inout));
  };
  for (const int p : wrt)
    if (!can(static_cast<std::size_t>(p)))
      throw KernelError(f.loc, fmt::format("{} of kernel \"{}\": wrt names \"{}\", which is {}; name a floating point In{} or scalar", what,
                                           f.name, f.parameters[static_cast<std::size_t>(p)].name,
                                           text_of(f.parameters[static_cast<std::size_t>(p)]), old_contents ? ", InOut" : ""));
  if (wrt.empty())
    for (std::size_t p = 0; p < f.parameters.size(); ++p)
      if (can(p)) wrt.push_back(static_cast<int>(p));
  if (wrt.empty()) throw KernelError(f.loc, fmt::format("{} of kernel \"{}\": it reads nothing that is floating point", what, f.name));
  std::sort(wrt.begin(), wrt.end());
  return wrt;
}
std::size_t passed(const Function& f) {
  std::size_t n = f.parameters.size();
  while (n > 0 && f.parameters[n - 1].kind == Parameter::Kind::memory && f[f.parameters[n - 1].memory].scratch) --n;
  return n;
}

}  // namespace

SparseHandle SparseHandle::jacobian(const KernelHandle& k, std::vector<int> wrt) {
  const Function& f = *k.function();
  std::vector<int> from;
  for (std::size_t p = 0; p < passed(f); ++p) from.push_back(static_cast<int>(p));
  return SparseHandle(
      std::make_shared<KernelProblem>(k, k, columns_of(f, std::move(wrt), true, "sparse_jacobian"), std::move(from), false));
}
SparseHandle SparseHandle::hessian(const KernelHandle& k, std::vector<int> wrt) {
  const Function& f = *k.function();
  wrt = columns_of(f, std::move(wrt), false, "sparse_hessian");
  const KernelHandle g = k.vjp(wrt);
  std::vector<int> from, columns;
  for (std::size_t p = 0; p < passed(f); ++p) {
    const Parameter& q = f.parameters[p];
    if (q.kind == Parameter::Kind::memory && (q.role == Role::out || q.role == Role::accum)) continue;
    if (std::binary_search(wrt.begin(), wrt.end(), static_cast<int>(p))) columns.push_back(static_cast<int>(from.size()));
    from.push_back(static_cast<int>(p));
  }
  for (const Parameter& q : f.parameters)
    if (q.kind == Parameter::Kind::memory && q.role != Role::in && has_float(Type::array(f[q.memory].element, {}))) from.push_back(-1);
  for (const int p : wrt) from.push_back(-2 - p);
  if (from.size() != passed(*g.function())) throw Bug(f.loc, "a gradient kernel has other parameters than expected\n" + g.ir());
  return SparseHandle(std::make_shared<KernelProblem>(k, g, std::move(columns), std::move(from), true));
}

}  // namespace fluxion::detail
