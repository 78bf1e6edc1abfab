# The CUDA backend: finds nvcc, compiles the kernels with it, and makes the static library tern_cuda. Sets
# tern_cuda_found and tern_cuda_summary.
#
# nvcc is called by rules of our own, not as a CMake language: so a machine without it configures as if there were no
# such thing, and host code keeps one compiler.
set(TERN_CUDA AUTO CACHE STRING "CUDA backend: AUTO, ON or OFF")
set(TERN_CUDA_ARCHITECTURES "75;80;86;89;90a;120" CACHE STRING
    "GPU architectures to compile for; newer GPUs than the last take its PTX")
set_property(CACHE TERN_CUDA PROPERTY STRINGS AUTO ON OFF)
set(tern_cuda_found OFF)
set(tern_cuda_summary "off")
if(TERN_CUDA STREQUAL OFF)
    return()
endif()

# The private folder of scripts/setup.sh --cuda last: a toolkit of the machine is preferred.
file(GLOB tern_private_cuda ${PROJECT_SOURCE_DIR}/.cuda/nvidia/cu*/bin)
find_program(TERN_NVCC nvcc HINTS ENV CUDA_HOME ENV CUDA_PATH PATH_SUFFIXES bin
    PATHS /usr/local/cuda/bin /opt/cuda/bin ${tern_private_cuda} DOC "NVIDIA's CUDA compiler")
if(TERN_NVCC)
    get_filename_component(cuda_root ${TERN_NVCC} REALPATH)
    get_filename_component(cuda_root ${cuda_root} DIRECTORY)
    get_filename_component(cuda_root ${cuda_root} DIRECTORY)
    find_path(TERN_CUDART_INCLUDE cuda_runtime_api.h HINTS ${cuda_root}/include ${cuda_root}/targets/x86_64-linux/include)
    find_library(TERN_CUDART cudart_static HINTS ${cuda_root}/lib64 ${cuda_root}/lib ${cuda_root}/targets/x86_64-linux/lib)
endif()
if(NOT TERN_NVCC OR NOT TERN_CUDART_INCLUDE OR NOT TERN_CUDART)
    set(tern_cuda_summary "no nvcc with its runtime found")
    if(TERN_CUDA STREQUAL ON)
        message(FATAL_ERROR "TERN_CUDA is ON but nvcc or its static runtime was not found (scripts/setup.sh --cuda gets them)")
    endif()
    return()
endif()

# ---- architectures: machine code for each, PTX of the last
set(cuda_code "")
set(cuda_words "")
foreach(architecture IN LISTS TERN_CUDA_ARCHITECTURES)
    list(APPEND cuda_code -gencode arch=compute_${architecture},code=sm_${architecture})
    list(APPEND cuda_words sm_${architecture})
    string(REGEX REPLACE "[a-z]$" "" cuda_last ${architecture}) # PTX of 90a would serve no newer GPU
endforeach()
list(APPEND cuda_code -gencode arch=compute_${cuda_last},code=compute_${cuda_last})
list(JOIN cuda_words ", " cuda_words)

# ---- kernels. Exact float arithmetic as everywhere (common/scalar.h): no contraction, no flush, no approximations.
set(cuda_flags -std=c++17 -O3 $<$<CONFIG:Debug,RelWithDebInfo>:-lineinfo> --fmad=false --prec-div=true --prec-sqrt=true --ftz=false
    -I${PROJECT_SOURCE_DIR}/common -I${PROJECT_SOURCE_DIR}/cuda
    # So that nothing of the C++ runtime is needed.
    -Xcompiler=-fPIC,-fvisibility=hidden,-ffp-contract=off,-fno-exceptions,-fno-rtti,-fno-threadsafe-statics)
if(CMAKE_C_COMPILER_ID STREQUAL GNU)
    list(APPEND cuda_flags -ccbin ${CMAKE_C_COMPILER})
endif()
list(APPEND cuda_flags -diag-suppress=177) # constants that only device code uses
if(TERN_WERROR)
    list(APPEND cuda_flags -Werror all-warnings)
endif()
file(GLOB cuda_kernels CONFIGURE_DEPENDS cuda/*.cu)
set(cuda_objects "")
foreach(source IN LISTS cuda_kernels)
    get_filename_component(name ${source} NAME_WE)
    set(object ${PROJECT_BINARY_DIR}/cuda/${name}.o)
    add_custom_command(OUTPUT ${object}
        COMMAND ${TERN_NVCC} ${cuda_flags} ${cuda_code} -MD -MF ${object}.d -MT ${object} -c ${source} -o ${object}
        DEPENDS ${source} DEPFILE ${object}.d COMMENT "nvcc ${name}.cu" COMMAND_EXPAND_LISTS VERBATIM)
    list(APPEND cuda_objects ${object})
endforeach()
file(MAKE_DIRECTORY ${PROJECT_BINARY_DIR}/cuda)

# ---- the library
file(GLOB cuda_sources CONFIGURE_DEPENDS cuda/*.c)
add_library(tern_cuda STATIC ${cuda_sources} ${cuda_objects})
set_target_properties(tern_cuda PROPERTIES POSITION_INDEPENDENT_CODE ON LINKER_LANGUAGE C)
target_include_directories(tern_cuda SYSTEM PRIVATE ${TERN_CUDART_INCLUDE})
get_filename_component(cuda_library_folder ${TERN_CUDART} DIRECTORY)
target_compile_definitions(tern_cuda PRIVATE TERN_CUDA_CODE="${cuda_words}" TERN_CUBLAS_DIR="${cuda_library_folder}")
target_link_libraries(tern_cuda PRIVATE tern_flags INTERFACE ${TERN_CUDART} ${CMAKE_DL_LIBS} rt)
set(tern_cuda_found ON)
set(tern_cuda_summary "yes (${TERN_NVCC}; ${cuda_words} and PTX of ${cuda_last})")
