#ifndef KUDARI_KERNELS_TARGETS_H_
#define KUDARI_KERNELS_TARGETS_H_

// To be included before Highway. Targets without fused multiply-add are not compiled: there the
// scalar code runs, which rounds as the others do. Vectors of SVE cannot be members of a struct, so
// such machines run NEON.
#define HWY_DISABLED_TARGETS \
  (HWY_SSSE3 | HWY_SSE4 | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128)

#endif  // KUDARI_KERNELS_TARGETS_H_
