// A SPIR-V module under construction: words in the sections that the specification orders, types and constants made once.
// Knows nothing of kernels; what each word means is said by who asks for it.
#pragma once
#include <cstdint>
#include <initializer_list>
#include <map>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <spirv/unified1/spirv.hpp11>

namespace fluxion::vulkan {

using Word = std::uint32_t;
using Words = std::vector<Word>;

class Module {
 public:
  Module();
  Word id() { return next_++; }

  // ---- types and constants: one id each
  Word void_type();
  Word bool_type();
  Word int_type(int bits);  // of no sign: ops say which they mean
  Word float_type(int bits);
  Word pointer_type(spv::StorageClass where, Word to);
  Word array_type(Word of, Word count);  // for memory of the invocation or group: no layout
  Word function_type(Word result);
  Word vector_type(Word of, Word count);
  Word struct_type(std::span<const Word> members);
  Word constant(Word type, int bits, std::uint64_t value);  // ints and floats
  Word number(std::uint32_t value) { return constant(int_type(32), 32, value); }
  Word boolean(bool value);
  Word null(Word type);
  Word global(spv::StorageClass where, Word pointee);  // a variable of the module
  Word builtin(spv::BuiltIn what, Word type);          // an input

  // ---- the sections before the code
  void capability(spv::Capability c);
  void extension(const char* name);
  void mode(spv::ExecutionMode mode, std::initializer_list<Word> operands = {});
  void decorate(Word target, spv::Decoration d, std::initializer_list<Word> operands = {});
  void decorate_member(Word target, Word member, spv::Decoration d, std::initializer_list<Word> operands = {});

  // ---- code of the one function, appended at the end
  Word op(spv::Op op, Word type, std::span<const Word> operands);
  Word op(spv::Op o, Word type, std::initializer_list<Word> operands) { return op(o, type, std::span(operands.begin(), operands.size())); }
  Word extended(Word instruction, Word type, std::span<const Word> operands);  // of GLSL.std.450
  void effect(spv::Op op, std::initializer_list<Word> operands = {});
  Word local(Word pointee);  // a variable of the function
  void label(Word id);
  Word block() const { return block_; }  // the one that is being appended to
  /// A phi whose operands come later, in pairs of value and block.
  Word phi(Word type, std::size_t pairs);
  void set_phi(Word phi, std::size_t pair, Word value, Word block);

  /// The module with this entry point.
  Words finish(const std::string& entry);

 private:
  Word next_ = 1, glsl_ = 0, function_ = 0, first_block_ = 0, block_ = 0;
  Words capabilities_, extensions_, modes_, decorations_, globals_, variables_, code_;
  std::set<spv::Capability> has_;
  std::set<std::string> extended_by_;
  std::map<Words, Word> made_;        // types and constants by their words
  std::map<Word, Word> inputs_;       // builtins
  Words interface_;                   // variables of the entry point
  std::map<Word, std::size_t> phis_;  // where the operands stand

  static void append(Words& to, spv::Op op, std::span<const Word> operands);
  Word once(spv::Op op, std::initializer_list<Word> operands, bool typed);
};

/// A literal string as words.
Words words_of(std::string_view text);

}  // namespace fluxion::vulkan
