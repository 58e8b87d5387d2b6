# ExecuTorch behind the contract: from the CMake package of the Python wheel or of a source build.
find_package(
  executorch CONFIG REQUIRED COMPONENTS runtime threadpool kernels_optimized kernels_quantized backend_xnnpack
)
if(CMAKE_SYSTEM_NAME STREQUAL "Linux")
  # The package's own options name the folder of the wheel on this machine; the libraries lie beside the program.
  foreach(part runtime threadpool kernels_optimized kernels_quantized backend_xnnpack)
    get_target_property(options executorch::${part} INTERFACE_LINK_OPTIONS)
    if(options)
      list(FILTER options EXCLUDE REGEX "-rpath,/")
      set_target_properties(executorch::${part} PROPERTIES INTERFACE_LINK_OPTIONS "${options}")
    endif()
  endforeach()
endif()
add_executable(farm-runner src/main.cpp src/backend_executorch.cpp src/executorch_errors.cpp)
target_compile_definitions(farm-runner PRIVATE "FARM_EXECUTORCH_VERSION=\"${EXECUTORCH_BUILD_VERSION}\"")
target_link_libraries(
  farm-runner PRIVATE executorch::runtime executorch::threadpool executorch::kernels_optimized
                      executorch::kernels_quantized executorch::backend_xnnpack
)
