// Sparse derivatives of functions of numbers: evaluated on the host.
#include <algorithm>
#include <map>

#include "fluxion/ad.h"
#include "fluxion/cancel.h"
#include "fluxion/evaluate.h"
#include "sparse.h"

namespace fluxion::detail {
namespace {

class FnProblem final : public SparseHandle::Problem {
 public:
  FnProblem(FunctionPointer f, std::vector<int> wrt, bool star) : Problem(star), f_(std::move(f)), wrt_(std::move(wrt)) {
    const Function& g = *f_;
    for (std::size_t p = 0; p < g.parameters.size(); ++p) {
      const bool floats = is_float(g.type(g.parameters[p].value).dtype());
      const bool named = std::find(wrt_.begin(), wrt_.end(), static_cast<int>(p)) != wrt_.end();
      column_.push_back(floats && (wrt_.empty() || named) ? columns_++ : -1);
    }
    wrt_.clear();
    for (std::size_t p = 0; p < g.parameters.size(); ++p)
      if (column_[p] >= 0) wrt_.push_back(static_cast<int>(p));
    for (ValueId v : g.terminator(g.body).operands) types_.push_back(g.type(v).dtype());
  }

 private:
  FunctionPointer f_;
  std::vector<int> wrt_;
  std::vector<std::int64_t> column_;  // by parameter
  std::int64_t columns_ = 0;
  std::vector<DType> types_;  // of the results
  std::vector<std::uint64_t> x_;
  std::map<int, FunctionPointer> tangents_;
  FunctionPointer adjoint_;

  DType type(std::size_t p) const { return f_->type(f_->parameters[p].value).dtype(); }
  std::string begin(const Call& call) override {
    std::string key;
    x_.clear();
    for (std::size_t p = 0; p < call.arguments.size(); ++p) {
      x_.push_back(call.arguments[p].bits);
      if (!is_float(type(p))) append_number(key, static_cast<std::int64_t>(x_[p]));
    }
    return key;
  }
  SparsityPattern trace() override {
    std::vector<DependencyArgument> list(x_.size());
    for (std::size_t p = 0; p < x_.size(); ++p) {
      list[p].bits = x_[p];
      list[p].first_column = column_[p];
    }
    const std::vector<char> all(types_.size(), 1);
    return dependencies(*f_, {1, 1, 1}, list, columns_, all);
  }
  void forward(const Sweep& s, Products& products) override {
    FunctionPointer& j = tangents_[s.n];
    if (!j) j = fn_jvp(f_, s.n);
    std::vector<std::uint64_t> in = x_;
    for (std::size_t p = 0; p < x_.size(); ++p)
      if (is_float(type(p)))
        for (int t = 0; t < s.n; ++t)
          in.push_back(float_bits(is_half(type(p)) ? DType::f32 : type(p), column_[p] >= 0 && s.slot(column_[p]) == t ? 1 : 0));
    const auto out = detail::meeting_requests([&] { return evaluate_fn(*j, in); });
    std::size_t next = types_.size(), row = 0;
    for (const DType t : types_) {
      if (!is_float(t)) continue;
      for (int k = 0; k < s.n; ++k) products[static_cast<std::size_t>(s.first + k)][row] = float_value(t, out[next++]);
      ++row;
    }
  }
  bool can_reverse() const override { return true; }
  void backward(const Sweep& s, std::vector<double>& product) override {
    if (!adjoint_) adjoint_ = fn_vjp(f_, wrt_);
    std::vector<std::uint64_t> in = x_;
    std::int64_t row = 0;
    for (const DType t : types_)
      if (is_float(t)) in.push_back(float_bits(t, s.slot(row++) == 0 ? 1 : 0));
    const auto out = detail::meeting_requests([&] { return evaluate_fn(*adjoint_, in); });
    for (std::size_t k = 0; k < wrt_.size(); ++k) {
      const DType t = type(static_cast<std::size_t>(wrt_[k]));
      product[k] = float_value(is_half(t) ? DType::f32 : t, out[k]);
    }
  }
};

}  // namespace

SparseHandle SparseHandle::jacobian(const FunctionPointer& f, std::vector<int> wrt) {
  return SparseHandle(std::make_shared<FnProblem>(f, std::move(wrt), false));
}
SparseHandle SparseHandle::hessian(const FunctionPointer& f, std::vector<int> wrt) {
  FunctionPointer g = fn_grad(f, wrt);
  return SparseHandle(std::make_shared<FnProblem>(std::move(g), std::move(wrt), true));
}

}  // namespace fluxion::detail
