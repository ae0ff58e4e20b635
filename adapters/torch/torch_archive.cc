#include "kudari/torch_archive.h"

#include <algorithm>
#include <map>
#include <sstream>
#include <utility>

#include "kudari/error.h"
#include "kudari/files.h"
#include "kudari/messages.h"
#include "kudari/torch_state.h"
#include "torch_arrays.h"

namespace kudari::torch {
namespace {

namespace fs = std::filesystem;
using ::torch::serialize::InputArchive;
using ::torch::serialize::OutputArchive;

constexpr const char* kArchiveVersion = "1.5.0";  // of the format, since that LibTorch
constexpr int64_t kMostParameters = 100'000'000;

// The optimisers of LibTorch in C++ that Kudari has twins of, with the options in their archives.
const std::map<std::string, std::vector<std::string>>& Archived() {
  static const std::map<std::string, std::vector<std::string>> archived = {
      {"SGD", {"lr", "momentum", "dampening", "weight_decay", "nesterov"}},
      {"Adam", {"lr", "betas", "eps", "weight_decay", "amsgrad"}},
      {"AdamW", {"lr", "betas", "eps", "weight_decay", "amsgrad"}},
      {"RMSprop", {"lr", "alpha", "eps", "weight_decay", "momentum", "centered"}},
      {"Adagrad", {"lr", "lr_decay", "weight_decay", "initial_accumulator_value", "eps"}}};
  return archived;
}

std::string ArchivedNames() {
  std::string names;
  for (const auto& [name, options] : Archived()) names += (names.empty() ? "" : ", ") + name;
  return names;
}

/// Reads one archive.
class ArchiveReader {
 public:
  ArchiveReader(const fs::path& path, const std::string& optimizer,
                const std::vector<std::string>& names)
      : path_(path), optimizer_(optimizer), names_(names) {}

  StateTree Read() {
    try {
      InputArchive archive, groups;
      archive.load_from(path_.string());
      c10::IValue version;
      const bool known = archive.try_read("pytorch_version", version) && version.isString() &&
                         version.toStringRef() == kArchiveVersion;
      if (!known || !archive.try_read("param_groups", groups) ||
          !archive.try_read("state", states_)) {
        Fail("is not of an optimiser of LibTorch's");
      }
      const int64_t size = Size(groups, "param_groups/size");
      for (int64_t i = 0; i < size; ++i) ReadGroup(groups, std::to_string(i));
    } catch (const c10::Error& e) {
      Fail("cannot be read: " + OneLine(e.what_without_backtrace()));
    } catch (const std::out_of_range& e) {  // of a corrupt pickle
      Fail("cannot be read: " + OneLine(e.what()));
    }
    if (position_ != names_.size()) {
      Fail("is of " + std::to_string(position_) + " parameters, but there are " +
           std::to_string(names_.size()) + " names");
    }
    return std::move(torch_);
  }

 private:
  [[noreturn]] void Fail(const std::string& what) const {
    throw Error(path_.string() + ": " + what);
  }

  int64_t Size(InputArchive& archive, const std::string& key) const {
    at::Tensor size;
    archive.read(key, size);
    if (!size.defined() || size.numel() != 1 || size.scalar_type() != at::kLong) {
      Fail(key + " is not a number");
    }
    const auto n = size.item<int64_t>();
    if (n < 0 || n > kMostParameters) Fail(key + " = " + std::to_string(n) + " is out of range");
    return n;
  }

  void ReadGroup(InputArchive& groups, const std::string& index) {
    const std::string node = "param_groups/" + index;
    InputArchive group, options;
    groups.read(node, group);
    group.read("options", options);
    torch_.Set(node + "/optimizer", optimizer_);
    for (const std::string& option : Archived().at(optimizer_)) {
      c10::IValue value;
      if (options.try_read(option, value)) PutOption(node + "/" + option, value);
    }
    const int64_t size = Size(group, "params/size");
    for (int64_t k = 0; k < size; ++k) {
      if (position_ == names_.size()) {
        Fail("is of more parameters than the " + std::to_string(names_.size()) + " names");
      }
      const std::string& name = names_[position_++];
      torch_.Set(node + "/params/" + std::to_string(k), name);
      c10::IValue key;
      group.read("params/" + std::to_string(k), key);
      if (!key.isString()) Fail("params/" + std::to_string(k) + " is not a text");
      InputArchive state;
      if (states_.try_read(key.toStringRef(), state)) {
        ReadState(state, "state/" + PathComponent(name) + "/");
      }
    }
  }

  void PutOption(const std::string& path, const c10::IValue& value) {
    if (value.isDouble()) {
      torch_.Set(path, value.toDouble());
    } else if (value.isBool()) {
      torch_.Set(path, value.toBool());
    } else if (value.isInt()) {
      torch_.Set(path, value.toInt());
    } else if (value.isTuple()) {
      const auto& elements = value.toTupleRef().elements();
      for (size_t i = 0; i < elements.size(); ++i) {
        PutOption(path + "/" + std::to_string(i), elements[i]);
      }
    } else {
      Fail(path + " is of type " + value.tagKind());
    }
  }

