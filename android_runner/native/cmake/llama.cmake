# llama.cpp behind the contract: from its source, static, or from a place where it is installed.
add_executable(farm-runner src/main.cpp src/backend_llama.cpp)

if(FARM_LLAMA_SOURCE)
  set(BUILD_SHARED_LIBS OFF)
  foreach(part COMMON TESTS EXAMPLES TOOLS SERVER APP UI)
    set(LLAMA_BUILD_${part} OFF)
  endforeach()
  set(LLAMA_USE_PREBUILT_UI OFF)
  set(LLAMA_OPENSSL OFF)
  # Nothing but the C and C++ libraries is asked of the phone.
  set(GGML_OPENMP OFF)
  set(GGML_CCACHE OFF)
  if(CMAKE_CROSSCOMPILING)
    set(GGML_NATIVE OFF)
  endif()
  add_subdirectory("${FARM_LLAMA_SOURCE}" llama EXCLUDE_FROM_ALL SYSTEM)
  target_link_libraries(farm-runner PRIVATE llama)
  # A program of one static file starts in any of the phone's folders, whatever lies beside it.
  if(NOT ANDROID AND NOT APPLE)
    target_link_options(farm-runner PRIVATE -static-libstdc++ -static-libgcc)
  endif()
else()
  if(NOT FARM_LLAMA_PREFIX)
    message(FATAL_ERROR "FARM_LLAMA_PREFIX or FARM_LLAMA_SOURCE must say where llama.cpp is")
  endif()
  find_path(FARM_LLAMA_INCLUDE llama.h PATHS "${FARM_LLAMA_PREFIX}/include" NO_DEFAULT_PATH REQUIRED)
  target_include_directories(farm-runner SYSTEM PRIVATE "${FARM_LLAMA_INCLUDE}")
  foreach(name llama ggml ggml-base)
    find_library(
      FARM_LIB_${name} ${name} PATHS "${FARM_LLAMA_PREFIX}/lib" "${FARM_LLAMA_PREFIX}/lib/${CMAKE_LIBRARY_ARCHITECTURE}"
      NO_DEFAULT_PATH REQUIRED
    )
    target_link_libraries(farm-runner PRIVATE "${FARM_LIB_${name}}")
  endforeach()
  # The libraries may be of a newer system than this one: what they need is there where the program runs.
  target_link_options(farm-runner PRIVATE "LINKER:--allow-shlib-undefined")
endif()

set(FARM_LLAMA_VERSION "" CACHE STRING "llama.cpp's version, told in every run")
target_compile_definitions(farm-runner PRIVATE "FARM_LLAMA_VERSION=\"${FARM_LLAMA_VERSION}\"")
