# What every target of the project is compiled with.
add_library(kudari_build INTERFACE)
target_compile_options(kudari_build INTERFACE
  -Wall -Wextra -Wpedantic -Wconversion $<$<BOOL:${KUDARI_WERROR}>:-Werror>
  # One answer on every target: a product and a sum are fused only where the source says Fma.
  -ffp-contract=off
  # GCC 12 sees overlaps in "text" + std::string that are not there (GCC bug 105651).
  $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict>
  # Fewer collections of garbage while headers are read: a sixth of the time for a third more memory.
  $<$<CXX_COMPILER_ID:GNU>:--param=ggc-min-heapsize=1000000>)
if(KUDARI_SANITIZE)
  target_compile_options(kudari_build INTERFACE
    -fsanitize=${KUDARI_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  target_link_options(kudari_build INTERFACE -fsanitize=${KUDARI_SANITIZE})
endif()

# kudari_unity(TARGET BATCH): compiles as many sources at a time as one unit, because headers, those
# of LibTorch above all, take longer to read than most sources.
function(kudari_unity target batch)
  set_target_properties(${target} PROPERTIES
    UNITY_BUILD ${KUDARI_UNITY} UNITY_BUILD_BATCH_SIZE ${batch})
endfunction()

# kudari_optimise_less(TARGET): its code takes longer to compile than to run.
function(kudari_optimise_less target)
  target_compile_options(${target} PRIVATE $<$<NOT:$<CONFIG:Debug>>:-O1>)
endfunction()

# kudari_layer(NAME [APART] SOURCES ... LIBS ...): an object library that is one layer of
# kudari::kudari. APART: each source is compiled by itself, since its loops take long to compile or its
# names occur in others. With sanitizers, too, loops are optimised, and fuzzers do not look into them.
function(kudari_layer name)
  cmake_parse_arguments(arg "APART" "" "SOURCES;LIBS" ${ARGN})
  add_library(kudari_${name} OBJECT ${arg_SOURCES})
  target_include_directories(kudari_${name} PUBLIC
    ${PROJECT_SOURCE_DIR}/include ${PROJECT_SOURCE_DIR}/src)
  target_link_libraries(kudari_${name} PRIVATE $<BUILD_INTERFACE:kudari_build> ${arg_LIBS})
  if(NOT arg_APART)
    kudari_unity(kudari_${name} 8)
  elseif(KUDARI_SANITIZE)
    set_target_properties(kudari_${name} PROPERTIES KUDARI_LOOPS ON)
    target_compile_options(kudari_${name} PRIVATE -O2)
  endif()
endfunction()

# kudari_unity_by_folder(TARGET [EXCEPT FOLDER...]): compiles the sources of each folder as one unit,
# where a name in an anonymous namespace must then be the only one of its folder.
function(kudari_unity_by_folder target)
  cmake_parse_arguments(arg "" "" "EXCEPT" ${ARGN})
  set_target_properties(${target} PROPERTIES UNITY_BUILD ${KUDARI_UNITY} UNITY_BUILD_MODE GROUP)
  get_target_property(sources ${target} SOURCES)
  foreach(source ${sources})
    cmake_path(ABSOLUTE_PATH source)
    cmake_path(GET source PARENT_PATH folder)
    cmake_path(RELATIVE_PATH folder BASE_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR})
    if(NOT folder IN_LIST arg_EXCEPT)
      string(MAKE_C_IDENTIFIER "of_${folder}" group)
      set_source_files_properties(${source} PROPERTIES UNITY_GROUP ${group})
    endif()
  endforeach()
endfunction()

# All test programs, and nothing else.
if(KUDARI_TESTS)
  add_custom_target(kudari_tests)
endif()

# kudari_test(NAME [THREADS] [WHOLE] SOURCES ... LIBS ...): a GoogleTest program, whose cases become
# ctest's, with its name as their label. Its sources are compiled several at a time, so each has a
# namespace of its own, or names that are the only ones of its folder. THREADS: it uses more than one;
# ThreadSanitizer has nothing to see in others. WHOLE: it is slow to start or has hundreds of short
# cases, and becomes a few tests of ctest with a share of the cases each.
function(kudari_test name)
  cmake_parse_arguments(arg "THREADS;WHOLE" "" "SOURCES;LIBS" ${ARGN})
  if(NOT KUDARI_TESTS OR (KUDARI_SANITIZE STREQUAL "thread" AND NOT arg_THREADS))
    return()
  endif()
  find_package(GTest REQUIRED)
  enable_testing()
  add_executable(${name} ${arg_SOURCES})
  add_dependencies(kudari_tests ${name})
  kudari_unity(${name} 6)
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR}/src ${PROJECT_SOURCE_DIR})
  target_compile_definitions(${name} PRIVATE KUDARI_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
  target_link_libraries(${name} PRIVATE
    kudari_build kudari::kudari GTest::gmock GTest::gtest_main ${arg_LIBS})
  if(KUDARI_SANITIZE)
    # One process for all cases, since each start takes long.
    target_compile_options(${name} PRIVATE -O0)
    add_test(NAME ${name} COMMAND ${name} --gtest_brief=1)
    # Otherwise memory that there is not ends the program instead of being an error.
    set_tests_properties(${name} PROPERTIES ENVIRONMENT
      "ASAN_OPTIONS=allocator_may_return_null=1;LSAN_OPTIONS=suppressions=${PROJECT_SOURCE_DIR}/tests/support/leaks.txt")
    return()
  endif()
  kudari_optimise_less(${name})
  if(arg_WHOLE)
    set(shards 4)
    math(EXPR last "${shards} - 1")
    foreach(shard RANGE ${last})
      add_test(NAME ${name}_${shard} COMMAND ${name} --gtest_brief=1)
      set_tests_properties(${name}_${shard} PROPERTIES LABELS ${name}
        ENVIRONMENT "GTEST_TOTAL_SHARDS=${shards};GTEST_SHARD_INDEX=${shard}")
    endforeach()
  else()
    include(GoogleTest)
    gtest_discover_tests(${name}
      NO_PRETTY_VALUES DISCOVERY_TIMEOUT 120 PROPERTIES LABELS ${name})
  endif()
endfunction()
