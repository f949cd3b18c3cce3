# Finds Darknet's header and library and defines darknet::darknet.
#
# In this order: DARKNET_ROOT; the installed Debian package; Debian's package unpacked into build/darknet
# by config/setup.sh. Debian's library asks for four OpenCV libraries (and through them for 250 more, 0.1 s and 80 MB of
# every start) that only its camera and window functions use. Empty libraries of those names stand in: the unresolved
# functions are bound lazily and never called. A library of your own gets the real ones where they are installed.
#
# With DARKNET_ALEXEYAB_ROOT, AlexeyAB's beside it, darknet::alexeyab: where the first is pjreddie's, which cannot
# compute all that his can. With DARKNET_CUDA_ROOT, a Darknet built for CUDA beside it, darknet::cuda: a build for CUDA cannot serve machines
# without a driver, so it gets a worker program of its own.

set(Darknet_private "${CMAKE_SOURCE_DIR}/build/darknet")
if(DARKNET_ROOT)
  set(search_include "${DARKNET_ROOT}/include" "${DARKNET_ROOT}")
  set(search_library "${DARKNET_ROOT}/lib" "${DARKNET_ROOT}")
else()
  set(search_include /usr/lib/darknet/include "${Darknet_private}/usr/lib/darknet/include")
  set(search_library /usr/lib/darknet "${Darknet_private}/usr/lib/darknet")
endif()
find_path(Darknet_INCLUDE_DIR darknet.h PATHS ${search_include} NO_DEFAULT_PATH)
find_library(Darknet_LIBRARY darknet PATHS ${search_library} NO_DEFAULT_PATH)
mark_as_advanced(Darknet_INCLUDE_DIR Darknet_LIBRARY)

# The header tells whose it is: AlexeyAB's marks what it exports with LIB_API.
function(darknet_backend include out)
  file(STRINGS "${include}/darknet.h" marks REGEX "define[ \t]+LIB_API" LIMIT_COUNT 1)
  set(${out} BACKEND_PJREDDIE PARENT_SCOPE)
  if(marks)
    set(${out} BACKEND_ALEXEYAB PARENT_SCOPE)
  endif()
endfunction()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(Darknet REQUIRED_VARS Darknet_LIBRARY Darknet_INCLUDE_DIR)

if(Darknet_FOUND AND NOT TARGET darknet::darknet)
  add_library(darknet::darknet SHARED IMPORTED GLOBAL)
  get_filename_component(Darknet_LIBRARY_DIR "${Darknet_LIBRARY}" DIRECTORY)
  darknet_backend("${Darknet_INCLUDE_DIR}" Darknet_BACKEND)
  set_target_properties(darknet::darknet PROPERTIES
    IMPORTED_LOCATION "${Darknet_LIBRARY}" IMPORTED_NO_SONAME ON
    INTERFACE_INCLUDE_DIRECTORIES "${Darknet_INCLUDE_DIR}")

  execute_process(COMMAND readelf -d "${Darknet_LIBRARY}" OUTPUT_VARIABLE dynamic)
  string(REGEX MATCHALL "libopencv_[a-z]+\\.so\\.[0-9]+" sonames "${dynamic}")
  set(Darknet_STAND_INS "")
  foreach(soname ${sonames})
    string(REGEX MATCH "libopencv_[a-z]+" stem "${soname}")
    if(DARKNET_ROOT)
      find_library(Darknet_real_${stem} NAMES "${soname}")
      if(Darknet_real_${stem})
        continue()
      endif()
    endif()
    set(empty "${CMAKE_BINARY_DIR}/generated/${stem}.c")
    file(CONFIGURE OUTPUT "${empty}" CONTENT "extern int creel_stand_in;\n")
    add_library(${stem} SHARED "${empty}")
    set_target_properties(${stem} PROPERTIES
      LIBRARY_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/darknet-stand-ins"
      OUTPUT_NAME "${stem}" PREFIX "" SUFFIX ".so" NO_SONAME ON)
    target_link_options(${stem} PRIVATE "-Wl,-soname,${soname}")
    add_custom_command(TARGET ${stem} POST_BUILD
      COMMAND ${CMAKE_COMMAND} -E create_symlink "${stem}.so" "${soname}"
      WORKING_DIRECTORY "${CMAKE_BINARY_DIR}/darknet-stand-ins")
    add_dependencies(darknet::darknet ${stem})
    list(APPEND Darknet_STAND_INS ${stem})
  endforeach()
  if(Darknet_STAND_INS)
    set_property(TARGET darknet::darknet APPEND PROPERTY INTERFACE_LINK_OPTIONS
      "-Wl,--disable-new-dtags,-rpath,${CMAKE_BINARY_DIR}/darknet-stand-ins:${Darknet_LIBRARY_DIR}"
      "-Wl,--allow-shlib-undefined" "-Wl,-z,lazy")
  else()
    set_property(TARGET darknet::darknet APPEND PROPERTY INTERFACE_LINK_OPTIONS
      "-Wl,--disable-new-dtags,-rpath,${Darknet_LIBRARY_DIR}" "-Wl,-z,lazy")
  endif()
