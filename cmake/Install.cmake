# Installs the libraries, their headers and a CMake package, for find_package(kudari).
include(CMakePackageConfigHelpers)

install(TARGETS kudari EXPORT kudari_targets)
install(DIRECTORY include/kudari TYPE INCLUDE)
if(KUDARI_TORCH)
  install(TARGETS kudari_torch EXPORT kudari_torch_targets)
  install(DIRECTORY adapters/torch/include/kudari TYPE INCLUDE)
  install(FILES cmake/FindTorch.cmake DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/kudari)
  install(EXPORT kudari_torch_targets NAMESPACE kudari::
          DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/kudari)
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
configure_package_config_file(cmake/kudariConfig.cmake.in kudariConfig.cmake
  INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/kudari)
write_basic_package_version_file(kudariConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/kudariConfig.cmake
              ${CMAKE_CURRENT_BINARY_DIR}/kudariConfigVersion.cmake
        DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/kudari)
