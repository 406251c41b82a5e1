// Lengths are 32 bits, little endian as both processes are the same machine.
#include "wire.h"

#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>

namespace fluxion::console {
namespace {

class Writer {
 public:
  void text(const std::string& s) {
    count(s.size());
    out += s;
  }
  void count(std::size_t n) {
    const auto word = static_cast<std::uint32_t>(n);
    out.append(reinterpret_cast<const char*>(&word), sizeof word);
  }
  void texts(const std::vector<std::string>& list) {
    count(list.size());
    for (const std::string& s : list) text(s);
  }
  std::string out;
};

class Reader {
 public:
  explicit Reader(const std::string& in) : in_(in) {}
  std::size_t count() {
    std::uint32_t word = 0;
    if (in_.size() - at_ < sizeof word) {
      good = false;
      return 0;
    }
    std::memcpy(&word, in_.data() + at_, sizeof word);
    at_ += sizeof word;
    return word;
  }
  std::string text() {
    const std::size_t n = count();
    if (n > in_.size() - at_) {
      good = false;
      return {};
    }
    at_ += n;
    return in_.substr(at_ - n, n);
  }
  int number() { return std::atoi(text().c_str()); }
  std::vector<std::string> texts() {
    std::vector<std::string> out;
    for (std::size_t n = count(); n > 0 && good; --n) out.push_back(text());
    return out;
  }
  bool good = true;

 private:
  const std::string& in_;
  std::size_t at_ = 0;
};

}  // namespace

std::string pack(const Request& r) {
  Writer w;
  w.text(std::string(1, static_cast<char>(r.verb)));
  w.texts(r.texts);
  w.text(r.quiet ? "quiet" : "");
  return w.out;
}

std::optional<Request> unpack_request(const std::string& text) {
  Reader in(text);
  Request r;
  const std::string verb = in.text();
  r.texts = in.texts();
  r.quiet = !in.text().empty();
  if (!in.good || verb.size() != 1) return {};
  r.verb = static_cast<Request::Verb>(verb[0]);
  return r;
}

std::string pack(const Reply& r) {
  Writer w;
  w.text(r.failure);
  w.count(r.shown.size());
  for (const Shown& s : r.shown) w.text(s.text), w.text(s.type);
  w.count(r.messages.size());
  for (const Message& m : r.messages) {
    w.text(m.level), w.text(m.text), w.text(m.file);
    for (const int n : {m.line, m.column, m.width}) w.text(std::to_string(n));
  }
  w.texts(r.names);
  w.text(std::to_string(r.milliseconds));
  w.text(r.echo ? "echo" : "");
  w.text(std::to_string(r.form));
  w.text(r.broken ? "broken" : "");
  return w.out;
}

std::optional<Reply> unpack_reply(const std::string& text) {
  Reader in(text);
  Reply r;
  r.failure = in.text();
  for (std::size_t n = in.count(); n > 0 && in.good; --n) {
    Shown s;
    s.text = in.text(), s.type = in.text();
    r.shown.push_back(std::move(s));
  }
  for (std::size_t n = in.count(); n > 0 && in.good; --n) {
    Message m;
    m.level = in.text(), m.text = in.text(), m.file = in.text();
    m.line = in.number(), m.column = in.number(), m.width = in.number();
    r.messages.push_back(std::move(m));
  }
  r.names = in.texts();
  r.milliseconds = std::atof(in.text().c_str());
  r.echo = !in.text().empty();
  r.form = in.number();
  r.broken = !in.text().empty();
  if (!in.good) return {};
  return r;
}

bool send(int descriptor, const std::string& message) {
  const auto size = static_cast<std::uint32_t>(message.size());
  std::string whole(reinterpret_cast<const char*>(&size), sizeof size);
  whole += message;
  for (std::size_t at = 0; at < whole.size();) {
    const ssize_t n = ::write(descriptor, whole.data() + at, whole.size() - at);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    at += static_cast<std::size_t>(n);
  }
  return true;
}

std::optional<std::string> receive(int descriptor) {
  const auto fill = [&](char* to, std::size_t size) {
    for (std::size_t at = 0; at < size;) {
      const ssize_t n = ::read(descriptor, to + at, size - at);
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) return false;
      at += static_cast<std::size_t>(n);
    }
    return true;
  };
  std::uint32_t size = 0;
  if (!fill(reinterpret_cast<char*>(&size), sizeof size)) return {};
  std::string message(size, '\0');
  if (!fill(message.data(), size)) return {};
  return message;
}

}  // namespace fluxion::console
