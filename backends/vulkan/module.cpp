// See the header; the order of the sections is that of "Logical Layout of a Module" in the SPIR-V specification.
#include "module.h"

namespace fluxion::vulkan {

Words words_of(std::string_view text) {
  Words out(text.size() / 4 + 1);
  for (std::size_t k = 0; k < text.size(); ++k) out[k / 4] |= static_cast<Word>(static_cast<unsigned char>(text[k])) << (k % 4 * 8);
  return out;
}

void Module::append(Words& to, spv::Op op, std::span<const Word> operands) {
  to.push_back(static_cast<Word>(operands.size() + 1) << 16 | static_cast<Word>(op));
  to.insert(to.end(), operands.begin(), operands.end());
}

Module::Module() : glsl_(id()), function_(id()), first_block_(id()), block_(first_block_) {}

// `typed`: the first operand is the result type, which stands before the result.
Word Module::once(spv::Op op, std::initializer_list<Word> operands, bool typed) {
  Words key{static_cast<Word>(op)};
  key.insert(key.end(), operands);
  if (const auto it = made_.find(key); it != made_.end()) return it->second;
  const Word result = id();
  Words all(operands);
  all.insert(all.begin() + (typed ? 1 : 0), result);
  append(globals_, op, all);
  made_[key] = result;
  return result;
}

Word Module::void_type() { return once(spv::Op::OpTypeVoid, {}, false); }
Word Module::bool_type() { return once(spv::Op::OpTypeBool, {}, false); }
Word Module::int_type(int bits) {
  if (bits == 8) capability(spv::Capability::Int8);
  if (bits == 16) capability(spv::Capability::Int16);
  if (bits == 64) capability(spv::Capability::Int64);
  return once(spv::Op::OpTypeInt, {static_cast<Word>(bits), 0}, false);
}
Word Module::float_type(int bits) {
  if (bits == 64) capability(spv::Capability::Float64);
  return once(spv::Op::OpTypeFloat, {static_cast<Word>(bits)}, false);
}
Word Module::pointer_type(spv::StorageClass where, Word to) { return once(spv::Op::OpTypePointer, {static_cast<Word>(where), to}, false); }
Word Module::array_type(Word of, Word count) { return once(spv::Op::OpTypeArray, {of, number(count)}, false); }
Word Module::vector_type(Word of, Word count) { return once(spv::Op::OpTypeVector, {of, count}, false); }
Word Module::function_type(Word result) { return once(spv::Op::OpTypeFunction, {result}, false); }
Word Module::struct_type(std::span<const Word> members) {
  Words all{id()};
  all.insert(all.end(), members.begin(), members.end());
  append(globals_, spv::Op::OpTypeStruct, all);
  return all[0];
}
Word Module::constant(Word type, int bits, std::uint64_t value) {
  if (bits <= 32) return once(spv::Op::OpConstant, {type, static_cast<Word>(value)}, true);
  return once(spv::Op::OpConstant, {type, static_cast<Word>(value), static_cast<Word>(value >> 32)}, true);
}
Word Module::boolean(bool value) { return once(value ? spv::Op::OpConstantTrue : spv::Op::OpConstantFalse, {bool_type()}, true); }
Word Module::null(Word type) { return once(spv::Op::OpConstantNull, {type}, true); }
Word Module::global(spv::StorageClass where, Word pointee) {
  const Word pointer = pointer_type(where, pointee), v = id();
  append(globals_, spv::Op::OpVariable, std::initializer_list<Word>{pointer, v, static_cast<Word>(where)});
  interface_.push_back(v);
  return v;
}
Word Module::builtin(spv::BuiltIn what, Word type) {
  Word& v = inputs_[static_cast<Word>(what)];
  if (!v) {
    v = global(spv::StorageClass::Input, type);
    decorate(v, spv::Decoration::BuiltIn, {static_cast<Word>(what)});
  }
  return v;
}

void Module::capability(spv::Capability c) {
  if (has_.insert(c).second) append(capabilities_, spv::Op::OpCapability, std::initializer_list<Word>{static_cast<Word>(c)});
}
void Module::extension(const char* name) {
  if (extended_by_.insert(name).second) append(extensions_, spv::Op::OpExtension, words_of(name));
}
void Module::mode(spv::ExecutionMode m, std::initializer_list<Word> operands) {
  Words all{function_, static_cast<Word>(m)};
  all.insert(all.end(), operands);
  append(modes_, spv::Op::OpExecutionMode, all);
}
void Module::decorate(Word target, spv::Decoration d, std::initializer_list<Word> operands) {
  Words all{target, static_cast<Word>(d)};
  all.insert(all.end(), operands);
  append(decorations_, spv::Op::OpDecorate, all);
}
void Module::decorate_member(Word target, Word member, spv::Decoration d, std::initializer_list<Word> operands) {
  Words all{target, member, static_cast<Word>(d)};
  all.insert(all.end(), operands);
  append(decorations_, spv::Op::OpMemberDecorate, all);
}

Word Module::op(spv::Op op, Word type, std::span<const Word> operands) {
  const Word result = id();
  Words all{type, result};
  all.insert(all.end(), operands.begin(), operands.end());
  append(code_, op, all);
  return result;
}
Word Module::extended(Word instruction, Word type, std::span<const Word> operands) {
  Words all{glsl_, instruction};
  all.insert(all.end(), operands.begin(), operands.end());
  return op(spv::Op::OpExtInst, type, all);
}
void Module::effect(spv::Op op, std::initializer_list<Word> operands) { append(code_, op, std::span(operands.begin(), operands.size())); }
Word Module::local(Word pointee) {
  const Word pointer = pointer_type(spv::StorageClass::Function, pointee), v = id();
  append(variables_, spv::Op::OpVariable, std::initializer_list<Word>{pointer, v, static_cast<Word>(spv::StorageClass::Function)});
  return v;
}
void Module::label(Word id) {
  append(code_, spv::Op::OpLabel, std::initializer_list<Word>{id});
  block_ = id;
}
Word Module::phi(Word type, std::size_t pairs) {
  const Words operands(2 * pairs);
  const Word result = op(spv::Op::OpPhi, type, operands);
  phis_[result] = code_.size() - operands.size();
  return result;
}
void Module::set_phi(Word phi, std::size_t pair, Word value, Word block) {
  code_[phis_.at(phi) + 2 * pair] = value;
  code_[phis_.at(phi) + 2 * pair + 1] = block;
}

Words Module::finish(const std::string& entry) {
  const Word type = function_type(void_type());
  Words out{spv::MagicNumber, 0x00010500, 0, 0, 0};
  const auto add = [&](const Words& section) { out.insert(out.end(), section.begin(), section.end()); };
  add(capabilities_);
  add(extensions_);
  Words import{glsl_};
  const Words glsl = words_of("GLSL.std.450"), name = words_of(entry);
  import.insert(import.end(), glsl.begin(), glsl.end());
  append(out, spv::Op::OpExtInstImport, import);
  append(out, spv::Op::OpMemoryModel,
         std::initializer_list<Word>{static_cast<Word>(spv::AddressingModel::PhysicalStorageBuffer64),
                                     static_cast<Word>(spv::MemoryModel::GLSL450)});
  Words point{static_cast<Word>(spv::ExecutionModel::GLCompute), function_};
  point.insert(point.end(), name.begin(), name.end());
  point.insert(point.end(), interface_.begin(), interface_.end());
  append(out, spv::Op::OpEntryPoint, point);
  add(modes_);
  add(decorations_);
  add(globals_);
  append(out, spv::Op::OpFunction, std::initializer_list<Word>{void_type(), function_, 0, type});
  append(out, spv::Op::OpLabel, std::initializer_list<Word>{first_block_});
  add(variables_);
  add(code_);
  append(out, spv::Op::OpFunctionEnd, {});
  out[3] = next_;
  return out;
}

}  // namespace fluxion::vulkan
