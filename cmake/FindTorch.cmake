# LibTorch as the target `torch`: headers, libtorch_cpu and libc10. The libraries are found directly,
# in a PyPI wheel, a LibTorch archive or a distribution's package, because the configuration that
# LibTorch brings with its CUDA builds asks for a CUDA toolkit, which nothing here needs.
#
# Looks in Torch_DIR (the folder with TorchConfig.cmake) and CMAKE_PREFIX_PATH.
find_path(Torch_API_DIR torch/torch.h
  HINTS ${Torch_DIR}/../../..
  PATH_SUFFIXES include/torch/csrc/api/include)
if(Torch_API_DIR)
  cmake_path(SET torch_include NORMALIZE ${Torch_API_DIR}/../../../..)
  cmake_path(SET torch_prefix NORMALIZE ${torch_include}/..)
endif()
find_library(Torch_CPU_LIBRARY torch_cpu HINTS ${torch_prefix}/lib)
find_library(Torch_C10_LIBRARY c10 HINTS ${torch_prefix}/lib)
mark_as_advanced(Torch_API_DIR Torch_CPU_LIBRARY Torch_C10_LIBRARY)

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(Torch
  REQUIRED_VARS Torch_CPU_LIBRARY Torch_C10_LIBRARY Torch_API_DIR
  REASON_FAILURE_MESSAGE "Name a LibTorch in CMAKE_PREFIX_PATH, or pass -DKUDARI_TORCH=OFF.")

if(Torch_FOUND AND NOT TARGET torch)
  add_library(torch INTERFACE IMPORTED GLOBAL)
  target_include_directories(torch SYSTEM INTERFACE ${torch_include} ${Torch_API_DIR})
  target_link_libraries(torch INTERFACE ${Torch_CPU_LIBRARY} ${Torch_C10_LIBRARY})
  # The GPU libraries that a CUDA build of libtorch_cpu wants are found when it is loaded.
  target_link_options(torch INTERFACE LINKER:--allow-shlib-undefined)
endif()
