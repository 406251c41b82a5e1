// Reads the text form back; print.cpp describes it. The op table gives the opcodes, and one shape fits all
// of them, so an elementwise op needs no line here. "#" starts a comment. What is read is also verified.
#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <charconv>
#include <limits>
#include <map>
#include <optional>

#include "fluxion/builder.h"
#include "fluxion/error.h"
#include "fluxion/external_code.h"
#include "text.h"

namespace fluxion {
namespace {

using Names = std::map<std::string, std::shared_ptr<const Function>, std::less<>>;

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) { skip(); }

  Function run();

 private:
  std::string_view text_;
  std::size_t at_ = 0;
  bool new_line_ = true;  // the next token starts a line
  std::string last_name_;
  std::map<std::int64_t, std::uint64_t> selves_;  // by the number in the text

  [[noreturn]] void fail(std::string_view what) const { fail_at(at_, what); }
  [[noreturn]] void fail_at(std::size_t at, std::string_view what) const {
    at = std::min(at, text_.size());
    const std::size_t start = at == 0 ? 0 : text_.rfind('\n', at - 1) + 1;  // npos + 1 is 0
    const std::size_t end = std::min(text_.find('\n', at), text_.size());
    throw KernelError({}, fmt::format("line {}, column {}: {}\n{}\n{}^", line(at), at - start + 1, what, text_.substr(start, end - start),
                                      std::string(at - start, ' ')));
  }
  std::uint32_t line(std::size_t at) const {
    return 1 + static_cast<std::uint32_t>(std::count(text_.begin(), text_.begin() + static_cast<std::ptrdiff_t>(at), '\n'));
  }

  // ---- tokens
  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  void skip() {
    for (; at_ < text_.size(); ++at_) {
      if (text_[at_] == '#') {
        while (at_ < text_.size() && text_[at_] != '\n') ++at_;
        if (at_ == text_.size()) break;
      }
      if (text_[at_] == '\n') new_line_ = true;
      else if (text_[at_] != ' ' && text_[at_] != '\t' && text_[at_] != '\r') break;
    }
  }
  void advance(std::size_t n) {
    at_ += n;
    new_line_ = false;
    skip();
  }
  bool take(std::string_view s) {
    if (text_.substr(at_, s.size()) != s) return false;
    if (is_name_start(s[0]) && at_ + s.size() < text_.size() && is_name_char(text_[at_ + s.size()])) return false;
    advance(s.size());
    return true;
  }
  void expect(std::string_view s) {
    if (!take(s)) fail(fmt::format("'{}' is expected", s));
  }
  std::string name() {
    std::size_t n = 0;
    while (at_ + n < text_.size() && is_name_char(text_[at_ + n])) ++n;
    if (n == 0) fail("a name is expected");
    std::string out(text_.substr(at_, n));
    advance(n);
    return out;
  }
  std::int64_t integer() {
    std::int64_t v = 0;
    const auto [end, error] = std::from_chars(text_.data() + at_, text_.data() + text_.size(), v);
    if (error != std::errc()) fail("a whole number is expected");
    advance(static_cast<std::size_t>(end - (text_.data() + at_)));
    return v;
  }
  std::string quoted() {
    if (peek() != '"') fail("a text in quotes is expected");
    std::string out;
    std::size_t i = at_ + 1;
    for (; i < text_.size() && text_[i] != '"'; ++i) {
      if (text_[i] != '\\') {
        out += text_[i];
        continue;
      }
      if (++i == text_.size()) break;
      out += text_[i] == 'n' ? '\n' : text_[i] == 't' ? '\t' : text_[i];
    }
    if (i >= text_.size()) fail("the text has no closing quote");
    advance(i + 1 - at_);
    return out;
  }

