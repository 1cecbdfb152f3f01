# OpenCV by its component packages (Debian, Ubuntu: libopencv-videoio-dev), which bring headers and libraries but not
# the OpenCVConfig.cmake of libopencv-dev, a third of a gigabyte of modules that nobody here uses.
#
# Sets OpenCV_FOUND, OpenCV_VERSION, OpenCV_INCLUDE_DIRS and OpenCV_LIBS, as OpenCV's own package file does.
set(OpenCV_FOUND FALSE)
find_path(SCENEBUS_OPENCV_INCLUDE opencv2/core/version.hpp PATH_SUFFIXES opencv4 opencv5)
if(NOT SCENEBUS_OPENCV_INCLUDE)
  return()
endif()
file(STRINGS "${SCENEBUS_OPENCV_INCLUDE}/opencv2/core/version.hpp" versionLines
  REGEX "^#define CV_VERSION_(MAJOR|MINOR|REVISION) +[0-9]+")
string(REGEX REPLACE "[^0-9;]" "" versionNumbers "${versionLines}")
string(REPLACE ";" "." OpenCV_VERSION "${versionNumbers}")
set(OpenCV_LIBS)
foreach(component core imgproc imgcodecs videoio)
  find_path(SCENEBUS_OPENCV_${component}_INCLUDE opencv2/${component}.hpp PATHS "${SCENEBUS_OPENCV_INCLUDE}" NO_DEFAULT_PATH)
  find_library(SCENEBUS_OPENCV_${component} opencv_${component})
  if(NOT SCENEBUS_OPENCV_${component} OR NOT SCENEBUS_OPENCV_${component}_INCLUDE)
    message(STATUS "OpenCV ${OpenCV_VERSION} in ${SCENEBUS_OPENCV_INCLUDE} lacks ${component}")
    return()
  endif()
  list(APPEND OpenCV_LIBS "${SCENEBUS_OPENCV_${component}}")
endforeach()
set(OpenCV_INCLUDE_DIRS "${SCENEBUS_OPENCV_INCLUDE}")
set(OpenCV_FOUND TRUE)
