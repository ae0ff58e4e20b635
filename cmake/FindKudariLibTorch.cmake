# LibTorch as the target kudari::libtorch: headers, libtorch_cpu, libc10 and, of a build for GPUs,
# the library that registers them. The libraries are found directly, in a PyPI wheel, a LibTorch archive
# or a distribution's package, because the configuration that LibTorch brings with its CUDA builds asks
# for a CUDA toolkit, which nothing here needs. That configuration makes a target named `torch` and
# fails where there is one already, so ours has another name, and projects may find both in any order.
#
# Looks in Torch_DIR (the folder with TorchConfig.cmake) and CMAKE_PREFIX_PATH. With
# KudariLibTorch_CPU_ONLY, programs do not load the libraries for GPUs.
find_path(KudariLibTorch_API_DIR torch/torch.h
  HINTS ${Torch_DIR}/../../..
  # The second is for torch.utils.cmake_prefix_path, which is the folder share/cmake.
  PATH_SUFFIXES include/torch/csrc/api/include ../../include/torch/csrc/api/include)
if(KudariLibTorch_API_DIR)
  cmake_path(SET kudari_libtorch_api NORMALIZE ${KudariLibTorch_API_DIR})
  cmake_path(SET kudari_libtorch_include NORMALIZE ${KudariLibTorch_API_DIR}/../../../..)
  cmake_path(SET kudari_libtorch_libraries NORMALIZE ${kudari_libtorch_include}/../lib)
endif()
find_library(KudariLibTorch_CPU_LIBRARY torch_cpu HINTS ${kudari_libtorch_libraries})
find_library(KudariLibTorch_C10_LIBRARY c10 HINTS ${kudari_libtorch_libraries})
if(KudariLibTorch_CPU_LIBRARY)
  cmake_path(GET KudariLibTorch_CPU_LIBRARY PARENT_PATH kudari_libtorch_libraries)
endif()
find_library(KudariLibTorch_GPU_LIBRARY NAMES torch_cuda torch_hip
  PATHS ${kudari_libtorch_libraries} NO_DEFAULT_PATH)
mark_as_advanced(KudariLibTorch_API_DIR KudariLibTorch_CPU_LIBRARY KudariLibTorch_C10_LIBRARY
                 KudariLibTorch_GPU_LIBRARY)

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(KudariLibTorch
  REQUIRED_VARS KudariLibTorch_CPU_LIBRARY KudariLibTorch_C10_LIBRARY KudariLibTorch_API_DIR
  REASON_FAILURE_MESSAGE "Name a LibTorch in CMAKE_PREFIX_PATH, or pass -DKUDARI_TORCH=OFF.")

if(KudariLibTorch_FOUND AND NOT TARGET kudari::libtorch)
  add_library(kudari::libtorch INTERFACE IMPORTED GLOBAL)
  target_include_directories(kudari::libtorch SYSTEM INTERFACE
    ${kudari_libtorch_include} ${kudari_libtorch_api})
  target_link_libraries(kudari::libtorch INTERFACE
    ${KudariLibTorch_CPU_LIBRARY} ${KudariLibTorch_C10_LIBRARY})
  # What libtorch_cpu wants of others is found when it is loaded.
  target_link_options(kudari::libtorch INTERFACE LINKER:--allow-shlib-undefined)
  if(KudariLibTorch_GPU_LIBRARY AND NOT KudariLibTorch_CPU_ONLY)
    # No symbol of it is used; it registers the GPUs when it is loaded.
    target_link_libraries(kudari::libtorch INTERFACE
      "-Wl,--push-state,--no-as-needed,${KudariLibTorch_GPU_LIBRARY},--pop-state")
  endif()
endif()
