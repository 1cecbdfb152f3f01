# Compiles the TensorRT layer against sets of headers and runs its tests, which need neither the library nor a GPU:
#
#   cmake "-DHEADERS=/path/to/headers-10.3:/path/to/its-parser|/path/to/headers-11.1" -P native/cmake/checkTensorRT.cmake
#
# Sets are parted by |, folders of one set by a colon. Headers: NVIDIA/TensorRT on GitHub, include/ of a release tag; the
# parser's of versions before 10.14 is in onnx/onnx-tensorrt. BUILD_FOLDER keeps the builds for the next time.
if(NOT HEADERS)
  message(FATAL_ERROR "Expected -DHEADERS=folder[:folder…][|folder…]")
endif()
get_filename_component(source "${CMAKE_CURRENT_LIST_DIR}/../.." ABSOLUTE)
if(NOT BUILD_FOLDER)
  set(BUILD_FOLDER "${source}/native/build/tensorrt-headers")
endif()
find_program(ninja ninja)
if(ninja)
  set(generator -G Ninja)
endif()
string(REPLACE "|" ";" sets "${HEADERS}")
foreach(set ${sets})
  string(REPLACE ":" ";" folders "${set}")
  string(MAKE_C_IDENTIFIER "${set}" name)
  set(folder "${BUILD_FOLDER}/${name}")
  foreach(step
      "${CMAKE_COMMAND}|-S|${source}|-B|${folder}|${generator}|-DSCENEBUS_CAPTURE=OFF|-DSCENEBUS_CUDA=OFF|-DSCENEBUS_TENSORRT=ON|-DSCENEBUS_ARM64_TESTS=OFF"
      "${CMAKE_COMMAND}|--build|${folder}|--target|tensorrtTests|--parallel"
      "${folder}/native/tensorrt/tensorrtTests")
    string(REPLACE "|" ";" command "${step}")
    if(step MATCHES "SCENEBUS_TENSORRT")
      string(REPLACE ";" "\\;" escaped "${folders}")
      list(APPEND command "-DTensorRT_ROOT=${escaped}")
    endif()
    execute_process(COMMAND ${command} RESULT_VARIABLE result)
    if(NOT result EQUAL 0)
      message(FATAL_ERROR "failed with the headers in ${set}")
    endif()
  endforeach()
endforeach()
