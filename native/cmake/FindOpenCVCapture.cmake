# What the capture addon needs of OpenCV: core, imgproc and videoio of 4.5 or newer. No version is asked of find_package:
# OpenCV's version file takes only its own major number for compatible, so a wish for 4.5 would never find OpenCV 5.
#
# Sets OpenCV_FOUND, OpenCV_VERSION, OpenCV_INCLUDE_DIRS and OpenCV_LIBS, or OpenCV_FOUND to FALSE and
# OpenCVCapture_PROBLEM to a sentence that says what is missing and what to do.
set(OpenCVCapture_PROBLEM)
set(captureModules core imgproc videoio)
find_package(OpenCV QUIET OPTIONAL_COMPONENTS ${captureModules})
set(captureLacks)
if(OpenCV_FOUND)
  foreach(component IN LISTS captureModules)
    if(NOT OpenCV_${component}_FOUND)
      list(APPEND captureLacks ${component})
    endif()
  endforeach()
  if(captureLacks)
    string(REPLACE ";" ", " captureLacks "${captureLacks}")
    set(OpenCVCapture_PROBLEM
      "OpenCV ${OpenCV_VERSION} in ${OpenCV_DIR} lacks ${captureLacks}: build it with -DBUILD_LIST=core,imgproc,imgcodecs,videoio or more")
    set(OpenCV_FOUND FALSE)
  endif()
endif()
if(NOT OpenCV_FOUND)
  include("${CMAKE_CURRENT_LIST_DIR}/FindOpenCVComponents.cmake")
  if(OpenCV_FOUND)
    set(OpenCVCapture_PROBLEM)
  elseif(NOT OpenCVCapture_PROBLEM)
    set(OpenCVCapture_PROBLEM "no OpenCV >= 4.5 found (Debian, Ubuntu: apt install libopencv-videoio-dev)")
  endif()
endif()
if(OpenCV_FOUND AND OpenCV_VERSION VERSION_LESS 4.5)
  set(OpenCVCapture_PROBLEM "OpenCV ${OpenCV_VERSION} is too old, 4.5 or newer is needed (Debian, Ubuntu: apt install libopencv-videoio-dev)")
  set(OpenCV_FOUND FALSE)
endif()
# OpenCV 5's own headers demand it.
if(OpenCV_FOUND AND OpenCV_VERSION VERSION_GREATER_EQUAL 5 AND CMAKE_CXX_STANDARD AND CMAKE_CXX_STANDARD LESS 17)
  set(OpenCVCapture_PROBLEM "OpenCV ${OpenCV_VERSION} needs C++17, but CMAKE_CXX_STANDARD is ${CMAKE_CXX_STANDARD}: leave it at 17")
  set(OpenCV_FOUND FALSE)
endif()
