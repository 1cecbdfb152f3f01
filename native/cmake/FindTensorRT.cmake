# TensorRT's public headers, its ONNX parser's, and the CUDA headers that they include. No library is looked for: the
# addon opens libnvinfer at run time (native/tensorrt/plan/libraryLoader.h).
#
#   TensorRT_ROOT             a folder with the headers, or with include/ (also several folders, in order)
#   TensorRT_FOUND            all of them are there and the version is one that we know
#   TensorRT_VERSION          major.minor.patch
#   TensorRT_INCLUDE_DIRS     for -isystem
#   TensorRT_PROBLEM          what is missing, in words
set(tensorRtPlaces ${TensorRT_ROOT} $ENV{TensorRT_ROOT})
set(tensorRtSystemPlaces /usr/include/aarch64-linux-gnu /usr/include/x86_64-linux-gnu /usr/include
  /usr/local/tensorrt/include)

# Nothing is cached: headers that were installed since the last configuration are found.
foreach(header NvInfer.h NvOnnxParser.h cuda_runtime_api.h)
  unset(tensorRtFound)
  unset(tensorRtFound CACHE)
  find_path(tensorRtFound ${header} PATHS ${tensorRtPlaces} PATH_SUFFIXES include NO_DEFAULT_PATH)
  if(NOT tensorRtFound)
    find_path(tensorRtFound ${header} PATHS ${tensorRtSystemPlaces} /usr/local/cuda/include
      /usr/local/cuda/targets/aarch64-linux/include NO_DEFAULT_PATH)
  endif()
  set(tensorRtFound_${header} "${tensorRtFound}")
  unset(tensorRtFound CACHE)
endforeach()

set(TensorRT_PROBLEM "")
set(TensorRT_VERSION "")
set(TensorRT_INCLUDE_DIRS "")
if(NOT tensorRtFound_NvInfer.h)
  set(TensorRT_PROBLEM "NvInfer.h was not found (Debian package libnvinfer-headers-dev; or set TensorRT_ROOT)")
elseif(NOT tensorRtFound_NvOnnxParser.h)
  set(TensorRT_PROBLEM "NvOnnxParser.h was not found (Debian package libnvonnxparsers-dev; before TensorRT 10.14 \
NVIDIA's repository of headers lacks it: take it from onnx/onnx-tensorrt and add its folder to TensorRT_ROOT)")
elseif(NOT tensorRtFound_cuda_runtime_api.h)
  set(TensorRT_PROBLEM "cuda_runtime_api.h was not found (CUDA's development packages; or set TensorRT_ROOT)")
else()
  file(READ "${tensorRtFound_NvInfer.h}/NvInferVersion.h" tensorRtVersionHeader)
  foreach(part MAJOR MINOR PATCH)
    # From 10.13 the macros that count are TRT_*_ENTERPRISE.
    if(tensorRtVersionHeader MATCHES "define TRT_${part}_ENTERPRISE ([0-9]+)")
      list(APPEND TensorRT_VERSION ${CMAKE_MATCH_1})
    elseif(tensorRtVersionHeader MATCHES "define NV_TENSORRT_${part} ([0-9]+)")
      list(APPEND TensorRT_VERSION ${CMAKE_MATCH_1})
    endif()
  endforeach()
  string(REPLACE ";" "." TensorRT_VERSION "${TensorRT_VERSION}")
  set(TensorRT_INCLUDE_DIRS "${tensorRtFound_NvInfer.h}" "${tensorRtFound_NvOnnxParser.h}"
    "${tensorRtFound_cuda_runtime_api.h}")
  list(REMOVE_DUPLICATES TensorRT_INCLUDE_DIRS)
  if(TensorRT_VERSION VERSION_LESS 10.3 OR NOT TensorRT_VERSION VERSION_LESS 12)
    set(TensorRT_PROBLEM "expected headers of TensorRT 10.3 or later and before 12 but ${tensorRtFound_NvInfer.h} has \
'${TensorRT_VERSION}'")
  endif()
endif()

if(TensorRT_PROBLEM STREQUAL "")
  set(TensorRT_FOUND TRUE)
  if(NOT TensorRT_FIND_QUIETLY)
    message(STATUS "TensorRT: headers of ${TensorRT_VERSION} in ${tensorRtFound_NvInfer.h}")
  endif()
else()
  set(TensorRT_FOUND FALSE)
  if(TensorRT_FIND_REQUIRED)
    message(FATAL_ERROR "TensorRT: ${TensorRT_PROBLEM}")
  endif()
endif()