  // ---- types
  static std::optional<DType> dtype_named(std::string_view s) {
    for (int d = 0; d < kDTypeCount; ++d)
      if (s == name_of(static_cast<DType>(d))) return static_cast<DType>(d);
    return {};
  }
  DType dtype() {
    const std::size_t start = at_;
    const std::string s = name();
    if (const auto d = dtype_named(s)) return *d;
    fail_at(start, fmt::format("'{}' is no type", s));
  }
  LayoutId layout() {
    if (peek() != '{') return dtype();
    advance(1);
    Layout l;
    std::uint32_t at = 0, align = 1;
    do {
      const DType d = dtype();
      const auto size = static_cast<std::uint32_t>(size_of(d));
      at = (at + size - 1) / size * size;
      align = std::max(align, size);
      if (take("@")) at = static_cast<std::uint32_t>(integer());
      l.leaves.push_back({d, at});
      at += size;
    } while (take(","));
    l.size = (at + align - 1) / align * align;
    if (take(";")) l.size = static_cast<std::uint32_t>(integer());
    expect("}");
    return intern(l);
  }
  std::vector<std::int64_t> extents() {  // "[2, 3]", "[?, ?]" (-1), or nothing
    std::vector<std::int64_t> out;
    if (!take("[")) return out;
    do out.push_back(take("?") ? -1 : integer());
    while (take(","));
    expect("]");
    return out;
  }
  Type type() {
    if (take("seq")) {
      expect("<");
      const Type t = type();
      if (t.seq > 7) fail("sequences are nested at most 8 deep");
      expect(">");
      return t.as_seq();
    }
    const LayoutId element = layout();
    const std::vector<std::int64_t> shape = extents();
    if (shape.size() > 3) fail("an array has at most 3 axes");
    for (std::int64_t n : shape)
      if (n < 0) fail("an array's extents are whole numbers from 0");
    if (!shape.empty()) return Type::array(element, shape);
    if (!element.is_scalar()) fail("a struct is in memory or in an array only");
    return element.scalar();
  }
  std::vector<Type> types() {
    std::vector<Type> out;
    do out.push_back(type());
    while (take(","));
    return out;
  }

  // ---- constants
  struct Literal {
    DType dtype;
    std::uint64_t bits;
  };
  Literal literal() {
    const std::size_t start = at_;
    std::size_t end = at_;
    if (end < text_.size() && text_[end] == '-') ++end;
    while (end < text_.size() && (is_name_char(text_[end]) || ((text_[end] == '+' || text_[end] == '-') && text_[end - 1] == 'e'))) ++end;
    const std::string_view s = text_.substr(start, end - start);
    std::optional<DType> suffix;
    if (end + 1 < text_.size() && text_[end] == ':' && is_name_start(text_[end + 1])) {
      std::size_t stop = ++end;
      while (stop < text_.size() && is_name_char(text_[stop])) ++stop;
      suffix = dtype_named(text_.substr(end, stop - end));
      if (!suffix) fail_at(end, "a type is expected");
      end = stop;
    }
    advance(end - start);
    const bool hex = s.starts_with("0x");
    const bool real = !hex && s.find_first_of(".en") != s.npos;
    if (s == "true" || s == "false") return {DType::boolean, s == "true"};
    const DType t = suffix ? *suffix : real ? DType::f32 : DType::i32;
    const auto read = [&](auto v, std::string_view digits, auto... base) {
      const auto [stop, error] = std::from_chars(digits.data(), digits.data() + digits.size(), v, base...);
      if (error != std::errc() || stop != digits.data() + digits.size()) fail_at(start, fmt::format("'{}' is no {}", s, name_of(t)));
      return v;
    };
    const std::uint64_t mask = size_of(t) == 8 ? ~std::uint64_t{0} : (std::uint64_t{1} << (8 * size_of(t))) - 1;
    if (hex) return {t, read(std::uint64_t{0}, s.substr(2), 16) & mask};
    if (t == DType::f32) return {t, std::bit_cast<std::uint32_t>(s == "nan" ? std::numeric_limits<float>::quiet_NaN() : read(0.f, s))};
    if (t == DType::f64) return {t, std::bit_cast<std::uint64_t>(s == "nan" ? std::numeric_limits<double>::quiet_NaN() : read(0., s))};
    if (t == DType::f16) return {t, half(read(0.f, s)).bits};
    if (t == DType::bf16) return {t, bfloat16(read(0.f, s)).bits};
    if (t == DType::u64) return {t, read(std::uint64_t{0}, s)};
    const std::int64_t v = read(std::int64_t{0}, s);
    const std::uint64_t bits = static_cast<std::uint64_t>(v) & mask;
    const int shift = 64 - 8 * size_of(t);
    const std::int64_t back = is_signed(t) ? static_cast<std::int64_t>(bits << shift) >> shift : static_cast<std::int64_t>(bits);
    if (back != v || is_bool(t)) fail_at(start, fmt::format("{} does not fit {}", s, name_of(t)));
    return {t, bits};
  }

