# Installs the libraries, their headers, a CMake package for find_package(kudari), and a file for
# pkg-config.
include(CMakePackageConfigHelpers)

# The prefix as a file for pkg-config finds it.
cmake_path(RELATIVE_PATH CMAKE_INSTALL_PREFIX
  BASE_DIRECTORY ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig OUTPUT_VARIABLE KUDARI_PC_PREFIX)

install(TARGETS kudari EXPORT kudari_targets)
install(DIRECTORY include/kudari TYPE INCLUDE)
if(KUDARI_TORCH)
  install(TARGETS kudari_torch EXPORT kudari_torch_targets)
  install(DIRECTORY adapters/torch/include/kudari TYPE INCLUDE)
  install(FILES cmake/FindKudariLibTorch.cmake DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/kudari)
  install(EXPORT kudari_torch_targets NAMESPACE kudari::
          DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/kudari)
endif()
if(KUDARI_C)
  install(TARGETS kudari_c EXPORT kudari_targets)
  configure_file(cmake/kudari_c.pc.in kudari_c.pc @ONLY)
  install(FILES ${CMAKE_CURRENT_BINARY_DIR}/kudari_c.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
endif()
if(KUDARI_LAB)
  install(TARGETS kudari_lab kudari_lab_fetcher)
  if(KUDARI_TORCH)
    install(TARGETS kudari_lab_trainer)
  endif()
  # What `make playground` has built, which `kudari landscape --html` looks for.
  install(FILES ${PROJECT_SOURCE_DIR}/build/playground.html
          DESTINATION ${CMAKE_INSTALL_DATADIR}/kudari OPTIONAL)
endif()
install(EXPORT kudari_targets NAMESPACE kudari:: DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/kudari)
# Programs have to be linked with what a static library uses.
get_target_property(KUDARI_LIBRARY_TYPE kudari TYPE)
if(KUDARI_LIBRARY_TYPE STREQUAL "STATIC_LIBRARY")
  set(KUDARI_STATIC ON)
else()
  set(KUDARI_STATIC OFF)
endif()
configure_package_config_file(cmake/kudariConfig.cmake.in kudariConfig.cmake
  INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/kudari)
write_basic_package_version_file(kudariConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/kudariConfig.cmake
              ${CMAKE_CURRENT_BINARY_DIR}/kudariConfigVersion.cmake
        DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/kudari)

list(TRANSFORM KUDARI_OPENMP_LIBRARIES PREPEND "-l" OUTPUT_VARIABLE KUDARI_PC_OPENMP)
list(JOIN KUDARI_PC_OPENMP " " KUDARI_PC_OPENMP)
if(KUDARI_STATIC)
  set(KUDARI_PC_LINKING "Requires: libhwy tomlplusplus\nLibs: -L\${libdir} -lkudari ${KUDARI_PC_OPENMP}")
else()
  set(KUDARI_PC_LINKING "Libs: -L\${libdir} -lkudari")
endif()
configure_file(cmake/kudari.pc.in kudari.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/kudari.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
