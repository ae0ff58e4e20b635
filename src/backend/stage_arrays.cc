#include "backend/stage_arrays.h"

#include <algorithm>
#include <iterator>
#include <span>
#include <string>
#include <vector>

#include "state/shape_text.h"

namespace kudari::internal {

void StageArrays::Resize(const Engine& engine) {
  const std::span<const Tensor> tensors = engine.tensors();
  if (tensors.size() <= sizes_.size()) {
    sizes_.resize(tensors.size());
    buffers_.erase(buffers_.begin() + static_cast<std::ptrdiff_t>(tensors.size()), buffers_.end());
    return;
  }
  std::vector<Buffer> added;
  for (const Tensor& t : tensors.subspan(sizes_.size())) {
    added.emplace_back(engine.backend(), static_cast<size_t>(t.Size()) * DataBytes(format_));
  }
  pairs_.reserve(tensors.size());
  sizes_.reserve(tensors.size());
  buffers_.reserve(tensors.size());
  for (const Tensor& t : tensors.subspan(sizes_.size())) {
    sizes_.push_back(static_cast<size_t>(t.Size()));
  }
  std::ranges::move(added, std::back_inserter(buffers_));
}

void StageArrays::Visit(const Engine& engine, size_t index, std::string_view name,
                        StateVisitor& visitor) const {
  Backend& backend = engine.backend();
  const std::vector<int64_t>& shape = engine.tensors()[index].shape;
  const ElementType type =
      format_ == Format::kBFloat16 ? ElementType::kBFloat16 : ElementType::kFloat32;
  const std::string kind = std::string(Name(type)) + " " + ShapeText<int64_t>(shape);
  std::byte* const data = buffers_[index].data();
  visitor.Custom(
      name,
      [&] {
        StateArray array{type, shape, StateBytes(sizes_[index] * DataBytes(format_))};
        backend.Read(data, array.bytes, engine.parallel());
        return StateTree(std::move(array));
      },
      [&](const StateTree& found) {
        const auto* const array = std::get_if<StateArray>(&found.value());
        if (array == nullptr || array->type != type || array->shape != shape) {
          visitor.Misfit(name, "is " + found.Kind() + ", but must be " + kind);
        }
        return [&backend, array, data] { backend.Write(array->bytes, data); };
      },
      kind);
}

}  // namespace kudari::internal