endif()

if(DARKNET_ALEXEYAB_ROOT AND NOT TARGET darknet::alexeyab)
  find_path(Darknet_ALEXEYAB_INCLUDE_DIR darknet.h NO_DEFAULT_PATH REQUIRED
    PATHS "${DARKNET_ALEXEYAB_ROOT}/include" "${DARKNET_ALEXEYAB_ROOT}")
  find_library(Darknet_ALEXEYAB_LIBRARY darknet NO_DEFAULT_PATH REQUIRED
    PATHS "${DARKNET_ALEXEYAB_ROOT}/lib" "${DARKNET_ALEXEYAB_ROOT}")
  mark_as_advanced(Darknet_ALEXEYAB_INCLUDE_DIR Darknet_ALEXEYAB_LIBRARY)
  darknet_backend("${Darknet_ALEXEYAB_INCLUDE_DIR}" backend)
  if(NOT backend STREQUAL "BACKEND_ALEXEYAB")
    message(FATAL_ERROR "DARKNET_ALEXEYAB_ROOT=${DARKNET_ALEXEYAB_ROOT}: its darknet.h is not AlexeyAB's")
  endif()
  get_filename_component(Darknet_ALEXEYAB_LIBRARY_DIR "${Darknet_ALEXEYAB_LIBRARY}" DIRECTORY)
  add_library(darknet::alexeyab SHARED IMPORTED GLOBAL)
  set_target_properties(darknet::alexeyab PROPERTIES
    IMPORTED_LOCATION "${Darknet_ALEXEYAB_LIBRARY}" IMPORTED_NO_SONAME ON
    INTERFACE_INCLUDE_DIRECTORIES "${Darknet_ALEXEYAB_INCLUDE_DIR}"
    INTERFACE_LINK_OPTIONS
      "-Wl,--disable-new-dtags,-rpath,${Darknet_ALEXEYAB_LIBRARY_DIR};-Wl,-z,lazy")
endif()

if(DARKNET_CUDA_ROOT AND NOT TARGET darknet::cuda)
  find_package(CUDAToolkit REQUIRED)
  find_path(Darknet_CUDA_INCLUDE_DIR darknet.h NO_DEFAULT_PATH REQUIRED
    PATHS "${DARKNET_CUDA_ROOT}/include" "${DARKNET_CUDA_ROOT}")
  find_library(Darknet_CUDA_LIBRARY darknet NO_DEFAULT_PATH REQUIRED
    PATHS "${DARKNET_CUDA_ROOT}/lib" "${DARKNET_CUDA_ROOT}")
  mark_as_advanced(Darknet_CUDA_INCLUDE_DIR Darknet_CUDA_LIBRARY)
  darknet_backend("${Darknet_CUDA_INCLUDE_DIR}" Darknet_CUDA_BACKEND)
  get_filename_component(Darknet_CUDA_LIBRARY_DIR "${Darknet_CUDA_LIBRARY}" DIRECTORY)
  add_library(darknet::cuda SHARED IMPORTED GLOBAL)
  set_target_properties(darknet::cuda PROPERTIES
    IMPORTED_LOCATION "${Darknet_CUDA_LIBRARY}" IMPORTED_NO_SONAME ON
    INTERFACE_INCLUDE_DIRECTORIES "${Darknet_CUDA_INCLUDE_DIR};${CUDAToolkit_INCLUDE_DIRS}"
    INTERFACE_COMPILE_DEFINITIONS "GPU=1"
    INTERFACE_LINK_OPTIONS
      "-Wl,--disable-new-dtags,-rpath,${Darknet_CUDA_LIBRARY_DIR};-Wl,--allow-shlib-undefined;-Wl,-z,lazy")
endif()