  void ReadState(InputArchive& state, const std::string& prefix) {
    for (const char* const buffer : {"momentum_buffer", "exp_avg", "exp_avg_sq", "max_exp_avg_sq",
                                     "square_avg", "grad_avg", "sum"}) {
      c10::IValue value;
      if (!state.try_read(buffer, value) || !value.isTensor()) continue;
      if (value.toTensor().defined()) {
        torch_.Set(prefix + buffer, ArrayOf(value.toTensor(), prefix + buffer));
      }
    }
    c10::IValue step;
    if (!state.try_read("step", step)) return;
    if (!step.isInt()) Fail(prefix + "step is of type " + step.tagKind());
    torch_.Set(prefix + "step", static_cast<double>(step.toInt()));
  }

  const fs::path& path_;
  const std::string& optimizer_;
  const std::vector<std::string>& names_;
  InputArchive states_;
  size_t position_ = 0;
  StateTree torch_;
};

/// The value of an option as the archive has it.
c10::IValue OptionValue(const StateTree& option) {
  if (const auto* const x = std::get_if<double>(&option.value())) return *x;
  if (const auto* const b = std::get_if<bool>(&option.value())) return *b;
  return std::tuple(option.At("0").Double(), option.At("1").Double());
}

void WriteGroup(OutputArchive& groups, const std::string& index, const StateTree& group,
                const std::vector<std::string>& options, std::map<std::string, std::string>& keys) {
  OutputArchive out(groups.compilation_unit()), out_options(groups.compilation_unit());
  const StateTree::Members& names = group.At("params").members();
  out.write("params/size", ::torch::tensor(static_cast<int64_t>(names.size())));
  for (size_t k = 0; k < names.size(); ++k) {
    // LibTorch has addresses there, which are only numbers to it when it loads.
    const std::string key = std::to_string(keys.size() + 1);
    keys.emplace(group.At("params").Member(std::to_string(k))->Text(), key);
    out.write("params/" + std::to_string(k), c10::IValue(key));
  }
  for (const std::string& option : options) {
    out_options.write(option, OptionValue(group.At(option)));
  }
  out.write("options", out_options);
  groups.write("param_groups/" + index, out);
}

}  // namespace

StateTree ReadTorchArchive(const fs::path& path, const std::string& optimizer,
                           const std::vector<std::string>& names) {
  if (!Archived().contains(optimizer)) {
    throw Error("optimizer = " + Quoted(optimizer) + " is not one of " + ArchivedNames());
  }
  return ArchiveReader(path, optimizer, names).Read();
}

StateTree ReadTorchArchive(const fs::path& path, const std::string& optimizer,
                           const ::torch::nn::Module& module) {
  std::vector<std::string> names;
  for (const auto& item : module.named_parameters()) names.push_back(item.key());
  return ReadTorchArchive(path, optimizer, names);
}

void WriteTorchArchive(const fs::path& path, const Optimizer& optimizer) {
  const StateTree torch = StateToTorch(optimizer.core());
  const StateTree::Members& groups = torch.At("param_groups").members();
  const std::string name = groups.begin()->second.At("optimizer").Text();
  for (const auto& [index, group] : groups) {
    const std::string& other = group.At("optimizer").Text();
    if (other == name) continue;
    throw Error("the optimiser would be several in LibTorch: " + name + " and " + other);
  }
  const auto archived = Archived().find(name);
  if (archived == Archived().end()) {
    throw Error("LibTorch has no " + name + " in C++; it has " + ArchivedNames());
  }
  OutputArchive archive;
  OutputArchive out_groups(archive.compilation_unit()), out_states(archive.compilation_unit());
  out_groups.write("param_groups/size", ::torch::tensor(static_cast<int64_t>(groups.size())));
  std::map<std::string, std::string> keys;
  for (size_t i = 0; i < groups.size(); ++i) {
    const std::string index = std::to_string(i);
    WriteGroup(out_groups, index, groups.at(index), archived->second, keys);
  }
  for (const auto& [tensor, state] : torch.At("state").members()) {
    OutputArchive out(archive.compilation_unit());
    for (const auto& [member, value] : state.members()) {
      if (member == "step") {
        out.write("step", c10::IValue(static_cast<int64_t>(value.Double())));
      } else {
        out.write(member, c10::IValue(TensorOf(value.Array())));
      }
    }
    out_states.write(keys.at(tensor), out);
  }
  archive.write("pytorch_version", c10::IValue(kArchiveVersion));
  archive.write("state", out_states);
  archive.write("param_groups", out_groups);
  std::ostringstream bytes;
  archive.save_to(bytes);
  WriteFileAtomically(path, bytes.view());
}

}  // namespace kudari::torch
