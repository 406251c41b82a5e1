// The command line is CLI11's, the record nlohmann's; both stay in this file, since they are slow to compile.
#include "support/run.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <stdexcept>
#include <variant>

#include "support/plot.h"

namespace demo {

struct Run::Json {
  nlohmann::ordered_json value;
};

struct Run::Parameter {
  std::string key, what;
  std::variant<double*, int*, std::string*> value;

  std::string text() const {
    return std::visit(
        [](auto* v) -> std::string {
          if constexpr (std::is_same_v<decltype(v), std::string*>) {
            return *v;
          } else {
            char text[32];
            std::snprintf(text, sizeof text, "%.10g", static_cast<double>(*v));
            return text;
          }
        },
        value);
  }

  void set(const std::string& text) const {
    std::size_t used = text.size();
    try {
      if (auto* const* d = std::get_if<double*>(&value)) **d = std::stod(text, &used);
      if (auto* const* i = std::get_if<int*>(&value)) **i = std::stoi(text, &used);
    } catch (const std::logic_error&) { used = 0; }
    if (used != text.size() || text.empty())
      throw std::runtime_error("--set " + key + "=" + text + ": not a number of the right kind; the default is " + this->text());
    if (auto* const* s = std::get_if<std::string*>(&value)) **s = text;
  }
};

Run::Run(std::string name, std::string what, int iterations)
    : name_(std::move(name)),
      what_(std::move(what)),
      out_("out/" + name_),
      iterations_(iterations),
      terminal_(isatty(STDOUT_FILENO) != 0),
      json_(std::make_unique<Json>()) {}
Run::~Run() = default;

void Run::parameter(const char* key, double& value, const char* what) { parameters_.push_back({key, what, &value}); }
void Run::parameter(const char* key, int& value, const char* what) { parameters_.push_back({key, what, &value}); }
void Run::parameter(const char* key, std::string& value, const char* what) { parameters_.push_back({key, what, &value}); }

int Run::start(int argc, char** argv, const std::function<void()>& body) {
  CLI::App app(what_, name_);
  std::vector<std::string> settings;
  bool no_pictures = false;
  app.add_option("--device", device_, "where to run: cpu, reference, ... (the best there is)");
  app.add_option("--iterations", iterations_, "number of updates")->check(CLI::Range(0, 1000000))->capture_default_str();
  app.add_option("--seed", seed_, "seed of what is random")->capture_default_str();
  app.add_option("--set", settings, "KEY=VALUE, any number of times; the keys are below");
  app.add_flag("--check", check_, "check the gradient in f64 against central differences, and stop");
  app.add_flag("--no-pictures", no_pictures, "only compute");
  app.add_option("--out", out_, "folder for pictures")->capture_default_str();
  app.add_option("--json", json_path_, "file for the results");
  std::string keys = "keys of --set:\n";
  for (const Parameter& p : parameters_) {
    const std::string entry = p.key + "=" + p.text();
    keys += "  " + entry + std::string(entry.size() < 26 ? 26 - entry.size() : 1, ' ') + p.what + "\n";
  }
  app.footer(keys);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) { return app.exit(e); }
  pictures_ = !no_pictures;
  begin_ = last_line_ = std::chrono::steady_clock::now();
  try {
    for (const std::string& s : settings) {
      const std::size_t equals = s.find('=');
      auto p = std::find_if(parameters_.begin(), parameters_.end(), [&](const Parameter& q) { return q.key == s.substr(0, equals); });
      if (equals == std::string::npos || p == parameters_.end())
        throw std::runtime_error("--set " + s + ": write KEY=VALUE with a KEY that --help lists");
      p->set(s.substr(equals + 1));
    }
    json_->value["demo"] = name_;
    json_->value["device"] = device_;
    body();
    finish();
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s%s: %s\n", terminal_ ? "\n" : "", name_.c_str(), e.what());
    return 1;
  }
  return failed_ ? 1 : 0;
}