  struct FunctionParser;
  friend struct FunctionParser;
};

struct Parser::FunctionParser {
  Parser& p;
  const Names& known;
  Function f{};
  std::map<std::string, ValueId, std::less<>> values{};
  std::map<std::string, MemoryId, std::less<>> memories{};

  Function function() {
    const std::size_t start = p.at_;
    if (p.take("fn")) f.kind = Function::Kind::fn;
    else if (p.take("kernel")) f.kind = Function::Kind::kernel;
    else if (p.take("program")) f.kind = Function::Kind::program;
    else p.fail("a function is expected: fn, kernel or program");
    p.expect("@");
    f.name = p.last_name_ = p.name();
    f.loc = {"text", p.line(start)};
    Builder b(f);
    p.expect("(");
    if (!p.take(")")) {
      do parameter(b);
      while (p.take(","));
      p.expect(")");
    }
    std::vector<Type> returned;
    if (f.kind == Function::Kind::kernel) {
      p.expect("over");
      p.expect("(");
      std::vector<std::string> indices;
      do p.expect("%"), indices.push_back(p.name());
      while (p.take(","));
      p.expect(")");
      if (indices.size() > 3) p.fail("a kernel runs over at most 3 axes");
      f.domain_rank = static_cast<int>(indices.size());
      for (std::size_t i = 0; i < indices.size(); ++i) define(indices[i], b.index(static_cast<int>(i)));
      if (p.take("in")) {
        p.expect("groups");
        p.expect("(");
        for (int i = 0; i < f.domain_rank; ++i) {
          if (i) p.expect(",");
          f.group[static_cast<std::size_t>(i)] = static_cast<int>(p.integer());
        }
        p.expect(")");
      }
    } else if (p.take("->")) {
      returned = p.types();
    }
    if (p.take("vjp")) f.rules.vjp = callee_named();
    if (p.take("jvp")) f.rules.jvp = callee_named();
    if (p.take("external")) external();
    if (p.take("self")) {
      std::uint64_t& self = p.selves_[p.integer()];
      f.self = self ? self : self = new_self();
    }
    const std::size_t brace = p.at_;
    p.expect("{");
    b.finish(block(b));
    const Values& out = f.terminator(f.body).operands;
    bool same = f.kind == Function::Kind::kernel || returned.size() == out.size();
    for (std::size_t i = 0; i < returned.size() && same; ++i) same = f.type(out[i]) == returned[i];
    if (!same) p.fail_at(brace, "the body does not yield what the head says");
    try {
      verify(f);
    } catch (const Bug& e) { throw KernelError(e.where(), e.what()); }
    return std::move(f);
  }

