#include "backend/stage_arrays.h"

#include <string>
#include <vector>

#include "state/shape_text.h"

namespace kudari::internal {

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
        StateArray array{type, shape, std::vector<std::byte>(sizes_[index] * DataBytes(format_))};
        backend.Read(data, array.bytes);
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
