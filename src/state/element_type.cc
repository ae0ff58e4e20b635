#include <array>

#include "kudari/state.h"

namespace kudari {
namespace {

struct TypeInfo {
  std::string_view name;
  int64_t bytes;
};

// In the order of ElementType.
constexpr std::array<TypeInfo, 15> kTypes = {{{"BOOL", 1},
                                              {"U8", 1},
                                              {"I8", 1},
                                              {"F8_E5M2", 1},
                                              {"F8_E4M3", 1},
                                              {"U16", 2},
                                              {"I16", 2},
                                              {"F16", 2},
                                              {"BF16", 2},
                                              {"U32", 4},
                                              {"I32", 4},
                                              {"F32", 4},
                                              {"U64", 8},
                                              {"I64", 8},
                                              {"F64", 8}}};

}  // namespace

std::string_view Name(ElementType type) { return kTypes.at(static_cast<size_t>(type)).name; }

int64_t Bytes(ElementType type) { return kTypes.at(static_cast<size_t>(type)).bytes; }

std::optional<ElementType> FindElementType(std::string_view name) {
  for (size_t i = 0; i < kTypes.size(); ++i) {
    if (kTypes[i].name == name) return static_cast<ElementType>(i);
  }
  return std::nullopt;
}

ElementType ElementTypeOf(DType dtype) {
  switch (dtype) {
    case DType::kFloat32:
      return ElementType::kFloat32;
    case DType::kBFloat16:
      return ElementType::kBFloat16;
    case DType::kFloat16:
      return ElementType::kFloat16;
    case DType::kFloat64:
      return ElementType::kFloat64;
  }
  return ElementType::kFloat32;
}

}  // namespace kudari
