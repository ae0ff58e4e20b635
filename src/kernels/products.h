#ifndef KUDARI_KERNELS_PRODUCTS_H_
#define KUDARI_KERNELS_PRODUCTS_H_

#include <cstddef>
#include <string_view>

namespace kudari::internal {

/// Matrices are stored in panels of this many columns, the last one padded. A panel holds its rows
/// one after the other, three cache lines each, so the k-th term of a product needs only the k-th
/// rows of two panels.
template <class T>
inline constexpr size_t kPanel = 192 / sizeof(T);

/// sums <- A^T b, where A consists of a_panels consecutive panels and b is one panel, all with
/// `depth` rows. Element (i, j) of the result goes to sums[i * kPanel<T> + j]. Every element is
/// summed in the same order by fused operations, so the bits are the same on all instruction sets.
template <class T>
using PanelProduct = void (*)(const T* a, size_t a_panels, const T* b, size_t depth, T* sums);

/// The product for an instruction set of AllKernels().
template <class T>
PanelProduct<T> ProductFor(std::string_view target);

}  // namespace kudari::internal

#endif  // KUDARI_KERNELS_PRODUCTS_H_
