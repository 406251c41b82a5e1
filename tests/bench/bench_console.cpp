// The console: how long it takes to start, and from the end of an input to its answer. Wall time, medians, the program as an editor drives it.
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <stdexcept>
#include <string>
#include <vector>

#include "bench.h"

namespace {

/// A console that is asked line by line.
class Console {
 public:
  Console() {
    int in[2], out[2];
    if (pipe(in) != 0 || pipe(out) != 0) throw std::runtime_error("no pipe");
    child_ = fork();
    if (child_ == 0) {
      dup2(in[0], 0), dup2(out[1], 1);
      for (const int d : {in[0], in[1], out[0], out[1]}) close(d);
      execl(FLUXION_CONSOLE, FLUXION_CONSOLE, "--json", nullptr);
      _exit(127);
    }
    close(in[0]), close(out[1]);
    to_ = in[1], from_ = fdopen(out[0], "r");
  }
  ~Console() {
    close(to_);
    std::fclose(from_);
    waitpid(child_, nullptr, 0);
  }
  Console(const Console&) = delete;
  std::string ask(const std::string& code) {
    const std::string line = "\"" + code + "\"\n";  // a JSON string
    if (write(to_, line.data(), line.size()) != static_cast<ssize_t>(line.size())) throw std::runtime_error("the console is gone");
    char* text = nullptr;
    std::size_t room = 0;
    const ssize_t n = getline(&text, &room, from_);
    std::string answer = n > 0 ? std::string(text, static_cast<std::size_t>(n)) : std::string();
    free(text);
    if (answer.find("\"ok\":true") == answer.npos) throw std::runtime_error("the console refused " + code + ": " + answer);
    return answer;
  }

 private:
  pid_t child_ = -1;
  int to_ = -1;
  std::FILE* from_ = nullptr;
};

template <class F>
double median(int n, const F& once) {
  std::vector<double> all;
  for (int k = 0; k < n; ++k) {
    const double begin = bench::wall_seconds();
    once(k);
    all.push_back(bench::wall_seconds() - begin);
  }
  std::nth_element(all.begin(), all.begin() + n / 2, all.end());
  return all[static_cast<std::size_t>(n / 2)];
}

}  // namespace

int main(int argc, char** argv) {
  bench::Suite suite(argc, argv);
  { Console().ask("0"); }  // the prelude is there
  suite.row("console: start to first answer", {{"fluxion", median(11, [](int) { Console().ask("1 + 1"); })}}, 0.3);
  Console console;
  suite.row("console: trivial expression", {{"fluxion", median(51, [&](int k) { console.ask("1 + " + std::to_string(k)); })}}, 0.02);
  console.ask("auto x = fx::Device::best().zeros<float>(1000), y = fx::zeros_like(x);");
  const auto kernel = [&](int k) {
    const std::string name = "k" + std::to_string(k), n = std::to_string(k) + ".f";
    console.ask("auto " + name + " = fx::kernel(\\\"" + name +
                "\\\", [](fx::In<float> x, fx::Out<float> y) {\\n  auto i = fx::index();\\n  fx::Float a = x[i], s = 0.f;\\n"
                "  for (auto j : fx::range(10)) {\\n    fx::Float t = fx::sin(a * fx::Float(j));\\n    s += t * t;\\n  }\\n"
                "  fx::if_(s > 1.f, [&] { s = s - " +
                n + "; });\\n  y[i] = s;\\n});\\n" + name + ".over(1000)(x, y); y.host()[3]");
  };
  suite.row("console: kernel of 10 lines, typed to result", {{"fluxion", median(15, kernel)}}, 0.4);
  return 0;
}