  void external() {
    const bool impure = p.take("impure");
    const std::size_t start = p.at_;
    f.external = external_numbered(static_cast<std::uint64_t>(p.integer()));
    if (!f.external || f.external->impure != impure)
      p.fail_at(start, "the host function of this number is not there: a text with externals is read by the process that wrote it");
  }
  void define(const std::string& name, ValueId v) {
    if (!values.emplace(name, v).second) p.fail(fmt::format("%{} is defined twice", name));
  }
  std::optional<Role> role() {
    for (Role r : {Role::in, Role::out, Role::inout, Role::accum})
      if (p.take(name_of(r))) return r;
    return {};
  }
  void parameter(Builder& b) {
    const bool memory = p.peek() == '@';
    if (!p.take("@")) p.expect("%");
    const std::string name = p.name();
    p.expect(":");
    const auto r = role();
    if (!memory) {
      const Type t = p.type();
      if (r ? !t.is_array() : !t.is_scalar()) p.fail("a parameter is a scalar, or an array with a role");
      define(name, r ? b.array_parameter(t, *r, name) : b.scalar_parameter(t.dtype(), name));
      return;
    }
    if (!r) p.fail("a role is expected: in, out, inout or accum");
    const LayoutId element = p.layout();
    const std::vector<std::int64_t> shape = p.extents();
    if (shape.size() > 3) p.fail("a memory has at most 3 axes");
    const MemoryId m = b.memory_parameter(element, static_cast<int>(shape.size()), *r, name);
    for (std::size_t i = 0; i < shape.size(); ++i) f[m].shape[i] = std::max<std::int64_t>(shape[i], 1);
    if (!memories.emplace(name, m).second) p.fail(fmt::format("@{} is declared twice", name));
    if (p.take("like")) {
      f[m].scratch = true;
      f[m].like = parameter_of(memory_named());
      f[m].zeros = p.take("zeros");
      if (p.take("into")) f[m].into = parameter_of(memory_named());
    }
  }
  int parameter_of(MemoryId m) {
    for (std::size_t i = 0; i < f.parameters.size(); ++i)
      if (f.parameters[i].kind == Parameter::Kind::memory && f.parameters[i].memory == m) return static_cast<int>(i);
    p.fail("a parameter is expected");
  }
  MemoryId memory_named() {
    const std::size_t start = p.at_;
    p.expect("@");
    const std::string name = p.name();
    const auto it = memories.find(name);
    if (it == memories.end()) p.fail_at(start, fmt::format("there is no memory @{}", name));
    return it->second;
  }
  std::shared_ptr<const Function> callee_named() {
    const std::size_t start = p.at_;
    p.expect("@");
    const auto it = known.find(p.name());
    if (it == known.end()) p.fail_at(start, "a function of this name does not stand before");
    return it->second;
  }
  void local(Builder& b, Memory::Space space, bool records) {
    p.expect("@");
    const std::string name = p.name();
    p.expect(":");
    const LayoutId element = p.layout();
    const std::vector<std::int64_t> shape = p.extents();
    const bool is_local = space != Memory::Space::buffer;
    if (is_local ? shape.size() != 1 : shape.size() > 3) p.fail("a local has one axis, a buffer at most 3");
    const MemoryId m = b.local(element, is_local ? shape[0] : 0, name);
    f[m].space = space;
    f[m].records = records;
    if (!is_local) {
      f[m].rank = static_cast<std::int8_t>(shape.size());
      for (std::size_t i = 0; i < shape.size(); ++i) f[m].shape[i] = shape[i];
    }
    if (!memories.emplace(name, m).second) p.fail(fmt::format("@{} is declared twice", name));
  }

