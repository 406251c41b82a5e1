// Hand tracking: pose angles to bone transforms to skinned points. Everything that depends on the pose has an axis of
// directions last: one for the residuals; for the Jacobian one a column, so that a single jvp along the unit
// vectors gives all columns, and a row of the result is a row of the Jacobian. Only the vertices that a residual
// needs are skinned, with the bones that move them.
#include <fluxion/fluxion.h>

#include <algorithm>
#include <memory>

#include "formulas.h"
#include "problem.h"

namespace gradbench {

namespace fx = fluxion;

namespace {

/// What the kernels read of the hand: corners of correspondences and their bones, row-major.
struct Skin {
  int corners = 1, bones = 1;  // a residual has that many corners, a vertex so many bones at most
  std::vector<int> bone_of;    // (count * corners, bones)
  Numbers weight_of;           // the same; 0 where a vertex has fewer
  Numbers positions;           // (count * corners, 3)
};

Skin skin_of(const Ht& in) {
  Skin s;
  s.corners = in.complicated ? 3 : 1;
  std::vector<int> vertices;
  for (const int c : in.correspondences)
    for (int k = 0; k < s.corners; ++k) vertices.push_back(in.complicated ? in.triangles[static_cast<std::size_t>(3 * c + k)] : c);
  std::vector<std::vector<int>> moved_by;
  auto weight = [&](int v, int b) { return in.weights[static_cast<std::size_t>(v * in.bones + b)]; };
  for (const int v : vertices) {
    auto& list = moved_by.emplace_back();
    for (int b = 0; b < in.bones; ++b)
      if (weight(v, b) != 0) list.push_back(b);
    s.bones = std::max(s.bones, static_cast<int>(list.size()));
  }
  for (std::size_t k = 0; k < vertices.size(); ++k) {
    for (std::size_t e = 0; e < static_cast<std::size_t>(s.bones); ++e) {
      const bool some = e < moved_by[k].size();
      s.bone_of.push_back(some ? moved_by[k][e] : 0);
      s.weight_of.push_back(some ? weight(vertices[k], moved_by[k][e]) : 0);
    }
    for (int r = 0; r < 3; ++r) s.positions.push_back(in.positions[static_cast<std::size_t>(4 * vertices[k] + r)]);
  }
  return s;
}

/// For each bone the members of theta that are its x, z and y angles; -1: none.
std::vector<int> angles_of(const Ht& in) {
  std::vector<int> which(static_cast<std::size_t>(3 * in.bones), -1);
  for (int a = 0; a < 20; ++a) {
    int column, row;
    formulas::finger_angle(a, column, row);
    which[static_cast<std::size_t>(3 * (column - 3) + row)] = 6 + a;
  }
  return which;
}

}  // namespace

Problem make_ht(const Ht& in) {
  const fx::Device dev = fx::Device::cpu();
  const Skin skin = skin_of(in);
  const int bones = in.bones, count = in.count, corners = skin.corners, moved_by = skin.bones;
  const double flip = in.mirrored ? -1 : 1;

  // Each bone's rotation, in its parent's frame.
  auto pose = fx::kernel("pose", [](fx::In<double, 2> theta, fx::In<int, 2> which, fx::In<double, 2> base, fx::Out<double, 3> relative) {
    auto [b, k] = fx::index<2>();
    auto angle = [&](int a) {
      fx::Int w = which(b, a);
      return fx::if_(w >= 0, [&] { return theta(w, k); }, [] { return fx::Double(0.0); });
    };
    fx::Double x = angle(0), z = angle(1), y = angle(2);
    fx::Double sx = fx::sin(x), cx = fx::cos(x), sy = fx::sin(y), cy = fx::cos(y), sz = fx::sin(z), cz = fx::cos(z);
    const fx::Double R[3][3] = {{cy * cz, sx * sy * cz - cx * sz, cx * sy * cz + sx * sz},
                                {cy * sz, sx * sy * sz + cx * cz, cx * sy * sz - sx * cz},
                                {-sy, sx * cy, cx * cy}};
    for (int r = 0; r < 3; ++r) {
      for (int c = 0; c < 3; ++c)
        relative(b, 4 * r + c, k) = base(b, 4 * r) * R[0][c] + base(b, 4 * r + 1) * R[1][c] + base(b, 4 * r + 2) * R[2][c];
      relative(b, 4 * r + 3, k) = base(b, 4 * r + 3);
    }
  });
  // Down the tree of bones; row r of a product needs row r of its left factor only, so rows are threads.
  auto chain = fx::kernel("chain", [=](fx::In<int> parents, fx::In<double, 2> inverse, fx::In<double, 3> relative,
                                       fx::InOut<double, 3> absolute, fx::Out<double, 3> transform) {
    auto [r, k] = fx::index<2>();
    for (auto b : fx::range(bones)) {
      fx::Int parent = parents[b];
      fx::Double row[4];
      for (int s = 0; s < 4; ++s)
        row[s] = fx::if_(parent >= 0, [&] { return +absolute(parent, 4 * r + s, k); }, [&] { return fx::cast<double>(r == s); });
      fx::Double moved[4];
      for (int c = 0; c < 4; ++c) {
        moved[c] = row[0] * relative(b, c, k) + row[1] * relative(b, 4 + c, k) + row[2] * relative(b, 8 + c, k);
        if (c == 3) moved[c] += row[3];
        absolute(b, 4 * r + c, k) = moved[c];
      }
      for (int c = 0; c < 4; ++c) {
        fx::Double v = moved[0] * inverse(b, c) + moved[1] * inverse(b, 4 + c) + moved[2] * inverse(b, 8 + c);
        if (c == 3) v += moved[3];
        transform(b, 4 * r + c, k) = v;
      }
    }
  });
  // The hand's place in the world.
  auto place = fx::kernel("place", [=](fx::In<double, 2> theta, fx::Out<double, 2> world) {
    auto k = fx::index();
    fx::Double3 r{theta(0, k), theta(1, k), theta(2, k)};
    fx::Double norm = fx::sqrt(fx::dot(r, r));
    fx::Double R[3][3];
    for (int i = 0; i < 3; ++i)
      for (int j = 0; j < 3; ++j) R[i][j] = i == j ? 1.0 : 0.0;
    fx::if_(norm >= 0.0001, [&] {
      fx::Double3 a = r / norm;
      fx::Double s = fx::sin(norm), c = fx::cos(norm);
      fx::Double3 sa = a * s;
      const fx::Double cross[3][3] = {{0.0, -sa[2], sa[1]}, {sa[2], 0.0, -sa[0]}, {-sa[1], sa[0], 0.0}};
      for (int i = 0; i < 3; ++i)
        for (int j = 0; j < 3; ++j) {
          R[i][j] = a[i] * a[j] * (1.0 - c) + cross[i][j];
          if (i == j) R[i][j] += c;
        }
    });
    for (int i = 0; i < 3; ++i) {
      for (int j = 0; j < 3; ++j) world(4 * i + j, k) = j == 0 ? flip * R[i][j] : R[i][j];
      world(4 * i + 3, k) = theta(3 + i, k);
    }
  });
  auto residual = fx::kernel(
      "residual", [=](fx::In<double, 3> transform, fx::In<double, 2> world, fx::In<double, 2> us, fx::In<int, 2> bone_of,
                      fx::In<double, 2> weight_of, fx::In<double, 2> positions, fx::In<double, 2> points, fx::Out<double, 2> out) {
        auto [i, k] = fx::index<2>();
        fx::Double3 at{0.0, 0.0, 0.0};
        for (int corner = 0; corner < corners; ++corner) {
          fx::Int v = i * corners + corner;
          fx::Double3 p{positions(v, 0), positions(v, 1), positions(v, 2)}, skinned{0.0, 0.0, 0.0};
          for (int e = 0; e < moved_by; ++e) {
            fx::Int b = bone_of(v, e);
            fx::Double weight = weight_of(v, e);
            for (int r = 0; r < 3; ++r)
              skinned[r] += weight * (transform(b, 4 * r, k) * p[0] + transform(b, 4 * r + 1, k) * p[1] +
                                      transform(b, 4 * r + 2, k) * p[2] + transform(b, 4 * r + 3, k));
          }
          if (corners == 1) {
            at = skinned;
          } else {
            fx::Double u = us(2 * i, k), w = us(2 * i + 1, k);
            at += skinned * (corner == 0 ? u : corner == 1 ? w : 1.0 - u - w);
          }
        }
        for (int r = 0; r < 3; ++r)
          out(3 * i + r, k) =
              points(i, r) - (world(4 * r, k) * at[0] + world(4 * r + 1, k) * at[1] + world(4 * r + 2, k) * at[2] + world(4 * r + 3, k));
      });
  // Copies along the axis of directions.
  auto spread = fx::kernel("spread", [](fx::In<double> one, fx::Out<double, 2> all) {
    auto [j, k] = fx::index<2>();
    all(j, k) = one[j];
  });

  struct State {
    fx::Buffer<int, 2> which, bone_of;
    fx::Buffer<int> parents;
    fx::Buffer<double, 2> base, inverse, weight_of, positions, points;
    fx::Buffer<double> theta, us;
    fx::Buffer<double, 2> thetas, uss, d_thetas, d_uss;  // for the Jacobian
    fx::Buffer<double, 2> one_theta, one_us;             // for the residuals
    fx::Buffer<double, 2> value, values, jacobian;
  };
  const int free = in.complicated ? 2 : 0, columns = 26 + free, us_size = in.complicated ? 2 * count : 1;
  auto s = std::make_shared<State>();
  s->which = dev.upload(angles_of(in), bones, 3);
  s->parents = dev.upload(in.parents);
  s->base = dev.upload(in.relatives, bones, 16);
  s->inverse = dev.upload(in.inverse_absolutes, bones, 16);
  s->bone_of = dev.upload(skin.bone_of, count * corners, moved_by);
  s->weight_of = dev.upload(skin.weight_of, count * corners, moved_by);
  s->positions = dev.upload(skin.positions, count * corners, 3);
  s->points = dev.upload(in.points, count, 3);
  s->theta = dev.upload(in.theta);
  s->us = dev.upload(in.complicated ? in.us : Numbers(1, 0.0));
  s->thetas = dev.zeros<double>(26, columns);
  s->uss = dev.zeros<double>(us_size, columns);
  s->one_theta = dev.zeros<double>(26, 1);
  s->one_us = dev.zeros<double>(us_size, 1);
  Numbers unit_thetas(static_cast<std::size_t>(26 * columns)), unit_us(static_cast<std::size_t>(us_size * columns));
  for (int j = 0; j < 26; ++j) unit_thetas[static_cast<std::size_t>(j * columns + free + j)] = 1;
  for (int j = 0; in.complicated && j < us_size; ++j) unit_us[static_cast<std::size_t>(j * columns + j % 2)] = 1;
  s->d_thetas = dev.upload(unit_thetas, 26, columns);
  s->d_uss = dev.upload(unit_us, us_size, columns);

  auto residuals = fx::program("residuals", [=](fx::Buffer<double, 2> theta, fx::Buffer<double, 2> us) {
    const std::int64_t directions = theta.extent(1);
    auto relative = fx::zeros<double>(bones, 12, directions), absolute = fx::zeros<double>(bones, 12, directions);
    auto transform = fx::zeros<double>(bones, 12, directions);
    auto world = fx::zeros<double>(12, directions), out = fx::zeros<double>(3 * count, directions);
    pose.over(bones, directions)(theta, s->which, s->base, relative);
    chain.over(3, directions)(s->parents, s->inverse, relative, absolute, transform);
    place.over(directions)(theta, world);
    residual.over(count, directions)(transform, world, us, s->bone_of, s->weight_of, s->positions, s->points, out);
    return out;
  });
  auto along = fx::jvp(residuals);

  Problem p;
  p.primal = [=] {
    spread.over(26, 1)(s->theta, s->one_theta);
    spread.over(us_size, 1)(s->us, s->one_us);
    s->value = residuals(s->one_theta, s->one_us);
    dev.wait();
  };
  p.derivative = [=] {
    spread.over(26, columns)(s->theta, s->thetas);
    spread.over(us_size, columns)(s->us, s->uss);
    std::tie(s->values, s->jacobian) = along(s->thetas, s->uss, s->d_thetas, s->d_uss);
    dev.wait();
  };
  p.primal_json = [=] { return nlohmann::json(s->value.host()); };
  p.derivative_json = [=] { return rows(s->jacobian.host(), columns, static_cast<std::size_t>(3 * count)); };
  add_rivals(p, in);
  return p;
}

}  // namespace gradbench
