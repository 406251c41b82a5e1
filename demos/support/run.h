// One run of a demo: its command line, its progress, its losses, its gradient check and the files it leaves.
#pragma once
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "support/image.h"

namespace demo {

class Run {
 public:
  /// `iterations`: how many updates unless --iterations says otherwise.
  Run(std::string name, std::string what, int iterations);
  ~Run();
  Run(const Run&) = delete;
  Run& operator=(const Run&) = delete;

  /// Makes a variable settable with --set KEY=VALUE; its present value is the default. Call before start().
  void parameter(const char* key, double& value, const char* what);
  void parameter(const char* key, int& value, const char* what);
  void parameter(const char* key, std::string& value, const char* what);

  /// Reads the command line and runs `body`; the value is main's. Errors are printed, not thrown.
  int start(int argc, char** argv, const std::function<void()>& body);

  const std::string& device() const { return device_; }  // "" is the best there is
  int iterations() const { return iterations_; }
  std::uint64_t seed() const { return seed_; }
  bool check() const { return check_; }      // --check: check the gradient in f64 instead of optimising
  bool quiet() const { return !pictures_; }  // --no-pictures
  /// A file in the output folder, which is made when first asked for.
  std::string path(const std::string& file);

  /// The loss before update 0, 1, ...: iterations() + 1 calls in all. Moves the progress line.
  void loss(double value);
  const std::vector<double>& losses() const { return losses_; }
  /// Further facts for --json and the closing lines.
  void record(const std::string& key, double value);
  void record(const std::string& key, const std::string& value);
  void record(const std::string& key, const std::vector<double>& values);
  /// Names a file for the user.
  void wrote(const std::string& file);

  /// Compares g.d with (f(x + h d) - f(x - h d)) / 2h along three random directions d; prints and records the worst
  /// relative difference. A difference of 1e-6 or more makes start() return 1.
  void check_gradient(const std::function<double(const std::vector<double>&)>& f, const std::vector<double>& x,
                      const std::vector<double>& gradient, double h);

 private:
  struct Json;
  void finish();
  void progress(bool end);

  std::string name_, what_, device_, out_, json_path_;
  int iterations_;
  std::uint64_t seed_ = 1;
  bool check_ = false, pictures_ = true, failed_ = false, terminal_ = false;
  std::unique_ptr<Json> json_;
  std::vector<double> losses_;
  double seconds_ = 0;  // from the start to the last loss: compilation and optimisation, no pictures
  std::vector<std::string> files_;
  struct Parameter;
  std::vector<Parameter> parameters_;
  std::chrono::steady_clock::time_point begin_, last_line_;
};

}  // namespace demo