  /// Up to and with the closing brace; gives what the yield yields.
  Values block(Builder& b) {
    for (;;) {
      b.loc = {"text", p.line(p.at_)};
      if (p.take("}")) return {};
      if (p.take("local")) local(b, Memory::Space::local, false);
      else if (p.take("shared")) local(b, Memory::Space::shared, false);
      else if (p.take("buffer")) local(b, Memory::Space::buffer, false);
      else if (p.take("records")) local(b, Memory::Space::buffer, true);
      else if (p.take("yield")) {
        Values out = operands(b);
        p.expect("}");
        return out;
      } else {
        operation(b);
      }
    }
  }
  bool operand_follows() const {
    const char c = p.peek();
    if (p.new_line_) return false;
    if (c == '%' || c == '-' || is_digit(c)) return true;
    const std::string_view rest = p.text_.substr(p.at_);
    return rest.starts_with("true") || rest.starts_with("false") || rest.starts_with("nan") || rest.starts_with("inf");
  }
  ValueId operand(Builder& b) {
    if (p.peek() != '%') {
      const Literal l = p.literal();
      return b.constant(l.dtype, l.bits);
    }
    const std::size_t start = p.at_;
    p.advance(1);
    const std::string name = p.name();
    const auto it = values.find(name);
    if (it == values.end()) p.fail_at(start, fmt::format("there is no value %{}", name));
    return it->second;
  }
  Values operands(Builder& b) {
    Values out;
    if (!operand_follows()) return out;
    do out.push_back(operand(b));
    while (p.take(","));
    return out;
  }
  Opcode opcode() {
    const std::size_t start = p.at_;
    const std::string name = p.name();
    for (int i = 0; i < kOpcodeCount; ++i)
      if (name == name_of(static_cast<Opcode>(i))) return static_cast<Opcode>(i);
    p.fail_at(start, fmt::format("there is no op '{}'", name));
  }
  template <class Kind> std::uint8_t kind(int count) {
    const std::size_t start = p.at_;
    const std::string name = p.name();
    for (int i = 0; i < count; ++i)
      if (name == name_of(static_cast<Kind>(i))) return static_cast<std::uint8_t>(i);
    p.fail_at(start, fmt::format("there is no kind '{}'", name));
  }
  void attributes(Builder& b, Op& op) {
    switch (op.code) {
      case Opcode::load:
      case Opcode::store:
      case Opcode::accumulate:
      case Opcode::atomic:
        if (op.code == Opcode::atomic) op.kind = kind<Atomic>(kAtomicCount);
        op.memory = memory_named();
        p.expect("[");
        op.operands = operands(b);
        p.expect("]");
        if (p.take(".")) op.leaf = static_cast<std::uint16_t>(p.integer());
        if (op.code != Opcode::load) {
          p.expect(",");
          op.operands.push_back(operand(b));
          if (op.code == Opcode::atomic && op.kind == static_cast<int>(Atomic::compare_exchange)) {
            p.expect(",");
            op.operands.push_back(operand(b));
          }
        }
        return;
      case Opcode::extent: op.memory = memory_named(); [[fallthrough]];
      case Opcode::domain:
      case Opcode::group_index:
        p.expect("[");
        op.leaf = static_cast<std::uint16_t>(p.integer());
        p.expect("]");
        return;
      case Opcode::launch:
      case Opcode::call:
      case Opcode::run: op.ref = add_callee(f, callee_named()); break;
      case Opcode::subgroup: op.kind = kind<Subgroup>(kSubgroupCount); break;
      case Opcode::print:
      case Opcode::check: op.ref = add_text(f, p.quoted()); break;
      default:
        if (p.take("&")) op.ref = static_cast<std::uint32_t>(p.integer());
    }
    const bool buffers =
        op.code == Opcode::run || op.code == Opcode::buffer_alloc || op.code == Opcode::buffer_copy || op.code == Opcode::buffer_zero;
    while (p.peek() == '@' && !p.new_line_) {
      if (buffers) op.buffers.push_back(memory_named());
      else op.memory = memory_named();
    }
    if (!p.new_line_ && p.take("!")) op.leaf = static_cast<std::uint16_t>(p.integer());
    op.operands = operands(b);
  }
  void operation(Builder& b) {
    std::vector<std::string> results;
    const std::size_t start = p.at_;
    if (p.peek() == '%') {
      do p.expect("%"), results.push_back(p.name());
      while (p.take(","));
      p.expect("=");
    }
    Op op;
    op.loc = b.loc;
    op.code = opcode();
    if (p.take("down")) op.down = true;
    if (op.code == Opcode::for_ && p.take("starts")) op.kind = static_cast<std::uint8_t>(Keep::starts);
    if (op.code == Opcode::for_ && p.take("once")) op.kind = static_cast<std::uint8_t>(Keep::once);
    attributes(b, op);
    const int regions = op.code == Opcode::for_ ? 1 : op.code == Opcode::if_ || op.code == Opcode::while_ ? 2 : 0;
    for (int i = 0; i < regions; ++i) {
      if (i == 1) p.take(op.code == Opcode::if_ ? "else" : "do");
      op.regions.push_back(region(b));
    }
    std::vector<Type> types;
    if (!results.empty()) {
      p.expect(":");
      types = p.types();
    }
    if (types.size() != results.size()) p.fail_at(start, fmt::format("{} results and {} types", results.size(), types.size()));
    const Values made = f[b.append(std::move(op), types)].results;
    for (std::size_t i = 0; i < made.size(); ++i) define(results[i], made[i]);
  }
  RegionId region(Builder& b) {
    if (b.depth() > 100) p.fail("regions are nested at most 100 deep");
    std::vector<std::string> names;
    std::vector<Type> types;
    if (p.take("(")) {
      do {
        p.expect("%");
        names.push_back(p.name());
        p.expect(":");
        types.push_back(p.type());
      } while (p.take(","));
      p.expect(")");
    }
    p.expect("{");
    const RegionId r = b.open(types);
    for (std::size_t i = 0; i < names.size(); ++i) define(names[i], f[r].arguments[i]);
    const Values out = block(b);
    b.close(out);
    return r;
  }
};

Function Parser::run() {
  Names known;
  std::optional<Function> last;
  while (at_ < text_.size()) {
    if (last) known[last_name_] = std::make_shared<const Function>(std::move(*last));
    last = FunctionParser{*this, known}.function();
  }
  if (!last) fail("a function is expected: fn, kernel or program");
  return std::move(*last);
}

}  // namespace

Function parse(std::string_view text) { return Parser(text).run(); }

}  // namespace fluxion
