#ifndef KUDARI_BACKEND_STAGE_ARRAYS_H_
#define KUDARI_BACKEND_STAGE_ARRAYS_H_

#include <cstddef>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "backend/backend.h"
#include "kudari/state.h"
#include "kudari/step.h"

namespace kudari::internal {

/// Memory of a backend, which must outlive the buffer.
class Buffer {
 public:
  Buffer() : memory_(nullptr, Free{nullptr}) {}
  Buffer(Backend& backend, size_t bytes) : memory_(backend.Allocate(bytes), Free{&backend}) {}

  std::byte* data() const { return memory_.get(); }

 private:
  struct Free {
    Backend* backend;
    void operator()(std::byte* p) const { backend->Free(p); }
  };
  std::unique_ptr<std::byte, Free> memory_;
};

/// What a stage keeps for every tensor: arrays on the tensors' backend, all in one format, with the
/// size of the tensor.
class StageArrays {
 public:
  StageArrays() = default;
  /// Uninitialised arrays; those of tensors that this process does not own are empty.
  static StageArrays OfOwned(const Engine& engine, Format format) {
    return StageArrays(engine, format, [&engine](size_t i) { return engine.Owns(i); });
  }
  /// Uninitialised arrays for all tensors.
  static StageArrays OfAll(const Engine& engine, Format format) {
    return StageArrays(engine, format, [](size_t) { return true; });
  }

  /// Appends uninitialised arrays for tensors that were added behind the others, or drops those of
  /// tensors that are gone again. If memory runs out, nothing has changed.
  void Resize(const Engine& engine);

  /// Sets all elements to zero, of the arrays from `first` on.
  void Clear(Backend& backend, size_t first = 0) const {
    for (size_t i = first; i < sizes_.size(); ++i) {
      backend.Fill(buffers_[i].data(), 0, sizes_[i] * DataBytes(format_));
    }
  }

  size_t count() const { return sizes_.size(); }
  size_t SizeOf(size_t index) const { return sizes_[index]; }
  Coded operator[](size_t index) const {
    return {.format = format_, .data = buffers_[index].data()};
  }
  float* Floats(size_t index) const { return reinterpret_cast<float*>(buffers_[index].data()); }

  /// Visits an array as state of its tensor's shape.
  void Visit(const Engine& engine, size_t index, std::string_view name,
             StateVisitor& visitor) const;

  /// Pairs of each array with other(index), leaving out those without data. Valid until the next
  /// call; allocates nothing.
  template <class F>
  std::span<const ArrayPair> With(const F& other) {
    pairs_.clear();
    for (size_t i = 0; i < sizes_.size(); ++i) {
      const Coded from = other(i);
      if (from.data != nullptr) pairs_.push_back({(*this)[i], from, sizes_[i]});
    }
    return pairs_;
  }
  /// Pairs of each array with the weights of its tensor, as the rule sees them.
  std::span<const ArrayPair> WithWeights(const Engine& engine) {
    return With([&engine](size_t i) { return engine.Weights(i); });
  }

 private:
  template <class F>
  StageArrays(const Engine& engine, Format format, const F& has) : format_(format) {
    for (size_t i = 0; i < engine.tensors().size(); ++i) {
      sizes_.push_back(has(i) ? static_cast<size_t>(engine.tensors()[i].Size()) : 0);
      buffers_.emplace_back(engine.backend(), sizes_.back() * DataBytes(format));
    }
    pairs_.reserve(sizes_.size());
  }

  Format format_ = Format::kFloat32;
  std::vector<size_t> sizes_;
  std::vector<Buffer> buffers_;
  std::vector<ArrayPair> pairs_;
};

}  // namespace kudari::internal

#endif  // KUDARI_BACKEND_STAGE_ARRAYS_H_
