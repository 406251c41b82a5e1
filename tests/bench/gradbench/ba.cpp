// Bundle adjustment: a thread for each observation. Its two rows of the Jacobian come from one function in reverse
// mode, once for each component of the residual; each thread knows where its rows lie in the CSR matrix.
#include <fluxion/fluxion.h>

#include <memory>

#include "problem.h"

namespace gradbench {

namespace fx = fluxion;

Problem make_ba(const Ba& in) {
  const fx::Device dev = fx::Device::cpu();
  const int n = in.n, m = in.m, p = in.p;
  using Camera = fx::Vec<fx::Double, 11>;

  auto project = fx::fn("project", [](Camera camera, fx::Double3 X, fx::Double w, fx::Double2 feature) {
    fx::Double3 r{camera[0], camera[1], camera[2]}, x = X - fx::Double3{camera[3], camera[4], camera[5]};
    fx::Double squares = fx::dot(r, r);
    fx::Double3 y = fx::if_(
        squares > 0.0,
        [&] {
          fx::Double angle = fx::sqrt(squares), c = fx::cos(angle);
          fx::Double3 axis = r / angle;
          return x * c + fx::cross(axis, x) * fx::sin(angle) + axis * (fx::dot(axis, x) * (1.0 - c));
        },
        [&] { return x + fx::cross(r, x); });
    fx::Double2 at{y[0] / y[2], y[1] / y[2]};
    fx::Double s = fx::dot(at, at), L = 1.0 + camera[9] * s + camera[10] * s * s;
    return w * (at * (L * camera[6]) + fx::Double2{camera[7], camera[8]} - feature);
  });
  auto weight_error = fx::fn("weight_error", [](fx::Double w) { return 1.0 - w * w; });
  auto pullback = fx::vjp(project, fx::wrt<0, 1, 2>);
  auto weight_slope = fx::grad(weight_error);

  auto camera_at = [](const fx::In<double, 2>& cameras, const fx::Int& c) {
    Camera camera;
    for (int j = 0; j < 11; ++j) camera[j] = cameras(j, c);
    return camera;
  };
  auto residuals = fx::kernel("residuals", [=](fx::In<double, 2> cameras, fx::In<fx::Vec<double, 3>> points, fx::In<double> weights,
                                               fx::In<fx::Vec<double, 2>> features, fx::In<int> camera_of, fx::In<int> point_of,
                                               fx::Out<fx::Vec<double, 2>> reprojection, fx::Out<double> w_err) {
    auto i = fx::index();
    fx::Double w = weights[i];
    reprojection[i] = project(camera_at(cameras, camera_of[i]), points[point_of[i]], w, features[i]);
    w_err[i] = weight_error(w);
  });
  auto jacobian = fx::kernel("jacobian", [=](fx::In<double, 2> cameras, fx::In<fx::Vec<double, 3>> points, fx::In<double> weights,
                                             fx::In<fx::Vec<double, 2>> features, fx::In<int> camera_of, fx::In<int> point_of,
                                             fx::Out<double> values, fx::Out<int> columns, fx::Out<int> rows) {
    auto i = fx::index();
    fx::Int c = camera_of[i], at = point_of[i];
    fx::Double w = weights[i];
    for (int component = 0; component < 2; ++component) {
      auto [of_camera, of_point, of_weight] =
          pullback(camera_at(cameras, c), points[at], w, features[i], fx::Double2{1.0 - component, 1.0 * component});
      fx::Int first = 30 * i + 15 * component;
      rows[2 * i + component] = first;
      for (int j = 0; j < 11; ++j) {
        values[first + j] = of_camera[j];
        columns[first + j] = 11 * c + j;
      }
      for (int j = 0; j < 3; ++j) {
        values[first + 11 + j] = of_point[j];
        columns[first + 11 + j] = 11 * n + 3 * at + j;
      }
      values[first + 14] = of_weight;
      columns[first + 14] = 11 * n + 3 * m + i;
    }
    values[30 * p + i] = weight_slope(w);
    columns[30 * p + i] = 11 * n + 3 * m + i;
    rows[2 * p + i] = 30 * p + i;
    fx::if_(i == p - 1, [&] { rows[3 * p] = 31 * p; });
  });

  struct State {
    fx::Buffer<double, 2> cameras;  // (11, n)
    fx::Buffer<fx::Vec<double, 3>> points;
    fx::Buffer<double> weights;
    fx::Buffer<fx::Vec<double, 2>> features;
    fx::Buffer<int> camera_of, point_of;
    fx::Buffer<fx::Vec<double, 2>> reprojection;
    fx::Buffer<double> w_err, values;
    fx::Buffer<int> columns, rows;
  };
  Numbers across(in.cameras.size());
  for (int c = 0; c < n; ++c)
    for (int j = 0; j < 11; ++j) across[static_cast<std::size_t>(j * n + c)] = in.cameras[static_cast<std::size_t>(c * 11 + j)];
  std::vector<fx::Vec<double, 3>> points;
  for (std::size_t i = 0; i + 2 < in.points.size(); i += 3) points.push_back({in.points[i], in.points[i + 1], in.points[i + 2]});
  std::vector<fx::Vec<double, 2>> features;
  for (std::size_t i = 0; i + 1 < in.features.size(); i += 2) features.push_back({in.features[i], in.features[i + 1]});
  std::vector<int> camera_of, point_of;
  for (int i = 0; i < p; ++i) {
    camera_of.push_back(i % n);
    point_of.push_back(i % m);
  }
  auto s =
      std::make_shared<State>(State{dev.upload(across, 11, n), dev.upload(points), dev.upload(in.weights), dev.upload(features),
                                    dev.upload(camera_of), dev.upload(point_of), dev.zeros<fx::Vec<double, 2>>(p), dev.zeros<double>(p),
                                    dev.zeros<double>(31 * p), dev.zeros<int>(31 * p), dev.zeros<int>(3 * p + 1)});
  Problem out;
  out.primal = [=] {
    residuals.over(p)(s->cameras, s->points, s->weights, s->features, s->camera_of, s->point_of, s->reprojection, s->w_err);
    dev.wait();
  };
  out.derivative = [=] {
    jacobian.over(p)(s->cameras, s->points, s->weights, s->features, s->camera_of, s->point_of, s->values, s->columns, s->rows);
    dev.wait();
  };
  // The suite's abbreviation: observations are equal, so the first tells all.
  out.primal_json = [=] {
    const auto r = s->reprojection.host();
    return nlohmann::json{{"reproj_error", {{"elements", {r[0][0], r[0][1]}}, {"repeated", p}}},
                          {"w_err", {{"element", s->w_err.host()[0]}, {"repeated", p}}}};
  };
  out.derivative_json = [=] {
    auto ends = [](const auto& all) {
      auto j = nlohmann::json::array();
      for (std::size_t k = 0; k < 30 && k < all.size(); ++k) j.push_back(all[k]);
      j.push_back(all.back());
      return j;
    };
    return nlohmann::json{{"rows", ends(s->rows.host())}, {"cols", ends(s->columns.host())}, {"vals", ends(s->values.host())}};
  };
  add_rivals(out, in);
  return out;
}

}  // namespace gradbench