std::string Run::path(const std::string& file) {
  std::filesystem::create_directories(out_);
  return out_ + "/" + file;
}

void Run::loss(double value) {
  losses_.push_back(value);
  seconds_ = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count();
  progress(false);
  if (!std::isfinite(value)) throw std::runtime_error("the loss is not a finite number any more");
}

void Run::progress(bool end) {
  const auto now = std::chrono::steady_clock::now();
  const int done = static_cast<int>(losses_.size()) - 1;
  if (terminal_) {
    if (!end && done != iterations_ && now - last_line_ < std::chrono::milliseconds(60)) return;
    const int width = 32, filled = iterations_ > 0 ? std::min(width, width * done / iterations_) : width;
    std::string bar;
    for (int i = 0; i < width; ++i) bar += i < filled ? "█" : "·";
    std::printf("\r%s  %d/%d  loss %.4g  %.1f s ", bar.c_str(), done, iterations_, losses_.back(),
                std::chrono::duration<double>(now - begin_).count());
    if (end) std::printf("\n");
    std::fflush(stdout);
    last_line_ = now;
  } else if (!end && (done % std::max(1, iterations_ / 10) == 0 || done == iterations_)) {
    std::printf("iteration %d: loss %.6g\n", done, losses_.back());
    std::fflush(stdout);
  }
}

void Run::record(const std::string& key, double value) { json_->value[key] = value; }
void Run::record(const std::string& key, const std::string& value) { json_->value[key] = value; }
void Run::record(const std::string& key, const std::vector<double>& values) { json_->value[key] = values; }
void Run::wrote(const std::string& file) { files_.push_back(file); }

void Run::check_gradient(const std::function<double(const std::vector<double>&)>& f, const std::vector<double>& x,
                         const std::vector<double>& gradient, double h) {
  std::mt19937_64 random(seed_);
  std::normal_distribution<double> normal;
  double worst = 0;
  for (int k = 0; k < 3; ++k) {
    std::vector<double> d(x.size()), up = x, down = x;
    double norm = 0, slope = 0;
    for (double& v : d) v = normal(random), norm += v * v;
    for (std::size_t i = 0; i < x.size(); ++i) {
      d[i] /= std::sqrt(norm);
      up[i] += h * d[i];
      down[i] -= h * d[i];
      slope += gradient[i] * d[i];
    }
    const double difference = (f(up) - f(down)) / (2 * h);
    const double error = std::abs(slope - difference) / std::max(std::abs(difference), 1e-300);
    std::printf("direction %d: gradient %.12g, central difference %.12g, relative difference %.2e\n", k, slope, difference, error);
    worst = std::isfinite(error) ? std::max(worst, error) : std::numeric_limits<double>::infinity();
  }
  const bool good = worst < 1e-6;
  std::printf("check: worst relative difference %.2e, %s 1e-6\n", worst, good ? "below" : "NOT below");
  record("check", worst);
  failed_ = failed_ || !good;
}

void Run::finish() {
  if (!losses_.empty()) {
    progress(true);
    std::printf("loss %.6g -> %.6g in %d iterations\n", losses_.front(), losses_.back(), static_cast<int>(losses_.size()) - 1);
    if (pictures_ && losses_.size() > 1) {
      plot(name_, "iteration", {{"loss", losses_, kBlue}}).write_png(path("loss.png"));
      wrote(path("loss.png"));
    }
  }
  json_->value["loss"] = losses_;
  json_->value["seconds"] = seconds_;
  if (!json_path_.empty()) {
    std::ofstream file(json_path_);
    file << json_->value.dump(2) << "\n";
    if (!file.flush()) throw std::runtime_error("cannot write " + json_path_);
    wrote(json_path_);
  }
  for (const std::string& f : files_) std::printf("wrote %s\n", f.c_str());
}

}  // namespace demo
